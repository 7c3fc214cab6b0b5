"""Rotation of linear bottlenecks: the function stays, 4-bit weights lose less; what is no such space is left alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import hexaquant as hq
from hexaquant.core.encoding import encoding_of
from hexaquant.core.errors import InputError
from hexaquant.core.fake_quant import fake_quantize
from hexaquant.core.grid import Grid, PerChannel
from hexaquant.core.metrics import sqnr_db
from hexaquant.htp.for_target import prepare_for_target
from hexaquant.ir.graph import Graph
from hexaquant.ptq.graph_change import require_same_function, watch
from hexaquant.ptq.recipe import parse_recipe
from hexaquant.ptq.steps.graph_steps import RotateBottlenecks
from hexaquant.sim.write_back import write_back
from hexaquant.transforms.rotate_bottlenecks import affordable, flat_rotation, rotate_bottlenecks
from ir.onnx_text import random
from sim.nets import net

TEXT = """(float[N,3,8,8] x) => (float[N,5,8,8] y) {
    a = Conv <pads=[1,1,1,1]> (x, w_in, b_in)
    e = Conv (a, w_up, b_up)
    c = Clip (e, zero, six)
    d = Conv <pads=[1,1,1,1], group=24> (c, w_dw, b_dw)
    f = Clip (d, zero, six)
    p = Conv (f, w_down, b_down)
    s = Add (a, p)
    o = Conv <pads=[1,1,1,1]> (s, w_out, b_out)
    y = Relu (o)
}"""
"""An inverted residual block on 12 channels, read by a padded 3x3 convolution; biases on both sides of the rotation."""
X = {"x": random(4, 3, 8, 8, seed=50)}
LAYERS = ("w_in", "w_up", "w_down", "w_out")


def weights() -> dict[str, np.ndarray]:
    made = {
        "zero": np.float32(0),
        "six": np.float32(6),
        "w_in": random(12, 3, 3, 3, seed=1),
        "b_in": random(12, seed=2),
    }
    made |= {"w_up": random(24, 12, 1, 1, seed=3), "b_up": random(24, seed=4)}
    made |= {"w_dw": random(24, 1, 3, 3, seed=5) / 3, "b_dw": random(24, seed=6)}
    made |= {"w_down": random(12, 24, 1, 1, seed=7) / 5, "b_down": random(12, seed=8)}
    made |= {"w_out": random(5, 12, 3, 3, seed=9) / 10, "b_out": random(5, seed=10)}
    return {name: np.asarray(value, np.float32) for name, value in made.items()}


def block(text: str = TEXT, **changes: np.ndarray) -> Graph:
    given = weights() | changes
    graph = net(text, **{name: value for name, value in given.items() if name in text})
    prepare_for_target(graph)
    return graph


def tensor(graph: Graph, name: str) -> np.ndarray:
    return np.asarray(graph.initializers[name].const_value.numpy())  # type: ignore[union-attr]


def weight_error_db(graph: Graph) -> float:
    """SQNR of the weights around the space, each channel on its own 4-bit range, averaged."""
    found = []
    for name in LAYERS:
        w = torch.from_numpy(tensor(graph, name).copy())
        encoding = encoding_of(w, Grid(4, True, True, PerChannel(0)))
        found.append(sqnr_db(w.numpy(), fake_quantize(w, encoding).numpy()))
    return float(np.mean(found))


def test_the_function_stays_and_weights_become_flat() -> None:
    graph, before = block(), block()
    found = rotate_bottlenecks(graph)
    assert found.sizes == [12] and len(found.layers[0]) == 4
    require_same_function(before, graph, lambda: [X], 2e-6, "test")
    turned = {name for name in graph.initializers if not np.array_equal(tensor(graph, name), tensor(before, name))}
    assert turned == {*LAYERS, "b_in", "b_down"}
    randomly = block()
    rotate_bottlenecks(randomly, steps=0)
    assert weight_error_db(graph) > weight_error_db(before) + 2
    assert weight_error_db(graph) > weight_error_db(randomly) + 1


def test_the_tensors_themselves_are_turned_by_one_orthogonal_matrix() -> None:
    graph, before = block(), block()
    rotate_bottlenecks(graph)
    seen: dict[str, list[torch.Tensor]] = {"old": [], "new": []}
    watch(before, [X], {"s": seen["old"].append})
    watch(graph, [X], {"s": seen["new"].append})
    old, new = (torch.cat(seen[key]).movedim(1, 0).flatten(1).double() for key in ("old", "new"))
    matrix = torch.linalg.lstsq(old.t(), new.t()).solution.t()
    torch.testing.assert_close(matrix @ matrix.t(), torch.eye(12, dtype=torch.float64), atol=1e-4, rtol=0)
    assert float((matrix - torch.eye(12)).abs().max()) > 0.3


def test_4_bit_networks_get_better() -> None:
    """On the outputs, in simulation, with data that no step saw; the others' rounding is the same."""
    data = {"x": random(32, 3, 8, 8, seed=60)}
    seen = torch.from_numpy(random(16, 3, 8, 8, seed=61))
    wanted = build(block(), seen)

    def quantized(*steps: str) -> float:
        recipe = parse_recipe({"name": "test", "steps": [*steps, "calibrate"]})
        model = hq.quantize(block(), data, scheme="w4a16", recipe=recipe)
        with torch.no_grad():
            return sqnr_db(wanted, model(seen).numpy())

    assert quantized("rotate_bottlenecks") > quantized() + 1.5


