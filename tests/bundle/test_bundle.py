"""``hexaquant bundle``: what is in the folder, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from bundle.conftest import LABELS, PREPROCESSING
from cli.command import hexaquant
from cli.tiny import samples
from hexaquant.bundle.model_file import read_model_file
from hexaquant.bundle.platforms import PLATFORMS
from hexaquant.folder.manifest import verify_files
from hexaquant.qnn.runtime import Runtime


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_platform_has_its_files_and_a_readme_for_this_model(
    platform: str, out: Path, labels: Path, tmp_path: Path
) -> None:
    words = ("--labels", labels, *PREPROCESSING, "-o", tmp_path / "b", "--json")
    done = hexaquant("bundle", out, "--for", platform, *words)
    assert done.code == 0, done.err
    manifest = verify_files(tmp_path / "b")
    assert manifest.sections["bundle"]["platform"] == platform
    text = (tmp_path / "b/README.md").read_text()
    for part in ("1 x 3 x 8 x 8", "uint8", "labels.txt", "[0.485, 0.456, 0.406]", "NCHW", *done.document["libraries"]):
        assert part in text, part
    assert ("libQnnHtpV75Skel.so" in text) == (platform != "host")
    assert (tmp_path / "b/python/run.py").exists() == (platform != "windows-arm64")
    assert not list((tmp_path / "b").rglob("*Qnn*.so")) and not list((tmp_path / "b").rglob("*.dll"))


def test_runtime_opens_the_bundle_too(host: Path, out: Path) -> None:
    x = samples(1)
    with Runtime(host / "model.sm8650.bin") as bundled, Runtime(out / "model.sm8650.bin") as original:
        assert np.array_equal(bundled.run({"x": x})["y"], original.run({"x": x})["y"])


def test_a_second_bundle_replaces_the_first_and_nothing_else(out: Path, labels: Path, tmp_path: Path) -> None:
    folder = tmp_path / "b"
    hexaquant("bundle", out, "--for", "linux-arm64", "--labels", labels, "-o", folder)
    (folder / "lib").mkdir()
    (folder / "lib/libQnnHtp.so").write_text("mine")
    assert hexaquant("bundle", out, "--for", "windows-arm64", "-o", folder).code == 0
    assert (folder / "lib/libQnnHtp.so").exists()
    assert not (folder / "labels.txt").exists() and not (folder / "python/run.py").exists()


def test_names_of_every_kind_come_back_from_model_txt(host: Path, tmp_path: Path) -> None:
    text = (host / "model.txt").read_text().replace("input\tx\tx", "input\tein%20Name%2F%C3%BC%25%0A\tx")
    (tmp_path / "model.txt").write_text(text)
    assert read_model_file(tmp_path).inputs == (("ein Name/ü%\n", "x"),)


def test_refusals(out: Path, labels: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("keep me")
    hexaquant("bundle", out, "--for", "amiga").assert_refused(2, "amiga", "linux-arm64")
    hexaquant("bundle", out, "--for", "host", "-o", tmp_path / "full").assert_refused(2, "not empty")
    hexaquant("bundle", out, "--for", "host", "-o", out).assert_refused(2, "something else")
    hexaquant("bundle", out, "--for", "host", "--target", "sm8550").assert_refused(2, "compile", "sm8550")
    labels_of_two = tmp_path / "two.txt"
    labels_of_two.write_text("a\nb\n")
    done = hexaquant("bundle", out, "--for", "host", "-o", tmp_path / "b", "--labels", labels_of_two)
    done.assert_refused(2, "2 labels", "4 values")
    done = hexaquant("bundle", out, "--for", "host", "-o", tmp_path / "b", "--image-size", "9")
    done.assert_refused(2, "does not fit input")
    assert not (tmp_path / "b").exists() and len(LABELS) == 4


def test_a_changed_binary_is_not_bundled(out: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(out, tmp_path / "copy"))
    binary = copy / "model.sm8650.bin"
    binary.write_bytes(binary.read_bytes()[:-1] + b"!")
    hexaquant("bundle", copy, "--for", "host", "-o", tmp_path / "b").assert_refused(2, "changed")
