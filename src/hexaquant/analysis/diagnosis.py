"""From measured errors to findings: which encodings and which kernels part FP32, simulation and target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from hexaquant.analysis.debug_words import (
    COARSE,
    DebugFinding,
    explain_dead,
    explain_encoding,
    explain_lost,
    explain_mismatch,
    explain_outliers,
    explain_target,
    finding,
    known_error,
)
from hexaquant.analysis.debugger import EXCESS_DB, OWN_NOISE, TensorErrors, first_of, suspects
from hexaquant.analysis.excess_noise import WeightNoise, activation_excess_db
from hexaquant.analysis.lost_values import all_passes_through, lost_near_zero
from hexaquant.analysis.places import Place
from hexaquant.analysis.sensitivity import Site
from hexaquant.analysis.statistics import TensorMeter, TensorStatistics
from hexaquant.analysis.unlike_operands import Unlike
from hexaquant.core.encoding import Encoding, encoding_from_range
from hexaquant.core.grid import PerTensor
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.plan import TensorPlan
from hexaquant.sim.quantizer import BiasQuantizer, is_inside

FULL = 0.9
"""Part of int32 beyond which a bias leaves no room for the products that are added to it."""
WIDE = 0.5
"""A grid of which the values use a smaller part could be finer."""
REMARKS = 5
"""At most so many remarks on outlier channels."""


@dataclass(frozen=True)
class Evidence:
    """What was measured. ``given``: encodings as a file holds them, also of tensors that only share another's;
    ``unlike``: Concats that spoil an operand."""

    model: QuantizedModel
    sites: tuple[Site, ...]
    places: Mapping[str, Place]
    meters: Mapping[str, TensorMeter]
    weights: Mapping[str, WeightNoise]
    errors: Sequence[TensorErrors]
    given: Mapping[str, Encoding]
    unlike: Sequence[Unlike] = ()


@dataclass(frozen=True)
class Diagnosis:
    """Findings, gravest first; the first tensor where each pair parts (of a weight: the layer's output)."""

    findings: tuple[DebugFinding, ...]
    first_simulation_leaves_fp32: str | None
    first_target_leaves_simulation: str | None


def diagnose(evidence: Evidence) -> Diagnosis:
    """Judge every encoding and every kernel against its peers."""
    mismatched = dict(_mismatches(evidence))
    excess = excess_noise(evidence)
    noisy = sorted(_noisy(evidence, excess), key=lambda n: -excess[n])
    dead = [n for n in evidence.meters if _is_dead(evidence, n)]
    found = [*_lost(evidence)]
    found += [explain_dead(evidence.places[n], _seen(evidence, n), evidence.meters[n].encoding) for n in dead]
    found += [_encoding_finding(evidence, name, excess[name], mismatched.get(name)) for name in noisy]
    found += [finding(evidence.places[n], n, *text) for n, text in mismatched.items() if n not in noisy]
    kernels = _kernels(evidence)
    found += [_target_finding(evidence, errors) for errors in kernels]
    found += _outlier_remarks(evidence)
    order = [e.name for e in evidence.errors]
    parted = [_output_of(evidence, name) for name in (*mismatched, *noisy, *dead)]
    return Diagnosis(tuple(found), first_of(order, parted), first_of(order, [e.name for e in kernels]))


def _noisy(evidence: Evidence, excess: Mapping[str, float]) -> list[str]:
    """Quantizers that are noisier than their peers: weights among weights, activations among activations."""
    weights = {name: value for name, value in excess.items() if name in evidence.weights}
    others = {name: value for name, value in excess.items() if name not in evidence.weights}
    return suspects(weights, EXCESS_DB) + suspects(others, EXCESS_DB)


def _kernels(evidence: Evidence) -> list[TensorErrors]:
    """Where the target computes worse than elsewhere, or as coarsely as its 16-bit kernel is known to; worst first."""
    own = {e.name: e.own_noise for e in evidence.errors if e.own_count}
    named = set(suspects(own, OWN_NOISE))
    for errors in evidence.errors:
        if known_error(evidence.places[errors.name], errors.bits) >= COARSE <= errors.own_most:
            named.add(errors.name)
    return sorted((e for e in evidence.errors if e.name in named), key=lambda e: -e.own_noise)


def excess_noise(evidence: Evidence) -> dict[str, float]:
    """Quantizer -> how much noisier in dB than its bits need."""
    found: dict[str, float] = {}
    for site in evidence.sites:
        meter = evidence.meters.get(site.name)
        if site.kind == "weight":
            found[site.name] = evidence.weights[site.name].excess_db
        elif meter is not None and not evidence.model.quantizers[site.name].grid.is_float:
            plan = evidence.model.plan[site.name]
            found[site.name] = activation_excess_db(meter.histogram, meter.encoding, fixed_encoding(plan))
    return found


def fixed_encoding(plan: TensorPlan) -> Encoding | None:
    """The encoding of a tensor whose range its operator fixes, else None."""
    if plan.how != "fixed" or plan.grid is None or plan.low is None or plan.high is None:
        return None
    return encoding_from_range(torch.tensor(plan.low), torch.tensor(plan.high), plan.grid)


def _mismatches(evidence: Evidence) -> list[tuple[str, tuple[str, str]]]:
    """Encodings that break a rule of the target, whatever the values."""
    found = []
    for name, encoding in evidence.given.items():
        plan = evidence.model.plan.tensors.get(name)
        wanted = None if plan is None else _wanted(evidence, plan, encoding)
        if plan is not None and wanted is not None:
            found.append((name, explain_mismatch(plan, encoding, wanted)))
    return found


def _wanted(evidence: Evidence, plan: TensorPlan, encoding: Encoding) -> Encoding | None:
    """What the rule says instead of ``encoding``; None where it is kept."""
    if encoding.grid.is_float or not isinstance(encoding.grid.granularity, PerTensor):
        return None
    if plan.how == "shared":
        root = evidence.model.plan.root(plan.name)
        owner = evidence.given.get(root.name)
        return None if owner is None or _same(owner, encoding) else owner
    fixed = fixed_encoding(plan)
    if fixed is not None:
        return None if _same(fixed, encoding) else fixed
    if plan.how != "observed" or plan.clamp is None or is_inside(encoding, plan.clamp):
        return None
    low, high = plan.clamp
    top = float(encoding.max) if high is None else high
    return encoding_from_range(torch.tensor(low or 0.0), torch.tensor(max(top, 1e-6)), encoding.grid)


def _same(a: Encoding, b: Encoding) -> bool:
    return torch.allclose(a.scale, b.scale, rtol=1e-4) and torch.equal(a.offset, b.offset)


def _encoding_finding(
    evidence: Evidence, name: str, excess_db: float, mismatch: tuple[str, str] | None
) -> DebugFinding:
    text, fix = explain_encoding(_seen(evidence, name), evidence.meters[name].encoding, excess_db)
    if mismatch is not None:
        text = f"{text}; {mismatch[0]}"
    return finding(evidence.places[name], name, text, fix)


def _target_finding(evidence: Evidence, errors: TensorErrors) -> DebugFinding:
    place = evidence.places[errors.name]
    full = [channel for channel in errors.own_in if channel in _full_biases(evidence, place)]
    return explain_target(place, errors, full)


def _full_biases(evidence: Evidence, place: Place) -> list[int]:
    """Channels of a layer whose int32 bias is at the end of its range: of near-dead channels with a tiny scale."""
    parameters = evidence.model.parameters_by_name()
    for name, quantizer in evidence.model.quantizers.items():
        if isinstance(quantizer, BiasQuantizer) and evidence.places[name].layer == place.layer:
            steps = parameters[name].detach().abs() / quantizer.encoding.scale
            return torch.nonzero(steps.reshape(-1) > FULL * 2**31).flatten().tolist()
    return []


def _seen(evidence: Evidence, name: str) -> TensorStatistics:
    return evidence.meters[name].statistics(name, "weight" if name in evidence.weights else "activation")


def _is_dead(evidence: Evidence, name: str) -> bool:
    """True for an activation that is constant though everything passes through it, or whose values all round to one
    step of a grid that is much wider than they need."""
    meter = evidence.meters[name]
    if name in evidence.weights or meter.encoding.grid.is_float:
        return False
    seen = meter.histogram.range
    if seen.high - seen.low >= float(meter.encoding.scale) / 2:
        return False
    far = max(abs(seen.low), abs(seen.high)) < WIDE * max(-float(meter.encoding.min), float(meter.encoding.max))
    return (far and seen.high > seen.low) or all_passes_through(evidence.model.source_graph, name)


def _lost(evidence: Evidence) -> list[DebugFinding]:
    """What no encoding of these bits holds: operands beside larger ones, small values before a Log."""
    found = []
    for one in evidence.unlike:
        place = evidence.places[one.node.outputs[0].name or ""]
        found.append(finding(place, one.operand, f"{one.text}; {one.why}", one.fix))
    model = evidence.model
    for node, part in lost_near_zero(model.source_graph, model.plan, evidence.meters):
        source = node.inputs[0].name if node.inputs[0] is not None else None
        found.append(explain_lost(evidence.places[node.outputs[0].name or ""], source or "", part))
    return found


def _outlier_remarks(evidence: Evidence) -> list[DebugFinding]:
    """The tensors with one scale whose channels differ most."""
    shared = [
        _seen(evidence, site.name)
        for site in evidence.sites
        if isinstance(evidence.model.quantizers[site.name].grid.granularity, PerTensor)
        and not evidence.model.quantizers[site.name].grid.is_float
        and evidence.model.quantizers[site.name].grid.bits <= 8
    ]
    worst = sorted((s for s in shared if s.outlier_channels), key=lambda s: -s.outlier_channels[0].ratio)[:REMARKS]
    return [explain_outliers(evidence.places[s.name], s) for s in worst]


def _output_of(evidence: Evidence, name: str) -> str:
    """The activation by which a tensor shows: itself; of a weight the first quantized output of its layer."""
    root = evidence.model.plan.root(name).name if name in evidence.model.plan.tensors else name
    layer = evidence.places[name].layer
    if name not in evidence.weights:
        return root
    return next((e.name for e in evidence.errors if evidence.places[e.name].layer == layer), root)
