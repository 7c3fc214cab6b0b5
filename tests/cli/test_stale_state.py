"""What was made from other inputs is made again, whatever the clock says: data, overrides, network, versions."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from cli.command import Result, hexaquant
from cli.tiny import samples, save_data, tiny_model

PAST, FUTURE = 1, 4_000_000_000
OVERRIDES = "y: {bits: 16}\n"


@pytest.fixture
def folder(net: Path, tmp_path: Path) -> Path:
    """The network, data, overrides that change nothing, and what quantize made of them in out/."""
    shutil.copy(net, tmp_path / "net.onnx")
    save_data(tmp_path / "data.npz", 4)
    (tmp_path / "overrides.yaml").write_text("{}\n")
    assert not kept(quantized(tmp_path))
    assert kept(quantized(tmp_path))
    return tmp_path


def quantized(folder: Path) -> Result:
    files = [folder / name for name in ("net.onnx", "data.npz", "overrides.yaml")]
    words = ("--data", files[1], "--overrides", files[2], "--recipe", "plain", "-o", folder / "out")
    done = hexaquant("quantize", files[0], *words)
    assert done.code == 0, done.err
    return done


def kept(done: Result) -> bool:
    return "holds this quantized model already" in done.err


def in_place(path: Path, write: Callable[[Path], object]) -> None:
    """Other content under the same name, times and inode."""
    before = path.stat()
    other = path.with_name(f"other-{path.name}")
    write(other)
    path.write_bytes(other.read_bytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "data of the same size": ("data.npz", lambda path: np.savez(path, x=samples(4, seed=9))),
    "labels": ("data.npz", lambda path: save_data(path, 4, labels=np.arange(4) % 4)),
    "overrides": ("overrides.yaml", lambda path: path.write_text(OVERRIDES)),
    "weights": ("net.onnx", lambda path: onnx.save(tiny_model(seed=5), path)),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_changed_in_place_is_noticed_though_its_time_did_not(what: str, folder: Path) -> None:
    name, write = CHANGES[what]
    in_place(folder / name, write)
    assert not kept(quantized(folder))
    fresh = hexaquant("quantize", folder / "net.onnx", "--data", folder / "data.npz", "--overrides",
                      folder / "overrides.yaml", "--recipe", "plain", "-o", folder / "fresh")  # fmt: skip
    assert fresh.code == 0, fresh.err
    for file in ("model.onnx", "model.encodings"):
        assert (folder / "out" / file).read_bytes() == (folder / "fresh" / file).read_bytes()


@pytest.mark.parametrize("seconds", [PAST, FUTURE])
def test_a_clock_that_goes_wrong_changes_nothing(seconds: int, folder: Path) -> None:
    for path in folder.rglob("*"):
        os.utime(path, (seconds, seconds))
    assert kept(quantized(folder))
    in_place(folder / "data.npz", lambda path: np.savez(path, x=samples(4, seed=9)))
    assert not kept(quantized(folder))


def test_another_version_of_the_package_makes_it_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two versions take turns on one folder: neither believes what the other made, both read the folder."""
    other = folder / "site" / "hexaquant-9.9.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: hexaquant\nVersion: 9.9\n")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(other.parent)
        assert not kept(quantized(folder))
        assert json.loads((folder / "out" / "manifest.json").read_text())["versions"]["hexaquant"] == "9.9"
        assert kept(quantized(folder))
    assert not kept(quantized(folder))


def test_training_does_not_go_on_from_a_checkpoint_of_other_data(folder: Path) -> None:
    """A run that died after it wrote its checkpoint; then the data changed in place."""
    words = ["qat", folder / "out", "--data", folder / "data.npz", "--steps", "2"]
    assert hexaquant(*words, "--steps", "2").code == 0
    state = folder / "out" / ".state"
    assert not (state / "qat.request").exists()
    (state / "qat.safetensors").write_bytes(b"of the run before")
    (state / "qat.request").write_text("0" * 64)
    in_place(folder / "data.npz", lambda path: np.savez(path, x=samples(4, seed=9)))
    hexaquant(*words).assert_refused(2, "qat.safetensors", "of another run (data")


FORMATS = {"newer": 2, "far newer": 10**30, "older": 0, "negative": -1, "text": "new", "nothing": None, "half": 1.5}


@pytest.mark.parametrize("value", FORMATS.values(), ids=FORMATS)
def test_a_manifest_of_another_format_is_one_sentence(value: object, deployed: Path, data: Path) -> None:
    edit(deployed, format=value)
    commands = (["info", deployed], ["verify", deployed, "--data", data], ["compile", deployed, "--target", "sm8550"])
    for words in commands:
        hexaquant(*words).assert_refused(2, "manifest.json", "format")


@pytest.mark.parametrize("value", ["1.0", None, [], {"hexaquant": 3}, {"hexaquant": None}])
def test_versions_that_are_none_are_one_sentence(value: object, deployed: Path) -> None:
    edit(deployed, versions=value)
    hexaquant("info", deployed).assert_refused(2, "manifest.json", "versions")


def test_a_manifest_of_a_later_release_names_what_is_new(deployed: Path) -> None:
    edit(deployed, signatures={})
    hexaquant("info", deployed).assert_refused(2, "manifest.json", "signatures")


def edit(folder: Path, **changes: object) -> None:
    file = folder / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
