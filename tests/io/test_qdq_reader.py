"""QDQ models that others wrote: what is understood, and what is refused."""

from __future__ import annotations

import onnx_ir as oir
import pytest

from hexaquant.core.errors import EncodingError, InputError
from hexaquant.io.qdq_reader import from_qdq
from hexaquant.ir.graph import Graph


def test_a_tensor_that_floats_also_read_keeps_them_float() -> None:
    text = (
        '<ir_version: 10, opset_import: ["": 21]> g (float[4] x) => (float[4] y)'
        "<float s = {0.5}, uint8 z = {128}>"
        "{ a = Neg(x)\n q = QuantizeLinear(a, s, z)\n d = DequantizeLinear(q, s, z)\n y = Add(a, d) }"
    )
    floats, encodings = from_qdq(Graph(oir.from_onnx_text(text)))
    assert "a" not in encodings and len(encodings) == 1
    assert [n.op_type for n in floats.nodes] == ["Neg", "Identity", "Add"]


def test_onnxruntimes_own_names_are_understood() -> None:
    text = (
        '<ir_version: 10, opset_import: ["": 21]> g (float[2] x) => (float[2] y)'
        "<float s = {0.5}, int8 z = {0}, int8[2] w_quantized = {3, -4}>"
        "{ x_QuantizeLinear_Output = QuantizeLinear(x, s, z)\n"
        "x_DequantizeLinear_Output = DequantizeLinear(x_QuantizeLinear_Output, s, z)\n"
        "w_DequantizeLinear_Output = DequantizeLinear(w_quantized, s, z)\n"
        "y = Mul(x_DequantizeLinear_Output, w_DequantizeLinear_Output) }"
    )
    floats, encodings = from_qdq(Graph(oir.from_onnx_text(text)))
    assert set(encodings) == {"x", "w"}
    assert floats.initializers["w"].const_value.numpy().tolist() == [1.5, -2.0]
    assert set(floats.initializers) == {"w"}


def test_run_time_scales_are_refused() -> None:
    text = (
        '<ir_version: 10, opset_import: ["": 21]> g (float[2] x, float s) => (float[2] y) <uint8 z = {0}>'
        "{ q = QuantizeLinear(x, s, z)\n y = DequantizeLinear(q, s, z) }"
    )
    with pytest.raises(InputError, match="computes its scale at run time"):
        from_qdq(Graph(oir.from_onnx_text(text)))


@pytest.mark.parametrize("zeros, fits", [("uint8[1] z = {3}", True), ("uint8[2,2] z = {3, 3, 3, 3}", False)])
def test_zero_points_must_fit_the_scales(zeros: str, fits: bool) -> None:
    text = (
        f'<ir_version: 10, opset_import: ["": 21]> g (float[2,2] x) => (float[2,2] y) <float s = {{1.0}}, {zeros}>'
        "{ q = QuantizeLinear(x, s, z)\n y = DequantizeLinear(q, s, z) }"
    )
    graph = Graph(oir.from_onnx_text(text))
    if fits:
        assert float(from_qdq(graph)[1]["x"].offset) == -3
        return
    with pytest.raises(EncodingError, match=r"zero points of shape \(2, 2\) do not fit scales of shape \(\)"):
        from_qdq(graph)


def test_integer_operators_are_refused() -> None:
    text = (
        '<ir_version: 10, opset_import: ["": 21]> g (float[2] x) => (float[2] y) <float s = {1.0}, uint8 z = {0}>'
        "{ q = QuantizeLinear(x, s, z)\n r = Identity(q)\n y = DequantizeLinear(r, s, z) }"
    )
    with pytest.raises(InputError, match="not integer operators"):
        from_qdq(Graph(oir.from_onnx_text(text)))
