"""W x over the columns is the layer's own output, whatever the operator, its groups, strides, padding and dilation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hexaquant.sim.layers import find_layers
from ir.onnx_text import random
from sim.nets import net, quantized

CASES = {
    "padded": ("Conv <pads=[1,1,1,1]> (x, w, b)", (6, 8, 3, 3)),
    "strided": ("Conv <strides=[2,2], pads=[0,1,1,2]> (x, w, b)", (6, 8, 3, 2)),
    "dilated": ("Conv <dilations=[2,1]> (x, w, b)", (6, 8, 3, 3)),
    "same": ("""Conv <auto_pad="SAME_UPPER", strides=[2,2]> (x, w, b)""", (6, 8, 3, 3)),
    "grouped": ("Conv <group=4> (x, w, b)", (12, 2, 3, 3)),
    "depthwise": ("Conv <group=8, pads=[1,1,1,1]> (x, w, b)", (8, 1, 3, 3)),
    "transposed": ("ConvTranspose <strides=[2,3], pads=[1,0,0,1], output_padding=[1,0]> (x, w, b)", (8, 6, 3, 2)),
    "transposed groups": ("ConvTranspose <group=2, dilations=[2,1]> (x, w, b)", (8, 3, 2, 2)),
}


@pytest.mark.parametrize("case", CASES)
def test_convolutions(case: str) -> None:
    text, shape = CASES[case]
    outputs = shape[0] if text.startswith("Conv ") else shape[1] * (2 if "group=2" in text else 1)
    graph = net(f"(float[N,8,9,7] x) => (float[N,C,H,W] y) {{ y = {text} }}", w=random(*shape), b=random(outputs))
    check(graph, random(3, 8, 9, 7, seed=5))


@pytest.mark.parametrize("trans", [0, 1])
def test_fully_connected(trans: int) -> None:
    w = random(5, 8) if trans else random(8, 5)
    check(
        net(f"(float[N,8] x) => (float[N,5] y) {{ y = Gemm <transB={trans}> (x, w, b) }}", w=w, b=random(5)),
        random(3, 8),
    )


def test_products_of_sequences() -> None:
    check(net("(float[N,6,8] x) => (float[N,6,5] y) { y = MatMul (x, w) }", w=random(8, 5)), random(3, 6, 8))


def check(graph, x: np.ndarray) -> None:  # type: ignore[no-untyped-def]
    model = quantized(graph, data=[{"x": x}])
    layer = find_layers(model)[0]
    parameters = model.parameters_by_name()
    w, b = parameters[layer.weight].detach(), parameters.get("b")
    with model.float_mode(), torch.no_grad():
        y = model(torch.from_numpy(x))
    at = torch.arange(layer.positions(y)).flip(0)[::2]
    X, Y = layer.columns(torch.from_numpy(x), y, at), layer.outputs(y, at)
    bias = 0 if b is None else b.detach().reshape(layer.groups, -1, 1)
    torch.testing.assert_close(layer.matrix(w) @ X + bias, Y, rtol=1e-4, atol=1e-4)
    assert torch.equal(layer.tensor(layer.matrix(w)), w)


def test_a_weight_that_two_layers_share_is_left_alone() -> None:
    text = "(float[N,4,5,5] x) => (float[N,4,5,5] y) { a = Conv (x, w, b)\n y = Conv (a, w, c) }"
    graph = net(text, w=random(4, 4, 1, 1), b=random(4), c=random(4))
    assert find_layers(quantized(graph, data=[{"x": random(4, 4, 5, 5)}])) == []
