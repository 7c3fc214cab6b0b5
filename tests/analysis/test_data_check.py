"""Absurd data and figures are said: what the data look like, and what does not fit."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hexaquant.analysis.data_check import doubts, look_at, out_of_range
from hexaquant.api.deploy import deploy
from hexaquant.core.encoding import encoding_from_range
from hexaquant.core.events import Event, Events
from hexaquant.core.grid import Grid
from hexaquant.io.data import open_data
from hexaquant.ir.executor.build import build_module
from sim.nets import net, random

GRAPH = """(float[N,3,8,8] x) => (float[N,5] y) {
    c = Conv <pads=[1,1,1,1]> (x, w)
    r = Relu (c)
    p = GlobalAveragePool (r)
    f = Flatten (p)
    y = Gemm (f, v)
}"""


def classifier():
    return net(GRAPH, w=random(8, 3, 3, 3, seed=1), v=random(8, 5, seed=2))


def pixels(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, (count, 3, 8, 8)).astype(np.float32)


def test_an_input_is_described_in_a_line() -> None:
    (look,) = look_at(open_data(np.round(255 * pixels(20)), classifier()))
    assert look.words().startswith("input 'x': 20 samples of 3x8x8, 0 to 255, mean 12")
    assert look.words().endswith("looks like pixels 0..255")
    assert not list(doubts([look], "calibrate"))


@pytest.mark.parametrize(
    "data, said",
    [
        (pixels(4), "only 4 samples calibrate"),
        (np.full((20, 3, 8, 8), 0.5, np.float32), "every value of input 'x' is 0.5"),
        (np.repeat(pixels(1), 20, 0), "all samples are equal"),
    ],
)
def test_data_that_are_none_are_said(data: np.ndarray, said: str) -> None:
    assert [text for text in doubts(look_at(open_data(data, classifier())), "calibrate") if said in text]


@pytest.mark.parametrize("factor, strange", [(1.0, False), (1.5, False), (255.0, True), (1 / 255, True)])
def test_evaluation_on_another_scale_is_said(factor: float, strange: bool) -> None:
    calibrated = {"x": encoding_from_range(torch.tensor(0.0), torch.tensor(1.0), Grid(8))}
    looks = look_at(open_data(pixels(20) * np.float32(factor), classifier()))
    found = list(out_of_range(looks, calibrated))
    assert bool(found) == strange and all("the same preprocessing" in text for text in found)


def warnings(folder: Path, data, **options) -> list[str]:
    events: list[Event] = []
    deploy(classifier(), data, folder, recipe="plain", report=False, events=Events(events.append), **options)
    return [event.text for event in events if event.kind == "warning" and event.data.get("doubt")]


def test_a_wrong_scale_is_the_cause_that_verify_names(tmp_path: Path) -> None:
    said = warnings(tmp_path, pixels(20), eval_data=255 * pixels(8, seed=1))
    assert "calibrated for 0 to" in said[0]
    assert "most likely because of the data" in said[-1]


def test_labels_that_do_not_fit_are_said(tmp_path: Path) -> None:
    x = pixels(40, seed=3)
    with torch.no_grad():
        least = build_module(classifier())(torch.from_numpy(x)).argmin(1).numpy()
    said = warnings(tmp_path, pixels(20), eval_data={"x": x, "labels": least})
    assert [text for text in said if text.startswith("FP32 itself") and "no more than by chance" in text]


def test_a_good_network_draws_nothing(tmp_path: Path) -> None:
    assert warnings(tmp_path, pixels(40), metric=None) == []
