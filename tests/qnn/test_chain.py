"""QDQ ONNX -> DLC -> context binary -> emulator, against onnxruntime on the CPU."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from hexaquant.qnn.compile import compile_dlc
from hexaquant.qnn.inspect import inspect_binary, inspect_dlc
from hexaquant.qnn.lower import LowerReport, lower
from hexaquant.qnn.runtime import Runtime
from qnn.compiled import ARCH, SOC, Compiled
from qnn.qdq_models import QdqBuilder, conv_relu, reference


def run_chain(
    source: Path, feeds: dict[str, np.ndarray]
) -> tuple[LowerReport, dict[str, np.ndarray], dict[str, float]]:
    """Report of the lowering, outputs of the emulator, and the scale of each output."""
    lowered = lower(source, source.with_suffix(".dlc"), SOC, ARCH)
    compiled = compile_dlc(lowered.path, source.with_suffix(".bin"), SOC, ARCH)
    with Runtime(compiled.path) as runtime:
        scales = {spec.name: spec.scale or 1.0 for spec in runtime.outputs}
        return lowered, runtime.run(feeds), scales


def lsb_error(got: np.ndarray, wanted: np.ndarray, scale: float) -> float:
    return float(np.abs(got.astype(np.float64) - wanted).max() / scale)


def image(batch: int = 1, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (batch, 8, 12, 12)).astype(np.float32)


def test_conv_u8_equals_onnxruntime_within_one_lsb(conv_u8: Compiled) -> None:
    with Runtime(conv_u8.compiled.path) as runtime:
        got, scale = runtime.run({"x": image()})["y"], runtime.outputs[0].scale
    assert scale is not None
    assert lsb_error(got, reference(conv_u8.onnx, {"x": image()})["y"], scale) <= 1.01


@pytest.mark.parametrize(("act", "weight", "limit"), [("uint16", "int8", 2), ("int8", "int8", 1), ("uint8", "int4", 1)])
def test_other_widths_stay_within_lsb_limit(tmp_path: Path, act: str, weight: str, limit: float) -> None:
    source = conv_relu(tmp_path / "conv.onnx", act, weight)
    _, got, scales = run_chain(source, {"x": image()})
    assert lsb_error(got["y"], reference(source, {"x": image()})["y"], scales["y"]) <= limit + 0.01


def test_inputs_and_outputs_become_native_integers(conv_u8: Compiled) -> None:
    graph = conv_u8.compiled.info.graphs[0]
    assert [(t.name, t.dtype) for t in graph.inputs + graph.outputs] == [("x", "ufixed8"), ("y", "ufixed8")]
    assert conv_u8.lowered.io.inputs[0].dtype == "UINT8"
    assert graph.outputs[0].quant is not None
    assert graph.outputs[0].quant.scales == (pytest.approx(2 / 255),)


def test_activation_fuses_and_every_encoding_arrives(conv_u8: Compiled) -> None:
    graph, names = conv_u8.lowered.graph, conv_u8.lowered.names
    assert [op.type for op in graph.ops] == ["Transpose", "Conv2d", "Transpose"]
    assert conv_u8.lowered.float_tensors == []
    by_name = {tensor.name: tensor for tensor in graph.tensors}
    conv = next(op for op in graph.ops if op.type == "Conv2d")
    assert [names[name] for name in (*conv.inputs, *conv.outputs)] == ["x", "w_q", "b_q", "y"]
    weight = by_name["w_q"].quant
    assert weight is not None
    assert (weight.axis, len(weight.scales), set(weight.offsets)) == (3, 16, {0})


def test_weight_scales_in_the_dlc_are_ours_to_the_last_bit(conv_u8: Compiled) -> None:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(conv_u8.onnx)
    ours = next(numpy_helper.to_array(i) for i in model.graph.initializer if i.name == "w_scale")
    quant = next(t.quant for t in inspect_dlc(conv_u8.lowered.path).graphs[0].tensors if t.name == "w_q")
    assert quant is not None
    np.testing.assert_array_equal(np.asarray(quant.scales, np.float32), ours)


def test_binary_tells_soc_graph_name_and_versions(conv_u8: Compiled) -> None:
    info = inspect_binary(conv_u8.compiled.path)
    assert (info.soc_model, info.graphs[0].name, info.core_version) == (SOC, "conv", "2.40.0")
    assert info == conv_u8.compiled.info


def test_one_dlc_compiles_for_another_soc(conv_u8: Compiled, tmp_path: Path) -> None:
    report = compile_dlc(conv_u8.lowered.path, tmp_path / "v79.bin", 69, 79, o_level=1, vtcm_mb=2)
    assert report.info.soc_model == 69


def test_two_inputs_and_two_outputs(tmp_path: Path) -> None:
    b = QdqBuilder()
    x, z = b.quantized(b.input("x", [1, 8, 4]), -1, 1), b.quantized(b.input("z", [1, 8, 4]), -2, 2, "uint8")
    total = b.quantized(b.node("Add", [x, z], "total"), -3, 3, output="sum")
    b.quantized(b.node("Relu", [total], "positive"), 0, 3, output="relu")
    b.output("sum", [1, 8, 4])
    b.output("relu", [1, 8, 4])
    source = b.save(tmp_path / "two.onnx")
    rng = np.random.default_rng(0)
    feeds = {name: rng.uniform(-1, 1, (1, 8, 4)).astype(np.float32) for name in ("x", "z")}
    _, got, scales = run_chain(source, feeds)
    wanted = reference(source, feeds)
    for name in ("sum", "relu"):
        assert lsb_error(got[name], wanted[name], scales[name]) <= 1.01


def test_odd_names_and_the_order_of_inputs_and_outputs_come_back(tmp_path: Path) -> None:
    b = QdqBuilder()
    for name, output, width in (("a.b", "out/1", 1.0), ("a_b", "2nd:0", 4.0)):
        x = b.quantized(b.input(name, [1, 8]), -width, width)
        b.quantized(b.node("Relu", [x], f"relu of {name}"), 0, width, output=output)
        b.output(output, [1, 8])
    source = b.save(tmp_path / "names.onnx")
    lowered = lower(source, tmp_path / "names.dlc", SOC, ARCH)
    compiled = compile_dlc(lowered.path, tmp_path / "names.bin", SOC, ARCH)
    assert set(lowered.names.values()) == {"a.b", "a_b", "out/1", "2nd:0"}
    (tmp_path / "manifest.json").write_text(json.dumps({"sections": {"lower": {"io": lowered.io.names()}}}))
    with Runtime(compiled.path) as runtime:
        assert [spec.name for spec in runtime.inputs] == ["a.b", "a_b"]
        got = runtime.run([np.full((1, 8), 0.5), np.full((1, 8), 3.0)])
    assert list(got) == ["out/1", "2nd:0"]
    assert float(got["out/1"].max()) == pytest.approx(0.5, abs=0.01)
    assert float(got["2nd:0"].max()) == pytest.approx(3.0, abs=0.04)


def test_int64_token_ids(tmp_path: Path) -> None:
    b = QdqBuilder()
    b.input("ids", [1, 6], TensorProto.INT64)
    table = np.random.default_rng(0).integers(0, 255, (10, 4)).astype(np.uint8)
    b.constant("table_q", table)
    b.constant("table_scale", np.float32(0.02))
    b.constant("table_zero", np.uint8(128))
    b.node("DequantizeLinear", ["table_q", "table_scale", "table_zero"], "table")
    rows = b.node("Gather", ["table", "ids"], "rows")
    b.quantized(rows, 0, 1, scale=np.float32(0.02), output="y")
    b.output("y", [1, 6, 4])
    model = b.model()
    for initializer in model.graph.initializer:
        if initializer.name == "rows_zero":
            initializer.CopyFrom(type(initializer)(name="rows_zero", data_type=TensorProto.UINT8, raw_data=b"\x80"))
    source = tmp_path / "embed.onnx"
    source.write_bytes(model.SerializeToString())
    ids = np.array([[1, 0, 9, 4, 4, 2]], np.int64)
    _, got, scales = run_chain(source, {"ids": ids})
    assert lsb_error(got["y"], reference(source, {"ids": ids})["y"], scales["y"]) <= 1.01


def test_float16_model(tmp_path: Path) -> None:
    b = QdqBuilder()
    x = b.input("x", [1, 8, 6, 6], TensorProto.FLOAT16)
    w = b.constant("w", np.random.default_rng(0).normal(size=(4, 8, 3, 3)) * 0.1, "float16")
    b.node("Relu", [b.node("Conv", [x, w], "conv")], "y")
    b.output("y", [1, 4, 4, 4], TensorProto.FLOAT16)
    source = b.save(tmp_path / "half.onnx")
    feeds = {"x": np.random.default_rng(1).uniform(-1, 1, (1, 8, 6, 6)).astype(np.float16)}
    _, got, _ = run_chain(source, feeds)
    np.testing.assert_allclose(got["y"], reference(source, feeds)["y"].astype(np.float32), atol=5e-3)
