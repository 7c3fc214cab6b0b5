"""What the target refuses is refused before calibration, in the user's words, with the remedy."""

from __future__ import annotations

import numpy as np
import pytest

from hexaquant.core.errors import InputError, TargetError
from hexaquant.ir.graph import ORIGIN_MODULE, ORIGIN_SOURCE, Graph
from hexaquant.targets.check import check_graph
from hexaquant.targets.ops import OPS, REFUSED
from hexaquant.targets.soc import find_target
from ir.onnx_text import graph

V75 = find_target("v75")


def erf(count: int = 1) -> Graph:
    body = "\n".join(f"v{i + 1} = Erf (v{i})" for i in range(count))
    model = graph(f"(float[2,4] v0) => (float[2,4] v{count}) {{ {body} }}")
    for index, node in enumerate(model.nodes):
        node.metadata_props.update({ORIGIN_MODULE: f"blocks.{index}.act", ORIGIN_SOURCE: "model.py:41"})
    return model


def test_a_refused_operator_is_named_with_layer_source_and_remedy() -> None:
    with pytest.raises(TargetError) as error:
        check_graph(erf(), V75)
    assert str(error.value) == (
        "sm8650 refuses this network: layer 'blocks.0.act' (model.py:41) uses Erf: "
        "use GELU (torch.nn.functional.gelu), which the target fuses"
    )
    assert error.value.exit_code == 3


def test_of_many_problems_three_are_told_and_the_rest_counted() -> None:
    with pytest.raises(TargetError, match=r"blocks\.2\.act.*\(and 2 more\)$") as error:
        check_graph(erf(5), V75)
    assert "blocks.3" not in str(error.value)


def test_an_unknown_operator_names_a_close_one() -> None:
    model = graph("(float[2,4] x) => (float[2,4] y) { y = Sigmoit (x) }")
    with pytest.raises(TargetError, match=r"Sigmoit: no such operator on the target \(close: Sigmoid\)"):
        check_graph(model, V75)


def test_rank_above_five_is_refused() -> None:
    model = graph("(float[8] x) => (float[1,2,1,2,1,2] y) { y = Reshape (x, s) }", s=np.array([1, 2, 1, 2, 1, 2]))
    model.nodes[0].outputs[0].shape = model.outputs[0].shape
    with pytest.raises(TargetError, match="rank 6, more than 5: merge axes"):
        check_graph(model, V75)


def test_zero_size_dimensions_are_bad_input() -> None:
    model = graph("(float[2,4] x) => (float[2,0] y) { y = Slice (x, a, a, b) }", a=np.array([0]), b=np.array([1]))
    with pytest.raises(InputError, match=r"tensor 'y' of layer .* has a dimension of size zero: \[2, 0\]"):
        check_graph(model, V75)


def test_no_operator_is_both_executed_and_refused() -> None:
    assert not set(OPS) & set(REFUSED)
