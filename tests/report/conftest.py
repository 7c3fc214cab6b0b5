"""One browser and one deployed, analysed folder for all tests of the report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import pytest
from playwright.sync_api import Browser, sync_playwright

import hexaquant as hq
from cli.tiny import labels, samples, tiny_model
from hexaquant.api.report import write_report
from hexaquant.folder.manifest import record_command
from report.pages import Watched, find_chromium, opened


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        yield made
        made.close()


@dataclass(frozen=True)
class Made:
    """A deployed folder, and what the calls on it returned."""

    folder: Path
    results: tuple[Any, ...]


@pytest.fixture(scope="session")
def deployed(made: Made) -> Path:
    return made.folder


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A tiny classifier, verified on the emulator and analysed; debug.json as the debugger writes it."""
    folder = tmp_path_factory.mktemp("report") / "tiny"
    model, x = tiny_model(), samples(10)
    file = folder.parent / "net.onnx"
    onnx.save(model, file)
    data = {"x": x, "labels": labels(model, x)}
    hq.deploy(file, x, folder, eval_data=data, report=False)
    analysis = hq.analyze(folder, data, samples=4)
    mixed = hq.mixed_precision(file, x, samples=4)
    (folder / "debug.json").write_text(json.dumps(_debug()))
    (folder / "mixed.json").write_text(json.dumps(mixed.to_json()))
    record_command(folder, ["deploy", "net.onnx", "--data", "calib data.npz", "-o", "tiny"])
    return Made(folder, (analysis, mixed, hq.verify(folder, data, limit=4), hq.lint(file)))


def _debug() -> dict[str, object]:
    figures = [("r", "Relu", 41.5, 60.25), ("p", "GlobalAveragePool", 44.0, 12.75), ("y", "Gemm", 39.5, 12.5)]
    tensors = [
        {"name": name, "layer": name, "origin": None, "op": op, "bits": 8, "sqnr_fp32_sim_db": sim,
         "sqnr_sim_target_db": target, "sqnr_fp32_target_db": None, "max_steps": 3.0}
        for name, op, sim, target in figures
    ]  # fmt: skip
    finding = {
        "layer": "p",
        "tensor": "p",
        "origin": None,
        "text": "The target rounds the mean.",
        "fix": "Use 16 bits.",
    }
    return {
        "format": 1,
        "mode": "cumulative",
        "samples": 4,
        "tensors": tensors,
        "first_target_leaves_simulation": "p",
        "first_simulation_leaves_fp32": None,
        "findings": [finding],
    }


@pytest.fixture(scope="session")
def report_file(deployed: Path) -> Path:
    return write_report(deployed)


@pytest.fixture(scope="session")
def window(browser: Browser, report_file: Path) -> Iterator[Watched]:
    """The report, opened once."""
    with opened(browser, report_file.as_uri()) as watched:
        yield watched


@pytest.fixture
def shown(window: Watched) -> Iterator[Watched]:
    """The report with no layer open; it must have said nothing when the test is over."""
    yield window
    window.page.keyboard.press("Escape")
    assert window.messages == []
