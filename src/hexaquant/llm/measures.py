"""How far logits are from FP32's: figures that are added up token by token and saved between runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hexaquant.core.metrics import Sqnr

Logits = npt.NDArray[np.float32]


@dataclass
class Tally:
    """Sums over tokens. ``loss``: of the tokens that follow, natural logarithm; ``divergence``: KL(FP32 || this), nats.

    ``same``: the likeliest token is FP32's; ``top5``: FP32's likeliest is among the five.
    """

    tokens: int = 0
    followed: int = 0
    loss: float = 0.0
    divergence: float = 0.0
    same: int = 0
    top5: int = 0
    signal: float = 0.0
    noise: float = 0.0

    def add(self, reference: Logits, logits: Logits, following: npt.NDArray[np.int64]) -> None:
        """``reference``, ``logits`` (tokens, vocabulary); ``following``: the next tokens, as many as are known."""
        p = log_softmax(reference)
        q = log_softmax(logits)
        best = reference.argmax(-1)
        self.tokens += len(logits)
        self.followed += len(following)
        self.loss -= float(q[np.arange(len(following)), following].sum())
        self.divergence += float((np.exp(p) * (p - q)).sum())
        self.same += int((logits.argmax(-1) == best).sum())
        five = np.argpartition(logits, -min(5, logits.shape[-1]), axis=-1)[:, -5:]
        self.top5 += int((five == best[:, None]).any(-1).sum())
        meter = Sqnr()
        meter.add(reference, logits)
        self.signal += meter.signal
        self.noise += meter.noise

    def figures(self) -> dict[str, float | int | None]:
        """Perplexity, KL, shares and SQNR; None for what nothing was added to."""
        tokens = max(self.tokens, 1)
        db = Sqnr(self.signal, self.noise).db
        return {
            "tokens": self.tokens,
            "perplexity": float(np.exp(self.loss / self.followed)) if self.followed else None,
            "kl": self.divergence / tokens,
            "same_argmax": self.same / tokens,
            "top5": self.top5 / tokens,
            "logits_sqnr_db": db if np.isfinite(db) else None,
        }

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Tally:
        return Tally(**data)


def log_softmax(logits: Logits) -> npt.NDArray[np.float64]:
    """Along the last axis, in float64."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


def margin(logits: Logits) -> float:
    """How far the likeliest token is before the next, as a part of the range of ``logits`` (vocabulary,)."""
    second, first = np.partition(logits, -2)[-2:]
    spread = float(logits.max() - logits.min())
    return float(first - second) / spread if spread > 0 else 0.0
