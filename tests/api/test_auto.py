"""auto climbs only as far as it must, meets the threshold on the emulator, and says why; or it says what is left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import hexaquant as hq
from hexaquant.api.attempts import Final, parted
from hexaquant.core.errors import InputError
from hexaquant.core.events import Event, Events
from hexaquant.folder.artifacts import load_quantized
from hexaquant.io.data import open_data
from hexaquant.ir.executor.build import build_module
from hexaquant.ir.graph import Graph
from ir.onnx_text import random
from qat.rescaled import rescaled_net, smooth_images
from sim.nets import net


def labelled(graph: Graph, x: np.ndarray, clear: float) -> dict[str, np.ndarray]:
    """The samples of ``x`` that ``graph`` decides most clearly (that part of all), with its decisions as labels."""
    with torch.no_grad():
        logits = build_module(graph)(torch.from_numpy(x)).numpy()
    first, second = np.sort(logits, axis=1)[:, -1], np.sort(logits, axis=1)[:, -2]
    kept = np.argsort(second - first)[: int(clear * len(x))]
    return {"x": x[kept], "labels": logits[kept].argmax(1)}


def difference_net(gap: float) -> Graph:
    """Its second layer takes the difference of channels that are equal up to ``gap``; the rest sees only that.

    The pooling keeps these channels apart: a rotation would separate sums from differences.
    """
    w1, w2 = np.zeros((8, 3, 1, 1), np.float32), np.zeros((4, 8, 1, 1), np.float32)
    for row in range(4):
        w1[2 * row, row % 3], w1[2 * row + 1, row % 3] = 10.0 * (1 + gap), 10.0
        w2[row, 2 * row], w2[row, 2 * row + 1] = 1.0, -1.0
    text = """(float[N,3,16,16] x) => (float[N,10] y) {
        a = Conv (x, w1)
        p = MaxPool <kernel_shape=[2,2], strides=[2,2]> (a)
        b = Conv (p, w2)
        c = Conv <pads=[1,1,1,1]> (b, w3, b3)
        r = Relu (c)
        m = GlobalAveragePool (r)
        f = Flatten (m)
        y = Gemm (f, fc, fb)
    }"""
    more = {"w3": random(32, 4, 3, 3, seed=5) / (5 * gap), "b3": np.zeros(32, np.float32), "fb": random(10) * 0.01}
    return net(text, w1=w1, w2=w2, fc=random(32, 10, seed=7) / 5, **more)


def run(graph: Graph, out: Path, clear: float = 0.5, **options: Any) -> dict[str, Any]:
    evaluation = labelled(graph, smooth_images(128, 50), clear)
    return hq.auto(graph, {"x": smooth_images(40, 1)}, out, eval_data=evaluation, **{"max_drop": 2.0, **options})


def assert_holds_on_the_emulator(report: dict[str, Any], out: Path, max_drop: float = 2.0) -> None:
    found = report["auto"]
    assert found["met"] and found["advice"] is None
    assert 100 * (report["metrics"]["fp32"] - report["metrics"]["target"]) <= max_drop
    assert found["attempts"][-1]["name"] == found["chosen"] and found["attempts"][-1]["target"] is not None
    assert all(a["why"] and a["result"] for a in found["attempts"])
    assert found["final"]["samples"] == report["samples"] == 13 and found["attempts"][-1]["samples"] == 51
    assert found["final"]["holds"] and found["final"]["target"] == report["metrics"]["target"]
    assert json.loads((out / "manifest.json").read_text())["sections"]["auto"] == found
    assert (out / "model.sm8650.bin").is_file() and not (out / ".state" / "auto").exists()
    load_quantized(out)


def test_an_easy_network_gets_plain_w8a8(tmp_path: Path) -> None:
    report = run(rescaled_net(0.0), tmp_path)
    assert_holds_on_the_emulator(report, tmp_path)
    assert [a["name"] for a in report["auto"]["attempts"]] == ["w8a8 plain"]
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text())["name"] == "plain"


def test_badly_scaled_channels_need_a_technique(tmp_path: Path) -> None:
    report = run(rescaled_net(3.5), tmp_path)
    assert_holds_on_the_emulator(report, tmp_path)
    attempts = report["auto"]["attempts"]
    assert attempts[0]["sim_drop"] > 2 and attempts[0]["target"] is None
    assert report["auto"]["chosen"] in ("w8a8 fast", "w8a8 best")


def test_a_difference_of_nearly_equal_channels_needs_mixed_precision(tmp_path: Path) -> None:
    report = run(difference_net(0.02), tmp_path)
    assert_holds_on_the_emulator(report, tmp_path)
    attempts = report["auto"]["attempts"]
    assert [a["name"] for a in attempts[:3]] == ["w8a8 plain", "w8a8 fast", "w8a8 best"]
    assert report["auto"]["chosen"].startswith("mixed")
    assert attempts[-1]["overrides"] and "layer 'a'" in attempts[-1]["why"]


def test_what_cannot_be_reached_leaves_the_best_and_advice(tmp_path: Path) -> None:
    report = run(difference_net(1e-5), tmp_path, max_drop=1.0)
    found = report["auto"]
    assert not found["met"] and "qat" in found["advice"] and "points lost" in found["advice"]
    assert {"w8a8", "w8a16", "fp16"} <= {a["scheme"] for a in found["attempts"]}
    assert found["chosen"] in found["advice"]
    assert (tmp_path / "model.sm8650.bin").is_file() and report["metrics"]["target"] is not None


class Interrupted(Exception):
    pass


def test_an_interrupted_climb_goes_on(tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        if event.text.startswith("trying w8a8 best"):
            raise Interrupted

    with pytest.raises(Interrupted):
        run(difference_net(0.02), tmp_path, events=Events(stop))
    told: list[Event] = []
    report = run(difference_net(0.02), tmp_path, events=Events(told.append))
    assert report["auto"]["met"]
    assert any("2 attempts of an earlier run are kept" in event.text for event in told)


def test_data_without_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no labels"):
        hq.auto(rescaled_net(0.0), {"x": smooth_images(10, 1)}, tmp_path)


def test_a_fifth_of_the_evaluation_data_chooses_nothing() -> None:
    graph = rescaled_net(0.0)
    x = np.arange(60, dtype=np.float32)[:, None, None, None] * np.ones((1, 3, 16, 16), np.float32)
    whole = open_data({"x": x, "labels": np.arange(60)}, graph)
    choosing, final = parted(whole)
    assert final is not None
    used, kept = choosing.labels(), final.labels()
    assert used is not None and kept is not None and len(kept) == 12
    assert sorted([*used.tolist(), *kept.tolist()]) == list(range(60))
    assert np.array_equal(np.concatenate([batch["x"][:, 0, 0, 0] for batch in final]), kept)
    small = open_data({"x": x[:46], "labels": np.arange(46)}, graph)
    assert parted(small) == (small, None)


def test_a_winner_that_misses_where_nothing_was_chosen_is_named() -> None:
    final = Final.of({"metrics": {"fp32": 0.9, "target": 0.85}, "samples": 20}, max_drop=2.0)
    assert not final.holds and "20 samples" in final.sentence(2.0) and "5.00 points" in final.sentence(2.0)
