"""Recipes are found by name, run their steps and report them."""

from __future__ import annotations

import pytest
import torch

from hexaquant.core.errors import InputError
from hexaquant.core.events import Event, Events
from hexaquant.ptq.recipe import RECIPES, Recipe, apply_recipe, find_recipe
from hexaquant.sim.model import QuantizedModel
from sim.nets import batches, conv_net, planned


def fresh(scheme: str = "w8a8") -> QuantizedModel:
    graph = conv_net()
    return QuantizedModel(graph, planned(graph, scheme))


def test_unknown_recipes_list_the_known() -> None:
    assert find_recipe("fast") is RECIPES["fast"]
    assert find_recipe(Recipe("mine")).name == "mine"
    with pytest.raises(InputError, match="unknown recipe 'best': known are fast, plain"):
        find_recipe("best")


def test_fast_calibrates_and_corrects_biases() -> None:
    model, events = fresh(), []
    reports = apply_recipe(model, batches, "fast", Events(events.append))
    assert [report.step for report in reports] == ["calibrate", "correct biases"]
    assert [report.samples for report in reports] == [8, 8]
    assert [layer["layer"] for layer in reports[1].details["layers"]] == ["layer 'c'", "layer 'y'"]
    assert {event.task for event in events if isinstance(event, Event)} >= {"calibrate", "bias correction"}


def test_plain_is_min_max_and_leaves_the_parameters() -> None:
    model = fresh()
    before = {name: p.detach().clone() for name, p in model.parameters_by_name().items()}
    reports = apply_recipe(model, batches, "plain")
    assert [report.step for report in reports] == ["calibrate"]
    assert all(torch.equal(before[name], p) for name, p in model.parameters_by_name().items())


def test_a_float_network_has_nothing_to_correct() -> None:
    assert [report.step for report in apply_recipe(fresh("fp16"), batches, "fast")] == ["calibrate"]
