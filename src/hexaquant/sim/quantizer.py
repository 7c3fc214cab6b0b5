"""Quantizer modules: what sits on a tensor of the graph. One for activations, one for constants, one for biases."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from hexaquant.core.encoding import Encoding, encoding_of, float_encoding
from hexaquant.core.errors import EncodingError, InputError
from hexaquant.core.fake_quant import fake_quantize
from hexaquant.core.grid import Grid, PerChannel, PerTensor
from hexaquant.core.observers import Observer
from hexaquant.sim.plan import TensorPlan

State = Literal["off", "observe", "on"]

ENDLESS = 1e30
SATURATION = 100.0
"""A number as large stands for infinity (a mask of -3.4e38); the grid then ends at ``SATURATION``, or at twice the
largest other value, and saturates there: exp(-100) is 0 in float16."""


class Quantizer(nn.Module):
    """Base: holds an encoding as buffers ``scale``, ``offset``, ``block_scale`` so that it travels with the model.

    ``state``: "off" passes values through, "observe" shows them to ``observer``, "on" fake-quantizes them.
    ``learned``: while the encoding is trained, the module that holds its parameters (qat/learn.py): called with a
    tensor it fake-quantizes with gradients for them, and its ``encoding()`` is the one in force. It may have
    ``step()``, the scale without gradients, and ``clips_exactly``, where that cannot change in training.
    """

    scale: Tensor
    offset: Tensor
    block_scale: Tensor
    learned: Any

    def __init__(self, plan: TensorPlan) -> None:
        super().__init__()
        self.plan = plan
        self.state: State = "off"
        self.register_buffer("scale", torch.empty(0))
        self.register_buffer("offset", torch.empty(0))
        self.register_buffer("block_scale", torch.empty(0))
        self._cached: Encoding | None = None
        self.learned = None

    @property
    def grid(self) -> Grid:
        if self.plan.grid is None:
            raise EncodingError(f"tensor '{self.plan.name}' has no grid: it is not quantized ({self.plan.how})")
        return self.plan.grid

    @property
    def has_encoding(self) -> bool:
        return self.grid.is_float or self.scale.numel() > 0

    @property
    def encoding(self) -> Encoding:
        """The encoding in force. Raises EncodingError when the tensor was never calibrated."""
        if self.learned is not None:
            learned: Encoding = self.learned.encoding()
            return learned
        if self._cached is None:
            self._cached = self._build()
        return self._cached

    @encoding.setter
    def encoding(self, value: Encoding) -> None:
        device = self.scale.device
        self.learned = None
        self.scale, self.offset = value.scale.detach().to(device), value.offset.detach().to(device)
        self.block_scale = torch.empty(0) if value.block_scale is None else value.block_scale.detach().to(device)
        self._cached = None

    @property
    def current_scale(self) -> Tensor:
        """The scale in force without gradients; a ``learned`` that has ``step`` need not look at its numbers for it."""
        step = getattr(self.learned, "step", None)
        scale: Tensor = self.encoding.scale if step is None else step()
        return scale

    def _build(self) -> Encoding:
        if self.grid.is_float:
            return float_encoding(self.grid.bits)
        if not self.scale.numel():
            raise EncodingError(
                f"tensor '{self.plan.name}' has no encoding yet: calibrate the model, or set one with set_encodings"
            )
        blocks = self.block_scale if self.block_scale.numel() else None
        return Encoding(self.grid, self.scale, self.offset, blocks)

    def fake_quantize(self, x: Tensor) -> Tensor:
        """``x`` on the grid, with gradients for it and for an encoding that is being learned."""
        if self.learned is not None and torch.is_grad_enabled():
            quantized: Tensor = self.learned(x)
            return quantized
        return fake_quantize(x, self.encoding)

    def _apply(self, fn: Any, recurse: bool = True) -> Quantizer:
        self._cached = None
        return super()._apply(fn, recurse)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name in ("scale", "offset", "block_scale"):
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name], device=self.scale.device))
        self._cached = None
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        return f"{self.plan.name}: {self.plan.grid}, {self.plan.how}, {self.state}"


def tamed(x: Tensor) -> Tensor:
    """``x`` itself when no element is as large as infinity; else with these where the grid shall end. NaN stays."""
    if not x.numel() or not x.is_floating_point():
        return x
    low, high = torch.aminmax(x)
    if bool((low > -ENDLESS) & (high < ENDLESS)) or bool(torch.isnan(low)):
        return x
    sizes = x.abs()
    limit = max(SATURATION, 2 * float(sizes[sizes < ENDLESS].max()) if bool((sizes < ENDLESS).any()) else 0.0)
    return x.clamp(-limit, limit)


class ActivationQuantizer(Quantizer):
    """On a computed tensor or a graph input. With ``plan.clamp`` it also does the fused activation's clipping."""

    def __init__(self, plan: TensorPlan) -> None:
        super().__init__(plan)
        self.observer: Observer | None = None
        self.saturates = False
        self._clips = False
        self._clips_for: Encoding | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.state == "on":
            return self.fake_quantize(x if self.clips_exactly else self.clamp(x))
        x = self.clamp(x)
        if self.state == "observe" and self.observer is not None:
            self._observe(x.detach())
        return x

    def _observe(self, x: Tensor) -> None:
        assert self.observer is not None
        finite = x if self.plan.role == "input" and not bool(torch.isfinite(x).all()) else tamed(x)
        self.saturates |= finite is not x
        try:
            self.observer.update(finite)
        except InputError as error:
            raise InputError(f"tensor '{self.plan.name}' ({self.plan.layer}): {error}") from None

    def clamp(self, x: Tensor) -> Tensor:
        """The fused activation function on ``x`` (identity when there is none)."""
        if self.plan.clamp is None:
            return x
        low, high = self.plan.clamp
        if low == 0 and high is None:
            return torch.relu(x)
        return x.clamp(low, high)

    @property
    def clips_exactly(self) -> bool:
        """True when the encoding's own range does the fused activation: no value outside ``plan.clamp`` exists."""
        if self.plan.clamp is None:
            return True
        for_ever = getattr(self.learned, "clips_exactly", None)
        if for_ever is not None:
            return bool(for_ever)
        if self._clips_for is not self.encoding:
            self._clips_for, self._clips = self.encoding, is_inside(self.encoding, self.plan.clamp)
        return self._clips


