"""Inner tensors as hints: they come closer to FP32's, and those that mean something else are left out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import hexaquant as hq
from hexaquant.core.errors import InputError
from hexaquant.core.events import Event, Events
from hexaquant.folder.artifacts import Model
from qat.normed import images, ptq
from qat.rescaled import rescaled_net, smooth_images

TRAIN, HELD_OUT = images(64, 1), images(64, 2)
PER_TENSOR = {name: {"bits": 8, "granularity": "tensor"} for name in ("w1", "dw", "w2")}


def inner(model: Model) -> Tensor:
    """The second Relu's output on held-out data."""
    caught: list[Tensor] = []
    handle = model.quantizers["relu_1"].register_forward_hook(lambda module, inputs, out: caught.append(out))
    with torch.no_grad():
        model(HELD_OUT)
    handle.remove()
    return caught[0]


def test_inner_tensors_come_closer_to_fp32_when_asked() -> None:
    with ptq().float_mode() as model:
        reference = inner(model)
    plain, drawn = ptq("w4a8"), ptq("w4a8")
    options = {"steps": 30, "lr": 3e-3, "batch_size": 32}
    hq.finetune(plain, TRAIN, **options)
    hq.finetune(drawn, TRAIN, features=("relu*",), feature_weight=3.0, **options)
    errors = [float((inner(model) - reference).square().mean()) for model in (drawn, plain)]
    assert errors[0] < 0.9 * errors[1]
    assert drawn.steps[-1]["details"]["features"] == ["relu", "relu_1"]


def test_tensors_that_equalization_scales_are_left_out() -> None:
    data, notes = smooth_images(64, 50), []

    def listen(event: Event) -> None:
        notes.append(event.text)

    model = hq.quantize(rescaled_net(1.5), data, overrides=PER_TENSOR, recipe="fast")
    hq.finetune(model, data, features=("*",), steps=1, events=Events(listen))
    used = model.steps[-1]["details"]["features"]
    assert "m" in used and "ar" not in used and "dr" not in used
    assert any("left out" in note and "ar" in note for note in notes)
    with pytest.raises(InputError, match="equalize"):
        hq.finetune(model, data, features=("ar",), steps=1)


def test_a_glob_that_matches_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="no inner tensor"):
        hq.finetune(ptq(), TRAIN, features=("nothing*",))
