"""A browser without a window, and artifact folders to report on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from playwright.sync_api import Browser, Page

import hexaquant as hq

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str:
    """Its path. The test fails where there is none."""
    found = next((path for path in map(shutil.which, PROGRAMS) if path), None)
    if found is None:
        pytest.fail("the report is tested in Chromium, which is not installed: apt-get install chromium")
    return found


@dataclass
class Watched:
    """A page and everything it said or asked for."""

    page: Page
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def data(self) -> dict[str, Any]:
        """The JSON in the page."""
        return json.loads(self.page.locator("#data").text_content() or "")

    def draw(self, chart: str) -> dict[str, Any]:
        """Scroll a chart into view and return plotly's data and layout once it is drawn."""
        place = self.page.locator(f"#{chart}")
        place.scroll_into_view_if_needed()
        self.page.wait_for_selector(f"#{chart}[data-drawn]", timeout=120_000)
        return place.evaluate("(e) => ({data: e.data, layout: e.layout})")


@contextmanager
def opened(browser: Browser, address: str, width: int = 1400, theme: Any = "light") -> Iterator[Watched]:
    """The page at ``address``, ready."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
    page = context.new_page()
    watched = Watched(page)
    page.on("console", lambda message: watched.messages.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: watched.messages.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (watched.messages.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: watched.requests.append(request.url))
    page.goto(address)
    page.wait_for_selector("html[data-ready]", timeout=120_000)
    try:
        yield watched
    finally:
        context.close()


def chain(layers: int, names: tuple[str, str] = ("node", "tensor"), channels: int = 4) -> onnx.ModelProto:
    """``layers`` convolutions 1x1 in a row; ``names``: what operators and tensors begin with. x: (1, 4, 6, 6)."""
    rng = np.random.default_rng(0)
    node, tensor = names
    nodes, weights, before = [], [], "x"
    for i in range(layers):
        weight = (rng.standard_normal((channels, channels, 1, 1)) / 2).astype(np.float32)
        weights.append(onnx.numpy_helper.from_array(weight, f"{tensor}w{i}"))
        nodes.append(onnx.helper.make_node("Conv", [before, f"{tensor}w{i}"], [f"{tensor}{i}"], f"{node}{i}"))
        before = f"{tensor}{i}"
    shape = onnx.helper.make_tensor_value_info
    ports = ([shape("x", 1, [1, channels, 6, 6])], [shape(before, 1, [1, channels, 6, 6])])
    graph = onnx.helper.make_graph(nodes, "chain", *ports, weights)
    return onnx.helper.make_model(graph, ir_version=10, opset_imports=[onnx.helper.make_opsetid("", 21)])


def quantized(model: onnx.ModelProto, folder: Path) -> Path:
    """``model`` quantized by plain ranges and exported to ``folder``; nothing is compiled."""
    data = np.random.default_rng(1).standard_normal((2, 4, 6, 6)).astype(np.float32)
    hq.quantize(hq.load(model), [data[:1], data[1:]], recipe="plain").export(folder)
    return folder
