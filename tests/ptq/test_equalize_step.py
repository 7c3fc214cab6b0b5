"""The step that equalizes layers: it recovers a badly scaled depthwise network, and says what it did."""

from __future__ import annotations

import numpy as np
import onnx_ir as oir
import pytest
import torch

import hexaquant as hq
from hexaquant.core.errors import HexaquantError
from hexaquant.core.metrics import sqnr_db
from hexaquant.folder.artifacts import Model
from hexaquant.ptq.graph_change import require_same_function
from hexaquant.ptq.recipe import Recipe
from hexaquant.ptq.steps.graph_steps import EqualizeLayers
from hexaquant.ptq.steps.model_steps import Calibrate
from ir.onnx_text import run
from qat.rescaled import rescaled_net, smooth_images

TRAIN, HELD_OUT = smooth_images(32, 1), smooth_images(32, 2)
PER_TENSOR = {name: {"bits": 8, "granularity": "tensor"} for name in ("w1", "dw", "w2", "fc")}


def model(spread: float, *steps: EqualizeLayers) -> Model:
    """Naive: min-max ranges, one scale for each weight tensor."""
    recipe = Recipe("naive", (*steps, Calibrate("min_max", "min_max")))
    return hq.quantize(rescaled_net(spread), TRAIN, scheme="w8a8", recipe=recipe, overrides=PER_TENSOR)


def sqnr(found: Model) -> float:
    reference = run(rescaled_net(0.0), {"x": HELD_OUT})[0]
    with torch.no_grad():
        return sqnr_db(reference, found(torch.from_numpy(HELD_OUT)).numpy())


def test_naive_per_tensor_quantization_of_a_badly_scaled_network_is_recovered() -> None:
    spoiled, recovered, never_spoiled = (sqnr(m) for m in (model(2.0), model(2.0, EqualizeLayers()), model(0.0)))
    assert spoiled < 12 and recovered > spoiled + 25 and recovered > never_spoiled - 1


def test_the_report_has_every_changed_layer_and_the_deviation() -> None:
    report = model(2.0, EqualizeLayers()).steps[0]
    assert report["step"] == "equalize layers" and report["details"]["deviation"] < 1e-5
    layers = {row["layer"]: row for row in report["details"]["layers"]}
    assert set(layers) == {f"layer '{name}'" for name in "adpy"}
    assert layers["layer 'd'"]["range_ratio_after"] < 3 < layers["layer 'd'"]["range_ratio_before"] / 10
    assert all(row["weight_sqnr_after"] > row["weight_sqnr_before"] for row in layers.values())


def test_a_rewrite_that_changes_the_function_is_our_bug() -> None:
    graphs = rescaled_net(0.0), rescaled_net(0.0)
    bias = graphs[1].model.graph.initializers["fb"]
    bias.const_value = oir.tensor(bias.const_value.numpy() + np.float32(0.5), name="fb")
    with pytest.raises(HexaquantError, match="'shift' changed the outputs of test by"):
        require_same_function(*graphs, lambda: [{"x": TRAIN[:2]}], 1e-4, "shift")
