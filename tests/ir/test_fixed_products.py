"""Fourier transforms and folded columns become layers, with onnxruntime's numbers before and after."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_text import graph, ops, random, rewritten

from hexaquant.ir.normalize import normalize
from hexaquant.ir.rewrite import rewrite_forms

TRANSFORMS = [("onesided = 1", 1), *((f"inverse = {i}", parts) for i in (0, 1) for parts in (1, 2))]


@pytest.mark.parametrize(("how", "parts"), TRANSFORMS)
@pytest.mark.parametrize(("axis", "length"), [(1, 6), (1, 4), (2, 7), (-2, 9)])
def test_a_fourier_transform_is_a_product(how: str, parts: int, axis: int, length: int) -> None:
    text = f"(float[2,6,7,{parts}] x) => (float y) {{ d = DFT <{how}> (x, n, a) y = Neg (d) }}"
    after = rewritten(text, {"x": random(2, 6, 7, parts)}, 20, n=np.array(length), a=np.array(axis))
    assert "DFT" not in ops(after) and ops(after).count("MatMul") == 1


def test_the_imaginary_part_of_a_real_signal_costs_nothing() -> None:
    text = """(float[N,6,1] x) => (float y) { s = Shape (x) z = Expand (zero, s) c = Concat <axis = -1> (x, z)
        y = DFT (c, , a) }"""
    after = rewritten(text, {"x": random(3, 6, 1)}, 20, zero=np.float32(0), a=np.array(1))
    product = next(node for node in after.nodes if node.op_type == "MatMul")
    assert "Concat" not in ops(after) and list(product.inputs[1].shape) == [6, 12]  # type: ignore[union-attr,arg-type]


def test_an_inverse_transform_of_one_side_stays() -> None:
    text = "(float[1,5,2] x) => (float y) { y = DFT <inverse = 1, onesided = 1> (x, , a) }"
    after = normalize(graph(text, 20, a=np.array(1)))
    rewrite_forms(after)
    assert ops(after) == ["DFT"]


@pytest.mark.parametrize("onesided", [0, 1])
@pytest.mark.parametrize("windowed", [False, True])
@pytest.mark.parametrize("shape", [(2, 50), (1, 50, 1)])
def test_a_short_time_transform_is_a_convolution(onesided: int, windowed: bool, shape: tuple[int, ...]) -> None:
    given = "(x, step, window)" if windowed else "(x, step, , length)"
    size = ",".join(map(str, shape))
    text = f"(float[{size}] x) => (float y) {{ y = STFT <onesided = {onesided}> {given} }}"
    constants = {"window": np.hanning(16).astype(np.float32)} if windowed else {"length": np.array(16)}
    after = rewritten(text, {"x": random(*shape)}, 20, step=np.array(5), **constants)
    assert "Conv" in ops(after) and "STFT" not in ops(after)


FOLDS = {
    "side by side": ((4, 6), (2, 3), "strides = [2, 3]", 4),
    "overlapping": ((5, 6), (3, 2), "", 15),
    "strided": ((7, 7), (3, 3), "strides = [2, 2]", 9),
    "padded": ((6, 6), (3, 3), "strides = [2, 2], pads = [1, 1, 1, 1]", 9),
    "with a margin": ((8, 6), (3, 2), "strides = [2, 2]", 9),
    "dilated": ((7, 8), (3, 2), "dilations = [2, 3]", 15),
    "of one axis": ((9,), (3,), "strides = [2]", 4),
    "of three axes": ((4, 4, 4), (2, 2, 2), "strides = [2, 2, 2]", 8),
}


@pytest.mark.parametrize("name", FOLDS)
def test_columns_are_folded_into_an_image(name: str) -> None:
    image, block, how, columns = FOLDS[name]
    rows = 5 * int(np.prod(block))
    text = (
        f"(float[2,{rows},{columns}] x) => (float y) {{ c = Col2Im {f'<{how}>' if how else ''} (x, s, k) y = Neg (c) }}"
    )
    after = rewritten(text, {"x": random(2, rows, columns)}, 18, s=np.array(image), k=np.array(block))
    assert "Col2Im" not in ops(after)
    assert ("ConvTranspose" in ops(after)) == (name not in ("side by side", "of three axes"))
