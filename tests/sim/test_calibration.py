"""Calibration: encodings from data; what cannot be calibrated is named; clips and overflow are respected."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hexaquant.core.encoding import Encoding, encoding_of
from hexaquant.core.errors import InputError
from hexaquant.core.grid import Grid
from hexaquant.core.observers import OBSERVERS
from hexaquant.sim.calibrate import HEADROOM_16, calibrate, within_clamp
from hexaquant.sim.input_moments import InputMoments
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.plan import TensorPlan
from ir.onnx_text import random, run
from sim.nets import batches, conv_net, net, planned, quantized


def test_min_max_encodings_cover_what_was_seen() -> None:
    graph, data = conv_net(), batches()
    encodings = quantized(graph, data=data).encodings()
    outputs = np.concatenate([run(graph, batch)[0] for batch in data])
    for name, array in (("x", np.concatenate([b["x"] for b in data])), ("y", outputs)):
        step = float(encodings[name].scale)
        assert float(encodings[name].min) == pytest.approx(array.min(), abs=step)
        assert float(encodings[name].max) == pytest.approx(array.max(), abs=step)


def test_it_counts_samples_and_turns_the_quantizers_on() -> None:
    graph = conv_net()
    model = QuantizedModel(graph, planned(graph))
    assert calibrate(model, batches(3)) == 6
    assert all(quantizer.state == "on" for quantizer in model.quantizers.values())


def test_weights_and_constants_cover_their_own_values() -> None:
    model = quantized(conv_net(), weight_observer="min_max")
    expected = encoding_of(torch.from_numpy(random(6, 3, 3, 3)), model.plan["w"].grid or Grid())
    assert model.encodings()["w"].same_as(expected)


def test_by_the_weight_error_rule_weights_are_clipped_for_least_error() -> None:
    clipped, whole = (quantized(conv_net(), "w4a8", weight_observer=o).quantizers["w"] for o in ("mse", "min_max"))
    w = torch.from_numpy(random(6, 3, 3, 3))
    errors = [float((q.encoding.fake_quantize(w) - w).square().sum()) for q in (clipped, whole)]
    assert errors[0] < errors[1]


LAYERS = {
    "Gemm": ("[N,16] x) => (float[N,8] y) { y = Gemm <transB=1> (x, w, b) }", (8, 16), (256, 16)),
    "MatMul": ("[N,4,16] x) => (float[N,4,8] y) { y = MatMul (x, w) }", (16, 8), (64, 4, 16)),
    "Conv": ("[N,16,5,5] x) => (float[N,8,3,3] y) { y = Conv (x, w, b) }", (8, 16, 3, 3), (32, 16, 5, 5)),
    "groups": ("[N,16,5,5] x) => (float[N,8,3,3] y) { y = Conv <group=2> (x, w, b) }", (8, 8, 3, 3), (32, 16, 5, 5)),
    "deconv": ("[N,16,3,3] x) => (float[N,8,5,5] y) { y = ConvTranspose (x, w, b) }", (16, 8, 3, 3), (32, 16, 3, 3)),
}


@pytest.mark.parametrize("case", LAYERS)
def test_below_8_bits_weights_are_clipped_for_the_least_error_of_the_outputs(case: str) -> None:
    """Large weights meet large inputs: to clip them, as the weights' own error asks for, is what costs most."""
    text, shape, inputs = LAYERS[case]
    w = random(*shape)
    along = 0 if case in ("MatMul", "deconv") else 1
    first = [slice(None)] * w.ndim
    first[along] = slice(0, 1)
    w[tuple(first)] *= 4
    x = random(*inputs, seed=7)
    axis = x.ndim - 1 if case in ("Gemm", "MatMul") else 1
    x[(slice(None),) * axis + (slice(0, 1),)] *= 10
    constants = {"w": w, **({"b": random(8)} if "b)" in text else {})}
    graph = net(f"(float{text}", **constants)
    wanted = run(graph, {"x": x})[0]

    def error(observer: str) -> float:
        model = quantized(graph, "w4a16", data=[{"x": x}], weight_observer=observer)
        with torch.no_grad(), model.only("w"):
            return float((model(torch.from_numpy(x)) - torch.from_numpy(wanted)).square().mean())

    assert error("auto") <= 1.02 * min(error("mse"), error("min_max"))
    assert error("auto") < 0.5 * error("mse")


def test_a_weight_of_several_layers_is_clipped_for_all_of_them() -> None:
    text = "(float[N,8] x) => (float[N,8] y) { h = MatMul (x, w) y = MatMul (h, w) }"
    graph = net(text, w=random(8, 8))
    model = QuantizedModel(graph, planned(graph, "w4a16"))
    moments = InputMoments(model, ["w"])
    x = torch.from_numpy(random(64, 8, seed=3))
    moments.watch({"x": x})
    h = x @ torch.from_numpy(random(8, 8))
    expected = x.square().mean(0) + h.square().mean(0)
    found = moments.importance()["w"]
    assert torch.allclose(found, expected[:, None].expand(8, 8), rtol=5e-3)


@pytest.mark.parametrize("observer", OBSERVERS)
def test_the_observer_of_an_override_is_used_for_that_tensor_alone(observer: str) -> None:
    data = batches()
    data[0]["x"][0, 0, 0, 0] = 60.0
    encodings = quantized(conv_net(), overrides={"x": {"observer": observer}}, data=data).encodings()
    alone = quantized(conv_net(), data=data, observer=observer).encodings()
    others = quantized(conv_net(), data=data).encodings()
    assert encodings["x"].same_as(alone["x"]) and encodings["y"].same_as(others["y"])


