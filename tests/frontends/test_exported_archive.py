"""A .pt2 file must not run code while it is loaded: four ways that torch.export.load leaves open, and what is legal."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hexaquant.core.errors import InputError
from hexaquant.frontends import load
from hexaquant.frontends.exported_archive import check_archive, is_arithmetic


class Shifted(torch.nn.Module):
    """A weight, a tensor that is no parameter, a symbolic batch, arithmetic on sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 6)
        self.shift = torch.arange(6.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.linear(x) + self.shift
        return torch.cat([y, y]).reshape(x.shape[0] * 2, 3, 2)


class Payload:
    """Unpickled, it writes a file: the sign that code ran."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return exec, (f"open({str(self.marker)!r}, 'w').close()",)


@pytest.fixture(scope="module")
def program_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "net.pt2"
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(Shifted(), (torch.randn(4, 4),), dynamic_shapes=({0: batch},))
    torch.export.save(program, path)
    return path


def rewritten(source: Path, target: Path, change: Callable[[str, bytes], bytes]) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for info in old.infolist():
            new.writestr(info.filename, change(info.filename, old.read(info)))
    return target


def pickled(payload: Payload) -> bytes:
    buffer = io.BytesIO()
    torch.save(payload, buffer)
    return buffer.getvalue()


def in_program(edit: Callable[[str], str]) -> Callable[[str, bytes], bytes]:
    return lambda name, data: edit(data.decode()).encode() if name.endswith("models/model.json") else data


def in_example_inputs(marker: Path) -> Callable[[str, bytes], bytes]:
    return lambda name, data: pickled(Payload(marker)) if name.endswith("sample_inputs/model.pt") else data


def as_constant(marker: Path, file: str, pickled_tensor: bool) -> Callable[[str, bytes], bytes]:
    def change(name: str, data: bytes) -> bytes:
        if name.endswith("model_constants_config.json"):
            config = json.loads(data)
            for payload in config["config"].values():
                payload.update(path_name=file, use_pickle=pickled_tensor)
            return json.dumps(config).encode()
        if "/data/constants/" in name:
            return pickled(Payload(marker)) if pickled_tensor else pickle.dumps(Payload(marker))
        return data

    return change


def test_a_program_with_symbolic_shapes_and_constants_loads(program_file):
    graph = load(program_file)
    assert {"linear.weight", "linear.bias"} <= {value.name for value in graph.model.graph.initializers.values()}


def attacks(marker: Path) -> dict[str, tuple[Callable[[str, bytes], bytes], str]]:
    code = f"open({str(marker)!r}, 'w').close()"
    symbol = "Symbol('s77', positive=True, integer=True)"
    evaluated = json.dumps(f"[{code}, Integer(1)][1]")[1:-1]
    return {
        "expression": (in_program(lambda text: text.replace(symbol, evaluated)), "more than arithmetic"),
        "nested text": (
            in_program(lambda text: text.replace(symbol, json.dumps(f'Integer("{code}")')[1:-1])),
            "more than arithmetic",
        ),
        "operator": (
            in_program(lambda text: text.replace("torch.ops.aten.linear.default", "torch.hub.load")),
            "'torch.hub.load' is not one of PyTorch's registered operators",
        ),
        "library": (
            in_program(lambda text: text.replace("torch.ops.aten.linear.default", "torch.ops.load_library")),
            "registered operators",
        ),
        "example inputs": (in_example_inputs(marker), "holds Python objects"),
        "pickled tensor": (as_constant(marker, "tensor_0", True), "holds Python objects"),
        "pickled object": (as_constant(marker, "opaque_obj_0", False), "'shift' is a Python object"),
    }


@pytest.mark.parametrize("attack", sorted(attacks(Path("marker"))))
def test_code_in_an_archive_is_refused_and_never_runs(attack, program_file, tmp_path):
    marker = tmp_path / "ran"
    change, message = attacks(marker)[attack]
    evil = rewritten(program_file, tmp_path / "evil.pt2", change)
    with zipfile.ZipFile(program_file) as old, zipfile.ZipFile(evil) as new:
        assert any(old.read(i) != new.read(i.filename) for i in old.infolist()), "the attack changed nothing"
    with pytest.raises(InputError, match=message):
        load(evil)
    assert not marker.exists()


def test_members_that_readers_could_take_for_different_ones_are_refused(program_file, tmp_path):
    path = Path(shutil.copy(program_file, tmp_path))
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(archive.namelist()[0], b"another")
    with pytest.raises(InputError, match="doubled or compressed members"):
        check_archive(path)


def test_a_member_without_a_name_is_refused(tmp_path):
    path = tmp_path / "net.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"")
    path.write_bytes(path.read_bytes().replace(b"a", b"\x00"))
    with pytest.raises(InputError, match=r"net\.pt2: not a program saved by torch\.export\.save"):
        check_archive(path)


@pytest.mark.parametrize(
    "text", ["2*s0 + 1", "Max(1, FloorDiv(s0, 2))", "Symbol('s3', integer=True)", "Ne(s0, 1) & (s1 < 4)"]
)
def test_shape_arithmetic_is_recognised(text):
    assert is_arithmetic(text)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "s0.__class__",
        "(lambda: 1)()",
        "[x for x in (1,)]",
        "Symbol('a b')",
        "eval(s0)",
        "s0[0]",
        "1 +",
        "'a'",
    ],
)
def test_more_than_arithmetic_is_recognised(text):
    assert not is_arithmetic(text)
