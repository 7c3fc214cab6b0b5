"""Target-in-the-loop bias correction: the emulator (or NPU) says how far its layers lie beside the simulation's on
average, and the int32 biases take that back.

In sweeps: compile the network with its intermediate tensors shown, run a few samples, measure each layer's own mean
deviation (ptq/target_offsets.py), correct the biases of the simulation with those deviations in it
(ptq/bias_correction.py). A sweep counts only if SQNR(target, FP32) rises on samples that the correction did not see;
the biases of the best sweep stay, so that the figure never falls.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hexaquant.analysis.intermediates import Intermediates
from hexaquant.core.errors import InputError
from hexaquant.core.events import Events
from hexaquant.core.metrics import Sqnr
from hexaquant.folder.artifacts import put_constants_on_grid
from hexaquant.io.batches import Batch
from hexaquant.io.dataset import HELD_OUT_AT, HELD_OUT_EVERY, Dataset
from hexaquant.io.qdq_writer import to_qdq
from hexaquant.ir.executor.build import build_module
from hexaquant.ir.graph import Graph
from hexaquant.ptq.bias_correction import correct_biases
from hexaquant.ptq.target_offsets import target_offsets
from hexaquant.sim.model import QuantizedModel

TASK = "correct on target"


@dataclass(frozen=True)
class OnTarget:
    """``samples`` run on the target to fit, ``held_out`` others to judge, in at most ``sweeps`` rounds.

    ``simulated``: samples on which the simulation's share of the error is measured, without the target.
    """

    samples: int = 16
    held_out: int = 16
    simulated: int = 32
    sweeps: int = 2


@dataclass(frozen=True)
class TargetCorrection:
    """What came of it: SQNR in dB of the target against FP32 on the held-out samples, before and after each sweep.

    ``kept``: the sweep whose biases the model has now, 0 for those it came with.
    """

    sqnr: tuple[float, ...]
    kept: int
    samples: int
    held_out: int

    @property
    def gain_db(self) -> float:
        return self.sqnr[self.kept] - self.sqnr[0]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@torch.no_grad()
def correct_on_target(
    model: QuantizedModel,
    data: Dataset,
    reference: Graph,
    *,
    settings: OnTarget | None = None,
    workers: int | None = None,
    events: Events | None = None,
) -> TargetCorrection:
    """Correct the biases of ``model`` (quantized, as :func:`hexaquant.quantize` leaves it) in place.

    ``data``: calibration samples, of which a held-out fifth judges; ``reference``: the FP32 graph. Raises InputError
    for data with less than two samples, TargetError when the target refuses the network.
    """
    chosen = settings or OnTarget()
    log = events or Events()
    simulated, judge = _samples(data, chosen)
    fit = simulated[: chosen.samples]
    wanted = _outputs(reference, judge)
    best = _biases(model)
    scores = list[float]()
    kept = 0
    for sweep in range(chosen.sweeps + 1):
        with _on_target(model, workers) as target:
            scores.append(_score(wanted, target.run(log.track(judge, TASK, len(judge)))))
            log.note(TASK, f"sweep {sweep}: SQNR of the target against FP32 {scores[-1]:.2f} dB")
            if sweep and scores[-1] <= scores[kept]:
                break
            kept = sweep
            best = _biases(model)
            if sweep == chosen.sweeps:
                break
            offsets = target_offsets(model, zip(fit, target.run(log.track(fit, TASK, len(fit)))))
        correct_biases(model, simulated, samples=len(simulated), offsets=offsets)
    for name, parameter in model.parameters_by_name().items():
        if name in best:
            parameter.copy_(best[name])
    return TargetCorrection(tuple(round(s, 3) for s in scores), kept, len(fit), len(judge))


def _samples(data: Dataset, settings: OnTarget) -> tuple[list[Batch], list[Batch]]:
    """Batches of one sample: those to fit on, and every fifth to judge on."""
    found = list(islice(data.batches(1), HELD_OUT_EVERY * settings.held_out))
    if len(found) < 2:
        raise InputError(f"{data.source} has one sample; correction on the target takes at least two")
    judge = found[HELD_OUT_AT::HELD_OUT_EVERY]
    fit = [sample for i, sample in enumerate(found) if i % HELD_OUT_EVERY != HELD_OUT_AT]
    return fit[: max(settings.samples, settings.simulated)], judge


@contextmanager
def _on_target(model: QuantizedModel, workers: int | None) -> Iterator[Intermediates]:
    encodings = model.encodings()
    graph = model.exported_graph()
    put_constants_on_grid(graph, encodings)
    qdq = to_qdq(graph, encodings, bypass=model.bypassed())
    with (
        tempfile.TemporaryDirectory(prefix="hexaquant-correct-") as folder,
        Intermediates(qdq, model.plan.target, Path(folder), workers) as target,
    ):
        yield target


def _outputs(reference: Graph, samples: list[Batch]) -> list[dict[str, np.ndarray]]:
    """FP32 outputs of each sample by name."""
    network = build_module(reference).eval()
    names = [value.name or "" for value in reference.outputs]
    result = []
    for sample in samples:
        out = network(*[torch.as_tensor(sample[v.name or ""]) for v in reference.inputs])
        tensors = [out] if isinstance(out, Tensor) else list(out)
        result.append({name: tensor.numpy() for name, tensor in zip(names, tensors)})
    return result


def _score(wanted: list[dict[str, np.ndarray]], runs: Iterator[Mapping[str, np.ndarray]]) -> float:
    """Mean SQNR in dB over the outputs."""
    meters: dict[str, Sqnr] = {}
    for reference, got in zip(wanted, runs):
        for name, array in reference.items():
            meters.setdefault(name, Sqnr()).add(array, got[name])
    return float(np.mean([meter.db for meter in meters.values()]))


def _biases(model: QuantizedModel) -> dict[str, Tensor]:
    parameters = model.parameters_by_name()
    return {plan.name: parameters[plan.name].clone() for plan in model.plan if plan.how == "derived"}
