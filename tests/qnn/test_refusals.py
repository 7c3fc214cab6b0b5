"""What the target refuses, and what would crash it, becomes one clear sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from hexaquant.core.errors import InputError, TargetError, WorkerError
from hexaquant.qnn.compile import compile_dlc
from hexaquant.qnn.inspect import inspect_binary, inspect_dlc
from hexaquant.qnn.libraries import find_libraries
from hexaquant.qnn.lower import lower, lowering_spec
from hexaquant.qnn.process import Limits, run_job
from hexaquant.qnn.runtime import Runtime
from qnn.compiled import ARCH, SOC, Compiled
from qnn.qdq_models import QdqBuilder, conv_relu, reference


def unary(path: Path, op: str, shape: list[int | str], scale: float | None = None) -> Path:
    b = QdqBuilder()
    x = b.quantized(b.input("x", shape), -1, 1, scale=scale)
    b.quantized(b.node(op, [x], "value"), 0, 1, output="y")
    b.output("y", shape)
    return b.save(path)


def test_unsupported_operator_is_named_with_the_reason(tmp_path: Path) -> None:
    source = unary(tmp_path / "erf.onnx", "Erf", [1, 8])
    with pytest.raises(TargetError, match=r"'node_value' \(Erf\): Operators of type `Erf` are not supported"):
        lower(source, tmp_path / "erf.dlc", SOC, ARCH)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["erf.onnx"]


def test_refused_types_name_the_types_and_the_backends_reason(tmp_path: Path) -> None:
    source = conv_relu(tmp_path / "conv.onnx", "uint16", "int16")
    with pytest.raises(
        TargetError, match=r"'node_conv' .*Conv2d: ufixed16, sfixed16, .*Value 68, expected >= 73"
    ) as error:
        lower(source, tmp_path / "conv.dlc", 30, 68)
    advice = str(error.value).partition("what to do for layer 'node_conv': ")[2]
    assert advice.startswith("override this layer to w8a8") and "a target of Hexagon v73 (sm8550)" in advice


def test_activation_that_cannot_fuse_names_the_convolution_and_the_remedy(tmp_path: Path) -> None:
    b = QdqBuilder()
    x = b.quantized(b.input("x", [1, 8, 6, 6]), -1, 1)
    w = b.weight("w", np.random.default_rng(0).normal(size=(4, 8, 3, 3)).astype(np.float32))
    b.quantized(b.node("Relu", [b.node("Conv", [x, w], "conv")], "relu"), -2, 2, output="y")
    b.output("y", [1, 4, 4, 4])
    with pytest.raises(TargetError, match=r"'node_conv' \(Conv\).*inside the activation's range"):
        lower(b.save(tmp_path / "wide.onnx"), tmp_path / "wide.dlc", SOC, ARCH)


@pytest.mark.parametrize(
    ("shape", "scale", "message"),
    [
        ([0, 8], None, "zero-size dimension"),
        (["N", 8], None, "dimension 'N' of 'x' is dynamic"),
        ([1, 8], 0.0, "scale that is zero"),
        ([1, 8], float("nan"), "scale that is zero, negative, infinite or NaN"),
    ],
)
def test_what_would_crash_or_pass_silently_is_refused_before(
    tmp_path: Path, shape: list[int | str], scale: float | None, message: str
) -> None:
    source = unary(tmp_path / "bad.onnx", "Relu", shape, scale)
    with pytest.raises(InputError, match=message):
        lower(source, tmp_path / "bad.dlc", SOC, ARCH)


def test_rank_six_is_refused(tmp_path: Path) -> None:
    source = unary(tmp_path / "rank.onnx", "Relu", [1, 1, 1, 2, 2, 2])
    with pytest.raises(TargetError, match="rank 6"):
        lower(source, tmp_path / "rank.dlc", SOC, ARCH)


def test_unknown_soc_is_refused(conv_u8: Compiled, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="9999"):
        lower(conv_u8.onnx, tmp_path / "conv.dlc", 9999, ARCH)
    with pytest.raises(TargetError, match="9999"):
        compile_dlc(conv_u8.lowered.path, tmp_path / "conv.bin", 9999, ARCH)
    assert list(tmp_path.iterdir()) == []


def test_not_an_onnx_file(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("hello")
    with pytest.raises(InputError, match=r"text\.onnx"):
        lower(path, tmp_path / "x.dlc", SOC, ARCH)
    with pytest.raises(InputError, match="does not exist"):
        lower(tmp_path / "missing.onnx", tmp_path / "x.dlc", SOC, ARCH)


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: bytes(9000)])
def test_damaged_files_are_input_errors(conv_u8: Compiled, tmp_path: Path, damage: object) -> None:
    assert callable(damage)
    dlc, binary = tmp_path / "bad.dlc", tmp_path / "bad.bin"
    dlc.write_bytes(damage(conv_u8.lowered.path.read_bytes()))
    binary.write_bytes(damage(conv_u8.compiled.path.read_bytes()))
    with pytest.raises(InputError, match=r"bad\.dlc"):
        inspect_dlc(dlc)
    with pytest.raises(InputError, match=r"bad\.bin"):
        inspect_binary(binary)


def test_job_that_takes_too_long_is_ended(conv_u8: Compiled, tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="longer than its limit"):
        compile_dlc(conv_u8.lowered.path, tmp_path / "late.bin", SOC, ARCH, limits=Limits(seconds=0.05))
    assert list(tmp_path.iterdir()) == []


def recurrent(path: Path) -> Path:
    """x [5, 1, 8] -> LSTM with 4 hidden units -> y [5, 1, 1, 4]."""
    rng, b = np.random.default_rng(0), QdqBuilder()
    x = b.quantized(b.input("x", [5, 1, 8]), -1, 1)
    w = b.weight("w", rng.normal(size=(1, 16, 8)).astype(np.float32) * 0.3, axis=None)
    r = b.weight("r", rng.normal(size=(1, 16, 4)).astype(np.float32) * 0.3, axis=None)
    b.quantized(b.node("LSTM", [x, w, r], "hidden", hidden_size=4), -1, 1, output="y")
    b.output("y", [5, 1, 1, 4])
    return b.save(path)


def test_recurrent_layer_of_a_qdq_model_reaches_the_target(tmp_path: Path) -> None:
    """Its weights are integers with their scales, as onnxruntime's recipe writes them."""
    source = recurrent(tmp_path / "lstm.onnx")
    lowered = lower(source, tmp_path / "lstm.dlc", SOC, ARCH)
    assert lowered.float_tensors == [] and lowered.written_out
    report = compile_dlc(lowered.path, tmp_path / "lstm.bin", SOC, ARCH)
    feeds = {"x": np.random.default_rng(1).uniform(-1, 1, (5, 1, 8)).astype(np.float32)}
    with Runtime(report.path) as runtime:
        got = runtime.run(feeds)["y"]
    assert np.abs(got - reference(source, feeds)["y"]).max() <= 1.01 * 2 / 255


