"""What the report makes of folders that hold little, much, or something broken."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from cli.command import hexaquant
from hexaquant.api.report import report_if_installed, write_report
from hexaquant.core.errors import EnvironmentLacksError
from hexaquant.core.events import Event, Events
from hexaquant.folder.manifest import Manifest
from hexaquant.report import plotly_script
from hexaquant.report.document import pipeline
from hexaquant.report.sources import Sources
from report.pages import chain, opened, quantized

MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Quantized, never compiled or measured."""
    return quantized(chain(2), tmp_path_factory.mktemp("bare") / "out")


def test_what_is_absent_is_one_line_with_the_command_for_it(bare: Path) -> None:
    text = write_report(bare).read_text()
    for command in (
        "verify out",
        "debug out",
        "analyze out",
        "compile out",
        "estimate out",
        "mixed MODEL",
        "lint MODEL",
    ):
        assert f"hexaquant {command}" in text, command


def test_a_network_without_a_plan_is_drawn_all_the_same(browser: Browser, bare: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"target": "sm8650", "scheme": "w8a8"}')
    (tmp_path / "model.onnx").write_bytes((bare / "model.onnx").read_bytes())
    with opened(browser, write_report(tmp_path).as_uri()) as shown:
        shown.page.locator(".node").nth(1).click()
        assert "4 × 4 × 1 × 1" in shown.page.locator("#panel").inner_text() and shown.messages == []


def test_a_damaged_file_is_a_sentence_on_the_page(bare: Path) -> None:
    (bare / "analysis.json").write_text('{"quantizers": [{"name": 1')
    (bare / "debug.json").write_text('{"tensors": {"a": 1}}')
    text = write_report(bare, bare / "damaged.html").read_text()
    assert "analysis.json cannot be read" in text and "debug.json is not of the expected form at tensors" in text
    (bare / "analysis.json").unlink()
    (bare / "debug.json").unlink()


def test_200_layers_stay_under_5_megabytes_and_draw(browser: Browser, tmp_path: Path) -> None:
    folder = quantized(chain(200), tmp_path / "deep")
    rng = np.random.default_rng(0)
    names = [f"tensor{i}" for i in range(200)] + [f"tensorw{i}" for i in range(200)]
    histogram = {"low": -1.0, "high": 1.0, "counts": rng.integers(0, 10**6, 64).tolist()}
    tensors = [{"name": name, "min": -1.0, "max": 1.0, "histogram": histogram} for name in names]
    quantizers = [{"name": name, "alone_on": {"sqnr_db": float(rng.uniform(10, 60))}} for name in names]
    (folder / "analysis.json").write_text(json.dumps({"tensors": tensors, "quantizers": quantizers}))
    file = write_report(folder)
    assert file.stat().st_size < 5 * MEBIBYTE
    start = time.monotonic()
    with opened(browser, file.as_uri()) as shown:
        assert shown.page.locator(".node").count() == 202
        shown.page.locator("#colour-by").select_option("sensitivity")
        shown.page.locator("#zoom-whole").click()
        shown.page.locator(".node").nth(150).click()
        assert "tensor149" in shown.page.locator("#panel").inner_text() and shown.messages == []
    assert time.monotonic() - start < 120


def test_command_writes_the_page_and_says_so_in_json(bare: Path, tmp_path: Path) -> None:
    done = hexaquant("report", bare, "-o", tmp_path / "page.html", "--json")
    assert done.code == 0 and done.document["bytes"] == (tmp_path / "page.html").stat().st_size


def test_what_is_no_artifact_folder_is_refused(tmp_path: Path) -> None:
    hexaquant("report", tmp_path).assert_refused(2, "manifest.json", "hexaquant deploy")
    hexaquant("report", tmp_path / "absent").assert_refused(2, "absent")
    hexaquant("report", tmp_path, "--serve", "-o", "x.html").assert_refused(2, "--serve")
    assert not list(tmp_path.iterdir())


def test_without_the_extra_the_sentence_says_what_to_install(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plotly_script, "PACKAGES", ("a_package_that_nobody_has",))
    with pytest.raises(EnvironmentLacksError, match=r"hexaquant\[report\]"):
        write_report(bare)
    said: list[Event] = []
    assert report_if_installed(bare, Events(said.append)) is None
    assert "hexaquant[report]" in said[0].text


def test_every_step_says_what_it_gained(bare: Path) -> None:
    held = {"verdict": "dropped", "samples": 5, "sqnr_before": 30.0, "sqnr_after": 28.5}
    layers = [{"layer": "a", "mse_before": 2.0, "mse_after": 1.0}, {"layer": "b", "mse_before": 1.0, "mse_after": 0.8}]
    steps = [
        {
            "step": "equalize layers",
            "samples": 0,
            "details": {"held_out": held, "layers": [{"layer": "a"}]},
            "seconds": 2.5,
        },
        {"step": "correct biases", "samples": 32, "details": {"layers": layers}},
        {"step": "correct on target", "samples": 16, "details": {"sqnr": [20.0, 24.0, 23.0], "kept": 1}},
    ]
    sections = {"quantization": {"steps": steps}, "lower": {"seconds": 1.5}, "compile sm8650": {"o_level": 3}}
    found = pipeline(Sources(bare, Manifest(sections=sections)))
    assert [step.gain for step in found] == [-1.5, None, 4.0, None, None]
    assert found[0].verdict == "dropped" and found[0].seconds == 2.5 and "1 layer" in found[0].text
    assert "squared error down 35.0 %" in found[1].text
    assert [step.name for step in found[3:]] == ["lower to DLC", "compile for sm8650"]
