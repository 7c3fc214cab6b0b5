"""Attention masks, whatever stands for "never" and however it is made: as exact as a mask of -100, at import."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hexaquant as hq
from hexaquant.frontends import load
from hexaquant.ir.passes.clamp_masks import ANCHOR, MASK
from wild import deployed, normal, on_target, outputs, sqnr, written

SCHEMES = ["w8a8", "w8a16"]
LOWEST = np.finfo(np.float32).min
CAUSAL = np.triu(np.ones((6, 6)), 1)
KEEP = {"w8a8": 3.0, "w8a16": 3.0}
"""dB that the file as it is may lose against the one cured by hand."""


def attention(masked: str, inputs: str = "") -> str:
    """One head over 6 tokens of 16 features; ``masked`` makes ``m`` of the scores ``s``."""
    head = f"(float[1,6,16] x{inputs}) => (float[1,6,16] y) "
    scores = "q = MatMul(x, w) t = Transpose<perm=[0,2,1]>(x) s = MatMul(q, t)"
    return f"{head}{{{scores} {masked} p = Softmax(m) y = MatMul(p, x)}}"


def tokens(count: int, seed: int) -> dict[str, np.ndarray]:
    return {"x": normal(count, 6, 16, seed=seed)}


def lengths(count: int, seed: int) -> np.ndarray:
    """1 for the first tokens of each sample, at least two."""
    last = np.random.default_rng(seed).integers(2, 7, (count, 1))
    return (np.arange(6)[None] < last).astype(np.int64)


def cured(folder: Path, scheme: str, text: str, samples: list[dict[str, np.ndarray]], **constants: np.ndarray) -> float:
    path = written(folder / "cured.onnx", text, w=normal(16, 16, size=0.2), **constants)
    return deployed(path, folder / "cured", scheme, *samples)["y"]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("never", [LOWEST, -np.inf, -65504.0, -1e9])
def test_a_constant_mask(tmp_path: Path, scheme: str, never: float) -> None:
    samples = [tokens(24, 1), tokens(8, 2)]
    mask = np.where(CAUSAL > 0, never, 0).astype(np.float32)
    path = written(tmp_path / "net.onnx", attention("m = Add(s, k)"), w=normal(16, 16, size=0.2), k=mask)
    found = deployed(path, tmp_path / "out", scheme, *samples)["y"]
    by_hand = cured(tmp_path, scheme, attention("m = Add(s, k)"), samples, k=np.maximum(mask, np.float32(MASK)))
    assert found > by_hand - KEEP[scheme]


COMPUTED = {
    "int64, times finfo.min": (
        "int64[1,6] a",
        "u = Unsqueeze(a, one) f = Cast<to=1>(u) i = Sub(c, f) n = Mul(i, never) m = Add(s, n)",
    ),
    "int32, minus one, times 1e9": (
        "int32[1,6] a",
        "u = Unsqueeze(a, one) f = Cast<to=1>(u) i = Sub(f, c) n = Mul(i, big) m = Add(s, n)",
    ),
    "bool, chosen": ("bool[1,6] a", "u = Unsqueeze(a, one) m = Where(u, s, never)"),
    "float, subtracted": ("float[1,6] a", "u = Unsqueeze(a, one) i = Sub(c, u) n = Mul(i, big) m = Sub(s, n)"),
    "bool, chosen of two, moved": ("bool[1,6] a", "n = Where(a, zero, never) u = Unsqueeze(n, one) m = Add(s, u)"),
}


CONSTANTS = {
    "one": np.array([1]),
    "c": np.float32(1),
    "never": LOWEST,
    "big": np.float32(1e9),
    "zero": np.float32(0),
}


def used_by(body: str) -> dict[str, np.ndarray]:
    """Of CONSTANTS those that ``body`` names."""
    words = body.replace("(", " ").replace(")", " ").replace(",", " ").split()
    return {name: np.asarray(value) for name, value in CONSTANTS.items() if name in words}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", COMPUTED)
def test_a_mask_computed_from_an_input(tmp_path: Path, scheme: str, kind: str) -> None:
    declared, body = COMPUTED[kind]
    dtype = {"int64": np.int64, "int32": np.int32, "bool": np.bool_, "float": np.float32}[declared.split("[")[0]]
    samples = [tokens(24, 1) | {"a": lengths(24, 3).astype(dtype)}, tokens(8, 2) | {"a": lengths(8, 4).astype(dtype)}]
    used = used_by(body)
    text = attention(body, ", " + declared)
    path = written(tmp_path / "net.onnx", text, w=normal(16, 16, size=0.2), **used)
    found = deployed(path, tmp_path / "out", scheme, *samples)["y"]
    by_hand = used | {"never": np.float32(MASK), "big": np.float32(-MASK)}
    assert (
        found > cured(tmp_path, scheme, text, samples, **{k: v for k, v in by_hand.items() if k in used}) - KEEP[scheme]
    )


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("never", [LOWEST, -np.inf])
def test_a_mask_that_is_an_input(tmp_path: Path, scheme: str, never: float) -> None:
    text = attention("u = Unsqueeze(a, one) m = Add(s, u)", ", float[1,6] a")
    path = written(tmp_path / "net.onnx", text, w=normal(16, 16, size=0.2), one=np.array([1]))
    samples = []
    for count, seed in ((24, 1), (8, 2)):
        samples.append(tokens(count, seed) | {"a": np.where(lengths(count, seed) > 0, 0, never).astype(np.float32)})
    found = deployed(path, tmp_path / "out", scheme, *samples)["y"]
    finite = [s | {"a": np.maximum(s["a"], np.float32(MASK))} for s in samples]
    hq.deploy(
        str(path),
        [dict(zip(finite[0], row)) for row in _rows(finite[0])],
        tmp_path / "hand",
        target="sm8650",
        scheme=scheme,
        report=False,
        metric=None,
    )
    by_hand = sqnr(outputs(path, finite[1])["y"], on_target(tmp_path / "hand", finite[1])["y"])
    assert found > by_hand - KEEP[scheme]


MASKED = COMPUTED | {"float input, added": ("float[1,6] a", "u = Unsqueeze(a, one) m = Add(s, u)")}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", MASKED)
def test_a_mask_works_that_calibration_never_saw(tmp_path: Path, scheme: str, kind: str) -> None:
    declared, body = MASKED[kind]
    dtype = {"int64": np.int64, "int32": np.int32, "bool": np.bool_, "float": np.float32}[declared.split("[")[0]]

    def masks(kept: np.ndarray) -> np.ndarray:
        return np.where(kept, np.float32(0), LOWEST) if "added" in kind else kept.astype(dtype)

    path = written(tmp_path / "net.onnx", attention(body, ", " + declared), w=normal(16, 16, size=0.2), **used_by(body))
    seen = tokens(24, 1) | {"a": masks(lengths(24, 3) > 0)}
    whole = tokens(24, 1) | {"a": masks(np.ones((24, 6), bool))}
    unseen = tokens(8, 2) | {"a": masks(lengths(8, 4) > 0)}
    by_masks = deployed(path, tmp_path / "seen", scheme, seen, unseen)["y"]
    without = deployed(path, tmp_path / "whole", scheme, whole, unseen)["y"]
    print(f"{kind} {scheme}: {by_masks:.1f} dB calibrated with masks, {without:.1f} dB without")
    assert without > by_masks - KEEP[scheme]
    assert by_masks > without - 1.5  # masks that were seen cost the scores no steps


def _rows(samples: dict[str, np.ndarray]) -> list[list[np.ndarray]]:
    return [[array[i : i + 1] for array in samples.values()] for i in range(len(samples["x"]))]


@pytest.mark.parametrize("scheme,least", [("w8a8", 30.0), ("w8a16", 45.0)])
def test_bounds_that_bound_nothing(tmp_path: Path, scheme: str, least: float) -> None:
    head = "(float[1,3,12,12] x) => (float[1,4,6,6] y) "
    body = """{p = Pad(x, pads, low) l = MaxPool<kernel_shape=[3,3], strides=[2,2]>(p) c = Conv(l, w)
    r = ReduceMax<axes=[1], keepdims=1>(c) a = Max(low, r) b = Min(a, high) d = Clip(c, low, high) y = Sub(d, b)}"""
    pads = np.array([0, 0, 1, 1, 0, 0, 0, 0])
    constants = {
        "w": normal(4, 3, 1, 1),
        "pads": pads,
        "low": np.float32(-np.inf),
        "high": np.float32(np.finfo(np.float32).max),
    }
    path = written(tmp_path / "net.onnx", head + body, 17, **constants)
    samples = [{"x": normal(24, 3, 12, 12, seed=s)} for s in (1, 2)]
    assert deployed(path, tmp_path / "out", scheme, *samples)["y"] > least
    assert [node.op_type for node in load(path).nodes] == ["MaxPool", "Conv", "ReduceMax", "Sub"]


@pytest.mark.parametrize("scheme,least", [("w8a8", 30.0), ("w8a16", 45.0)])
def test_anchors_of_infinity_that_only_reach_a_sigmoid(tmp_path: Path, scheme: str, least: float) -> None:
    text = (
        "(float[1,8,4] x) => (float[1,2,4] y) {d = MatMul(x, w) a = Add(d, k) g = Gather<axis=1>(a, i) y = Sigmoid(g)}"
    )
    anchors = normal(1, 8, 4)
    anchors[:, 3] = np.inf
    path = written(tmp_path / "net.onnx", text, w=normal(4, 4, size=0.3), k=anchors, i=np.array([1, 3]))
    samples = [{"x": normal(24, 8, 4, seed=s)} for s in (1, 2)]
    assert deployed(path, tmp_path / "out", scheme, *samples)["y"] > least
    constant = load(path).initializers["k"].const_value
    assert constant is not None and constant.numpy().max() == ANCHOR
