"""What 8 bits cannot hold is blamed on the operator that asks for it, not on data, weights or harmless constants."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hexaquant as hq
from hexaquant.analysis.lost_values import all_passes_through
from sim.nets import net

SILENT = np.random.default_rng(0).standard_normal((24, 4, 16)).astype(np.float32) ** 5
SILENT[:, :, 0] = 0

NORMALIZED_LOG = """(float[N,4,16] x) => (float[N,4,16] y) {
    s = Mul (x, x) a = Add (s, tiny) l = Log (a) lo = ReduceMin <keepdims=1> (l, axes) d = Sub (l, lo)
    hi = ReduceMax <keepdims=1> (d, axes) y = Div (d, hi)
}"""
"""The logarithm of powers from its smallest (silence, a constant) to its largest value, as networks for sound start."""

JOINED = """(float[N,4,16] x) => (float[N,8,16] y) {
    t = Tanh (x) s = Mul (t, tiny) c = Concat <axis=1> (t, s) y = Relu (c)
}"""


def findings(text: str, folder: Path, **constants: np.ndarray) -> list[str]:
    hq.quantize(net(text, **constants), SILENT, recipe="fast").export(folder)
    return [found.text for found in hq.debug(folder, SILENT[:4], target=False).findings]


def test_a_logarithm_of_small_values_is_named_and_nothing_else(tmp_path: Path) -> None:
    found = findings(NORMALIZED_LOG, tmp_path, tiny=np.float32(1e-10), axes=np.array([1, 2]))
    assert "of the values that Log reads ('a') are within one step of 0" in found[0]
    assert not [text for text in found if "everywhere" in text or "round to one step" in text]


def test_a_concat_of_unlike_operands_is_named(tmp_path: Path) -> None:
    found = findings(JOINED, tmp_path, tiny=np.float32(1e-3))
    assert found[0].startswith("'s' (") and "operands of a Concat share one grid" in found[0]


@pytest.mark.parametrize(
    "name,wanted", [("s", True), ("a", True), ("l", True), ("lo", False), ("hi", False), ("y", True)]
)
def test_what_everything_passes_through(name: str, wanted: bool) -> None:
    graph = net(NORMALIZED_LOG, tiny=np.float32(1e-10), axes=np.array([1, 2]))
    assert all_passes_through(graph, name) == wanted