def build(graph: Graph, x: torch.Tensor) -> np.ndarray:
    return watch(graph, [{"x": x}], {})[0][0].numpy()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("e = Conv (a, w_up, b_up)", "r = Relu (a)  e = Conv (r, w_up, b_up)", "Relu of"),
        ("=> (float[N,5,8,8] y)", "=> (float[N,5,8,8] y, float[N,12,8,8] s)", "is an output"),
        ("s = Add (a, p)", "t = Add (a, p)  s = Mul (t, t)", "Mul of"),
        ("Conv <pads=[1,1,1,1]> (s, w_out", "Conv <pads=[1,1,1,1], group=3> (s, w_grouped", "Conv of"),
    ],
)
def test_what_acts_on_channels_is_left_alone(old: str, new: str, words: str) -> None:
    text = TEXT.replace(old, new)
    if "w_grouped" in text:
        text = text.replace("float[N,5,8,8]", "float[N,6,8,8]").replace("b_out", "b_grouped")
    changes = {"w_grouped": random(6, 4, 3, 3, seed=11), "b_grouped": random(6, seed=12)}
    graph, before = block(text, **changes), block(text, **changes)
    found = rotate_bottlenecks(graph)
    assert not found.sizes and any(words in reason for reason in found.declined.values())
    assert all(np.array_equal(tensor(graph, name), tensor(before, name)) for name in graph.initializers)


def test_a_weight_that_two_layers_share_is_not_turned() -> None:
    text = TEXT.replace(
        "p = Conv (f, w_down, b_down)", "q = Conv (f, w_down, b_down)  v = Conv (f, w_down)  p = Add (q, v)"
    )
    graph, before = block(text), block(text)
    assert not rotate_bottlenecks(graph).sizes
    require_same_function(before, graph, lambda: [X], 0.0, "test")


def test_turned_weights_go_back_into_the_module() -> None:
    """Also into one whose BatchNorms were folded: it computes what it did before."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 12, 3, bias=False), nn.BatchNorm2d(12), nn.Conv2d(12, 5, 1), nn.ReLU()).train()
    for _ in range(3):
        net(torch.randn(8, 3, 8, 8) * 2 + 0.3)
    x = torch.randn(2, 3, 8, 8)
    wanted = net.eval()(x).detach()
    before = net[2].weight.detach().clone()
    graph = hq.load(net, example_inputs=(x,))
    assert rotate_bottlenecks(graph).sizes == [12]
    parameters = {name: torch.from_numpy(np.array(tensor(graph, name))) for name in graph.initializers}
    assert not write_back(graph, parameters, net).left
    assert float((net[2].weight.detach() - before).abs().max()) > 0.05
    torch.testing.assert_close(net(x), wanted, atol=1e-5, rtol=0)


def test_rotations_are_orthogonal_and_depend_on_the_seed_alone() -> None:
    rng = np.random.default_rng(0)
    writers, readers = [rng.standard_normal((10, 30))], [rng.standard_normal((20, 10, 9))]
    first = flat_rotation(writers, readers, steps=30)
    np.testing.assert_allclose(first @ first.T, np.eye(10), atol=1e-12)
    np.testing.assert_array_equal(first, flat_rotation(writers, readers, steps=30))
    assert not np.allclose(first, flat_rotation(writers, readers, steps=30, seed=1))
    grown = flat_rotation([1e20 * writers[0]], [1e-20 * readers[0]], steps=30)
    np.testing.assert_allclose(first, grown, atol=1e-4)
    np.testing.assert_array_equal(flat_rotation([np.full((10, 30), np.inf)], readers, steps=2), np.eye(10))
    silent = [np.zeros((10, 30))]
    assert np.isfinite(flat_rotation(silent, [np.zeros((20, 10, 9))], steps=30)).all()


def test_large_spaces_get_fewer_steps() -> None:
    assert affordable(100, 192, 4 * 2 * 1152 * 192) == 100
    assert affordable(100, 1024, 4 * 2 * 4096 * 1024) < 50
    assert affordable(100, 4096, 2 * 11008 * 4096) == 20 and affordable(5, 4096, 2 * 11008 * 4096) == 5
    assert affordable(0, 16, 500) == 0


def test_a_negative_number_of_steps_is_refused() -> None:
    with pytest.raises(InputError, match="'steps' is at least 0"):
        RotateBottlenecks(steps=-1)
