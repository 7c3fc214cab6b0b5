"""Products of rank 5 are computed right by the target as products of rank 4."""

from __future__ import annotations

import numpy as np
import pytest

from hexaquant.htp.faults import mend_faults
from hexaquant.ir.normalize import normalize
from ir.onnx_text import assert_same, graph, ops, random

COMPUTED = "(float[1,2,3,5,8] x, float[1,2,3,8,4] z) => (float[1,2,3,5,4] y) { y = MatMul (x, z) }"
WITH_CONSTANT = "(float[2,2,3,5,8] x) => (float[2,2,3,5,4] y) { y = MatMul (x, c) }"
REPEATED = "(float[1,2,3,5,8] x, float[1,1,3,8,4] z) => (float[1,2,3,5,4] y) { y = MatMul (x, z) }"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (COMPUTED, ["Reshape", "Reshape", "MatMul", "Reshape"]),
        (WITH_CONSTANT, ["Reshape", "MatMul", "Reshape"]),
        (REPEATED, ["MatMul"]),
    ],
)
def test_operands_of_the_same_batch_are_merged_to_rank_4(text: str, wanted: list[str]) -> None:
    before = normalize(graph(text, **({"c": random(2, 2, 3, 8, 4, seed=5)} if "c)" in text else {})))
    after = before.clone()
    merged = [mend_faults(after, ["rank-5-product"])["rank-5-product"] for _ in range(2)]
    assert merged == [len(wanted) > 1, 0]
    assert ops(after) == wanted
    assert max(len(node.inputs[0].shape) for node in after.nodes if node.op_type == "MatMul") == (
        5 if wanted == ["MatMul"] else 4
    )
    feeds = {v.name: random(*(int(d) for d in v.shape), seed=i) for i, v in enumerate(before.inputs)}
    assert_same(before, after, {str(name): np.asarray(array) for name, array in feeds.items()})
