"""The page in a browser: silent, offline, its figures those of the JSON files, usable by mouse, keys and on a phone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from report.pages import Watched, opened

CHARTS = ("error-chart", "sensitivity-chart", "histogram-chart", "pareto-chart")


def test_opens_offline_without_a_request_or_a_message(shown: Watched, report_file: Path) -> None:
    for chart in CHARTS:
        shown.draw(chart)
    shown.page.locator("#theme").click()
    shown.page.locator("#theme").click()
    assert shown.messages == []
    assert [url for url in shown.requests if not url.startswith(("data:", "blob:"))] == [report_file.as_uri()]


def test_figures_are_those_of_the_files(shown: Watched, deployed: Path) -> None:
    analysis = json.loads((deployed / "analysis.json").read_text())
    verify = json.loads((deployed / "verify.json").read_text())
    debug = json.loads((deployed / "debug.json").read_text())
    values = [text.strip() for text in shown.page.locator(".score .value").all_text_contents()]
    assert values == [f"{100 * verify['metrics'][side]:.2f} %" for side in ("fp32", "sim", "target")]
    drawn = shown.draw("sensitivity-chart")["data"]
    alone = {name: x for series in drawn for name, x in zip(series["y"], series["x"])}
    wanted = {q["name"]: q["alone_on"]["sqnr_db"] for q in analysis["quantizers"]}
    assert alone == {name: db for name, db in wanted.items() if db is not None} and len(alone) > 3
    error = shown.draw("error-chart")
    assert [series["y"] for series in error["data"]] == [
        [tensor[key] for tensor in debug["tensors"]] for key in ("sqnr_fp32_sim_db", "sqnr_sim_target_db")
    ]
    (mark,) = error["layout"]["annotations"]
    assert mark["text"] == "target leaves simulation" and mark["x"] == 2


def test_histogram_has_the_counts_and_the_clip_lines_of_the_chosen_tensor(shown: Watched, deployed: Path) -> None:
    analysis = json.loads((deployed / "analysis.json").read_text())
    entry = next(tensor for tensor in analysis["tensors"] if tensor["name"] == "x")
    shown.page.locator("#histogram-tensor").select_option("x")
    drawn = shown.draw("histogram-chart")
    assert drawn["data"][0]["y"] == entry["histogram"]["counts"]
    lines = [shape["x0"] for shape in drawn["layout"]["shapes"]]
    assert lines == pytest.approx([entry["encoding_min"], entry["encoding_max"]], rel=1e-5)


def test_curve_is_that_of_the_mixed_precision_search(shown: Watched, deployed: Path) -> None:
    mixed = json.loads((deployed / "mixed.json").read_text())
    shown.page.locator("#pareto-cost").select_option("size")
    curve, uniform, chosen = shown.draw("pareto-chart")["data"]
    points = sorted(mixed["pareto"], key=lambda point: point["size"])
    assert curve["y"] == [point["predicted_sqnr_db"] for point in points]
    assert curve["x"] == pytest.approx([100 * point["size"] / mixed["w8a8"]["size"] for point in points])
    assert uniform["x"] == [100] and chosen["y"] == [mixed["choice"]["predicted_sqnr_db"]]


def test_click_on_a_layer_shows_its_tensors_encodings_and_findings(shown: Watched) -> None:
    panel, data = shown.page.locator("#panel"), shown.data()
    index = next(i for i, node in enumerate(data["network"]["nodes"]) if node["op"] == "GlobalAveragePool")
    shown.page.locator(f".node[data-node='{index}']").click()
    assert panel.is_visible()
    text = panel.inner_text()
    card = data["tensors"]["p"]
    assert "12.8 dB" in text and "The target rounds the mean." in text and "Use 16 bits." in text
    assert f"{card['encoding_max']:.4g}" in text and card["grid"] in text and "exact" in text
    shown.page.locator("#panel .neighbours button").first.click()
    assert shown.page.locator("#panel-title").inner_text() != data["network"]["nodes"][index]["title"]


def test_theme_follows_the_system_and_the_button(browser: Browser, report_file: Path) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    with opened(browser, report_file.as_uri(), theme="dark") as shown:
        dark = shown.page.evaluate(background)
        shown.draw("error-chart")
        line = shown.page.locator("#error-chart .js-line").first
        before = line.evaluate("(e) => getComputedStyle(e).stroke")
        shown.page.locator("#theme").click()
        light = shown.page.evaluate(background)
        expect(line).not_to_have_css("stroke", before, timeout=60_000)
        shown.page.reload()
        shown.page.wait_for_selector("html[data-ready]")
        assert shown.page.evaluate(background) == light != dark
        assert shown.messages == []


def test_keys_reach_a_layer_open_it_and_come_back(shown: Watched) -> None:
    page = shown.page
    focused = "document.activeElement.dataset.node"
    page.locator("#zoom-whole").focus()
    for _ in range(4):
        page.keyboard.press("Tab")
        if page.evaluate(focused) is not None:
            break
    assert page.evaluate(focused) == "0"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    place = page.evaluate(focused)
    assert place not in (None, "0")
    page.keyboard.press("Enter")
    assert page.locator("#panel").is_visible() and page.evaluate("document.activeElement.id") == "panel-close"
    assert page.locator("#panel").get_attribute("aria-labelledby") == "panel-title"
    page.keyboard.press("Escape")
    assert not page.locator("#panel").is_visible() and page.evaluate(focused) == place


def test_layers_are_found_and_sorted_in_the_table(shown: Watched) -> None:
    page = shown.page
    page.locator("summary", has_text="All layers").click()
    page.locator("#layer-filter").fill("globalaverage")
    assert page.locator("#layers tbody tr").count() == 1
    page.locator("#layers tbody button").click()
    assert "GlobalAveragePool" in page.locator("#panel-op").inner_text()
    page.keyboard.press("Escape")
    page.locator("#layer-filter").fill("")
    page.locator("#layers thead button", has_text="target, dB").click()
    cells = page.locator("#layers tbody tr").evaluate_all("(rows) => rows.map((row) => row.cells[4].textContent)")
    assert [text for text in cells if text] == sorted((text for text in cells if text), key=float)


def test_a_phone_needs_no_sideways_scrolling(browser: Browser, report_file: Path) -> None:
    with opened(browser, report_file.as_uri(), 390) as shown:
        for chart in CHARTS:
            shown.draw(chart)
        for details in shown.page.locator("details").all():
            details.evaluate("(e) => { e.open = true; }")
        wide = "document.documentElement.scrollWidth"
        assert shown.page.evaluate(wide) == 390
        shown.page.locator("#layers button.link").first.click()
        assert shown.page.locator("#panel").bounding_box()["width"] == 390  # type: ignore[index]
        assert shown.page.evaluate(wide) == 390 and shown.messages == []


def test_commands_to_reproduce_are_as_a_shell_takes_them(shown: Watched) -> None:
    assert shown.page.locator("h1").inner_text() == "net" and shown.page.title().startswith("net ")
    assert shown.page.locator("#commands").inner_text() == "hexaquant deploy net.onnx --data 'calib data.npz' -o tiny"