def test_crash_of_a_child_names_the_signal_and_the_last_words(tmp_path: Path) -> None:
    spec = lowering_spec(find_libraries(), tmp_path, SOC, ARCH)
    recurrent(tmp_path / "model.onnx")
    dlc = run_job("lower", spec).result["dlc"]
    with pytest.raises(WorkerError, match=r"died of SIGABRT after: .*hidden_size"):
        inspect_dlc(Path(dlc))


@pytest.mark.parametrize(("op", "transposed"), [("MatMul", 0), ("Gemm", 1)])
def test_weight_scales_by_input_channel_are_refused(tmp_path: Path, op: str, transposed: int) -> None:
    b = QdqBuilder()
    x = b.quantized(b.input("x", [4, 8]), -1, 1)
    shape = (6, 8) if transposed else (8, 6)
    w = b.weight("w", np.random.default_rng(0).normal(size=shape).astype(np.float32), axis=1 if transposed else 0)
    attributes = {"transB": 1} if transposed else {}
    b.quantized(b.node(op, [x, w], "value", **attributes), -4, 4, output="y")
    b.output("y", [4, 6])
    with pytest.raises(TargetError, match=r"'node_value'.*one scale for each output channel"):
        lower(b.save(tmp_path / "axis.onnx"), tmp_path / "axis.dlc", SOC, ARCH)


def test_bias_of_another_scale_is_refused(tmp_path: Path) -> None:
    source = conv_relu(tmp_path / "conv.onnx")
    model = onnx.load(source)
    scale = next(i for i in model.graph.initializer if i.name == "b_scale")
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * np.float32(2), "b_scale"))
    onnx.save(model, source)
    with pytest.raises(TargetError, match=r"'node_conv' \(Conv\) has a bias .*input scale x weight scale"):
        lower(source, tmp_path / "conv.dlc", SOC, ARCH)


def test_depth_to_space_that_changes_the_encoding_is_refused(tmp_path: Path) -> None:
    b = QdqBuilder()
    x = b.quantized(b.input("x", [1, 8, 4, 4]), -1, 1)
    b.quantized(b.node("DepthToSpace", [x], "value", blocksize=2), -2, 2, output="y")
    b.output("y", [1, 2, 8, 8])
    with pytest.raises(TargetError, match=r"'node_value' \(DepthToSpace\)"):
        lower(b.save(tmp_path / "space.onnx"), tmp_path / "space.dlc", SOC, ARCH)


def test_memory_limit_is_an_error_not_a_freeze(conv_u8: Compiled, tmp_path: Path) -> None:
    with pytest.raises(WorkerError):
        compile_dlc(conv_u8.lowered.path, tmp_path / "small.bin", SOC, ARCH, limits=Limits(memory_mb=300))
