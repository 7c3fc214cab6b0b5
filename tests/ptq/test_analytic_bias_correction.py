"""Analytic bias correction: without data, the mean error of the outputs drops, as far as BatchNorm statistics hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import hexaquant as hq
from hexaquant.core.metrics import sqnr_db
from hexaquant.ptq.analytic_bias_correction import clipped_normal_mean, correct_biases_analytically, expected_values
from hexaquant.ptq.recipe import Recipe
from hexaquant.ptq.steps.graph_steps import EqualizeLayers
from hexaquant.ptq.steps.model_steps import Calibrate, CorrectBiases
from hexaquant.sim.model import QuantizedModel


@pytest.mark.parametrize("bounds", [(None, None), (0.0, None), (0.0, 6.0), (-1.0, 0.5)])
def test_mean_of_a_clipped_normal_is_what_sampling_gives(bounds: tuple[float | None, float | None]) -> None:
    mean, deviation = torch.tensor([-2.0, 0.0, 0.3, 5.0]), torch.tensor([1.0, 0.5, 2.0, 3.0])
    x = mean + deviation * torch.randn(400_000, 4, generator=torch.Generator().manual_seed(0))
    low, high = bounds
    sampled = x.clamp(low, high) if low is not None or high is not None else x
    found = clipped_normal_mean(mean, deviation, low, high)
    torch.testing.assert_close(found.float(), sampled.mean(0), atol=0.02, rtol=0.01)


def normalized_net() -> nn.Sequential:
    """Convolutions with BatchNorm and ReLU, depthwise among them, whose statistics fit their data."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs, groups in ((3, 1), (16, 16), (16, 1), (16, 16), (16, 1)):
        kernel = 3 if groups > 1 else 1
        layers += [nn.Conv2d(inputs, 16, kernel, groups=groups, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Conv2d(16, 6, 1))
    for layer in net:
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.bias, 0.5, 0.5)
            layer.momentum = None
    net.train()
    with torch.no_grad():
        for _ in range(8):
            net(torch.randn(16, 3, 16, 16))
    return net.eval()


def test_outputs_come_nearer_and_lose_their_mean_error_without_data() -> None:
    net = normalized_net()
    x = torch.randn(64, 3, 16, 16)
    with torch.no_grad():
        wanted = net(x).numpy()
    before, after = (
        output(hq.quantize(net, [x[:16]], scheme="w4a8", recipe=recipe, example_inputs=(x[:2],)), x)
        for recipe in (
            Recipe("ranges", (Calibrate(),)),
            Recipe("analytic", (Calibrate(), CorrectBiases(method="analytic"))),
        )
    )
    assert sqnr_db(wanted, after) > sqnr_db(wanted, before) + 0.3
    mean_error = [np.abs((y - wanted).mean((0, 2, 3))).mean() for y in (before, after)]
    assert mean_error[1] < 0.7 * mean_error[0]


def output(model: QuantizedModel, x: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(model(x).numpy())


def test_expected_values_are_the_means_of_the_data() -> None:
    net = normalized_net()
    graph = hq.load(net, example_inputs=(torch.randn(2, 3, 16, 16),))
    with torch.no_grad():
        means = net[:3](torch.randn(64, 3, 16, 16)).mean((0, 2, 3))
    relu = next(node for node in graph.nodes if node.op_type == "Relu")
    found = expected_values(graph)[relu.outputs[0].name or ""]
    assert float((found - means).abs().max()) < 0.15 * float(means.abs().max())


def test_a_layer_without_known_means_is_left_alone_and_named() -> None:
    net, x = normalized_net(), torch.randn(16, 3, 16, 16)
    model = hq.quantize(net, [x], recipe=Recipe("ranges", (Calibrate(),)), example_inputs=(x[:2],))
    assert ["reason" in entry for entry in correct_biases_analytically(model)] == [True, *[False] * 5]
    equalized = Recipe("equalized", (EqualizeLayers(), Calibrate(), CorrectBiases(method="analytic")))
    model = hq.quantize(net, [x], recipe=equalized, example_inputs=(x[:2],))
    assert sum("reason" in entry for entry in model.steps[-1]["details"]["layers"]) > 1
