"""Learning starts exactly at the PTQ result and ends in encodings that are exactly the trained ones."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from hexaquant.core.encoding import MIN_SCALE
from hexaquant.core.errors import EncodingError, InputError
from hexaquant.folder.artifacts import export_model, load_quantized
from hexaquant.qat.learn import freeze_encodings, learn_encodings
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.quantizer import Quantizer
from ir.onnx_text import random
from sim.nets import conv_net, planned, quantized

X = torch.from_numpy(random(5, 3, 8, 8, seed=7))


@pytest.fixture(scope="module", params=["w8a8", "w4a8", "w8a16"])
def calibrated(request: pytest.FixtureRequest) -> QuantizedModel:
    return quantized(conv_net(), request.param)


@pytest.fixture
def model(calibrated: QuantizedModel) -> QuantizedModel:
    return copy.deepcopy(calibrated)


def train(model: QuantizedModel, lr: float = 1e-2, steps: int = 5) -> None:
    optimizer = torch.optim.AdamW(
        [
            {"params": model.weight_parameters(), "lr": lr},
            {"params": model.encoding_parameters(), "lr": lr, "weight_decay": 0.0},
        ]
    )
    for _ in range(steps):
        optimizer.zero_grad()
        model(X).square().mean().backward()
        optimizer.step()


def test_before_the_first_step_nothing_has_changed_to_the_last_bit(model: QuantizedModel) -> None:
    with torch.no_grad():
        before = model(X)
    encodings = model.encodings()
    names = learn_encodings(model)
    assert {"x", "r", "y", "w", "w2"} == set(names)
    assert torch.equal(model(X).detach(), before)
    with torch.no_grad():
        assert torch.equal(model(X), before)
    assert all(encoding.same_as(encodings[name]) for name, encoding in model.encodings().items())


def test_every_learned_scale_gets_a_gradient_and_moves(model: QuantizedModel) -> None:
    learn_encodings(model)
    before = model.encodings()
    train(model)
    for name, encoding in model.encodings().items():
        assert not torch.equal(encoding.scale, before[name].scale), name  # int32 biases follow


def test_training_and_inference_quantize_alike(model: QuantizedModel) -> None:
    learn_encodings(model)
    train(model)
    trained = model(X).detach()
    with torch.no_grad():
        assert torch.equal(model(X), trained)


def test_frozen_and_exported_encodings_are_the_trained_ones(model: QuantizedModel, tmp_path: Path) -> None:
    learn_encodings(model)
    train(model)
    trained, outputs = model.encodings(), model(X).detach()
    assert freeze_encodings(model) == []
    assert model.encoding_parameters() == []
    assert all(encoding.same_as(trained[name]) for name, encoding in model.encodings().items())
    export_model(model, tmp_path / "out")
    stored = load_quantized(tmp_path / "out")
    with torch.no_grad():
        assert torch.equal(model(X), outputs)
        np.testing.assert_allclose(stored(X).numpy(), outputs.numpy(), atol=1e-5)
    for name, encoding in stored.encodings().items():
        assert torch.equal(encoding.scale, trained[name].scale) and torch.equal(encoding.offset, trained[name].offset)


def test_scales_stay_legal_under_a_huge_learning_rate(model: QuantizedModel) -> None:
    with torch.no_grad():
        model.parameters_by_name()["w"][2] = 0  # a dead channel
    learn_encodings(model)
    train(model, lr=1e3, steps=6)
    freeze_encodings(model)
    for name, encoding in model.encodings().items():
        assert bool(torch.isfinite(encoding.scale).all()) and bool((encoding.scale > 0).all()), name
        assert name.startswith("b") or float(encoding.scale.min()) >= MIN_SCALE
        assert bool((encoding.offset <= 0).all()) and bool((encoding.offset == encoding.offset.round()).all())


def test_state_dict_round_trip_keeps_learned_scales(model: QuantizedModel, calibrated: QuantizedModel) -> None:
    twin = copy.deepcopy(calibrated)
    learn_encodings(model)
    train(model)
    learn_encodings(twin)
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin(X), model(X))
    assert torch.equal(copy.deepcopy(model)(X), model(X))


def test_the_range_of_a_fused_clip_never_exceeds_it() -> None:
    model = quantized(conv_net("Clip", low=np.float32(0), high=np.float32(0.7)))
    learn_encodings(model)
    with torch.no_grad():
        for parameter in model.encoding_parameters():
            parameter.fill_(3.0)
    assert float(model.encodings()["r"].max) <= 0.7
    assert model.quantizers["r"].clips_exactly


def test_only_what_matches_learns() -> None:
    model = quantized(conv_net())
    assert learn_encodings(model, ("w*",)) == ["w", "w2"]
    learning = [n for n, q in model.quantizers.items() if isinstance(q, Quantizer) and q.learned is not None]
    assert learning == ["w", "w2"] and len(model.encoding_parameters()) == 2
    with pytest.raises(InputError, match="matches nothing\\*"):
        learn_encodings(model, ("nothing*",))


def test_a_model_that_was_never_calibrated_is_refused() -> None:
    graph = conv_net()
    with pytest.raises(EncodingError, match="calibrate"):
        learn_encodings(QuantizedModel(graph, planned(graph)))
