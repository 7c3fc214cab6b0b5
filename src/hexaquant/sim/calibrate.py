"""Calibration: show the float network representative data, stream ranges, set every encoding."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from hexaquant.core.encoding import MIN_SCALE, Encoding, encoding_from_range
from hexaquant.core.errors import InputError
from hexaquant.core.events import Events
from hexaquant.core.observers import Observer, make_observer
from hexaquant.core.observers.scores import ScoresObserver
from hexaquant.core.observers.weight_mse import mse_weight_encoding
from hexaquant.core.ranks import gathered, world_size
from hexaquant.htp import kernels
from hexaquant.htp.overflow import safe_weight_scale
from hexaquant.ir.input_spec import input_specs, sample_count
from hexaquant.ir.passes.clamp_masks import MASK
from hexaquant.sim.from_file import FROM_FILE, encoding_in_file
from hexaquant.sim.input_moments import InputMoments
from hexaquant.sim.model import AnyQuantizer, QuantizedModel
from hexaquant.sim.plan import TensorPlan
from hexaquant.sim.quantizer import ActivationQuantizer, BiasQuantizer, ConstantQuantizer, tamed

HEADROOM_16 = 1.25
"""Factor on observed ranges of 16 bits: it costs 2 of some 90 dB, a value beyond the range costs tens of dB."""


@torch.no_grad()
def calibrate(
    model: QuantizedModel,
    batches: Iterable[Mapping[str, Any]],
    *,
    observer: str = "mse",
    weight_observer: str = "auto",
    events: Events | None = None,
) -> int:
    """Set all encodings of ``model`` from ``batches`` (each a mapping input name -> array or tensor).

    ``observer``: min_max, moving_average, percentile, mse, sqnr or entropy, for activations;
    ``weight_observer``: min_max, mse (least error of the weights), or auto: below 8 bits the clip with the least error
    of the layer's outputs (sim/input_moments.py), from 8 bits on min_max, for clipping costs more than it gains once
    biases are corrected. Ranges of 16 bits get HEADROOM_16, except with min_max and whole.
    Quantizers are on afterwards. Of several processes each gives its own part of the data; the encodings are those of
    all of it. Returns the number of samples seen. Raises InputError for empty data and for NaN or infinite
    activations, naming the tensor.
    """
    clipped = [q.plan.name for q in model.quantizers.values() if _is_clipped_by_outputs(q, weight_observer)]
    fit_weights(model, weight_observer, later=clipped)
    moments = InputMoments(model, clipped) if clipped else None
    seen = observe(model, batches, observer, events or Events(), moments)
    if moments is not None:
        _clip_by_outputs(model, clipped, moments.importance())
    protect_from_overflow(model)
    model.set_state("on")
    return seen


def _is_clipped_by_outputs(quantizer: AnyQuantizer, observer: str) -> bool:
    if not isinstance(quantizer, ConstantQuantizer) or quantizer.plan.role != "weight" or quantizer.grid.is_float:
        return False
    given = quantizer.plan.observer in ("min_max", "mse", FROM_FILE)
    return observer == "auto" and not given and quantizer.grid.bits < 8


def _clip_by_outputs(model: QuantizedModel, names: Iterable[str], importance: Mapping[str, Tensor]) -> None:
    """Clips of weights by what they do to the outputs; by the weights' own error where no layer says what it reads."""
    parameters = model.parameters_by_name()
    for name in names:
        quantizer = model.quantizers[name]
        data = tamed(parameters[name].detach())
        quantizer.encoding = mse_weight_encoding(data, quantizer.grid, importance.get(name))


