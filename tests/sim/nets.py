"""Small graphs in ONNX text, planned and quantized, for the tests of sim, ptq, analysis and api."""

from __future__ import annotations

from typing import Any

import numpy as np

from hexaquant.htp.scheme import SCHEMES
from hexaquant.htp.soc import find_target
from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import normalize
from hexaquant.sim.calibrate import calibrate
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.overrides import parse_overrides
from hexaquant.sim.plan import QuantPlan
from hexaquant.sim.planner import plan_unchecked
from ir.onnx_text import graph as parse
from ir.onnx_text import random


def net(text: str, **constants: np.ndarray) -> Graph:
    """A normalized graph of ``(inputs) => (outputs) {nodes}`` with ``constants`` as initializers."""
    return normalize(parse(text, **constants))


def conv_net(activation: str = "Relu", **more: np.ndarray) -> Graph:
    """x (N, 3, 8, 8) -> Conv "c" -> ``activation`` "r" -> Conv "y", biases "b" and "b2"."""
    text = f"""(float[N,3,8,8] x) => (float[N,4,6,6] y) {{
        c = Conv <pads=[1,1,1,1]> (x, w, b)
        r = {activation} (c{"".join(", " + name for name in more)})
        y = Conv (r, w2, b2)
    }}"""
    weights = {"w": random(6, 3, 3, 3), "b": random(6, seed=1), "w2": random(4, 6, 3, 3, seed=2), "b2": random(4)}
    return net(text, **weights, **more)


def planned(graph: Graph, scheme: str = "w8a8", overrides: Any = None, target: str = "sm8650") -> QuantPlan:
    """The plan, whether the target takes the network or not: bare operators that are never compiled are planned too."""
    return plan_unchecked(graph, find_target(target), SCHEMES[scheme], parse_overrides(overrides))


def batches(count: int = 4, shape: tuple[int, ...] = (2, 3, 8, 8), name: str = "x") -> list[dict[str, np.ndarray]]:
    return [{name: random(*shape, seed=100 + i)} for i in range(count)]


def quantized(
    graph: Graph,
    scheme: str = "w8a8",
    overrides: Any = None,
    data: list[dict[str, np.ndarray]] | None = None,
    target: str = "sm8650",
    **options: Any,
) -> QuantizedModel:
    """Planned, built and calibrated."""
    model = QuantizedModel(graph, planned(graph, scheme, overrides, target))
    calibrate(model, data or batches(), **{"observer": "min_max", **options})
    return model
