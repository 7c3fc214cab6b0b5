"""The target's cached outputs and the checkpoints: what was altered is not believed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hexaquant.analysis.verify import TargetCache
from hexaquant.core.events import Event, Events
from hexaquant.core.sealed import Damaged, load_sealed, save_sealed

OUTPUTS = {"a/b": np.arange(4, dtype=np.float32), "names": np.ones((2, 2), np.float32)}


@pytest.fixture
def binary(tmp_path: Path) -> Path:
    path = tmp_path / "model.bin"
    path.write_bytes(b"binary")
    return path


def entry(folder: Path) -> Path:
    (found,) = folder.rglob("*.outputs")
    return found


def test_a_cache_gives_back_what_it_was_given(binary: Path, tmp_path: Path) -> None:
    cache = TargetCache(tmp_path / "c", binary)
    assert cache.get("ab" * 32) is None
    cache.put("ab" * 32, OUTPUTS)
    found = TargetCache(tmp_path / "c", binary).get("ab" * 32)
    assert found is not None and list(found) == list(OUTPUTS)
    for name, array in OUTPUTS.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("how", ["altered", "cut", "empty", "another sample's", "written by numpy"])
def test_an_altered_entry_is_measured_again_with_a_warning(how: str, binary: Path, tmp_path: Path) -> None:
    told: list[Event] = []
    cache = TargetCache(tmp_path / "c", binary, events=Events(told.append))
    cache.put("ab" * 32, OUTPUTS)
    path = entry(tmp_path)
    content = path.read_bytes()
    digest = "ab" * 32
    if how == "altered":
        path.write_bytes(content[:-200] + bytes(8) + content[-192:])
    elif how in ("cut", "empty"):
        path.write_bytes(content[: 100 if how == "cut" else 0])
    elif how == "another sample's":
        digest = "cd" * 32
        shutil.copyfile(path, path.with_name(f"{digest[:32]}.outputs"))
    else:
        with path.open("wb") as file:
            np.savez(file, **{"a/b": np.zeros(4, np.float32)})
    assert cache.get(digest) is None
    assert any("measured again" in event.text for event in told)
    cache.put(digest, OUTPUTS)
    assert cache.get(digest) is not None


def test_another_binary_or_device_has_other_entries(binary: Path, tmp_path: Path) -> None:
    TargetCache(tmp_path / "c", binary).put("ab" * 32, OUTPUTS)
    assert TargetCache(tmp_path / "c", binary, "ssh:phone").get("ab" * 32) is None
    binary.write_bytes(b"another")
    assert TargetCache(tmp_path / "c", binary).get("ab" * 32) is None


def test_a_checkpoint_shows_every_change(tmp_path: Path) -> None:
    path, tensors = (
        tmp_path / "s.safetensors",
        {"w": torch.arange(6.0).reshape(2, 3), "h": torch.ones(2, dtype=torch.bfloat16)},
    )
    save_sealed(path, tensors, {"run": "1"})
    found, metadata = load_sealed(path)
    assert metadata == {"run": "1"} and torch.equal(found["w"], tensors["w"]) and found["h"].dtype == torch.bfloat16
    changed = load_file(path)
    changed["w"][0, 0] = 100
    for content in (changed, {"v": tensors["w"]}, {}):
        save_file(content, path, metadata={"run": "1", "sha256": "0" * 64})
        with pytest.raises(Damaged):
            load_sealed(path)
    for data in (b"", b"\\xff" * 100):
        path.write_bytes(data)
        with pytest.raises(Damaged):
            load_sealed(path)
    with pytest.raises(Damaged):
        load_sealed(tmp_path / "none")