def fit_weights(model: QuantizedModel, observer: str = "auto", later: Collection[str] = ()) -> None:
    """Encodings of weights and constants from their own values, or as they came with the file.

    Weights ``later`` are only looked at. Raises InputError for NaN, in biases too.
    """
    parameters = model.parameters_by_name()
    for name, quantizer in model.quantizers.items():
        if not isinstance(quantizer, ConstantQuantizer | BiasQuantizer):
            continue
        data: Tensor | None = parameters.get(name)
        if data is None:
            raise InputError(f"constant '{name}' of the plan is not a parameter of the network")
        is_operand = quantizer.plan.role == "constant"
        if bool(torch.isnan(data).any()) or not (is_operand or bool(torch.isfinite(data).all())):
            raise InputError(f"'{name}' ({quantizer.plan.layer}) holds NaN or infinite values: the network is broken")
        if isinstance(quantizer, BiasQuantizer) or name in later:
            continue
        if quantizer.plan.observer == FROM_FILE:
            came = encoding_in_file(model.source_graph.initializers[name], quantizer.grid)
            if came is not None:
                quantizer.encoding = came
                continue
        data = tamed(data.detach())
        chosen = quantizer.plan.observer if quantizer.plan.observer in ("min_max", "mse") else observer
        clips = chosen == "mse" or (chosen == "auto" and quantizer.grid.bits < 8)
        if clips and quantizer.plan.role == "weight":
            quantizer.encoding = mse_weight_encoding(data.detach(), quantizer.grid)
        else:
            quantizer.fit(data)


def observe(
    model: QuantizedModel,
    batches: Iterable[Mapping[str, Any]],
    observer: str,
    events: Events,
    moments: InputMoments | None = None,
) -> int:
    """Run ``batches`` through the float network (by ``moments``) and set the encodings of observed activations."""
    every = dict.fromkeys(model.quantizers.values())  # tied tensors have one quantizer
    watched = [q for q in every if isinstance(q, ActivationQuantizer) and q.plan.how == "observed"]
    model.set_state("off")
    for quantizer in watched:
        quantizer.observer = _observer(quantizer, observer)
        quantizer.state = "observe"
    seen = 0
    specs = input_specs(model.source_graph)
    for batch in events.track(batches, "calibrate"):
        tensors = {name: torch.as_tensor(value) for name, value in batch.items()}
        if moments is None:
            model(**tensors)
        else:
            moments.watch(tensors)
        seen += sample_count(tensors, specs)
    seen = sum(gathered(seen))
    _merge_over_ranks(watched)
    if not seen:
        raise InputError("the calibration data is empty: give at least one sample")
    bounded = {node.outputs[0].name for node in model.source_graph.nodes if node.op_type == "Clip"}
    for quantizer in watched:
        if quantizer.saturates:
            name = f"'{quantizer.plan.name}' ({quantizer.plan.layer})"
            events.warn(
                "calibrate", f"{name} reaches infinity, or a number as large: its grid ends before and saturates"
            )
        exact = (quantizer.plan.observer or observer) in ("min_max", "whole") or quantizer.plan.name in bounded
        _take(quantizer, exact)
    return seen


def _observer(quantizer: ActivationQuantizer, name: str) -> Observer:
    plan = quantizer.plan
    made = make_observer(plan.observer or name, quantizer.grid)
    return made if plan.margin is None else ScoresObserver(made, plan.margin, plan.along, MASK / 2)


def _merge_over_ranks(quantizers: list[ActivationQuantizer]) -> None:
    """Let every process's observers know what those of all processes saw."""
    if world_size() == 1:
        return
    observers = [quantizer.observer for quantizer in quantizers if quantizer.observer is not None]
    states = gathered([observer.state() for observer in observers])
    for index, observer in enumerate(observers):
        observer.merge([state[index] for state in states])


def _take(quantizer: ActivationQuantizer, exact: bool) -> None:
    assert quantizer.observer is not None
    try:
        encoding = quantizer.observer.encoding()
        quantizer.encoding = within_clamp(quantizer.plan, encoding if exact else with_headroom(encoding))
    except InputError as error:
        raise InputError(f"tensor '{quantizer.plan.name}' ({quantizer.plan.layer}): {error}") from None
    quantizer.observer = None


def with_headroom(encoding: Encoding) -> Encoding:
    """A 16-bit integer encoding with its range widened by HEADROOM_16; any other as it is.

    Not for the output of a Clip: the target drops the operator and lets the range do its work.
    """
    if encoding.grid.is_float or encoding.grid.bits != 16:
        return encoding
    low = encoding.min.clamp(max=0) * HEADROOM_16
    high = encoding.max.clamp(min=0) * HEADROOM_16
    return encoding_from_range(low, high, encoding.grid)


