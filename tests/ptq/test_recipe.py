"""Recipes are found by name or file, run their steps in order, report them, and go on after an interruption."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from hexaquant.core.errors import InputError
from hexaquant.core.events import Event, Events
from hexaquant.ptq.apply import State, apply_recipe
from hexaquant.ptq.recipe import RECIPES, Recipe, find_recipe, parse_recipe
from hexaquant.ptq.steps import STEPS
from hexaquant.ptq.steps.model_steps import Calibrate, CorrectBiases
from hexaquant.sim.model import QuantizedModel
from sim.nets import batches, conv_net, planned


def fresh(scheme: str = "w8a8") -> QuantizedModel:
    graph = conv_net()
    return QuantizedModel(graph, planned(graph, scheme))


def test_unknown_recipes_list_the_known() -> None:
    assert find_recipe("fast") is RECIPES["fast"]
    mine = Recipe("mine", (Calibrate(),))
    assert find_recipe(mine) is mine
    with pytest.raises(InputError, match="unknown recipe 'slow': known are fast, best, plain"):
        find_recipe("slow")


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_survives_yaml(name: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(RECIPES[name].document()))
    assert find_recipe(file) == RECIPES[name]


BAD = {
    "no steps": ({"name": "x"}, "has a list 'steps'"),
    "unknown step": ({"steps": ["calibrte"]}, "unknown step 'calibrte'; known are calibrate"),
    "unknown field": ({"steps": [{"calibrate": {"obs": 1}}]}, "'calibrate' has no setting 'obs'; it has observer"),
    "wrong type": (
        {"steps": ["calibrate", {"correct_biases": {"samples": "many"}}]},
        "step 'correct_biases': 'samples' should be a valid integer, not 'many'",
    ),
    "no calibration": ({"steps": ["correct_biases"]}, "is 'calibrate'"),
    "unknown entry": ({"steps": ["calibrate"], "step": 1}, "unknown entry 'step'"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_recipe_is_named(case: str) -> None:
    document, message = BAD[case]
    with pytest.raises(InputError, match=message):
        parse_recipe(document)


def test_every_step_has_a_title_and_json_settings() -> None:
    for name, kind in STEPS.items():
        assert kind.title, name
        assert kind() == replace(kind()), name


def test_fast_calibrates_corrects_biases_and_refits() -> None:
    model, events = fresh(), []
    reports = apply_recipe(model, batches, RECIPES["fast"], Events(events.append))
    assert [report.step for report in reports] == ["calibrate", "correct biases", "refit outputs"]
    assert [layer["layer"] for layer in reports[1].details["layers"]] == ["layer 'c'", "layer 'y'"]
    assert {event.task for event in events if isinstance(event, Event)} >= {"calibrate", "bias correction"}


def test_plain_is_min_max_and_leaves_the_parameters() -> None:
    model = fresh()
    before = {name: p.detach().clone() for name, p in model.parameters_by_name().items()}
    reports = apply_recipe(model, batches, RECIPES["plain"])
    assert [report.step for report in reports] == ["calibrate"]
    assert all(torch.equal(before[name], p) for name, p in model.parameters_by_name().items())


def test_a_float_network_has_nothing_to_correct() -> None:
    reports = apply_recipe(fresh("fp16"), batches, RECIPES["fast"])
    assert [report.details.get("layers") for report in reports] == [None, None, None]


TWO = Recipe("two", (Calibrate(), CorrectBiases()))


class Interrupted(Exception):
    pass


class Passes:
    """Calibration data of which pass number ``fatal`` breaks off."""

    def __init__(self, fatal: int) -> None:
        self.count, self.fatal = 0, fatal

    def __call__(self) -> Iterable[Mapping[str, Any]]:
        self.count += 1
        if self.count == self.fatal:
            raise Interrupted
        return batches()


def test_an_interrupted_run_goes_on_after_the_last_step(tmp_path: Path) -> None:
    state, through = State(tmp_path / "state.safetensors", "key"), fresh()
    apply_recipe(through, batches, TWO)
    with pytest.raises(Interrupted):
        apply_recipe(fresh(), Passes(2), TWO, state=state)
    again, passes = fresh(), Passes(9)
    reports = apply_recipe(again, passes, TWO, state=state)
    assert passes.count == 1 and len(reports) == 2
    for name, value in through.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


@pytest.mark.parametrize("change", ["key", "recipe", "damage"])
def test_a_state_of_something_else_is_not_used(change: str, tmp_path: Path) -> None:
    state, recipe = State(tmp_path / "state.safetensors", "key"), TWO
    with pytest.raises(Interrupted):
        apply_recipe(fresh(), Passes(2), recipe, state=state)
    if change == "key":
        state = replace(state, key="other")
    elif change == "recipe":
        recipe = Recipe("other", (Calibrate("min_max"), CorrectBiases()))
    else:
        state.path.write_bytes(state.path.read_bytes()[:100])
    passes = Passes(9)
    apply_recipe(fresh(), passes, recipe, state=state)
    assert passes.count == 2
