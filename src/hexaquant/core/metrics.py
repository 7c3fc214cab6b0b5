"""Error measures between a reference and an approximation. Numpy only, accumulating in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass
class Sqnr:
    """Signal to quantization noise ratio, streamed: 10 log10(sum ref^2 / sum (ref - x)^2) in dB.

    Infinite for identical tensors; NaN before anything was added or when the reference is all zero.
    """

    signal: float = 0.0
    noise: float = 0.0

    def add(self, reference: npt.ArrayLike, x: npt.ArrayLike) -> None:
        ref = np.asarray(reference, np.float64)
        got = np.asarray(x, np.float64)
        self.signal += float(np.sum(ref * ref))
        self.noise += float(np.sum((ref - got) ** 2))

    @property
    def db(self) -> float:
        if self.signal == 0:
            return float("nan")
        return float("inf") if self.noise == 0 else float(10 * np.log10(self.signal / self.noise))


def sqnr_db(reference: npt.ArrayLike, x: npt.ArrayLike) -> float:
    """SQNR of ``x`` against ``reference`` in dB."""
    meter = Sqnr()
    meter.add(reference, x)
    return meter.db
