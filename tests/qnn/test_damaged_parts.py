"""Parts that are cut short: DLCs, Qualcomm's own libraries, and memory. One sentence, and nothing is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from hexaquant.cli.doctor import examine
from hexaquant.core.errors import HexaquantError
from hexaquant.qnn.compile import compile_dlc
from hexaquant.qnn.inspect import inspect_dlc
from hexaquant.qnn.libraries import altered_libraries, find_libraries
from hexaquant.qnn.lower import lower
from hexaquant.qnn.process import Limits
from hexaquant.qnn.runtime import Runtime
from qnn.compiled import ARCH, SOC, Compiled


@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.6, 0.9, 0.99])
def test_a_dlc_that_was_cut_short_is_neither_compiled_nor_described(
    part: float, conv_u8: Compiled, tmp_path: Path
) -> None:
    whole = conv_u8.lowered.path.read_bytes()
    dlc = tmp_path / "bad.dlc"
    dlc.write_bytes(whole[: int(len(whole) * part)])
    for work in (lambda: compile_dlc(dlc, tmp_path / "bad.bin", SOC, ARCH), lambda: inspect_dlc(dlc)):
        with pytest.raises(HexaquantError, match=r"bad\.dlc") as caught:
            work()
        one_sentence(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.dlc"]


@pytest.fixture
def damaged(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The wheel's folder with one library of which only the beginning is there, found before the installed one."""
    name, kept = request.param
    place = tmp_path / "site" / "onnxruntime_qnn"
    place.mkdir(parents=True)
    for file in find_libraries().folder.iterdir():
        if file.is_file() and file.name != name:
            (place / file.name).symlink_to(file)
    libs = find_libraries().folder.with_suffix(".libs")
    (place.parent / libs.name).symlink_to(libs)
    with (find_libraries().folder / name).open("rb") as file:
        (place / name).write_bytes(file.read(kept))
    monkeypatch.syspath_prepend(place.parent)
    monkeypatch.setenv("PYTHONPATH", str(place.parent))
    return str(name)


@pytest.mark.parametrize(
    "damaged",
    [("libQnnHtp.so", 0), ("libQnnHtp.so", 100), ("libQnnHtp.so", 1 << 20), ("libQnnHtp.so", 100 << 20)],
    indirect=True,
    ids=str,
)
def test_a_corrupted_backend_is_named(damaged: str, conv_u8: Compiled, tmp_path: Path) -> None:
    with pytest.raises(HexaquantError, match=damaged) as caught:
        compile_dlc(conv_u8.lowered.path, tmp_path / "new.bin", SOC, ARCH)
    one_sentence(caught.value)
    with pytest.raises(HexaquantError, match=damaged) as caught, Runtime(conv_u8.compiled.path):
        pass  # it does not open
    one_sentence(caught.value)
    assert not (tmp_path / "new.bin").exists()


@pytest.mark.parametrize("damaged", [("libQnnIr.so", 1 << 20), ("libQnnSystem.so", 1 << 20)], indirect=True, ids=str)
def test_a_corrupted_writer_or_reader_is_named(damaged: str, conv_u8: Compiled, tmp_path: Path) -> None:
    with pytest.raises(HexaquantError, match=damaged) as caught:
        if "Ir" in damaged:
            lower(conv_u8.onnx, tmp_path / "new.dlc", SOC, ARCH)
        inspect_dlc(conv_u8.lowered.path)
    one_sentence(caught.value)
    assert not (tmp_path / "new.dlc").exists()


@pytest.mark.parametrize("damaged", [("libQnnSystem.so", 10**9)], indirect=True, ids=str)
def test_doctor_finds_one_byte_that_was_changed(damaged: str) -> None:
    assert altered_libraries(find_libraries()) == []
    with (find_libraries().folder / damaged).open("r+b") as file:
        file.seek(1 << 20)
        byte = file.read(1)[0]
        file.seek(1 << 20)
        file.write(bytes([byte ^ 1]))
    assert altered_libraries(find_libraries()) == [damaged]
    (found,) = [check for check in examine() if check.name == "Qualcomm's libraries"]
    assert not found.ok and damaged in found.detail and "onnxruntime-qnn" in found.remedy


@pytest.mark.parametrize("megabytes", [60, 300, 600])
def test_a_child_that_runs_out_of_memory_says_so(megabytes: int, conv_u8: Compiled, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    with pytest.raises(HexaquantError, match="memory") as caught:
        compile_dlc(conv_u8.lowered.path, tmp_path / "small.bin", SOC, ARCH, limits=Limits(memory_mb=megabytes))
    one_sentence(caught.value)
    assert set(tmp_path.iterdir()) == before


def one_sentence(error: Exception) -> None:
    assert "Traceback" not in str(error) and len(str(error).splitlines()) == 1, str(error)
