"""The C runtime without Qualcomm's libraries: numbers, SHA-256, model.txt, layouts, failures and threads.

Under valgrind, which cannot run the emulator (it waits for ever on a priority-inheritance futex): there the libraries
are the stand-in of c/stand_in_qnn.c, and test_host_bundle.py has the sanitizers on the real ones.
"""

from __future__ import annotations

import ctypes
import hashlib
import re
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from bundle.native import RUNTIME, SOURCES, STRICT, TESTS, call, compile_c, tool, valgrind
from cli.command import hexaquant
from hexaquant.qnn import abi
from hexaquant.qnn.abi import INTERFACE_FUNCTIONS, SYSTEM_FUNCTIONS
from hexaquant.qnn.libraries import KNOWN_RELEASES
from hexaquant.qnn.tensor_io import TensorSpec, to_float, to_native

DTYPES = {"int8": 0, "uint8": 1, "int16": 2, "uint16": 3, "float16": 8}


@pytest.fixture(scope="module")
def stand_in_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle for the stand-in library, and an input list of 5 samples."""
    folder = tmp_path_factory.mktemp("stand_in_bundle")
    content = b"not a real context binary"
    (folder / "model.bin").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    lines = ["hexaquant-model\t1", f"binary\tmodel.bin\t{digest}\t{len(content)}", "soc\t57", "graph\tmodel"]
    (folder / "model.txt").write_text("\n".join([*lines, "input\ta%20b\tx", "output\tout/1\ty"]) + "\n")
    np.arange(20, dtype=np.float32).reshape(5, 4).tofile(folder / "x.raw")
    (folder / "list.txt").write_text(f"{folder}/x.raw\n")
    return folder


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sources = [SOURCES / "hexaquant_run.c", SOURCES / "app_io.c", *RUNTIME]
    return compile_c(tmp_path_factory.mktemp("plain") / "hexaquant_run", sources)


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_are_rounded_as_in_python(dtype: str, harness: Path, tmp_path: Path) -> None:
    rng, kind = np.random.default_rng(3), np.dtype(dtype)
    quantized = kind.kind != "f"
    spec = TensorSpec("x", (), kind, float(np.float32(0.0371)) if quantized else None, -37 if quantized else 0)
    step = spec.scale or 1.0
    values = [rng.normal(0, 3, 4000), rng.normal(0, 1e6, 500), (np.arange(-300, 300) + 0.5) * step, [0.0, -0.0, 1e30]]
    if not quantized:
        values += [np.float16(np.arange(0, 60000, 7)), [65504, 65519.9, 65520, 6e-8, 3e-8, 2.9e-8, 6.1e-5, 6.09e-5]]
    floats = np.concatenate(values).astype(np.float32)
    floats.tofile(tmp_path / "in")
    bits = struct.pack(">f", step).hex() if quantized else "0"
    shown = call(harness, "numbers", DTYPES[dtype], bits, spec.offset, tmp_path / "in", tmp_path / "out")
    assert shown.returncode == 0, shown.stdout
    with np.errstate(over="ignore"):
        stored = to_native(floats, spec)
    assert (tmp_path / "out").read_bytes() == stored.tobytes() + to_float(stored, spec).tobytes()


def test_every_half_decodes_as_in_numpy_under_valgrind(harness: Path, tmp_path: Path) -> None:
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    floats = halves[np.isfinite(halves)].astype(np.float32)
    floats.tofile(tmp_path / "in")
    shown = valgrind(harness, "numbers", 8, "0", 0, tmp_path / "in", tmp_path / "out")
    assert shown.returncode == 0, shown.stderr
    assert (tmp_path / "out").read_bytes() == floats.astype(np.float16).tobytes() + floats.tobytes()


def test_nan_is_refused(harness: Path, tmp_path: Path) -> None:
    np.array([1, np.inf], np.float32).tofile(tmp_path / "in")
    shown = valgrind(harness, "numbers", 1, "3f800000", 0, tmp_path / "in", tmp_path / "out")
    assert shown.returncode == 1 and "NaN or infinite" in shown.stdout


def test_sha256_of_every_length_up_to_200_and_a_long_one(harness: Path, tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes(100_003)
    (tmp_path / "data").write_bytes(data)
    shown = call(harness, "sha", tmp_path / "data")
    rows = [line.split() for line in shown.stdout.splitlines()]
    assert len(rows) > 200 and int(rows[-1][0]) == len(data)
    assert all(digest == hashlib.sha256(data[: int(length)]).hexdigest() for length, digest in rows)


def test_model_txt_truncated_or_changed_anywhere_is_safe(harness: Path, stand_in_bundle: Path) -> None:
    shown = valgrind(harness, "manifest", stand_in_bundle / "model.txt")
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert "model.bin model 57 1 1" in lines and "input a b x" in lines
    assert not [line for line in lines if line.startswith("accepted")]


def test_structures_lie_as_the_python_binding_knows_them(harness: Path) -> None:
    for line in call(harness, "layout").stdout.splitlines():
        name, value = line.split()
        owner, _, field = name.partition(".")
        kind = getattr(abi, owner)
        assert int(value) == (getattr(kind, field).offset if field else ctypes.sizeof(kind)), name


def test_functions_are_where_the_python_binding_calls_them() -> None:
    text = (SOURCES / "qnn_interface.h").read_text()
    numbers = dict(re.findall(r"(QNN_[A-Z_]+) = (\d+)[,\n ]", text))
    names = {re.sub("([A-Z])", r"_\1", name).upper(): name for name in INTERFACE_FUNCTIONS}
    checked = 0
    for key, number in numbers.items():
        function = names.get(key.removeprefix("QNN_"))
        if function and not key.startswith("QNN_SYSTEM"):
            assert INTERFACE_FUNCTIONS[int(number)] == function
            checked += 1
    assert checked == 15 and int(numbers["QNN_FUNCTION_COUNT"]) == len(INTERFACE_FUNCTIONS)
    system = {"CREATE": "contextCreate", "GET_METADATA": "contextGetMetaData", "FREE": "contextFree"}
    assert all(SYSTEM_FUNCTIONS[int(numbers[f"QNN_SYSTEM_CONTEXT_{key}"])] == name for key, name in system.items())
    assert {row.core_minor for row in KNOWN_RELEASES.values()} == {int(re.findall(r"CORE_MINOR (\d+)", text)[0])}


def test_a_whole_run_is_clean_under_valgrind(
    plain_run: Path, stand_in: Path, stand_in_bundle: Path, tmp_path: Path
) -> None:
    words = ("--bundle", stand_in_bundle, "--libraries", stand_in, "--input-list", stand_in_bundle / "list.txt")
    shown = valgrind(plain_run, *words, "--output", tmp_path / "results", "--profile", tmp_path / "profile.log")
    assert shown.returncode == 0 and not shown.stderr, shown.stderr
    stored = 255 - (np.rint(np.arange(20, dtype=np.float32) / 0.5) + 8)
    result = np.concatenate([np.fromfile(tmp_path / f"results/Result_{i}/out_1.raw", np.float32) for i in range(5)])
    assert np.array_equal(result, (stored - 8) * 0.5)


FAILURES = {
    "logCreate": ("library", "NPU cannot be opened"),
    "backendCreate": ("library", "backendCreate was told to fail"),
    "deviceCreate": ("library", "ADSP_LIBRARY_PATH"),
    "systemContextCreate": ("library", "QnnSystem"),
    "systemContextGetMetaData": ("binary", "cannot be read"),
    "profileCreate": ("library", "profile"),
    "contextCreateFromBinary": ("binary", "contextCreateFromBinary was told to fail"),
    "graphRetrieve": ("binary", "retrieved"),
    "graphExecute": ("execute", "graphExecute was told to fail"),
    "getProviders": ("library", "no QNN interface"),
}
CLAIMS = {
    "STAND_IN_MINOR=39": ("version", "2.39"),
    "STAND_IN_MAJOR=3": ("version", "3.40"),
    "STAND_IN_SYSTEM_MINOR=3": ("version", "1.3"),
    "STAND_IN_DESCRIPTION=9": ("version", "version 9"),
    "STAND_IN_DTYPE=772": ("binary", "0x304"),
    "STAND_IN_ENCODING=1": ("binary", "kind 1"),
}


@pytest.mark.parametrize("case", [*FAILURES, *CLAIMS])
def test_every_failure_of_the_library_is_said_and_leaks_nothing(
    case: str, checked_run: Path, stand_in: Path, stand_in_bundle: Path, tmp_path: Path
) -> None:
    key, _, value = case.partition("=") if "=" in case else ("STAND_IN_FAIL", "", case)
    kind, words = (FAILURES | CLAIMS)[case]
    given = ("--bundle", stand_in_bundle, "--libraries", stand_in, "--input-list", stand_in_bundle / "list.txt")
    shown = call(checked_run, *given, "--output", tmp_path / "r", "--profile", tmp_path / "p", env={key: value})
    assert shown.returncode == {"library": 4, "version": 4, "binary": 2, "execute": 70}[kind], shown.stderr
    assert f"error ({kind})" in shown.stderr and words in shown.stderr
    assert "Sanitizer" not in shown.stderr


def test_a_failure_leaks_nothing_under_valgrind_either(plain_run: Path, stand_in: Path, stand_in_bundle: Path) -> None:
    words = ("--bundle", stand_in_bundle, "--libraries", stand_in, "--input-list", stand_in_bundle / "list.txt")
    shown = valgrind(plain_run, *words, "--output", stand_in_bundle / "r", env={"STAND_IN_FAIL": "graphRetrieve"})
    assert shown.returncode == 2, shown.stderr


def test_eight_threads_share_two_models(stand_in: Path, stand_in_bundle: Path, tmp_path: Path) -> None:
    """With the thread sanitizer: every call gets its own answer and nothing is read while it is written."""
    program = compile_c(tmp_path / "threads", [TESTS / "harness.c", *RUNTIME], "-Wno-conversion", "-fsanitize=thread")
    shown = call("setarch", "-R", program, "threads", stand_in_bundle, stand_in)
    assert shown.returncode == 0 and shown.stdout == "0\n", shown.stderr


def test_cross_compiled_for_arm64_links(out: Path, tmp_path: Path) -> None:
    """By the very command of the bundle's README."""
    tool("aarch64-linux-gnu-gcc"), tool("cmake")
    done = hexaquant("bundle", out, "--for", "linux-arm64", "-o", tmp_path / "arm")
    assert done.code == 0, done.err
    readme = (tmp_path / "arm/README.md").read_text()
    command = next(line for line in readme.splitlines() if line.startswith("    cmake -S c -B build"))
    built = call("sh", "-c", f"cd '{tmp_path}/arm' && {command.replace('-B build', '-B build -DHQ_STRICT=ON')}")
    assert built.returncode == 0, built.stdout + built.stderr
    for program in ("hexaquant_run", "classify"):
        head = (tmp_path / "arm/build" / program).read_bytes()[:20]
        assert head[:4] == b"\x7fELF" and int.from_bytes(head[18:20], "little") == 183  # EM_AARCH64


def test_pedantic_warnings_of_clang_or_gcc_are_none(tmp_path: Path) -> None:
    compiler = shutil.which("clang") or tool("gcc")
    shown = call(compiler, *STRICT, "-Wpedantic", "-fsyntax-only", *SOURCES.glob("*.c"))
    assert shown.returncode == 0, shown.stderr
