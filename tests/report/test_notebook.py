"""What a notebook shows of results: the figures of the objects, in tables."""

from __future__ import annotations

import json

from playwright.sync_api import Browser

from hexaquant.analysis.coverage import Coverage, Row
from report.conftest import Made


def test_results_show_their_figures(browser: Browser, made: Made) -> None:
    analysis, mixed, verified, linted = made.results
    page = browser.new_page()
    page.set_content("".join(result._repr_html_() for result in made.results))
    text = page.locator("body").inner_text()
    worst = analysis.worst(1)[0]
    assert f"{worst.alone_on.sqnr_db:.1f}" in text
    assert f"{mixed.choice.bops:,}" in text
    assert f"{verified['outputs'][0]['fp32_vs_target_sqnr_db']:.1f} dB" in text and "w8a8 on sm8650, 4 samples" in text
    assert all(judgement.op_type in text for judgement in linted.judgements)
    page.close()


def test_a_report_of_verify_is_a_plain_dictionary(made: Made) -> None:
    verified = made.results[2]
    assert json.loads(json.dumps(verified)) == dict(verified)


def test_tensors_that_did_not_arrive_come_first(browser: Browser) -> None:
    rows = [Row(f"t{i}", f"t{i}", "uint8", "ufixed8", "exact") for i in range(60)]
    proof = Coverage((*rows, Row("lost", "", "uint8", "", "missing")))
    page = browser.new_page()
    page.set_content(proof._repr_html_())
    cells = page.locator("tbody tr").first.locator("td").all_inner_texts()
    assert cells[:2] == ["missing", "lost"] and page.locator("tbody tr").count() == 40
    assert "and 21 more" in page.locator("body").inner_text()
    page.close()
