"""The gate of optional steps: a step is kept only if it lowers the network's error on samples that it did not see.

Every fifth sample (of a graph with a fixed batch: every fifth batch) of the calibration data is kept from optional
steps; the error is that of the network's outputs against the float network's, as SQNR in dB averaged over the outputs.
Steps that are not optional see all samples: with a fifth less, ranges miss values, and one value beyond its range costs
more than most steps gain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as oir
import torch
from torch import Tensor

from hexaquant.core.errors import HexaquantError
from hexaquant.core.events import Events
from hexaquant.core.metrics import Sqnr
from hexaquant.ir.executor.build import build_module
from hexaquant.ir.graph import Graph
from hexaquant.ir.input_spec import InputSpec, input_specs, sample_count, samples_of_a_run, take
from hexaquant.ir.passes.dequantized import steps_of
from hexaquant.ir.sample_size import samples_to_hold
from hexaquant.ptq.step import Batches, GraphStep, ModelStep, StepReport
from hexaquant.sim.model import QuantizedModel

EVERY = 5
AT = 1
"""One in five is held out: with two samples there is already one of each kind."""
MOST = 64
"""At most so many samples judge."""

Batch = Mapping[str, Any]


@dataclass(frozen=True)
class IfBetter:
    """An optional step: kept if the error on held-out samples drops, otherwise undone."""

    step: GraphStep | ModelStep

    @property
    def title(self) -> str:
        return self.step.title


def inner(step: GraphStep | ModelStep | IfBetter) -> GraphStep | ModelStep:
    """The step itself, optional or not."""
    return step.step if isinstance(step, IfBetter) else step


class Gate:
    """Splits the calibration data of ``graph`` and judges models on the held-out part.

    ``rest``: passes over the samples that optional steps see. Data of a single sample serves both. ``standing``: the
    SQNR of the model as the last optional step left it, None once another step has changed it.
    """

    @torch.no_grad()
    def __init__(self, graph: Graph, batches: Batches) -> None:
        self._specs = input_specs(graph)
        self._whole = samples_of_a_run(self._specs) is not None
        self._batches = batches
        self._scores: dict[int, tuple[oir.Model, float]] = {}
        self.standing: float | None = None
        self._held = (
            first(self._part(batches(), held=True), self._specs, samples_to_hold(graph, MOST)) or list(batches())[:1]
        )
        self.samples = sum(sample_count(batch, self._specs) for batch in self._held)
        network = build_module(graph, share=True).eval()
        names = [value.name or "" for value in graph.inputs]
        self._wanted = [_tensors(network(*[torch.as_tensor(b[n]) for n in names])) for b in self._held]

    def rest(self) -> Iterable[Batch]:
        """A new pass over the samples that are not held out."""
        seen = False
        for batch in self._part(self._batches(), held=False):
            seen = True
            yield batch
        if not seen:
            yield from self._batches()

    def _part(self, batches: Iterable[Batch], held: bool) -> Iterator[Batch]:
        position = 0
        for index, batch in enumerate(batches):
            if self._whole:
                if (index % EVERY == AT) == held:
                    yield batch
                continue
            count = sample_count(batch, self._specs)
            keep = [i for i in range(count) if ((position + i) % EVERY == AT) == held]
            position += count
            if keep:
                yield take(batch, self._specs, keep)

    @torch.no_grad()
    def sqnr(self, model: QuantizedModel) -> float:
        """SQNR in dB of ``model``, as it is, on the held-out samples."""
        meters = [Sqnr() for _ in self._wanted[0]]
        for batch, wanted in zip(self._held, self._wanted):
            got = _tensors(model(**{name: torch.as_tensor(value) for name, value in batch.items()}))
            for meter, reference, output in zip(meters, wanted, got):
                meter.add(reference.numpy(), output.numpy())
        found = [meter.db for meter in meters if not math.isnan(meter.db)]
        return sum(found) / len(found) if found else math.nan

    def sqnr_of(self, graph: Graph, quantized: Callable[[Graph], QuantizedModel]) -> float:
        """SQNR of what ``quantized`` makes of a copy of ``graph``; measured once a graph."""
        if self._scores.get(id(graph.model)) is None:
            self._scores[id(graph.model)] = (graph.model, self.sqnr(quantized(graph.clone())))
        return self._scores[id(graph.model)][1]

    def judged(self, report: StepReport, before: float, after: float, events: Events) -> StepReport:
        """``report`` with the verdict; it is also told to ``events``."""
        helps = after > before
        text = "helps" if helps else "does not help and is undone"
        events.note("quantize", f"{report.step} {text}: held-out SQNR {before:.2f} -> {after:.2f} dB")
        held = {
            "verdict": "kept" if helps else "dropped",
            "samples": self.samples,
            "sqnr_before": _figure(before),
            "sqnr_after": _figure(after),
        }
        return replace(report, details=report.details | {"held_out": held})


def try_model_step(gate: Gate, model: QuantizedModel, step: ModelStep, events: Events) -> StepReport:
    """Apply ``step``, and undo it unless the error drops."""
    before = gate.sqnr(model) if gate.standing is None else gate.standing
    undo = _snapshot(model)
    report = step.apply(model, gate.rest, events)
    after = gate.standing = gate.sqnr(model)
    if not after > before:
        undo()
        gate.standing = before
    return gate.judged(report, before, after, events)


def try_graph_step(
    gate: Gate, graph: Graph, step: GraphStep, quantized: Callable[[Graph], QuantizedModel], events: Events
) -> StepReport:
    """Apply ``step`` to a copy of ``graph`` and keep that only if it quantizes with a smaller error.

    ``quantized``: makes a calibrated model of a graph, which it may change. A step that cannot keep the function of
    this network is left out, too.
    """
    candidate = graph.clone()
    try:
        report = step.apply_to_graph(candidate, gate.rest, events)
    except HexaquantError as error:
        events.warn("quantize", f"{step.title} is left out: {error}")
        return StepReport(step.title, 0, {"held_out": {"verdict": "dropped", "reason": str(error)}})
    if _same(graph, candidate):
        return replace(report, details=report.details | {"held_out": {"verdict": "dropped", "reason": "no change"}})
    came = [value.name for value in graph.initializers.values() if steps_of(value) is not None]
    if any(_differs(graph, candidate, name or "") for name in came):
        reason = "it would change weights that came with their encodings"
        return replace(report, details=report.details | {"held_out": {"verdict": "dropped", "reason": reason}})
    before = gate.sqnr_of(graph, quantized)
    after = gate.sqnr_of(candidate, quantized)
    if after > before:
        graph.model = candidate.model
    return gate.judged(report, before, after, events)


def _same(a: Graph, b: Graph) -> bool:
    """True when a step left a graph as it was."""
    constants = b.initializers
    if len(a.nodes) != len(b.nodes) or a.initializers.keys() != constants.keys():
        return False
    return not any(_differs(a, b, name) for name in a.initializers)


def _differs(a: Graph, b: Graph, name: str) -> bool:
    before = a.initializers[name].const_value
    after = b.initializers[name].const_value if name in b.initializers else None
    return before is not after and (
        before is None or after is None or not np.array_equal(before.numpy(), after.numpy())
    )


def _snapshot(model: QuantizedModel) -> Callable[[], None]:
    """A function that puts ``model`` back as it is now."""
    saved = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    states = {name: quantizer.state for name, quantizer in model.quantizers.items()}

    def undo() -> None:
        with torch.no_grad():
            model.load_state_dict(saved)
        for name, state in states.items():
            model.quantizers[name].state = state

    return undo


def first(batches: Iterable[Batch], specs: Sequence[InputSpec], samples: int) -> list[Batch]:
    """The first batches, until they hold ``samples`` samples."""
    found: list[Batch] = []
    for batch in batches:
        found.append(batch)
        if sum(sample_count(b, specs) for b in found) >= samples:
            break
    return found


def _tensors(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else list(result)


def _figure(db: float) -> float | None:
    return round(db, 3) if math.isfinite(db) else None
