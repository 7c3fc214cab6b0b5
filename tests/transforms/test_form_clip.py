"""Min and Max with scalars become one Clip, which the target computes right in 16 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hexaquant.api.artifacts import export_model
from hexaquant.api.compile import binary_name, compile_folder
from hexaquant.core.errors import TargetError
from hexaquant.core.metrics import sqnr_db
from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import normalize
from hexaquant.qnn.runtime import Runtime
from hexaquant.transforms.for_target import prepare_for_target
from hexaquant.transforms.form_clip import form_clip
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


@pytest.mark.parametrize("text", [MAX_OF_MIN, MIN_OF_MAX])
def test_a_pair_becomes_a_clip(text: str) -> None:
    before, after, changed = clipped(text)
    assert changed == 1 and [node.op_type for node in after.nodes] == ["Clip"]
    assert_same(before, after, {"x": 3 * random(5, 8)})


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        (MAX_OF_MIN, {"low": np.float32(2.5)}),
        (MAX_OF_MIN, {"low": random(8)}),
        (SHARED, {}),
    ],
    ids=["crossed bounds", "one bound an element", "the inner result is an output"],
)
def test_what_is_not_a_clip_is_left(text: str, bounds: dict[str, np.ndarray]) -> None:
    assert clipped(text, **bounds)[2] == 0


def export(model: Graph, folder: Path) -> torch.nn.Module:
    simulation = quantized(model, "w8a16", data=[{"x": 2 * random(4, 8, seed=seed)} for seed in range(8)])
    export_model(simulation, folder)
    return simulation


def test_the_target_then_agrees_in_16_bits(tmp_path: Path) -> None:
    model = normalize(graph(MAX_OF_MIN, **BOUNDS))
    prepare_for_target(model)
    simulation, x = export(model, tmp_path), 2 * random(4, 8, seed=99)
    compile_folder(tmp_path)
    with torch.no_grad():
        wanted = simulation(torch.from_numpy(x)).numpy()
    with Runtime(tmp_path / binary_name(simulation.plan.target)) as runtime:
        got = np.concatenate([runtime.run({"x": x[i : i + 1]})["y"] for i in range(len(x))])
    assert sqnr_db(wanted, got) > 60


def test_a_pair_that_reaches_lowering_is_refused(tmp_path: Path) -> None:
    export(normalize(graph(MAX_OF_MIN, **BOUNDS)), tmp_path)
    with pytest.raises(TargetError, match=r"'y' \(Max\) clips what 'a' \(Min\) has clipped"):
        compile_folder(tmp_path)