def test_only_16_bit_ranges_get_headroom_and_never_with_min_max() -> None:
    def reach(scheme: str, observer: str) -> float:
        return float(quantized(conv_net(), scheme, observer=observer).encodings()["y"].max)

    seen = reach("w8a16", "min_max")
    assert reach("w8a16", "percentile") == pytest.approx(HEADROOM_16 * seen, rel=0.02)
    assert reach("w8a8", "percentile") == pytest.approx(seen, rel=0.02)


def test_the_range_of_a_clip_gets_no_headroom() -> None:
    """The target drops the operator and lets the output's range do the clipping."""
    low, high = np.array(-0.5, np.float32), np.array(0.5, np.float32)
    graph = net(
        "(float[N,3,8,8] x) => (float[N,6,6,6] y) { c = Conv (x, w, b) y = Clip (c, low, high) }",
        w=random(6, 3, 3, 3),
        b=random(6, seed=1),
        low=low,
        high=high,
    )
    assert float(quantized(graph, "w8a16", observer="mse").encodings()["y"].max) == pytest.approx(0.5, rel=1e-3)


# errors


def test_empty_data_is_an_error() -> None:
    graph = conv_net()
    with pytest.raises(InputError, match="the calibration data is empty: give at least one sample"):
        calibrate(QuantizedModel(graph, planned(graph)), [])


@pytest.mark.parametrize("observer", OBSERVERS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinite_data_name_the_tensor(observer: str, value: float) -> None:
    data = batches()
    data[1]["x"][0, 0, 0, 0] = value
    with pytest.raises(InputError, match=r"tensor 'x' \(input 'x'\): NaN or infinite values were observed"):
        quantized(conv_net(), data=data, observer=observer)


def test_nan_that_arises_inside_names_the_layer() -> None:
    graph = net("(float[N,4] x) => (float[N,4] y) { n = Neg (x)\n s = Sqrt (n)\n y = Exp (s) }")
    with pytest.raises(InputError, match=r"tensor 's' \(layer 's'\): NaN or infinite"):
        quantized(graph, data=[{"x": np.ones((2, 4), np.float32)}])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_weights_name_the_tensor_and_its_layer(value: float) -> None:
    graph = conv_net()
    model = QuantizedModel(graph, planned(graph))
    with torch.no_grad():
        model.parameters_by_name()["w2"][0, 0, 0, 0] = value
    with pytest.raises(InputError, match=r"'w2' \(layer 'y'\) holds NaN or infinite values"):
        calibrate(model, batches())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_biases_name_the_tensor_and_its_layer(value: float) -> None:
    graph = conv_net()
    model = QuantizedModel(graph, planned(graph))
    with torch.no_grad():
        model.parameters_by_name()["b"][0] = value
    with pytest.raises(InputError, match=r"'b' \(layer 'c'\) holds NaN or infinite values"):
        calibrate(model, batches())


# fused clips


@pytest.mark.parametrize("observer", OBSERVERS)
@pytest.mark.parametrize("scheme", ["w8a8", "w8a16"])
@pytest.mark.parametrize("high", [0.7, 1.3, 6.0])
def test_the_range_of_a_fused_clip_never_exceeds_the_clip(observer: str, scheme: str, high: float) -> None:
    graph = conv_net("Clip", lo=np.float32(0), hi=np.float32(high))
    model = quantized(graph, scheme, observer=observer)
    encoding = model.encodings()["r"]
    assert float(encoding.min) == 0 and float(encoding.max) <= float(np.float32(high))
    assert model.bypassed() == ["r"]


@pytest.mark.parametrize("clamp", [(0.0, None), (0.0, 6.0), (0.0, 6.1)])
@pytest.mark.parametrize(("low", "high"), [(-0.2, 5.0), (0.0, 6.3), (-0.1, 6.2)])
@pytest.mark.parametrize("bits", [8, 16])
def test_an_encoding_is_moved_inside_the_clip(
    clamp: tuple[float, float | None], low: float, high: float, bits: int
) -> None:
    plan = TensorPlan("r", "activation", "observed", Grid(bits), clamp=clamp)
    seen = encoding_of(torch.tensor([low, high]), Grid(bits))
    inside = within_clamp(plan, seen)
    limit = min(float(seen.max), np.inf if clamp[1] is None else clamp[1])
    assert float(inside.min) == 0 and float(inside.max) == pytest.approx(limit, rel=1e-6)
    assert clamp[1] is None or float(inside.max) <= clamp[1]


# near-dead channels


def test_a_dead_channel_gets_a_scale_that_the_target_can_compute_with() -> None:
    w, b = random(6, 3, 3, 3), random(6)
    w[2], b[2] = 0.0, 3.0
    graph = net("(float[N,3,8,8] x) => (float[N,6,6,6] y) { y = Conv (x, w, b) }", w=w, b=b)
    model = quantized(graph)
    encodings = model.encodings()
    assert int(np.abs(b[2] / float(encodings["b"].scale[2]))) < 2**31
    with torch.no_grad():
        got = model(torch.from_numpy(batches()[0]["x"]))[:, 2]
    assert float((got - 3.0).abs().max()) <= float(encodings["y"].scale)


def test_a_constant_input_still_gets_an_encoding() -> None:
    model = quantized(conv_net(), data=[{"x": np.zeros((2, 3, 8, 8), np.float32)}])
    assert all(isinstance(e, Encoding) and bool((e.scale > 0).all()) for e in model.encodings().values())
