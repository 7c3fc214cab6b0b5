"""The page of a language model: its figures are those of the manifest, and what departs from FP32 is marked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hexaquant.api.report import write_report
from hexaquant.folder.manifest import amend_manifest
from hexaquant.llm.graphs import Form
from hexaquant.llm.record import Record
from hexaquant.llm.static_decoder import Layer, Shapes
from hexaquant.report.language import language
from hexaquant.report.sources import read_sources

FORM = Form((Layer(3, 64, 64, None),) * 30, "index", 0, -50.0, 49152)
RECORD = Record("Small", "", FORM, None, (Shapes(32, 256), Shapes(1, 256)), -1, (2,), 0, "sm8650", "w8a16", 8)
FIGURES = {"tokens": 512, "perplexity": 122.34, "kl": 0.0231, "same_argmax": 0.91, "top5": 0.998}
EVALUATION = {
    "text": "README.md",
    "length": 128,
    "figures": {"fp32": {"tokens": 512, "perplexity": 118.2}, "target": {**FIGURES, "logits_sqnr_db": 27.1}},
}
ANSWER: dict[str, Any] = {
    "prompt": "Where?",
    "texts": {
        "fp32": "Paris, of course.",
        "simulation": "Paris, of course.",
        "loop": "Paris <b>",
        "genie": "Paris <b>",
    },
    "departure": 1,
    "margin": 0.0024,
}


def page(folder: Path, **sections: Any) -> str:
    (folder / "model.sm8650.bin").write_bytes(bytes(3 << 20))
    every = {"llm": RECORD.to_json(), "quantization": {"weight_bytes": 134 << 20}, **sections}
    amend_manifest(folder, files=["model.sm8650.bin"], sections=every, target="sm8650", scheme="w8a16")
    return write_report(folder).read_text()


def section(html: str) -> str:
    return html.partition('<section id="language">')[2].partition("</section>")[0]


def test_figures_texts_and_sizes(tmp_path: Path) -> None:
    html = page(tmp_path, **{"llm eval": EVALUATION, "llm verify": {"count": 24, "prompts": [ANSWER]}})
    found = section(html)
    for text in ("122.3", "0.0231", "91.0 %", "99.8 %", "27.1 dB", "118.2", "3 MiB", "134 MiB", "at token 1", "0.24 %"):
        assert text in found, text
    cache = 30 * 3 * (64 + 64) * 256
    assert f"{cache / 2**20:.3g} MiB" in found
    assert re.findall("<td>(Paris[^\n]*?)</td>", found) == [
        "Paris, of course.",
        "Paris, of course.",
        "Paris<mark> &lt;b&gt;</mark>",
        "Paris<mark> &lt;b&gt;</mark>",
    ]
    assert '<a href="#language">' in html


def test_what_was_not_measured_names_its_command(tmp_path: Path) -> None:
    found = section(page(tmp_path))
    assert "hexaquant llm eval" in found and "hexaquant llm verify" in found


def test_another_folder_has_no_such_section(tmp_path: Path) -> None:
    amend_manifest(tmp_path, sections={"quantization": {}}, target="sm8650", scheme="w8a16")
    html = write_report(tmp_path).read_text()
    assert not section(html) and '<a href="#language">' not in html


def test_damaged_sections_are_told(tmp_path: Path) -> None:
    html = page(tmp_path, **{"llm verify": {"prompts": "all of them"}})
    assert "damaged at prompts" in html and not section(html)
    assert language(read_sources(tmp_path))[0] is None
