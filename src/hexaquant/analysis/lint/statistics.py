"""What a few samples show of every tensor of the float network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hexaquant.core.encoding import Encoding, encoding_from_range
from hexaquant.core.fake_quant import fake_quantize
from hexaquant.core.grid import Grid
from hexaquant.core.metrics import sqnr_db
from hexaquant.ir.executor.build import build_module
from hexaquant.ir.graph import Graph, is_float_value

KEPT = 400_000
"""At most so many values of a tensor are kept, evenly spread over it."""
BEYOND = 10
"""Values that lie beyond the quantile that counts as the end of the bulk, or 1 in 10,000 if these are more."""


@dataclass(frozen=True)
class TensorStatistics:
    """``values``: float32, a sample of all; ``low`` and ``high``: of all; ``channel_peaks``: max |x| by channel."""

    name: str
    values: np.ndarray
    low: float
    high: float
    channel_peaks: np.ndarray

    @property
    def peak(self) -> float:
        """max |x|."""
        return max(abs(self.low), abs(self.high))

    @cached_property
    def bulk(self) -> float:
        """|x| below which all but the largest few values lie."""
        sizes = np.abs(self.values)
        tail = max(BEYOND, sizes.size // 10_000)
        return float(np.partition(sizes, -tail - 1)[-tail - 1]) if sizes.size > 10 * tail else self.peak

    @cached_property
    def kurtosis(self) -> float:
        """Fourth standardized moment: 3 of a normal distribution, large with a long tail."""
        centred = self.values.astype(np.float64) - self.values.mean(dtype=np.float64)
        variance = float(np.mean(centred**2))
        return float(np.mean(centred**4)) / variance**2 if variance > 0 else 0.0

    def encoding(self, bits: int) -> Encoding:
        """Of the whole range, asymmetric with ``bits`` bits."""
        return encoding_from_range(torch.tensor(self.low), torch.tensor(self.high), Grid(bits))

    def sqnr_db(self, encoding: Encoding) -> float:
        """Of the kept values on the grid of ``encoding``."""
        values = torch.from_numpy(self.values)
        return sqnr_db(self.values, fake_quantize(values, encoding).numpy())


class _Collector(nn.Module):
    """A tap that keeps what passes."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.parts: list[np.ndarray] = []
        self.low, self.high = float("inf"), float("-inf")
        self.peaks: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        flat = x.detach().float().reshape(-1)
        if flat.numel():
            step = -(-flat.numel() // KEPT)
            self.parts.append(flat[::step].numpy().copy())
            self.low, self.high = min(self.low, float(flat.min())), max(self.high, float(flat.max()))
            peaks = _channel_peaks(x.detach().float(), self.axis)
            self.peaks = peaks if self.peaks is None else torch.maximum(self.peaks, peaks)
        return x

    def statistics(self, name: str) -> TensorStatistics:
        values = np.concatenate(self.parts)
        values = values[:: -(-values.size // KEPT)]
        peaks = np.zeros(0) if self.peaks is None else self.peaks.numpy()
        return TensorStatistics(name, values, self.low, self.high, peaks)


def _channel_peaks(x: Tensor, axis: int) -> Tensor:
    if x.dim() < 2:
        return x.abs().max().reshape(1)
    return x.abs().transpose(0, axis).reshape(x.shape[axis], -1).amax(1)


@torch.no_grad()
def collect_statistics(graph: Graph, batches: Iterable[Mapping[str, Any]]) -> dict[str, TensorStatistics]:
    """Of every float tensor that ``graph`` computes or takes in, over ``batches`` (input name -> array).

    Channels lie on axis 1, in tensors of rank 3 that no convolution made on the last one. Tensors whose values are not
    finite are left out. Raises UnsupportedOpError for an operator that the executor does not know.
    """
    collectors = {v.name or "": _Collector(_axis(v)) for v in graph.values() if _is_activation(v)}
    module = build_module(graph, dict(collectors), share=True)
    arguments = {name: argument for argument, name in module.meta["input_names"].items()}
    for batch in batches:
        module(**{arguments.get(name, name): torch.as_tensor(value) for name, value in batch.items()})
    seen = {name: c.statistics(name) for name, c in collectors.items() if c.parts}
    return {name: s for name, s in seen.items() if np.isfinite([s.low, s.high]).all()}


def _is_activation(value: Any) -> bool:
    return bool(value.name) and not value.is_initializer() and is_float_value(value)


def _axis(value: Any) -> int:
    node = value.producer()
    rank = 0 if value.shape is None else len(value.shape)
    return -1 if rank == 3 and (node is None or node.op_type != "Conv") else 1
