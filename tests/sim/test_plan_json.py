"""A plan survives the manifest."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from hexaquant.core.errors import InputError
from hexaquant.core.grid import FLOAT16, Grid, Lpbq, PerBlock, PerChannel
from hexaquant.ir.graph import Graph
from hexaquant.sim.plan_json import grid_from_json, grid_json, plan_from_json, plan_to_json
from ir.onnx_text import random
from sim.nets import conv_net, net, planned


def gemm() -> Graph:
    text = "(float[N,32] x) => (float[N,6] y) { a = Selu (x)\n y = Gemm <transB=1> (a, w, b) }"
    return net(text, w=random(6, 32), b=random(6))


@pytest.mark.parametrize("scheme", ["w8a8", "w8a16", "w16a16", "w4a8", "fp16"])
def test_every_scheme_reads_back_equal(scheme: str) -> None:
    plan = planned(conv_net("Clip", lo=np.float32(0), hi=np.float32(6)), scheme)
    assert plan_from_json(json.loads(json.dumps(plan_to_json(plan)))) == plan


@pytest.mark.parametrize(
    "override",
    [
        {"y": {"observer": "entropy", "bits": 16}},
        {"w": {"granularity": "lpbq", "block_size": 16, "bits": 4}},
        {"w": {"granularity": "block", "block_size": 16}},
        {"y": "fp16"},
    ],
)
def test_overridden_plans_read_back_equal(override: dict[str, Any]) -> None:
    plan = planned(gemm(), "w8a8", override)
    assert plan_from_json(json.loads(json.dumps(plan_to_json(plan)))) == plan


@pytest.mark.parametrize(
    "grid", [FLOAT16, Grid(16, True), Grid(8, True, True, PerChannel(1)), Grid(4, True, True, PerBlock(1, 32, 0))]
)
def test_grids_read_back_equal(grid: Grid) -> None:
    assert grid_from_json(grid_json(grid)) == grid
    lpbq = Grid(4, True, True, Lpbq(0, 16, 1, 7))
    assert grid_from_json(grid_json(lpbq)) == lpbq


@pytest.mark.parametrize("damage", [{}, {"tensors": {"x": {}}}, {"tensors": 3}])
def test_a_damaged_plan_is_bad_input(damage: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="the plan in the manifest is damaged"):
        plan_from_json(damage)
