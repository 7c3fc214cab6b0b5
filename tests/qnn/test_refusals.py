"""What the target refuses, and what would crash it, becomes one clear sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hexaquant.core.errors import InputError, TargetError, WorkerError
from hexaquant.qnn.compile import compile_dlc
from hexaquant.qnn.inspect import inspect_binary, inspect_dlc
from hexaquant.qnn.lower import lower
from hexaquant.qnn.process import JobFailed, Limits, run_job
from qnn.compiled import ARCH, SOC, Compiled
from qnn.qdq_models import QdqBuilder, conv_relu


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
    with pytest.raises(TargetError, match=r"'node_conv' .*Conv2d: ufixed16, sfixed16, .*Value 68, expected >= 73"):
        lower(source, tmp_path / "conv.dlc", 30, 68)


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


def test_crash_of_a_child_names_the_signal(tmp_path: Path) -> None:
    zero = unary(tmp_path / "zero.onnx", "Relu", [0, 8])
    from hexaquant.qnn.libraries import find_libraries

    libraries = find_libraries()
    spec = {
        "onnx": str(zero),
        "folder": str(tmp_path),
        "soc_model": SOC,
        "arch": ARCH,
        "provider": str(libraries.provider),
        "htp": str(libraries.htp),
        "ir": str(libraries.ir),
    }
    with pytest.raises(JobFailed, match="died of SIG") as caught:
        run_job("lower", spec)
    assert isinstance(caught.value.as_error("zero.onnx"), WorkerError)


def test_memory_limit_is_an_error_not_a_freeze(conv_u8: Compiled, tmp_path: Path) -> None:
    with pytest.raises(WorkerError):
        compile_dlc(conv_u8.lowered.path, tmp_path / "small.bin", SOC, ARCH, limits=Limits(memory_mb=300))
