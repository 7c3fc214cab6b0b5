import json
from pathlib import Path

import pytest

from hexaquant.core.errors import InputError
from hexaquant.folder.manifest import NAME, amend_manifest, read_manifest, sha256_of, verify_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.bin").write_bytes(bytes(range(256)) * 100)
    amend_manifest(tmp_path, files=["model.bin"], target="sm8650", scheme="w8a8", sections={"plan": [1, {"a": None}]})
    return tmp_path


def test_steps_add_to_what_is_there(folder: Path) -> None:
    (folder / "model.dlc").write_bytes(b"dlc")
    amend_manifest(folder, files=["model.dlc"], sections={"lower": {"ok": True}}, names={"x": "x_0"})
    manifest = read_manifest(folder)
    assert manifest.target == "sm8650" and manifest.scheme == "w8a8"
    assert set(manifest.files) == {"model.bin", "model.dlc"}
    assert manifest.sections == {"plan": [1, {"a": None}], "lower": {"ok": True}}
    assert manifest.names == {"x": "x_0"}
    assert manifest.versions["onnxruntime"] and manifest.versions["python"]
    assert manifest.files["model.dlc"].sha256 == sha256_of(folder / "model.dlc")


def test_flipped_byte_is_found(folder: Path) -> None:
    verify_files(folder)
    data = bytearray((folder / "model.bin").read_bytes())
    data[12345] ^= 1
    (folder / "model.bin").write_bytes(data)
    with pytest.raises(InputError, match=r"model\.bin was changed since it was made"):
        verify_files(folder)


def test_missing_and_unlisted_files(folder: Path) -> None:
    with pytest.raises(InputError, match="does not list 'other'"):
        verify_files(folder, ["other"])
    (folder / "model.bin").unlink()
    with pytest.raises(InputError, match=r"model\.bin is missing"):
        verify_files(folder)
    with pytest.raises(InputError, match="cannot be recorded"):
        amend_manifest(folder, files=["nothing"])


def test_names_that_no_file_can_have(folder: Path) -> None:
    document = json.loads((folder / NAME).read_text())
    document["files"] = {"a" * 5000: next(iter(document["files"].values()))}
    (folder / NAME).write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"manifest\.json lists 'aaa.*': File name too long"):
        verify_files(folder)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd"])
def test_files_outside_the_folder_are_refused(folder: Path, name: str) -> None:
    with pytest.raises(InputError, match="outside the artifact folder"):
        amend_manifest(folder, files=[name])


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t[:50], "damaged"),
        (lambda t: t.replace('"format": 1', '"format": 99'), "format 99"),
        (lambda t: t.replace('"format": 1', '"format": 1, "extra": 2'), "damaged at extra"),
        (lambda t: json.dumps(json.loads(t) | {"files": {"a": {"sha256": "x", "bytes": 1}}}), r"files\.a\.sha256"),
    ],
)
def test_damaged_manifests(folder: Path, change, message: str) -> None:
    (folder / NAME).write_text(change((folder / NAME).read_text()))
    with pytest.raises(InputError, match=message):
        read_manifest(folder)


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no manifest\.json"):
        read_manifest(tmp_path)
