"""Optional steps stay only if they lower the error on samples that no step saw; otherwise nothing is left of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from hexaquant.core.events import Events
from hexaquant.ir.graph import Graph, constant
from hexaquant.ptq.apply import apply_graph_steps, apply_recipe
from hexaquant.ptq.gate import Gate, IfBetter
from hexaquant.ptq.recipe import Recipe, parse_recipe
from hexaquant.ptq.step import Batches, StepReport
from hexaquant.ptq.steps.graph_steps import EqualizeLayers
from hexaquant.ptq.steps.model_steps import Calibrate, CorrectBiases
from hexaquant.sim.model import QuantizedModel
from qat.rescaled import rescaled_net, smooth_images
from sim.nets import batches, conv_net, planned


@dataclass(frozen=True)
class ShiftBiases:
    """Moves every bias by ``by``: a step that makes everything worse."""

    by: float = 1.0
    title: ClassVar[str] = "shift biases"

    def apply(self, model: QuantizedModel, data: Batches, events: Events) -> StepReport:
        with torch.no_grad():
            for name, parameter in model.parameters_by_name().items():
                if model.plan[name].role == "bias":
                    parameter.add_(self.by)
        seen = sum(len(next(iter(batch.values()))) for batch in data())
        return StepReport(self.title, seen)


def fresh(scheme: str = "w4a8") -> QuantizedModel:
    graph = conv_net()
    return QuantizedModel(graph, planned(graph, scheme))


def many() -> Iterable[Mapping[str, Any]]:
    return batches(10)


def test_the_model_is_measured_once_between_optional_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    runs, measure = [], Gate.sqnr

    def counted(self: Gate, model: QuantizedModel) -> float:
        runs.append(measure(self, model))
        return runs[-1]

    monkeypatch.setattr(Gate, "sqnr", counted)
    steps = (Calibrate(), IfBetter(CorrectBiases()), IfBetter(ShiftBiases()), IfBetter(CorrectBiases()))
    reports = apply_recipe(fresh(), many, Recipe("a", steps))
    assert len(runs) == 4, "one before the first, then one after each"
    held = [report.details["held_out"] for report in reports[1:]]
    assert held[1]["sqnr_before"] == held[2]["sqnr_before"] == held[0]["sqnr_after"] > held[1]["sqnr_after"]
    shifted = (Calibrate(), IfBetter(CorrectBiases()), ShiftBiases(), IfBetter(CorrectBiases()))
    held = [r.details["held_out"] for r in apply_recipe(fresh(), many, Recipe("b", shifted)) if "held_out" in r.details]
    assert held[1]["sqnr_before"] < held[0]["sqnr_after"], "another step in between is seen"


def test_a_step_that_harms_is_undone() -> None:
    plain, tried = fresh(), fresh()
    apply_recipe(plain, many, Recipe("a", (Calibrate(), IfBetter(CorrectBiases()))))
    reports = apply_recipe(tried, many, Recipe("b", (Calibrate(), IfBetter(CorrectBiases()), IfBetter(ShiftBiases()))))
    held = [report.details["held_out"] for report in reports[1:]]
    assert [entry["verdict"] for entry in held] == ["kept", "dropped"]
    assert held[0]["sqnr_after"] > held[0]["sqnr_before"] and held[1]["sqnr_after"] < held[1]["sqnr_before"]
    for name, value in plain.state_dict().items():
        assert torch.equal(value, tried.state_dict()[name]), name
    assert all(quantizer.state == "on" for quantizer in tried.quantizers.values())


def test_optional_steps_do_not_see_the_samples_that_judge() -> None:
    reports = apply_recipe(fresh(), many, Recipe("c", (Calibrate(), IfBetter(ShiftBiases()))))
    assert [report.samples for report in reports] == [20, 16]
    assert reports[1].details["held_out"]["samples"] == 4
    gate = Gate(conv_net(), many)
    seen = {batch["x"][i].tobytes() for batch in gate.rest() for i in range(len(batch["x"]))}
    held = {batch["x"][i].tobytes() for batch in gate._held for i in range(len(batch["x"]))}
    assert len(seen) == 16 and len(held) == 4 and not seen & held


def test_without_optional_steps_all_samples_are_used() -> None:
    assert apply_recipe(fresh(), many, Recipe("d", (Calibrate(),)))[0].samples == 20


def test_a_single_sample_serves_both() -> None:
    gate = Gate(conv_net(), lambda: [{"x": batches(1)[0]["x"][:1]}])
    assert gate.samples == 1 and len(list(gate.rest())) == 1


def test_an_optional_graph_step_is_kept_where_it_helps_and_leaves_no_trace_where_not() -> None:
    data = [{"x": smooth_images(8, seed)} for seed in range(5)]
    setting = {"bits": 8, "granularity": "tensor"}

    def tried(spread: float, overrides: dict[str, Any]) -> tuple[str, Graph, Graph]:
        graph = rescaled_net(spread)
        recipe = Recipe("e", (IfBetter(EqualizeLayers()), Calibrate(), CorrectBiases()))
        reports = apply_graph_steps(graph, lambda: data, recipe, plan=lambda g: planned(g, "w8a8", overrides))
        return reports[0].details["held_out"]["verdict"], graph, rescaled_net(spread)

    verdict, graph, before = tried(2.5, dict.fromkeys(("w1", "dw", "w2", "fc"), setting))
    assert verdict == "kept" and not same_weights(graph, before)
    verdict, graph, before = tried(0.0, {})
    assert same_weights(graph, before) == (verdict == "dropped")


def same_weights(a: Graph, b: Graph) -> bool:
    constants = b.initializers
    return all(np.array_equal(constant(v), constant(constants[n])) for n, v in a.initializers.items())


def test_optional_steps_survive_yaml() -> None:
    recipe = Recipe("f", (IfBetter(EqualizeLayers(residuals=False)), Calibrate(), IfBetter(CorrectBiases(8))))
    assert parse_recipe(recipe.document()) == recipe
    assert recipe.document()["steps"][2] == {"if_better": {"correct_biases": {"samples": 8, "method": "empirical"}}}