def within_clamp(plan: TensorPlan, encoding: Encoding) -> Encoding:
    """Keep the encoding of a fused Relu or Clip(0, c) inside [0, c], whatever histogram bins rounded it to.

    Only then does the target fuse the two operators; a range beyond c makes it refuse the model. The encoding of a mask
    spans ``plan.holds``.
    """
    if plan.holds is not None and not encoding.grid.is_float:
        ends = encoding.min.clamp(max=plan.holds[0]), encoding.max.clamp(min=plan.holds[1])
        spans = torch.equal(ends[0], encoding.min) and torch.equal(ends[1], encoding.max)
        return encoding if spans else encoding_from_range(*ends, encoding.grid)
    if plan.clamp is None:
        return encoding
    high = float(encoding.max) if plan.clamp[1] is None else min(float(encoding.max), plan.clamp[1])
    if high == float(encoding.max) and not bool(encoding.offset.any()):
        return encoding
    inside = encoding_from_range(torch.zeros_like(encoding.scale), torch.full_like(encoding.scale, high), encoding.grid)
    too_far = plan.clamp[1] is not None and float(inside.max) > plan.clamp[1]
    return dataclasses.replace(inside, scale=torch.nextafter(inside.scale, inside.scale * 0)) if too_far else inside


def protect_from_overflow(model: QuantizedModel) -> list[str]:
    """Raise weight scales that would overflow the target's int32 arithmetic; returns the names changed."""
    changed = []
    for name, safe in safe_weight_scales(model).items():
        weight = model.quantizers[name]
        if not torch.equal(safe, weight.encoding.scale):
            weight.encoding = dataclasses.replace(weight.encoding, scale=safe)
            changed.append(name)
    return changed


def safe_weight_scales(model: QuantizedModel, least: bool = False) -> dict[str, Tensor]:
    """Weight name -> its scales raised where the int32 arithmetic would overflow; with ``least`` the least safe ones.

    Weights with one scale per block, and those of operators without an int32 bias, are left out.
    """
    parameters = model.parameters_by_name()
    result = {}
    outputs = _output_quantizers(model)
    for name, quantizer in model.quantizers.items():
        if not isinstance(quantizer, BiasQuantizer) or quantizer.plan.weight is None:
            continue
        if model.plan[quantizer.plan.weight].role != "weight":
            continue
        weight = model.quantizers[quantizer.plan.weight]
        x = model.quantizers[model.plan.root(_source(quantizer)).name]
        if weight.encoding.scale.dim() > 1:
            continue
        y = outputs.get(name)
        bias = parameters[name] if weight.encoding.scale.dim() else parameters[name].reshape(-1)
        scale = torch.full_like(weight.encoding.scale, MIN_SCALE) if least else weight.encoding.scale
        result[quantizer.plan.weight] = _safe_scale(scale, x.encoding, None if y is None else y.encoding, bias)
    return result


def _source(quantizer: BiasQuantizer) -> str:
    return quantizer.plan.source or ""


def _safe_scale(scale: Tensor, x: Encoding, y: Encoding | None, bias: Tensor) -> Tensor:
    y_scale = None if y is None or y.grid.is_float else float(y.scale)
    y_offset = 0.0 if y is None or y.grid.is_float else float(y.offset)
    return safe_weight_scale(scale, float(x.scale), y_scale, y_offset, bias)


def _output_quantizers(model: QuantizedModel) -> dict[str, ActivationQuantizer]:
    """Bias name -> quantizer of the output of the operator that adds it (following fused activations)."""
    result: dict[str, ActivationQuantizer] = {}
    for node in model.source_graph.nodes:
        output = model.plan.tensors.get(node.outputs[0].name or "")
        index = kernels.BIAS_INPUTS.get(node.op_type)
        bias = node.inputs[index] if index is not None and len(node.inputs) > index else None
        if output is None or bias is None:
            continue
        name = output.source if output.how == "fused" else output.name
        quantizer = model.quantizers.get(name or "")
        if isinstance(quantizer, ActivationQuantizer):
            result[bias.name or ""] = quantizer
    return result
