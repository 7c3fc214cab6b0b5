"""GatherND with constant indices, as transformers reads its masks."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_text import assert_same, graph, ops, random

from hexaquant.ir.normalize import normalize

ALL = np.stack(np.meshgrid([0], np.arange(6), indexing="ij"), -1).reshape(1, 1, 1, 6, 2)
SOME = np.array([[0, 3], [0, -1], [0, 0]])


@pytest.mark.parametrize("indices,left", [(ALL, "Reshape"), (SOME, "Gather")])
def test_a_selection_of_constants_is_a_reshape_or_a_gather(indices: np.ndarray, left: str) -> None:
    before = graph("(float[1,6] x) => (float y) {n = Neg(x) y = GatherND(n, i)}", 21, i=indices)
    after = normalize(before)
    assert left in ops(after) and "GatherND" not in ops(after)
    assert_same(before, after, {"x": random(1, 6)})


def test_integers_are_reshaped_before_they_become_booleans() -> None:
    body = "b = Cast<to=9>(m) s = GatherND(b, i) y = Where(s, x, c)"
    head = "(float[1,1,1,6] x, int64[1,6] m) => (float y) "
    before = graph(f"{head}{{{body}}}", 21, i=ALL, c=np.float32(7))
    after = normalize(before)
    assert ops(after) == ["Reshape", "Cast", "Where"]
    assert_same(before, after, {"x": random(1, 1, 1, 6), "m": np.array([[1, 0, 1, 1, 0, 1]])})
