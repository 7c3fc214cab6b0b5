"""Files in rare forms are simulated as accurately as the same network written by hand in plain ones.

Both are quantized on the same samples; the truth is onnxruntime without optimisations on the file as it came.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

import hexaquant as hq
from wild import normal, outputs, singles, sqnr, written

KEEP = 3.0
"""dB that the file may lose against its twin."""


@dataclass(frozen=True)
class Pair:
    """``file`` and ``twin``: inputs, outputs and nodes; ``more``: constants that only one of them has."""

    head: str
    file: str
    twin: str
    constants: dict[str, np.ndarray]
    more: dict[str, np.ndarray] = field(default_factory=dict)
    twin_more: dict[str, np.ndarray] = field(default_factory=dict)
    opset: int = 17


W = normal(4, 3, 3, 3, size=0.3)
IMAGE = "(float[1,3,12,12] x) => (float[1,4,12,12] y) "
LARGER = "(float[1,3,12,12] x) => (float[1,4,24,24] y) "
PADDED = "(float[1,3,12,12] x) => (float[1,4,16,12] y) "
WORDS = "(float[1,12,16] x) => (float[1,2,12,12] y) "
CONV = "c = Conv<pads=[1,1,1,1]>(x, w) "
HEADS = "q = MatMul(x, a) r = Reshape(q, s) k = MatMul(x, b) l = Reshape(k, s) "
PAIRS = {
    "an empty roi": Pair(
        LARGER,
        CONV + 'y = Resize<mode="linear", coordinate_transformation_mode="half_pixel">(c, roi, size)',
        CONV + 'y = Resize<mode="linear", coordinate_transformation_mode="half_pixel">(c, , size)',
        {"w": W, "size": np.array([1, 1, 2, 2], np.float32)},
        {"roi": np.zeros(0, np.float32)},
    ),
    "a weight on two axes": Pair(
        "(float[1,3,12,12] x) => (float[1,3,12,12] y) ",
        CONV + "y = ConvTranspose<pads=[1,1,1,1]>(c, w)",
        CONV + "y = ConvTranspose<pads=[1,1,1,1]>(c, v)",
        {"w": normal(3, 3, 3, 3, size=0.3)},
        twin_more={"v": normal(3, 3, 3, 3, size=0.3)},
    ),
    "Einsum": Pair(
        WORDS,
        HEADS + 'y = Einsum<equation="btnh,bsnh->bnts">(r, l)',
        HEADS + "u = Transpose<perm=[0,2,1,3]>(r) v = Transpose<perm=[0,2,3,1]>(l) y = MatMul(u, v)",
        {"a": normal(16, 16, size=0.2), "b": normal(16, 16, seed=1, size=0.2), "s": np.array([1, 12, 2, 8])},
    ),
    "LayerNormalization of three axes": Pair(
        IMAGE,
        CONV + "y = LayerNormalization<axis=1>(c, g)",
        CONV + "f = Reshape(c, flat) n = LayerNormalization<axis=-1>(f, h) y = Reshape(n, back)",
        {"w": W},
        {"g": 1 + np.abs(normal(4, 12, 12, seed=4))},
        {
            "h": (1 + np.abs(normal(4, 12, 12, seed=4))).reshape(-1),
            "flat": np.array([1, 576]),
            "back": np.array([1, 4, 12, 12]),
        },
    ),
    "a Max with -inf": Pair(
        IMAGE,
        CONV + "m = ReduceMax<axes=[1]>(c) n = Max(never, m) y = Sub(c, n)",
        CONV + "m = ReduceMax<axes=[1]>(c) y = Sub(c, m)",
        {"w": W},
        {"never": np.float32(-np.inf)},
    ),
    "a Clip with a computed bound": Pair(
        IMAGE,
        CONV + "m = ReduceMax<keepdims=0>(c) l = Sub(m, k) y = Clip(c, l)",
        CONV + "m = ReduceMax<keepdims=0>(c) l = Sub(m, k) y = Max(c, l)",
        {"w": W, "k": np.float32(2)},
    ),
    "empty operands": Pair(
        IMAGE,
        CONV + "e = Slice(c, zero, zero, two) d = Concat<axis=2>(nothing, c) y = Concat<axis=2>(d, e)",
        "y = Conv<pads=[1,1,1,1]>(x, w)",
        {"w": W},
        {"zero": np.array([0]), "two": np.array([2]), "nothing": np.zeros((1, 4, 0, 12), np.float32)},
    ),
    "a Pad of named axes that repeats the edge": Pair(
        PADDED,
        CONV + 'y = Pad<mode="edge">(c, by, , axes)',
        CONV + "y = Gather<axis=2>(c, rows)",
        {"w": W},
        {"by": np.array([2, 2]), "axes": np.array([2])},
        {"rows": np.clip(np.arange(-2, 14), 0, 11)},
        18,
    ),
    "a Pad that wraps": Pair(
        PADDED,
        CONV + 'y = Pad<mode="wrap">(c, by, , axes)',
        CONV + "y = Gather<axis=2>(c, rows)",
        {"w": W},
        {"by": np.array([2, 2]), "axes": np.array([2])},
        {"rows": np.arange(-2, 14) % 12},
        19,
    ),
    "a Resize to the nearest, rounding up": Pair(
        LARGER,
        CONV
        + 'y = Resize<mode="nearest", nearest_mode="ceil", coordinate_transformation_mode="asymmetric">(c, , size)',
        CONV + "r = Gather<axis=2>(c, at) y = Gather<axis=3>(r, at)",
        {"w": W},
        {"size": np.array([1, 1, 2, 2], np.float32)},
        {"at": np.minimum(np.ceil(np.arange(24) / 2), 11).astype(np.int64)},
    ),
    "negative indices": Pair(
        "(float[1,3,12,12] x) => (float[1,2,12,12] y) ",
        CONV + "y = Gather<axis=-3>(c, at)",
        CONV + "y = Gather<axis=1>(c, at)",
        {"w": W},
        {"at": np.array([-1, -3])},
        {"at": np.array([3, 1])},
    ),
    "fusions of onnxruntime": Pair(
        IMAGE,
        'c = com.microsoft.FusedConv<activation="LeakyRelu", activation_params=[0.1], pads=[1,1,1,1]>(x, w) '
        "y = com.microsoft.QuickGelu<alpha=1.702>(c)",
        "d = Conv<pads=[1,1,1,1]>(x, w) c = LeakyRelu<alpha=0.1>(d) t = Mul(c, k) u = Sigmoid(t) y = Mul(c, u)",
        {"w": W},
        twin_more={"k": np.float32(1.702)},
    ),
}


def simulated(path: Path, data: dict[str, np.ndarray], unseen: dict[str, np.ndarray], scheme: str) -> np.ndarray:
    """The first output of the quantized model, one sample at a time."""
    model = hq.quantize(str(path), singles(data), target="sm8650", scheme=scheme)
    with torch.no_grad():
        return np.stack([model(**{k: torch.from_numpy(v) for k, v in one.items()}).numpy() for one in singles(unseen)])


@pytest.mark.parametrize("scheme", ["w8a8", "w8a16"])
@pytest.mark.parametrize("kind", PAIRS)
def test_the_file_is_as_accurate_as_its_plain_twin(tmp_path: Path, kind: str, scheme: str) -> None:
    pair = PAIRS[kind]
    shape = (12, 16) if pair.head == WORDS else (3, 12, 12)
    data, unseen = {"x": normal(24, *shape, seed=1)}, {"x": normal(8, *shape, seed=2)}
    head = f"{pair.head}{{%s}}"
    file = written(tmp_path / "file.onnx", head % pair.file, pair.opset, **pair.constants, **pair.more)
    twin = written(tmp_path / "twin.onnx", head % pair.twin, pair.opset, **pair.constants, **pair.twin_more)
    wanted = outputs(file, unseen)["y"]
    assert sqnr(wanted, outputs(twin, unseen)["y"]) > 100
    by_hand = sqnr(wanted, simulated(twin, data, unseen, scheme))
    assert by_hand > 20 and sqnr(wanted, simulated(file, data, unseen, scheme)) > by_hand - KEEP
