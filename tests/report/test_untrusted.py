"""Names come from model files: whatever they hold, they stay text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from hexaquant.api.report import write_report
from hexaquant.folder.artifacts import load_quantized
from hexaquant.report.render import script_json
from report.pages import chain, opened, quantized

EVIL = "</script><img src=x onerror=alert(1)><b>\"'&lt;"


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = quantized(chain(2, (EVIL + "node", EVIL + "tensor")), tmp_path_factory.mktemp("evil") / "<i>out")
    quantizers = [
        {"name": EVIL + "tensor0", "layer": EVIL, "origin": EVIL, "bits": EVIL, "alone_on": {"sqnr_db": 20.0}}
    ]
    tensors = [{"name": EVIL + "tensor0", "op": EVIL, "sqnr_fp32_sim_db": 30.0}]
    finding = {"layer": EVIL, "tensor": EVIL + "tensor0", "text": EVIL, "fix": EVIL}
    (folder / "analysis.json").write_text(json.dumps({"metric": EVIL, "quantizers": quantizers}))
    (folder / "debug.json").write_text(json.dumps({"tensors": tensors, "findings": [finding]}))
    return folder


def test_markup_in_names_is_shown_and_never_run(browser: Browser, evil: Path) -> None:
    with opened(browser, write_report(evil).as_uri()) as shown:
        shown.draw("sensitivity-chart")
        shown.draw("error-chart")
        shown.draw("histogram-chart")
        shown.page.locator(".node", has_text="Conv").first.click()
        assert EVIL in shown.page.locator("#panel").inner_text()
        assert shown.page.locator("img").count() == 0 and shown.page.locator("main i").count() == 0
        assert shown.messages == []


def test_a_script_that_the_policy_does_not_name_does_not_run(browser: Browser, evil: Path) -> None:
    file = write_report(evil, evil / "changed.html")
    text = file.read_text().replace("<main ", "<script>document.title = 'taken'</script><main ", 1)
    file.write_text(text)
    with opened(browser, file.as_uri()) as shown:
        assert shown.page.title() != "taken"
        assert any("Content Security Policy" in message for message in shown.messages)


def test_notebook_tables_escape_names(browser: Browser, evil: Path) -> None:
    model = load_quantized(evil)
    drawn = model._repr_html_() + model.plan._repr_html_() + model.source_graph._repr_html_()
    page = browser.new_page()
    page.set_content(drawn)
    assert page.locator("img").count() == 0 and page.locator("b").count() == 0
    assert EVIL + "tensor0" in page.locator("table").first.inner_text()
    page.close()


def test_json_in_a_script_element_reads_back_the_same() -> None:
    value = {EVIL: [EVIL, "\u2028\u2029", 1.5, None]}
    text = script_json(value)
    assert json.loads(text) == value and not set("<>&\u2028\u2029") & set(text)
