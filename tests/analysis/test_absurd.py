"""Twenty set-ups that go through, or nearly, and mean nothing: each draws a sentence that says so."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import hexaquant as hq
from hexaquant.api.deploy import deploy
from hexaquant.core.errors import HexaquantError
from hexaquant.core.events import Event, Events
from hexaquant.io.image_folder import ImageSpec
from hexaquant.ir.executor.build import build_module
from hexaquant.ir.graph import Graph
from sim.nets import net, random

CLASSIFIER = """(float[N,3,8,8] x) => (float[N,5] y) {
    c = Conv <pads=[1,1,1,1]> (x, w) r = Relu (c) p = GlobalAveragePool (r) f = Flatten (p) y = Gemm (f, v)
}"""


def classifier(scale: float = 1.0) -> Graph:
    return net(CLASSIFIER, w=random(8, 3, 3, 3, seed=1), v=scale * random(8, 5, seed=2))


def pixels(count: int, seed: int = 0, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, (count, *(shape or (3, 8, 8)))).astype(np.float32)


def filled(array: np.ndarray, value: float) -> np.ndarray:
    changed = array.copy()
    changed[3, 0, 0, 0] = value
    return changed


Said = Callable[[Path], list[str]]


def heard(call: Callable[[Events], Any]) -> list[str]:
    """All warnings of ``call``, and the sentence with which it ends where it does."""
    events: list[Event] = []
    end = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call(Events(events.append))
    except HexaquantError as error:
        end = [str(error)]
    return [event.text for event in events if event.kind == "warning" and event.data.get("doubt")] + end


def calibrated(data: Any, graph: Graph | None = None) -> Said:
    def said(folder: Path) -> list[str]:
        return heard(lambda events: hq.quantize(graph or classifier(), data, recipe="plain", events=events))

    return said


def pictures(folder: Path, **spec: Any) -> Path:
    for index, picture in enumerate(255 * pixels(20, 4, 8, 8, 3)):
        folder.mkdir(exist_ok=True)
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"{index}.png")
    return folder


X = pixels(20)
JOINED = "(float[N,3,8,8] x) => (float[N,6,8,8] y) { a = Mul (x, big) s = Sigmoid (x) y = Concat <axis=1> (a, s) }"
CALIBRATION: dict[str, tuple[Said, str]] = {
    "one sample": (calibrated(X[:1]), "only 1 samples calibrate"),
    "constant data": (calibrated(np.full_like(X, 0.5)), "every value of input 'x' is 0.5"),
    "zeros": (calibrated(np.zeros_like(X)), "every value of input 'x' is 0"),
    "one sample twenty times": (calibrated(np.repeat(X[:1], 20, 0)), "all samples are equal"),
    "a NaN": (calibrated(filled(X, np.nan)), "NaN"),
    "an infinity": (calibrated(filled(X, np.inf)), "infinity"),
    "channels last": (calibrated(pixels(20, 0, 8, 8, 3)), "wants Nx3x8x8"),
    "no samples": (calibrated(X[:0]), "empty"),
    "another input's name": (calibrated({"image": X}), "no input of the model"),
    "numbers as text": (calibrated(X.astype(str)), "x"),
    "a Concat of unlike ranges": (calibrated(X, net(JOINED, big=np.float32(600))), "is joined with values of"),
}
"""Name -> what is said before or in calibration."""


@pytest.mark.parametrize("name", CALIBRATION)
def test_absurd_calibration_is_said(name: str, tmp_path: Path) -> None:
    said, wanted = CALIBRATION[name]
    found = said(tmp_path)
    assert [text for text in found if wanted in text], found


def test_pictures_say_how_they_were_preprocessed(tmp_path: Path) -> None:
    def notes(spec: ImageSpec | None) -> list[str]:
        events: list[Event] = []
        data = hq.io.data.open_data(pictures(tmp_path / "pictures"), classifier(), spec)
        hq.quantize(classifier(), data, recipe="plain", events=Events(events.append))
        return [event.text for event in events if "pictures resized" in event.text]

    (default,) = notes(None)
    assert default.endswith(
        "pictures resized to 8x8, RGB, NCHW, (pixel * 0.003922 - 0) / 1: the defaults, as no preprocessing was given "
        "(--images)"
    )
    (given,) = notes(ImageSpec(resize=10, mean=(0.5, 0.4, 0.3), std=(0.2,), color="BGR"))
    assert given.endswith(
        "to a shorter side of 10 and cut to 8x8, BGR, NCHW, (pixel * 0.003922 - [0.5, 0.4, 0.3]) / 0.2"
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("absurd") / "out"
    assert heard(lambda events: deploy(classifier(), pixels(40), out, metric=None, report=False, events=events)) == []
    return out


def best_classes(x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return build_module(classifier())(torch.from_numpy(x)).argmax(1).numpy()


TEST = pixels(24, 3)
EVALUATION: dict[str, tuple[Any, str]] = {
    "0..255 after 0..1": (255 * TEST, "give both the same preprocessing"),
    "divided once more": (TEST / 255, "give both the same preprocessing"),
    "not centred but shifted": (TEST + 9, "give both the same preprocessing"),
    "constant pictures": (np.full_like(TEST, 0.25), "this is no data to verify with"),
    "one picture again and again": (np.repeat(TEST[:1], 24, 0), "all samples are equal"),
    "labels shifted by one": ({"x": TEST, "labels": (best_classes(TEST) + 1) % 5}, "no more than by chance"),
    "labels of another data set": ({"x": TEST, "labels": np.full(24, 700)}, "the network has 5 classes"),
    "a NaN": (filled(TEST, np.nan), "NaN"),
    "channels last": (pixels(24, 0, 8, 8, 3), "wants Nx3x8x8"),
}
"""Name -> evaluation data, and what is said of a network that is good."""


@pytest.mark.parametrize("name", EVALUATION)
def test_absurd_evaluation_is_said(name: str, folder: Path) -> None:
    data, wanted = EVALUATION[name]
    found = heard(lambda events: hq.verify(folder, data, events=events))
    assert [text for text in found if wanted in text], found


NETWORKS: dict[str, tuple[str, dict[str, np.ndarray], str]] = {
    "an output that is always 0": (
        "(float[N,3,8,8] x) => (float[N,3,8,8] y) { a = Sub (x, big) y = Relu (a) }",
        {"big": np.float32(100)},
        "is all zero in FP32",
    ),
    "the logarithm of small squares": (
        "(float[N,3,8,8] x) => (float[N,3,8,8] y) { a = Mul (x, small) b = Mul (a, a) c = Add (b, least) l = Log (c) "
        "y = Add (l, mean) }",
        {"small": np.float32(1e-3), "least": np.float32(1e-10), "mean": np.float32(15)},
        "grids are too coarse",
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_that_8_bits_cannot_hold_are_said(name: str, tmp_path: Path) -> None:
    text, constants, wanted = NETWORKS[name]
    x = np.random.default_rng(0).standard_normal((40, 3, 8, 8)).astype(np.float32)
    graph = net(text, **constants)
    found = heard(lambda events: deploy(graph, x, tmp_path, metric=None, report=False, events=events))
    assert [sentence for sentence in found if wanted in sentence], found