def is_inside(encoding: Encoding, clamp: tuple[float | None, float | None] | None) -> bool:
    """True when no value of ``encoding`` (one scale per tensor) is outside ``clamp``; False without a clamp."""
    if clamp is None or encoding.grid.is_float:
        return False
    low, high = clamp
    step = float(encoding.scale)
    fits_low = low is None or float(encoding.min) >= low - 1e-3 * step
    return fits_low and (high is None or float(encoding.max) <= high + 1e-3 * step)


class ConstantQuantizer(Quantizer):
    """On a weight or another constant. Without gradients the quantized tensor is computed once and kept."""

    def __init__(self, plan: TensorPlan) -> None:
        super().__init__(plan)
        self._kept: Tensor | None = None
        self._kept_for: tuple[int, int, torch.dtype] | None = None
        self._kept_with: Encoding | None = None

    def fit(self, w: Tensor) -> None:
        """Set the min-max encoding of ``w``."""
        self.encoding = encoding_of(w.detach(), self.grid)

    def forward(self, w: Tensor) -> Tensor:
        if self.state != "on":
            return w
        if torch.is_grad_enabled() and (w.requires_grad or self.learned is not None):
            return self.fake_quantize(w)
        if torch.compiler.is_compiling():
            return fake_quantize(w.detach(), self.encoding)
        key = (w.data_ptr(), w._version, w.dtype)
        if self._kept is None or key != self._kept_for or self._kept_with is not self.encoding:
            self._kept = fake_quantize(w.detach(), self.encoding)
            self._kept_for = key
            self._kept_with = self.encoding
        return self._kept


class BiasQuantizer(nn.Module):
    """On an int32 bias: scale = scale of the input times scale of the weight, per output channel; offset 0.

    Of a weight with one scale per block the largest of the channel counts.
    """

    def __init__(self, plan: TensorPlan, x: Quantizer, weight: Quantizer) -> None:
        super().__init__()
        self.plan = plan
        self.state: State = "off"
        self._sources = (x, weight)

    @property
    def encoding(self) -> Encoding:
        """int32 encoding on the grid of ``plan`` (signed storage, symmetric offset -2^31)."""
        if self.plan.grid is None:
            raise EncodingError(f"bias '{self.plan.name}' has no grid")
        scale = self._scale()
        grid = Grid(32, True, True, PerChannel(0) if scale.dim() else PerTensor())
        return Encoding(grid, scale, torch.full_like(scale, float(grid.symmetric_offset)))

    def _scale(self) -> Tensor:
        x, weight = self._sources
        per_row = weight.current_scale
        return x.current_scale.reshape(()) * (per_row.amax(1) if per_row.dim() > 1 else per_row)

    def forward(self, b: Tensor) -> Tensor:
        if self.state != "on":
            return b
        scale = self._scale()
        return b + ((torch.round(b.detach() / scale) * scale) - b.detach())
