"""Ties: tensors between which integers are copied have one encoding, which fits all of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hexaquant import load, quantize
from hexaquant.core.errors import InputError
from hexaquant.ptq.recipe import parse_recipe
from hexaquant.sim.plan_json import plan_from_json, plan_to_json


class Recurrent(nn.Module):
    """A state comes in and goes out, four times larger."""

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        new = state * 4 + x
        return torch.relu(new), new


TIE = {"the state": {"tie": ["state", "new"], "bits": 8, "symmetric": True}}


def graph():  # type: ignore[no-untyped-def]
    examples = (torch.zeros(1, 8), torch.zeros(1, 8))
    return load(Recurrent(), examples, input_names=["x", "state"], output_names=["y", "new"])


def data() -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [{name: rng.uniform(-1, 1, (1, 8)).astype(np.float32) for name in ("x", "state")} for _ in range(32)]


def test_tied_tensors_have_one_encoding_that_fits_all() -> None:
    model = quantize(graph(), data(), scheme="w8a16", recipe="plain", overrides=TIE)
    found = model.encodings()
    assert found["state"].scale == found["new"].scale and found["state"].offset == found["new"].offset
    assert float(found["state"].max) > 4  # the state alone would have 1
    alone = quantize(graph(), data(), scheme="w8a16", recipe="plain").encodings()
    assert alone["state"].scale != alone["new"].scale


class Linear(nn.Module):
    """A state that a layer computes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(8, 8)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        new = self.layer(torch.cat([state, x], 0))[:1]
        return new + x, new


def test_steps_that_walk_through_the_network_take_tied_tensors() -> None:
    examples = (torch.zeros(1, 8), torch.zeros(1, 8))
    names = {"input_names": ["x", "state"], "output_names": ["y", "new"]}
    network = load(Linear(), examples, dynamic_batch=False, **names)
    steps = ["calibrate", "correct_biases", {"round_weights": {"columns": 8}}]
    tie = {"the state": {"tie": ["state", "new"]}}
    model = quantize(network, data(), scheme="w4a8", recipe=parse_recipe({"steps": steps}), overrides=tie)
    found = model.encodings()
    assert found["state"].scale == found["new"].scale
    assert [report["step"] for report in model.steps] == ["calibrate", "correct biases", "round weights"]


def test_training_moves_both(tmp_path) -> None:  # type: ignore[no-untyped-def]
    from hexaquant.qat.learn import learn_encodings

    model = quantize(graph(), data(), scheme="w8a16", recipe="plain", overrides=TIE)
    assert {"state", "new"} <= set(learn_encodings(model, ["state", "new"]))
    with torch.no_grad():
        for parameter in model.encoding_parameters():
            parameter.mul_(1.5)
    found = model.encodings()
    assert torch.equal(found["state"].scale, found["new"].scale)


def test_a_plan_with_ties_is_read_back_as_it_was() -> None:
    plan = quantize(graph(), data(), recipe="plain", overrides=TIE).plan
    assert plan["new"].tie == "state" and plan_from_json(plan_to_json(plan)).tensors == plan.tensors


@pytest.mark.parametrize(
    ("tie", "words"),
    [
        ({"tie": ["state"]}, "ties one tensor"),
        ({"tie": ["state", "nothing*"]}, "'nothing\\*' matches no tensor"),
        ({"tie": "state"}, "must be a list of globs"),
        ({"tie": []}, "must be a list of globs"),
    ],
)
def test_a_tie_that_cannot_be_is_refused(tie: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        quantize(graph(), data(), overrides={"t": tie})


def test_different_grids_are_refused() -> None:
    with pytest.raises(InputError, match="give both the same bits and symmetry"):
        quantize(graph(), data(), overrides={"state": {"bits": 16}, "t": {"tie": ["state", "new"]}})


def test_two_ties_of_one_tensor_are_refused() -> None:
    ties = {"a": {"tie": ["state", "new"]}, "b": {"tie": ["new", "x"]}}
    with pytest.raises(InputError, match="which another tie holds"):
        quantize(graph(), data(), overrides=ties)
