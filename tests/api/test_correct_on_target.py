"""Correction with the target in the loop: what the target's kernels add on average goes back into the biases."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import hexaquant as hq
from hexaquant.api.correct_on_target import OnTarget, correct_on_target
from hexaquant.core.errors import InputError
from hexaquant.io.data import open_data
from hexaquant.ptq.target_offsets import target_offsets
from hexaquant.sim.model import QuantizedModel
from ir.onnx_text import random
from sim.nets import conv_net, quantized

V68 = "sm8350"


def conv_stack(depth: int = 15, width: int = 16) -> nn.Module:
    """Convolutions with ReLU that keep the power of the signal: errors of every layer arrive at the output."""
    torch.manual_seed(0)
    convs = [nn.Conv2d(width if index else 3, width, 3, padding=1) for index in range(depth)]
    for conv in convs:
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return nn.Sequential(*[layer for conv in convs for layer in (conv, nn.ReLU())][:-1]).eval()


def test_a_deep_stack_on_v68_comes_nearer_to_fp32() -> None:
    net = conv_stack()
    x = torch.randn(80, 3, 16, 16)
    graph = hq.load(net, example_inputs=(x[:2],))
    data = open_data([x], graph)
    model = hq.quantize(graph, data, target=V68)
    weights = {n: e for n, e in model.encodings().items() if model.plan[n].role == "weight"}
    done = correct_on_target(model, data, graph, settings=OnTarget(sweeps=1))
    assert done.held_out == 16 and done.samples == 16
    assert done.kept == 1 and done.gain_db > 0.05
    assert all(model.encodings()[name].same_as(encoding) for name, encoding in weights.items())


def test_offsets_are_what_each_layer_adds_itself() -> None:
    """What the target adds on the first layer's output is found there, and not again behind it."""
    model = quantized(conv_net())
    runs = []
    for seed in range(3):
        x = torch.from_numpy(random(1, 3, 8, 8, seed=seed))
        with torch.no_grad():
            r = through(model, x, "r") + 0.25
            y = model.quantizers["y"](torch.nn.functional.conv2d(r, on_grid(model, "w2"), on_grid(model, "b2")))
        runs.append(({"x": x.numpy()}, {"r": r.numpy(), "y": y.numpy()}))
    offsets = target_offsets(model, runs)
    np.testing.assert_allclose(offsets["r"], 0.25, atol=1e-5)
    np.testing.assert_allclose(offsets["y"], 0.0, atol=1e-5)


def on_grid(model: QuantizedModel, name: str) -> torch.Tensor:
    return model.encodings()[name].fake_quantize(model.parameters_by_name()[name].detach()).float()


def through(model: QuantizedModel, x: torch.Tensor, name: str) -> torch.Tensor:
    """The value behind the quantizer of ``name``."""
    seen: list[torch.Tensor] = []
    handle = model.quantizers[name].register_forward_hook(lambda module, args, result: seen.append(result))
    model(x)
    handle.remove()
    return seen[0]


def test_a_correction_that_does_not_help_leaves_the_biases() -> None:
    """A network whose outputs are all clipped away cannot improve."""
    graph = conv_net()
    data = open_data([{"x": random(10, 3, 8, 8, seed=1)}], graph)
    model = hq.quantize(graph, data, scheme="w8a16")
    before = {name: p.detach().clone() for name, p in model.parameters_by_name().items()}
    done = correct_on_target(model, data, graph, settings=OnTarget(sweeps=1))
    assert done.sqnr[done.kept] >= done.sqnr[0]
    if done.kept == 0:
        assert all(torch.equal(before[name], p) for name, p in model.parameters_by_name().items())


def test_one_sample_is_too_few() -> None:
    graph = conv_net()
    data = open_data([{"x": random(1, 3, 8, 8, seed=1)}], graph)
    with pytest.raises(InputError, match="at least two"):
        correct_on_target(quantized(graph), data, graph)


def test_deploy_corrects_once_and_keeps_the_result(tmp_path: Path) -> None:
    graph, data = conv_net(), [{"x": random(10, 3, 8, 8, seed=1)}]
    hq.deploy(graph, data, tmp_path, metric=None, correct_on_target=True)
    steps = json.loads((tmp_path / "manifest.json").read_text())["sections"]["quantization"]["steps"]
    assert steps[-1]["step"] == "correct on target" and len(steps[-1]["details"]["sqnr"]) >= 2
    stamp = (tmp_path / "model.qdq.onnx").stat().st_mtime_ns
    hq.deploy(graph, data, tmp_path, metric=None, correct_on_target=True)
    assert (tmp_path / "model.qdq.onnx").stat().st_mtime_ns == stamp
    hq.deploy(graph, data, tmp_path, metric=None)
    assert (tmp_path / "model.qdq.onnx").stat().st_mtime_ns > stamp
