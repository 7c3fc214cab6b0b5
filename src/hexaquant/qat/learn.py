"""Scales (and offsets) of a QuantizedModel as trainable parameters, from the PTQ encodings and back into encodings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from hexaquant.core.encoding import Encoding
from hexaquant.core.errors import InputError
from hexaquant.qat.batchnorm import fold_norms
from hexaquant.qat.lsq import (
    gradient_scale,
    in_tensors_only,
    learned_fake_quantize,
    learned_offset,
    learned_scale,
    traceable_fake_quantize,
)
from hexaquant.qat.moving_average import FollowingRange, MovingRange
from hexaquant.qat.pact import PactEncoding
from hexaquant.sim.calibrate import protect_from_overflow, within_clamp
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.plan import TensorPlan
from hexaquant.sim.quantizer import Quantizer, is_inside

HAS_TRITON = find_spec("triton") is not None
"""Triton comes with PyTorch's CUDA builds for Linux."""


class LearnedEncoding(nn.Module):
    """What a quantizer trains: ``log_scale`` (p) and, for asymmetric activations without fused clipping,
    ``shift`` (u) of qat/lsq.py, both zero at the start. The buffers ``start_scale`` and ``start_offset`` stay.
    """

    start_scale: Tensor
    start_offset: Tensor
    block_scale: Tensor | None
    largest: Tensor

    def __init__(self, plan: TensorPlan, start: Encoding) -> None:
        super().__init__()
        self.grid = start.grid
        self.is_activation = plan.role in ("activation", "input")
        self.register_buffer("start_scale", start.scale.detach().clone())
        self.register_buffer("start_offset", start.offset.detach().clone())
        blocks = start.block_scale
        self.register_buffer("block_scale", None if blocks is None else blocks.detach().clone())
        self.register_buffer("largest", _largest_scale(plan, start))
        self.log_scale = nn.Parameter(torch.zeros_like(self.start_scale))
        moves = self.is_activation and not start.grid.symmetric and plan.clamp is None
        self.shift = nn.Parameter(torch.zeros_like(self.start_offset)) if moves else None
        self.clamp = plan.clamp
        self.clips_exactly = is_inside(start, plan.clamp)
        """Whether this encoding's range does the fused activation function, now and wherever it moves."""
        self._kept: Encoding | None = None
        self._kept_for: tuple[int, ...] = ()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.clips_exactly = is_inside(Encoding(self.grid, self.start_scale, self.start_offset), self.clamp)

    def scale_and_offset(self) -> tuple[Tensor, Tensor]:
        """Both with gradients, in the grid's stored shape."""
        scale = learned_scale(self.log_scale, self.start_scale, self.largest)
        if self.shift is None:
            return scale, self.start_offset
        return scale, learned_offset(self.shift, self.start_offset, self.grid.levels)

    def encoding(self) -> Encoding:
        """The encoding in force, without gradients; the same object until a parameter changes."""
        tensors = [t for t in (self.log_scale, self.shift, self.start_scale, self.start_offset) if t is not None]
        key = tuple(number for t in tensors for number in (t._version, t.data_ptr()))
        if self._kept is None or key != self._kept_for:
            with torch.no_grad():
                scale, offset = self.scale_and_offset()
            self._kept = Encoding(self.grid, scale, offset, self.block_scale)
            self._kept_for = key
        return self._kept

    def step(self) -> Tensor:
        """The scale in force without gradients, in the grid's stored shape."""
        if in_tensors_only(self.log_scale):
            return self.scale_and_offset()[0].detach()
        return self.encoding().scale

    def forward(self, v: Tensor) -> Tensor:
        """Fake-quantized ``v``, to the last bit what the exported encoding gives, with LSQ gradients."""
        scale, offset = self.scale_and_offset()
        features = v.numel() // max(v.shape[0], 1) if self.is_activation and v.dim() > 1 else None
        if HAS_TRITON and v.is_cuda and scale.dim() == 0 and v.dtype != torch.float64:
            from hexaquant.qat.lsq_triton import fused_fake_quantize

            g = gradient_scale(features or v.numel(), self.grid)
            return fused_fake_quantize(v, scale, offset, self.grid.levels, g)
        if in_tensors_only(v):
            return traceable_fake_quantize(v, scale, offset, self.grid, self.block_scale, features)
        return learned_fake_quantize(v, scale, offset, self.encoding(), features)


