"""Trained weights in the user's own module: it computes what the trained float network computes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import hexaquant as hq
from hexaquant.folder.artifacts import Model
from qat.normed import images, ptq, trained_module

X = images(16, 5)


def train(model: Model) -> None:
    """Move every parameter a little, as training would."""
    torch.manual_seed(1)
    with torch.no_grad():
        for p in model.weight_parameters():
            p.add_((0.05 * p.abs().mean() + 0.01) * torch.randn_like(p))


def float_output(model: Model) -> torch.Tensor:
    with torch.no_grad(), model.float_mode():
        return model(X)


@pytest.fixture
def module() -> nn.Module:
    return trained_module()


def test_the_module_computes_the_trained_network(module: nn.Module) -> None:
    model = ptq()
    train(model)
    expected = float_output(model)
    before = module(X).detach()
    report = model.write_back(module)
    assert float((before - expected).abs().max()) > 1e-2
    torch.testing.assert_close(module(X).detach(), expected, rtol=1e-5, atol=1e-5)
    assert report.left == {} and report.added == ["head.bias"]
    assert {"conv1.weight", "norm1.bias", "conv2.bias", "up.weight", "pre.weight", "head.weight"} <= set(report.written)


def test_norms_keep_their_gamma_and_statistics(module: nn.Module) -> None:
    model = ptq()
    train(model)
    kept = {n: t.clone() for n, t in module.state_dict().items() if "running" in n or n == "norm1.weight"}
    model.write_back(module)
    after = module.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in kept.items())


def test_an_untrained_model_writes_back_what_was_there_and_adds_nothing(module: nn.Module) -> None:
    before = {n: t.clone() for n, t in module.state_dict().items()}
    report = ptq().write_back(module)
    assert report.added == [] and report.left == {}
    assert module.state_dict().keys() == before.keys()
    for name, tensor in module.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=1e-4, atol=1e-5)


def test_a_channel_that_its_norm_switched_off_gets_a_gamma_to_live_with(module: nn.Module) -> None:
    with torch.no_grad():
        module.norm1.weight[2] = 0
    model = ptq(graph=hq.load(module, example_inputs=(images(2),)))
    train(model)
    with torch.no_grad():
        model.parameters_by_name()["conv1.weight"][2] += 0.1
    expected = float_output(model)
    model.write_back(module)
    torch.testing.assert_close(module(X).detach(), expected, rtol=1e-5, atol=1e-5)
    assert float(module.norm1.weight[2].detach()) > 0


def test_what_the_module_has_no_place_for_is_named(module: nn.Module) -> None:
    model = ptq()
    train(model)
    module.norm1 = nn.Identity()
    module.head = nn.Linear(5, 4, bias=False)
    report = model.write_back(module)
    assert "norm1" in report.left["conv1.weight"] and "shape" in report.left["head.weight"]
