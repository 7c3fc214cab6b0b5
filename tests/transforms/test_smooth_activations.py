"""SmoothQuant migration: the function stays, the output error with 8-bit activations drops; no gain, no change."""

from __future__ import annotations

import numpy as np
import torch

from hexaquant.core.events import Events
from hexaquant.core.metrics import sqnr_db
from hexaquant.htp.for_target import prepare_for_target
from hexaquant.ir.graph import Graph
from hexaquant.ptq.steps.graph_steps import SmoothActivations
from hexaquant.transforms.smooth_activations import smoothing_scales
from ir.onnx_text import assert_same, random, run
from qat.rescaled import rescaled_net, smooth_images
from sim.nets import net, quantized

DATA = [{"x": random(8, 6, 16, seed=i)} for i in range(3)]


def norm_and_linear(outliers: float) -> Graph:
    """LayerNorm whose gamma is ``outliers`` times larger in two channels, then two linear layers."""
    text = """(float[N,6,16] x) => (float[N,6,8] y, float[N,6,8] z) {
        n = LayerNormalization <axis=-1> (x, g, be)
        a = MatMul (n, w)
        y = Add (a, b)
        c = MatMul (n, v)
        z = Add (c, d)
    }"""
    gamma = np.ones(16, np.float32)
    gamma[[3, 9]] = outliers
    weights = {"w": random(16, 8, seed=1), "v": random(16, 8, seed=2)}
    weights = {name: (w / gamma[:, None]).astype(np.float32) for name, w in weights.items()}
    graph = net(text, **weights, g=gamma, be=random(16, seed=3) / 10, b=random(8), d=random(8))
    prepare_for_target(graph)
    return graph


def error(graph: Graph, reference: Graph) -> float:
    model = quantized(graph.clone(), data=DATA)
    with torch.no_grad():
        outputs = model(torch.from_numpy(DATA[0]["x"]))
    return min(sqnr_db(r, y.numpy()) for r, y in zip(run(reference, DATA[0]), outputs))


def test_outlier_channels_of_a_norm_move_into_the_linear_layers() -> None:
    before = norm_and_linear(60.0)
    after = before.clone()
    report = SmoothActivations().apply_to_graph(after, lambda: DATA, Events())
    (row,) = report.details["layers"]
    assert len(row["layers"]) == 2 and row["error_after"] < row["error_before"] / 10
    assert row["channel_ratio_after"] < 5 < 20 < row["channel_ratio_before"]
    assert_same(before, after, DATA[1])
    assert error(after, before) > error(before, before) + 10


def test_well_scaled_layers_are_left_alone() -> None:
    before = norm_and_linear(1.0)
    after = before.clone()
    report = SmoothActivations().apply_to_graph(after, lambda: DATA, Events())
    assert report.details["groups"] == 1
    assert error(after, before) > error(before, before) - 0.5


def test_convolutions_behind_a_relu_are_smoothed_too() -> None:
    data = [{"x": smooth_images(8, 1)}]
    before = rescaled_net(2.0)
    prepare_for_target(before)
    after = before.clone()
    report = SmoothActivations(samples=8).apply_to_graph(after, lambda: data, Events())
    assert len(report.details["layers"]) >= 2
    assert_same(before, after, data[0])
    reference = run(before, data[0])[0]
    plain, smooth = (quantized(g, data=data)(torch.from_numpy(data[0]["x"])).detach().numpy() for g in (before, after))
    assert sqnr_db(reference, smooth) > sqnr_db(reference, plain) + 8


def test_scales_are_the_papers_up_to_a_common_factor() -> None:
    x, w = np.array([5.0, 4.0, 9.0]), np.array([5.0, 1.0, 4.0])
    scales = smoothing_scales(x, w, np.array([False, True, True]), 0.5)
    assert scales[0] == 1
    np.testing.assert_allclose(scales[1] / scales[2], np.sqrt(4.0 / 1.0) / np.sqrt(9.0 / 4.0))