def _largest_scale(plan: TensorPlan, start: Encoding) -> Tensor:
    """Where a fused Clip(0, c) ends, beyond which the target refuses the model; infinite for others."""
    if plan.clamp is None or plan.clamp[1] is None or bool(start.offset.any()):
        return torch.full_like(start.scale, math.inf)
    beyond = replace(start, scale=torch.full_like(start.scale, 2 * plan.clamp[1]))
    return torch.maximum(within_clamp(plan, beyond).scale, start.scale)


MODES = ("lsq", "pact", "ema", "fixed")
"""How an encoding is trained: qat/lsq.py, qat/pact.py, qat/moving_average.py, or not at all (core/fake_quant.py)."""


def learn_encodings(
    model: QuantizedModel, globs: Sequence[str] | Mapping[str, str] = ("*",), mode: str = "lsq"
) -> list[str]:
    """Let the encodings of observed activations and of weights whose name matches ``globs`` follow training.

    ``mode``: "lsq" trains scales and offsets (LSQ, LSQ+), "pact" the ends of the clipping range, "ema" lets ranges
    follow a moving average of what is seen, "fixed" keeps them, with straight-through gradients. ``globs`` may map
    each glob to a mode of its own; the first that matches decides.

    All start exactly at the encodings in force, so that nothing changes before the first optimizer step; then
    ``model.encoding_parameters()`` has what there is to train. Ranges fixed by the target, constants and float16
    tensors stay; shared encodings and int32 biases follow. What learns already goes on. Returns the names that do not
    stay as they are. Raises InputError when none matches or for an unknown mode, and EncodingError when one was never
    calibrated.
    """
    chosen = dict(globs) if isinstance(globs, Mapping) else dict.fromkeys(globs, mode)
    for name in chosen.values():
        if name not in MODES:
            raise InputError(f"unknown quantizer mode '{name}': known are {', '.join(MODES)}")
    names = []
    matched = False
    parameters = model.parameters_by_name()
    for name, quantizer in model.quantizers.items():
        how = next((way for glob, way in chosen.items() if fnmatchcase(name, glob)), None)
        if how is None or not _can_learn(quantizer):
            continue
        matched = True
        if how == "fixed":
            continue
        if quantizer.learned is None:
            quantizer.learned = _trained_encoding(quantizer, how, parameters.get(name))
            quantizer.learned.train(model.training)
        names.append(name)
    if not matched:
        globs_text = ", ".join(chosen)
        raise InputError(f"no activation or weight to train matches {globs_text}; print model.plan for the names")
    return names


def _trained_encoding(quantizer: Quantizer, mode: str, weight: Tensor | None) -> nn.Module:
    plan = quantizer.plan
    start = quantizer.encoding
    if mode == "pact":
        return PactEncoding(start, _largest_scale(plan, start))
    if mode == "ema" and weight is not None and plan.role == "weight":
        return FollowingRange(start, weight)
    return MovingRange(plan, start) if mode == "ema" else LearnedEncoding(plan, start)


def _can_learn(quantizer: nn.Module) -> bool:
    if not isinstance(quantizer, Quantizer) or quantizer.grid.is_float:
        return False
    return quantizer.plan.how == "observed" or quantizer.plan.role == "weight"


def freeze_encodings(model: QuantizedModel) -> list[str]:
    """Write the trained scales back as plain encodings: what is simulated and exported from then on.

    BatchNorms that were put back for training (qat/batchnorm.py) are folded again. Encodings are the trained ones to
    the last bit, except weight scales that would overflow the target's int32 arithmetic, which are raised
    (htp/overflow.py); the names of those are returned.
    """
    for quantizer in model.quantizers.values():
        if isinstance(quantizer, Quantizer) and quantizer.learned is not None:
            quantizer.encoding = quantizer.encoding
    fold_norms(model)
    return protect_from_overflow(model)
