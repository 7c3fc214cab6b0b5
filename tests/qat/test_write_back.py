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


class Sharing(nn.Module):
    """Three layers with one bias; with ``twice`` the second is called again."""

    def __init__(self, twice: bool = False) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3, padding=1), nn.Linear(6, 6)
        self.twice = twice
        if not twice:
            self.b.bias = self.c.bias = self.a.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.b(torch.relu(self.a(x))))
        return self.c((torch.relu(self.b(x)) if self.twice else x).mean((2, 3)))


def sharing(twice: bool = False) -> tuple[Sharing, Model, torch.Tensor]:
    """The module, its quantized model after PTQ (which corrects each layer's bias on its own), and data."""
    torch.manual_seed(0)
    module = Sharing(twice).eval()
    x = torch.randn(16, 3, 12, 12)
    return module, hq.quantize(module, [x], example_inputs=(x[:2],), recipe="fast"), x


def test_layers_that_shared_a_bias_get_their_own() -> None:
    module, model, x = sharing()
    train(model)
    with torch.no_grad(), model.float_mode():
        expected = model(x)
    report = model.write_back(module)
    torch.testing.assert_close(module(x).detach(), expected, rtol=1e-5, atol=1e-5)
    assert report.left == {} and len(report.added) == 2 and module.a.bias is not module.c.bias


def test_a_shared_bias_stays_shared_where_nothing_parted_it() -> None:
    module, model, _ = sharing()
    with torch.no_grad():
        for name, parameter in model.parameters_by_name().items():
            if "bias" in name:
                parameter.copy_(torch.arange(6.0))
    assert model.write_back(module).added == []
    assert module.a.bias is module.b.bias is module.c.bias
    assert torch.equal(module.a.bias.detach(), torch.arange(6.0))


def test_a_layer_that_is_called_twice_gets_the_mean_and_it_is_said() -> None:
    module, model, _ = sharing(twice=True)
    train(model)
    biases = [p.detach().clone() for name, p in model.parameters_by_name().items() if name.startswith("b.bias")]
    report = model.write_back(module)
    assert len(biases) == 2 and not torch.equal(*biases)
    torch.testing.assert_close(module.b.bias.detach(), (biases[0] + biases[1]) / 2)
    assert "2 uses" in report.left["b.bias"]
