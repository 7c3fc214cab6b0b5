"""Networks of mixed types on the emulator: the target computes what the simulation says, in the types of the plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hexaquant.api.compile import compile_folder
from hexaquant.core.metrics import sqnr_db
from hexaquant.folder.artifacts import DLC, binary_name, export_model
from hexaquant.ir.graph import Graph
from hexaquant.qnn.inspect import inspect_dlc
from hexaquant.qnn.runtime import Runtime
from ir.onnx_text import random
from sim.nets import net, quantized


def stages() -> Graph:
    text = """(float[N,3,8,8] x) => (float[N,5] y) {
        a = Conv <pads=[1,1,1,1]> (x, w1, b1)
        ar = Relu (a)
        c = Conv (ar, w2, b2)
        cr = Relu (c)
        d = Conv (cr, w3, b3)
        p = GlobalAveragePool (d)
        f = Flatten (p)
        y = Gemm <transB=1> (f, w4, b4)
    }"""
    shapes = {"w1": (6, 3, 3, 3), "w2": (6, 6, 3, 3), "w3": (6, 6, 3, 3), "w4": (5, 6)}
    weights = {name: 0.2 * random(*shape, seed=i) for i, (name, shape) in enumerate(shapes.items())}
    return net(text, **weights, b1=random(6), b2=random(6), b3=random(6), b4=random(5))


def before_conv(op: str, channels: int = 8, **constants: np.ndarray) -> Graph:
    text = f"(float[N,8,6,6] x) => (float[N,4,6,6] y) {{ a = {op}\n y = Conv (a, w, b) }}"
    return net(text, w=random(4, channels, 1, 1, seed=900), b=random(4), **constants)


def attention() -> Graph:
    text = """(float[N,8,6,6] x) => (float[N,8,36] y) {
        t = Reshape (x, shape)
        key = Transpose <perm=[0,2,1]> (t)
        scores = MatMul (t, key)
        s = Mul (scores, tenth)
        weights = Softmax (s)
        y = MatMul (weights, t)
    }"""
    return net(text, shape=np.array([0, 8, 36]), tenth=np.float32([0.1]))


@dataclass(frozen=True)
class Case:
    """``lsb``: bound on sim against target in steps of the output; ``db``: the same as SQNR."""

    make: Callable[[], Graph]
    scheme: str
    overrides: dict[str, Any] | None
    lsb: float
    db: float
    float_op: str | None = None
    shape: tuple[int, ...] = (8, 6, 6)


IMAGE = (3, 8, 8)
SUM_EXP = "ReduceLogSumExp (x, axes)"
CASES = {
    "8, 16 bits and float": Case(stages, "w8a8", {"c": "w8a16", "cr": "w8a16", "d": "fp16"}, 2, 33, "Conv2d", IMAGE),
    "float": Case(stages, "fp16", None, np.inf, 55, "Conv2d", IMAGE),
    "ReduceLogSumExp in 8 bits": Case(
        lambda: before_conv(SUM_EXP, 1, axes=np.array([1])), "w8a8", None, 1, 36, "ReduceMax"
    ),
    "Selu in 8 bits": Case(lambda: before_conv("Selu (x)"), "w8a8", None, 1, 36, "ElementWiseNeuron"),
    "Log in 16 bits": Case(lambda: before_conv("Log (x)"), "w8a16", None, 40, 60, "ElementWiseUnary"),
    "LRN in 16 bits": Case(lambda: before_conv("LRN <size=3> (x)"), "w8a16", None, 40, 60, "Lrn"),
    "float Softmax in 8 bits": Case(attention, "w8a8", {"weights": "fp16"}, 2, 36, "Softmax"),
    "16-bit products": Case(attention, "w8a16", None, 40, 60),
}


def data(case: Case, seed: int) -> np.ndarray:
    """Positive, so that Log has something to do."""
    return np.abs(random(4, *case.shape, seed=seed)) + np.float32(0.05)


@pytest.mark.parametrize("name", CASES)
def test_the_target_computes_what_the_simulation_says(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    model = quantized(case.make(), case.scheme, case.overrides, [{"x": data(case, seed)} for seed in range(6)])
    export_model(model, tmp_path)
    compile_folder(tmp_path)
    x = data(case, 77)
    with torch.no_grad():
        simulated = model(torch.from_numpy(x)).numpy()
    with Runtime(tmp_path / binary_name(model.plan.target)) as runtime:
        got = np.concatenate([runtime.run({"x": x[i : i + 1]})["y"] for i in range(len(x))])
    encoding = model.encodings()["y"]
    step = 1.0 if encoding.grid.is_float else float(encoding.scale)
    assert np.abs(got - simulated).max() / step <= case.lsb + 0.01
    assert sqnr_db(simulated, got) > case.db
    if case.float_op is not None:
        assert case.float_op in float_operators(tmp_path / DLC)


def float_operators(dlc: Path) -> set[str]:
    """Operators of the lowered network that give a float tensor."""
    graph = inspect_dlc(dlc).graphs[0]
    floats = {tensor.name for tensor in graph.tensors if tensor.dtype.startswith("float")}
    return {op.type for op in graph.ops if any(name in floats for name in op.outputs)}
