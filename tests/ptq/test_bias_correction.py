"""Bias correction: the mean error of each channel goes, and nothing but biases changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from hexaquant.core.metrics import sqnr_db
from hexaquant.htp.scheme import SCHEMES
from hexaquant.htp.soc import find_target
from hexaquant.ir.graph import Graph
from hexaquant.ptq.bias_correction import LayerReport, channel_gains, correct_biases
from hexaquant.sim.calibrate import calibrate
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.overrides import parse_overrides
from hexaquant.sim.planner import plan_unchecked
from ir.onnx_text import random, run
from sim.nets import conv_net, net, quantized

HELD_OUT = np.abs(random(32, 3, 12, 12, seed=999))


def depthwise_net() -> Graph:
    """Pointwise, depthwise, pointwise; channels of the depthwise weights differ in size by up to 30 times."""
    text = """(float[N,3,12,12] x) => (float[N,6,12,12] y) {
        p = Conv (x, pw, pb)
        pr = Relu (p)
        d = Conv <pads=[1,1,1,1], group=16> (pr, dw, db)
        dr = Relu (d)
        y = Conv (dr, lw, lb)
    }"""
    spread = np.logspace(-1.5, 0, 16, dtype=np.float32)[:, None, None, None]
    weights = {"pw": random(16, 3, 1, 1, seed=1), "dw": random(16, 1, 3, 3, seed=2) * spread + 0.05}
    weights |= {"lw": random(6, 16, 1, 1, seed=3), "pb": random(16, seed=4) * 0.1, "db": random(16, seed=5) * 0.1}
    return net(text, **weights, lb=random(6, seed=6) * 0.1)


def coarse() -> QuantizedModel:
    """One 4-bit scale for each weight tensor: the rounding errors do not average out."""
    setting = {"bits": 4, "granularity": "tensor"}
    data = [{"x": np.abs(random(8, 3, 12, 12, seed=i))} for i in range(4)]
    graph, overrides = depthwise_net(), parse_overrides(dict.fromkeys(("pw", "dw", "lw"), setting))
    model = QuantizedModel(graph, plan_unchecked(graph, find_target("sm8650"), SCHEMES["w8a8"], overrides))
    calibrate(model, data, observer="min_max")
    return model


def calibration() -> list[dict[str, np.ndarray]]:
    return [{"x": np.abs(random(8, 3, 12, 12, seed=i))} for i in range(4)]


class Corrected:
    """Outputs on held-out data before and after, and what the correction reported."""

    def __init__(self) -> None:
        self.model = coarse()
        self.before = outputs(self.model)
        self.weights = weight_errors(self.model)
        self.encodings = self.model.encodings()
        self.biases = {n: p.detach().clone() for n, p in self.model.parameters_by_name().items()}
        self.reports: list[LayerReport] = correct_biases(self.model, calibration(), samples=32)
        self.after = outputs(self.model)
        self.reference = run(depthwise_net(), {"x": HELD_OUT})[0]


def outputs(model: QuantizedModel) -> np.ndarray:
    with torch.no_grad():
        result: Tensor = model(torch.from_numpy(HELD_OUT))
    return result.numpy()


def weight_errors(model: QuantizedModel) -> dict[str, Tensor]:
    parameters = model.parameters_by_name()
    return {n: (model.quantizers[n](parameters[n]) - parameters[n]).detach() for n in ("pw", "dw", "lw")}


@pytest.fixture(scope="module")
def corrected() -> Corrected:
    return Corrected()


def test_sqnr_on_held_out_data_improves(corrected: Corrected) -> None:
    gain = sqnr_db(corrected.reference, corrected.after) - sqnr_db(corrected.reference, corrected.before)
    assert gain > 1.5


def test_the_mean_error_of_the_output_channels_drops(corrected: Corrected) -> None:
    before, after = (
        np.abs((y - corrected.reference).mean((0, 2, 3))).mean() for y in (corrected.before, corrected.after)
    )
    assert after < 0.3 * before


def test_weights_and_encodings_are_unchanged(corrected: Corrected) -> None:
    for name, error in weight_errors(corrected.model).items():
        assert torch.equal(error, corrected.weights[name])
    after = corrected.model.encodings()
    assert all(after[name].same_as(encoding) for name, encoding in corrected.encodings.items())


def test_only_biases_change(corrected: Corrected) -> None:
    parameters = corrected.model.parameters_by_name()
    changed = {name for name, value in corrected.biases.items() if not torch.equal(parameters[name], value)}
    assert changed == {"pb", "db", "lb"}


def test_every_layer_is_reported_with_an_error_that_drops(corrected: Corrected) -> None:
    assert [report.layer for report in corrected.reports] == ["layer 'p'", "layer 'd'", "layer 'y'"]
    assert all(report.mse_after < report.mse_before and report.largest_shift > 0 for report in corrected.reports)


def test_quantizers_are_on_afterwards(corrected: Corrected) -> None:
    assert all(quantizer.state == "on" for quantizer in corrected.model.quantizers.values())


def test_the_graph_that_serves_as_float_reference_is_unchanged(corrected: Corrected) -> None:
    np.testing.assert_array_equal(run(corrected.model.source_graph, {"x": HELD_OUT})[0], corrected.reference)


def test_the_shift_is_the_mean_error_on_the_samples() -> None:
    model = quantized(conv_net(), "w4a8")
    data = [{"x": random(4, 3, 8, 8, seed=5)}]
    x = torch.from_numpy(data[0]["x"])
    bias = model.parameters_by_name()["b"].detach().clone()
    correct_biases(model, data, samples=4)
    w, encodings = model.parameters_by_name()["w"].detach(), model.encodings()
    wanted = torch.nn.functional.conv2d(x, w, bias, padding=1)
    quantized_bias = encodings["b"].fake_quantize(bias)
    got = torch.nn.functional.conv2d(
        encodings["x"].fake_quantize(x), encodings["w"].fake_quantize(w), quantized_bias, padding=1
    )
    shift = (wanted - got).mean((0, 2, 3))
    torch.testing.assert_close(model.parameters_by_name()["b"].detach() - bias, shift, rtol=1e-3, atol=1e-5)


def test_only_the_first_samples_are_used() -> None:
    batches = [{"x": random(2, 3, 8, 8, seed=i)} for i in range(3)]
    models = [quantized(conv_net()) for _ in range(2)]
    correct_biases(models[0], batches, samples=3)
    correct_biases(models[1], [{"x": np.concatenate([b["x"] for b in batches])[:3]}], samples=3)
    for name, parameter in models[0].parameters_by_name().items():
        torch.testing.assert_close(parameter, models[1].parameters_by_name()[name])


def test_a_bias_that_two_layers_share_becomes_one_for_each_and_each_is_corrected() -> None:
    """Their integers mean different numbers (input scale x weight scale), so the planner gives each its own."""
    text = "(float[N,4,5,5] x) => (float[N,4,5,5] y) { a = Conv (x, w, b)\n y = Conv (a, v, b) }"
    graph = net(text, w=random(4, 4, 1, 1), v=random(4, 4, 1, 1, seed=1), b=random(4))
    model = quantized(graph, "w4a8", data=[{"x": random(4, 4, 5, 5)}])
    reports = correct_biases(model, [{"x": random(4, 4, 5, 5)}])
    assert [report.layer for report in reports] == ["layer 'a'", "layer 'y'"]
    assert all(report.mse_after < report.mse_before for report in reports)
    biases, encodings = model.parameters_by_name(), model.encodings()
    assert not torch.equal(biases["b"], biases["b_1"])
    for bias, data, weight in (("b", "x", "w"), ("b_1", "a", "v")):
        torch.testing.assert_close(encodings[bias].scale, encodings[data].scale * encodings[weight].scale.flatten())


def test_fully_connected_and_transposed_layers_are_corrected_by_output_channel() -> None:
    text = """(float[N,4,5,5] x) => (float[N,3] y) {
        t = ConvTranspose <strides=[2,2]> (x, w, b)
        g = GlobalAveragePool (t)
        f = Flatten (g)
        y = Gemm (f, v, c)
    }"""
    constants = {"w": random(4, 6, 2, 2), "b": random(6), "v": random(6, 3), "c": random(3)}
    data = [{"x": random(8, 4, 5, 5, seed=i)} for i in range(4)]
    model = quantized(net(text, **constants), "w4a8", data=data)
    reports = correct_biases(model, data, samples=32)
    assert [report.layer for report in reports] == ["layer 't'", "layer 'y'"]
    assert all(report.mse_after < report.mse_before for report in reports)


def test_refit_gain_restores_the_size_of_each_channel() -> None:
    """Clipped inputs make a layer's output smaller; the weight's scale grows by as much, its integers stay."""
    graph = depthwise_net()
    data, models = calibration(), {}
    for refit in (False, True):
        model = quantized(depthwise_net(), "w4a8", data=data)
        clipped = model.quantizers["pr"].encoding
        model.quantizers["pr"].encoding = replace(clipped, scale=clipped.scale * 0.6)
        integers = model.encodings()["dw"].quantize(model.parameters_by_name()["dw"].detach())
        reports = correct_biases(model, data, samples=32, refit_gain=refit)
        models[refit] = sqnr_db(run(graph, {"x": HELD_OUT})[0], outputs(model))
        again = model.encodings()["dw"].quantize(model.parameters_by_name()["dw"].detach())
        assert torch.equal(integers, again)
        assert (max(abs(report.largest_gain - 1) for report in reports) > 0.01) == refit
    assert models[True] > models[False] + 0.5


def test_the_gain_is_the_least_squares_slope_and_1_for_a_constant_channel() -> None:
    x = torch.from_numpy(random(50, 3, seed=1))
    x[:, 2] = 0.5
    wanted = x * torch.tensor([1.2, 0.9, 5.0]) + 0.3
    gains = channel_gains(list(zip(x.split(20), wanted.split(20))), 1)
    torch.testing.assert_close(gains, torch.tensor([1.2, 0.9, 1.0]), atol=2e-3, rtol=0)


def test_a_network_that_holds_on_to_one_example_is_corrected_on_one():
    text = """(float[1,3,12,12] x) => (float[1,6,12,12] y) {
        t = Transpose <perm=[1,0,2,3]> (x)
        r = Reshape (t, shape)
        y = Conv (r, w, b)
    }"""
    graph = net(text, shape=np.array([1, 3, 12, 12]), w=random(6, 3, 1, 1, seed=1), b=random(6, seed=2) * 0.1)
    model = QuantizedModel(graph, plan_unchecked(graph, find_target("sm8650"), SCHEMES["w4a8"]))
    data = [{"x": np.abs(random(1, 3, 12, 12, seed=i))} for i in range(8)]
    calibrate(model, data, observer="min_max")
    assert [report.layer for report in correct_biases(model, data)]


def test_several_samples_of_an_example_with_a_fixed_batch_are_used():
    text = """(float[1,3,12,12] x) => (float[1,864] y) {
        c = Conv (x, w, b)
        y = Reshape (c, shape)
    }"""
    graph = net(text, shape=np.array([1, 864]), w=random(6, 3, 1, 1, seed=1), b=random(6, seed=2) * 0.1)
    model = QuantizedModel(graph, plan_unchecked(graph, find_target("sm8650"), SCHEMES["w4a8"]))
    data = [{"x": np.abs(random(1, 3, 12, 12, seed=i))} for i in range(8)]
    calibrate(model, data, observer="min_max")
    x = torch.cat([torch.from_numpy(d["x"]) for d in data])
    with torch.no_grad(), model.float_mode():
        wanted = model(x)
    errors = {}
    for count in (1, 8):
        again = QuantizedModel(graph, model.plan)
        again.load_state_dict(model.state_dict())
        correct_biases(again, data, samples=count)
        with torch.no_grad():
            errors[count] = float((wanted - again(x)).reshape(8, 6, -1).mean((0, 2)).abs().mean())
    assert errors[8] < errors[1]
