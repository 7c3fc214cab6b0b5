"""Chains of Min, Max and Clip with scalars become one clamp of a form that the target computes right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hexaquant.api.compile import compile_folder
from hexaquant.core.metrics import sqnr_db
from hexaquant.folder.artifacts import binary_name, export_model
from hexaquant.htp.clips import form_clip
from hexaquant.htp.faults import faults_of
from hexaquant.htp.for_target import prepare_for_target
from hexaquant.htp.qdq_view import View
from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import normalize
from hexaquant.qnn.runtime import Runtime
from ir.onnx_text import assert_same, graph, random
from sim.nets import quantized

MAX_OF_MIN = "(float[N,8] x) => (float[N,8] y) { a = Min (x, high)\n y = Max (low, a) }"
MIN_OF_MAX = "(float[N,8] x) => (float[N,8] y) { a = Max (low, x)\n y = Min (a, high) }"
SHARED = "(float[N,8] x) => (float[N,8] y, float[N,8] a) { a = Min (x, high)\n y = Max (a, low) }"
BOUNDS = {"low": np.float32(0.3), "high": np.float32([2])}


def clipped(text: str, **bounds: np.ndarray) -> tuple[Graph, Graph, int]:
    """(before, after, pairs replaced)."""
    before = normalize(graph(text, **(BOUNDS | bounds)))
    after = before.clone()
    return before, after, form_clip(after)


AROUND_ZERO = {"low": np.float32(-0.3)}
CLIP = "(float[N,8] x) => (float[N,8] y) { y = Clip (x, low, high) }"
CHAIN = "(float[N,8] x) => (float[N,8] y) { a = Min (x, inner)\n b = Max (a, low)\n y = Clip (b, low, high) }"


@pytest.mark.parametrize(
    ("text", "bounds", "expected"),
    [
        (MAX_OF_MIN, AROUND_ZERO, ["Clip"]),
        (MIN_OF_MAX, AROUND_ZERO, ["Clip"]),
        (MAX_OF_MIN, {}, ["Max", "Min"]),
        (CLIP, {}, ["Max", "Min"]),
        (CLIP, {"low": np.float32(-2), "high": np.float32(-1)}, ["Max", "Min"]),
        (CHAIN, {"inner": np.float32(0.7)}, ["Max", "Min"]),
        (CHAIN, {"inner": np.float32(3), "low": np.float32(-1)}, ["Clip"]),
        (CLIP.replace(", high", ""), {}, ["Max"]),
    ],
)
def test_a_chain_becomes_one_clamp(text: str, bounds: dict[str, np.ndarray], expected: list[str]) -> None:
    before, after, changed = clipped(text, **bounds)
    assert changed == 1 and [node.op_type for node in after.nodes] == expected
    assert form_clip(after) == 0
    assert_same(before, after, {"x": 3 * random(5, 8)})


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        (MAX_OF_MIN, {"low": np.float32(2.5)}),
        (MAX_OF_MIN, {"low": random(8)}),
        (SHARED, {}),
        (MIN_OF_MAX, {}),
        (CLIP, AROUND_ZERO),
        (CHAIN, {"inner": np.float32(0.1)}),
    ],
    ids=["crossed bounds", "a bound an element", "the inner is an output", "Min of Max", "around zero", "constant"],
)
def test_what_is_not_a_clip_is_left(text: str, bounds: dict[str, np.ndarray]) -> None:
    assert clipped(text, **bounds)[2] == 0


def agreement(model: Graph, scheme: str, folder: Path) -> float:
    """SQNR in dB of the target against the simulation."""
    simulation, x = export(model, folder, scheme), 2 * random(4, 8, seed=99)
    compile_folder(folder, check=False)
    with torch.no_grad():
        wanted = simulation(torch.from_numpy(x)).numpy()
    with Runtime(folder / binary_name(simulation.plan.target)) as runtime:
        got = np.concatenate([runtime.run({"x": x[i : i + 1]})["y"] for i in range(len(x))])
    return sqnr_db(wanted, got)


def export(model: Graph, folder: Path, scheme: str = "w8a16") -> torch.nn.Module:
    simulation = quantized(model, scheme, data=[{"x": 2 * random(4, 8, seed=seed)} for seed in range(8)])
    export_model(simulation, folder)
    return simulation


AFTER_MUL = "(float[N,8] x) => (float[N,8] y) { a = Mul (x, factor)\n y = Clip (a, low, high) }"


@pytest.mark.parametrize(("text", "scheme", "bound"), [(MAX_OF_MIN, "w8a16", 60), (AFTER_MUL, "w8a8", 35)])
def test_the_target_then_agrees(text: str, scheme: str, bound: float, tmp_path: Path) -> None:
    model = normalize(graph(text, **BOUNDS, **({"factor": np.float32(0.7)} if "factor" in text else {})))
    prepare_for_target(model)
    assert agreement(model, scheme, tmp_path) > bound


def test_without_it_the_target_loses_the_lower_bound_and_lowering_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = normalize(graph(AFTER_MUL, **BOUNDS | {"high": np.float32(2), "factor": np.float32(0.7)}))
    (fault, what), *_ = faults_of(View(model.model.graph), model.nodes[-1])
    assert "follows 'a' (Mul), which the target computes wrongly" in fault.reason(what)
    assert fault.remedy == "write it as a Min of a Max"
    assert agreement(model, "w8a8", tmp_path) > 35
    monkeypatch.setattr("hexaquant.qnn.lower.adapt_forms", lambda *_, **__: {})
    assert agreement(model, "w8a8", tmp_path) < 15


def test_a_pair_that_reaches_lowering_is_right(tmp_path: Path) -> None:
    assert agreement(normalize(graph(MAX_OF_MIN, **BOUNDS)), "w8a16", tmp_path) > 60
