"""High-bias absorption: exact on data above the absorbed part, with a smaller range; only where it is legal."""

from __future__ import annotations

import numpy as np
import pytest

from hexaquant.core.events import Events
from hexaquant.htp.for_target import prepare_for_target
from hexaquant.ir.graph import Graph
from hexaquant.ptq.steps.graph_steps import AbsorbBiases
from hexaquant.transforms.absorb_biases import absorbable
from ir.onnx_text import assert_same, random, run
from sim.nets import net

DATA = [{"x": random(8, 3, 6, 6, seed=i)} for i in range(4)]
BIAS = np.array([9, 0, -1, 30, 12, 0.5, 7, 8], np.float32)


def two_layers(second: str = "Conv <group=2> (r, v, c)") -> Graph:
    text = f"""(float[N,3,6,6] x) => (float[N,4,4,4] y) {{
        a = Conv (x, w, b)
        r = Relu (a)
        y = {second}
    }}"""
    graph = net(text, w=random(8, 3, 3, 3) / 4, b=BIAS, v=random(4, 4, 1, 1), c=random(4))
    prepare_for_target(graph)
    return graph


def test_the_constant_part_moves_on_and_the_function_stays_on_calibration_data() -> None:
    before = two_layers()
    after = before.clone()
    report = AbsorbBiases().apply_to_graph(after, lambda: DATA, Events())
    (layer,) = report.details["layers"]
    assert layer["layer"] == "layer 'a'" and 3 <= layer["channels"] <= 6
    assert layer["largest_bias_before"] == 30 and layer["largest_bias_after"] < 8
    assert_same(before, after, DATA[1])


def test_it_is_not_exact_below_what_was_seen() -> None:
    before = two_layers()
    after = before.clone()
    AbsorbBiases().apply_to_graph(after, lambda: DATA, Events())
    x = {"x": -20 * np.abs(DATA[0]["x"])}
    assert np.abs(run(before, x)[0] - run(after, x)[0]).max() > 0.1


def test_gemm_passes_the_constant_on() -> None:
    text = "(float[N,3] x) => (float[N,4] y) { a = Gemm (x, w, b)\n r = Relu (a)\n y = Gemm <transB=1> (r, v, c) }"
    before = net(text, w=random(3, 8) / 4, b=BIAS, v=random(4, 8), c=random(4))
    after, data = before.clone(), [{"x": random(32, 3)}]
    report = AbsorbBiases().apply_to_graph(after, lambda: data, Events())
    assert report.details["layers"][0]["channels"] >= 3
    assert_same(before, after, data[0])


@pytest.mark.parametrize("second", ["Conv <group=2, pads=[1,1,1,1]> (r, v, c)", "AveragePool <kernel_shape=[1,1]> (r)"])
def test_padded_and_other_readers_are_left_alone(second: str) -> None:
    assert absorbable(two_layers(second)) == {}
