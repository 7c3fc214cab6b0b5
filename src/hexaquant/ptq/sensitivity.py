"""What quantizing one layer alone does to the network's outputs.

Everything is float but one tensor: the weight of a unit in 4 or 8 bits, or its output in 8 or 16. The difference of the
outputs on calibration samples is kept as a vector e, not only as its size: to first order the errors of several
tensors add up, so that

    |e_u + e_v|^2 = |e_u|^2 + |e_v|^2 + 2 <e_u, e_v>

gives the interaction of any two layers without running the network again. (CLADO, Deng et al., arXiv:2307.05657,
measures the same cross terms with one run a pair.) Vectors are divided by the size of the float outputs: |e|^2 is the
noise-to-signal ratio.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hexaquant.core.events import Events
from hexaquant.htp.scheme import SCHEMES, Scheme
from hexaquant.htp.soc import Target
from hexaquant.ir.graph import Graph
from hexaquant.ir.input_spec import InputSpec, input_specs, sample_count
from hexaquant.ptq.units import Unit
from hexaquant.sim.calibrate import calibrate
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.planner import plan_unchecked
from hexaquant.sim.quantizer import BiasQuantizer

KEPT = 4096
"""At most so many values of each sample's outputs are looked at, evenly spread."""

WEIGHT_BITS = (4, 8)
ACT_BITS = (8, 16)


@dataclass(frozen=True)
class Sensitivities:
    """``weights[i][bits]`` and ``acts[i][bits]``: error vectors of unit i, float32 of equal length; absent where
    there is nothing to quantize."""

    weights: tuple[Mapping[int, Tensor], ...]
    acts: tuple[Mapping[int, Tensor], ...]
    samples: int

    def error(self, unit: int, weight_bits: int | None, act_bits: int | None) -> Tensor:
        """The error vector of unit ``unit`` with both quantized so; None is float."""
        weight = self.weights[unit].get(weight_bits or 0)
        act = self.acts[unit].get(act_bits or 0)
        found = [vector for vector in (weight, act) if vector is not None]
        return sum(found[1:], found[0]) if found else torch.zeros(1)


@torch.no_grad()
def measure_sensitivities(
    graph: Graph,
    units: Sequence[Unit],
    batches: Callable[[], Iterable[Mapping[str, Any]]],
    target: Target,
    *,
    samples: int = 16,
    bits: tuple[tuple[int, ...], tuple[int, ...]] = (WEIGHT_BITS, ACT_BITS),
    events: Events | None = None,
) -> Sensitivities:
    """Of ``units`` of ``graph`` (prepared for the target, unplanned). ``bits``: which of weights and of activations."""
    weights: list[dict[int, Tensor]] = [{} for _ in units]
    acts: list[dict[int, Tensor]] = [{} for _ in units]
    inputs = _first(batches(), input_specs(graph), samples)
    jobs = len(units) * (len(bits[0]) + len(bits[1]))
    progress = iter((events or Events()).track(range(jobs), "sensitivities"))
    for weight_bits, act_bits in ((8, 8), (4, 16)):
        model = _calibrated(graph, SCHEMES[f"w{weight_bits}a{act_bits}"], batches, target)
        run = _Outputs(model, inputs)
        for index, unit in enumerate(units):
            if weight_bits in bits[0] and next(progress, 0) is not None and unit.weight in model.quantizers:
                weights[index][weight_bits] = run.error(model, _weight_names(model, unit))
            if act_bits in bits[1] and next(progress, 0) is not None:
                acts[index][act_bits] = run.error(model, list(unit.tensors))
    next(progress, None)
    return Sensitivities(tuple(weights), tuple(acts), run.samples)


def _calibrated(
    graph: Graph, scheme: Scheme, batches: Callable[[], Iterable[Mapping[str, Any]]], target: Target
) -> QuantizedModel:
    planned = graph.clone()
    model = QuantizedModel(planned, plan_unchecked(planned, target, scheme))
    calibrate(model, batches())
    return model


def _weight_names(model: QuantizedModel, unit: Unit) -> list[str]:
    biases = [
        name for name, q in model.quantizers.items() if isinstance(q, BiasQuantizer) and q.plan.weight == unit.weight
    ]
    return [unit.weight or "", *biases]


class _Outputs:
    """The float outputs of the samples, and how others differ from them."""

    def __init__(self, model: QuantizedModel, inputs: list[dict[str, Tensor]]) -> None:
        self._inputs, specs = inputs, input_specs(model.source_graph)
        self.samples = sum(sample_count(batch, specs) for batch in inputs)
        with model.float_mode():
            self._reference = self._run(model)
        self._scale = [1.0 / max(float(part.square().sum()) ** 0.5, 1e-30) for part in self._reference]

    def error(self, model: QuantizedModel, names: list[str]) -> Tensor:
        """The outputs' relative difference, as one vector, with only the quantizers ``names`` on."""
        with model.only(*[glob.escape(name) for name in names]):
            got = self._run(model)
        parts = [(a - b) * s for a, b, s in zip(got, self._reference, self._scale)]
        return torch.cat(parts) / len(parts) ** 0.5

    def _run(self, model: QuantizedModel) -> list[Tensor]:
        """Each output over all samples, thinned out and flat."""
        runs = [model(**batch) for batch in self._inputs]
        each = [[run] if isinstance(run, Tensor) else list(run) for run in runs]
        return [torch.cat([_thinned(outputs[i]) for outputs in each]) for i in range(len(each[0]))]


def _thinned(output: Tensor) -> Tensor:
    rows = output.float().reshape(len(output), -1) if output.dim() else output.float().reshape(1, 1)
    return rows[:, :: -(-rows.shape[1] // KEPT)].reshape(-1)


def _first(batches: Iterable[Mapping[str, Any]], specs: Sequence[InputSpec], samples: int) -> list[dict[str, Tensor]]:
    found: list[dict[str, Tensor]] = []
    count = 0
    for batch in batches:
        found.append({name: torch.as_tensor(value) for name, value in batch.items()})
        count += sample_count(batch, specs)
        if count >= samples:
            break
    return found
