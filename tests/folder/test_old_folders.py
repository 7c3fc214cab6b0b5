"""Artifact folders that an earlier hexaquant wrote open as they are (``made_by_0_1_0``: deployed before the folder's
code was one room; the DLC and the binary are left out, and ``.state`` is called ``state``)."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import hexaquant as hq
from hexaquant.core.errors import InputError
from hexaquant.core.grid import Grid
from hexaquant.folder.artifacts import MODEL, QDQ, REFERENCE, Folder
from hexaquant.htp.soc import find_target
from hexaquant.report.sources import read_sources
from ir.onnx_text import random, run

OLD = Path(__file__).parent / "made_by_0_1_0"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    shutil.copytree(OLD, tmp_path / "out")
    (tmp_path / "out" / "state").rename(tmp_path / "out" / ".state")
    return tmp_path / "out"


def test_every_section_of_an_old_manifest_is_read(old: Path) -> None:
    folder = Folder.open(old)
    folder.verify([MODEL, QDQ, REFERENCE])
    manifest = folder.manifest
    assert manifest.quantization.overrides == {"y": {"bits": 16}}
    assert manifest.quantization.data == "calib.npz" and len(manifest.quantization.fingerprint) == 64
    assert [step["step"] for step in manifest.quantization.steps][-1:] != []
    assert manifest.lowering.target == "sm8650" and manifest.lowering.io is not None
    assert manifest.compilation("sm8650").qdq == manifest.files[QDQ].sha256
    assert manifest.compilation("sm8650").o_level == 3
    assert [command.argv[0] for command in manifest.commands] == ["deploy", "analyze"]
    assert manifest.io("model.sm8650.bin") == {"inputs": [["x", "x"]], "outputs": [["y", "y"]]}
    assert folder.plan["y"].grid == Grid(16) and folder.plan["r"].grid == Grid(8)


def test_an_old_simulation_computes_what_its_qdq_model_does_and_exports_again(old: Path, tmp_path: Path) -> None:
    model = hq.load_quantized(old)
    x = random(1, 3, 8, 8, seed=5)
    import onnx
    import torch

    with torch.no_grad():
        simulated = model(torch.from_numpy(x)).numpy()
    expected = run(onnx.load(old / QDQ), {"x": x})[0]
    step = float(model.encodings()["y"].step)
    assert np.abs(simulated - expected).max() <= 1.01 * step
    model.export(tmp_path / "again")
    assert (tmp_path / "again" / "model.encodings").read_bytes() == (old / "model.encodings").read_bytes()


def test_an_old_folder_without_its_binary_says_what_to_type(old: Path) -> None:
    with pytest.raises(InputError, match=r"model\.sm8650\.bin does not exist: run hexaquant compile .*sm8650 first"):
        Folder.open(old).binary()
    binary = hq.compile(old, "sm8650").binaries["sm8650"]
    assert (
        Folder.open(old).binary(find_target("sm8650")) == binary
        and hq.verify(old, {"x": random(2, 3, 8, 8)})["samples"] == 2
    )


def test_every_old_document_is_shown(old: Path) -> None:
    sources = read_sources(old)
    assert sources.problems == ()
    assert None not in (sources.verify, sources.coverage, sources.analysis, sources.lint)
    assert sources.analysis is not None and {t.name for t in sources.analysis.tensors} >= {"x", "r", "y"}
