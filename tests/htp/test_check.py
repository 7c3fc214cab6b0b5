"""What the target refuses is refused before calibration, in the user's words, with the remedy."""

from __future__ import annotations

import numpy as np
import pytest

from hexaquant.core.errors import InputError, TargetError
from hexaquant.htp.check import check_graph as check_graph_in
from hexaquant.htp.check import judge, one_scheme
from hexaquant.htp.kernels import OPS, REFUSED
from hexaquant.htp.soc import Target, find_target
from hexaquant.ir.graph import ORIGIN_MODULE, ORIGIN_SOURCE, Graph
from ir.onnx_text import graph

V75 = find_target("v75")


def check_graph(model: Graph, target: Target, scheme: str = "w8a8") -> None:
    check_graph_in(model, target, one_scheme(scheme))


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
        "sm8650 refuses this network: layer 'blocks.0.act' (model.py:41) (Erf, w8a8): "
        "Operators of type `Erf` are not supported; use GELU (torch.nn.functional.gelu), which the target fuses"
    )
    assert error.value.exit_code == 3


def test_of_many_problems_three_are_told_and_the_rest_counted() -> None:
    with pytest.raises(TargetError, match=r"blocks\.2\.act.*\(and 2 more\)$") as error:
        check_graph(erf(5), V75)
    assert "blocks.3" not in str(error.value)


def test_an_unknown_operator_names_a_close_one() -> None:
    model = graph("(float[2,4] x) => (float[2,4] y) { y = Sigmoit (x) }")
    with pytest.raises(TargetError, match=r"\(Sigmoit, w8a8\): the target has no such operator; .*\(close: Sigmoid\)"):
        check_graph(model, V75)


def test_rank_above_five_is_refused() -> None:
    model = graph("(float[8] x) => (float[1,2,1,2,1,2] y) { y = Reshape (x, s) }", s=np.array([1, 2, 1, 2, 1, 2]))
    model.nodes[0].outputs[0].shape = model.outputs[0].shape
    with pytest.raises(TargetError, match="rank 6, which the target refuses: it takes at most 5; merge axes"):
        check_graph(model, V75)


def test_zero_size_dimensions_are_bad_input() -> None:
    model = graph("(float[2,4] x) => (float[2,0] y) { y = Slice (x, a, a, b) }", a=np.array([0]), b=np.array([1]))
    with pytest.raises(InputError, match=r"tensor 'y' of layer .* has a dimension of size zero: \[2, 0\]"):
        check_graph(model, V75)


def test_no_operator_is_both_executed_and_refused() -> None:
    assert not set(OPS) & set(REFUSED)


CONV = "(float[1,4,6,6] x) => (float[1,2,4,4] y) { y = Conv (x, w) }"
WEIGHT = np.zeros((2, 4, 3, 3), np.float32)


def test_a_refused_type_names_the_librarys_reason_other_bits_and_other_targets() -> None:
    with pytest.raises(TargetError) as error:
        check_graph(graph(CONV, w=WEIGHT), find_target("v68"), "w16a16")
    told = str(error.value)
    assert "needs Hexagon v73, this is v68" in told
    assert "override this layer to w8a8 or w8a16" in told
    assert "a target of Hexagon v73 (sm8550)" in told


def test_the_same_layer_is_taken_where_the_remedy_says_so() -> None:
    model = graph(CONV, w=WEIGHT)
    check_graph(model, find_target("v68"), "w8a16")
    check_graph(model, find_target("v73"), "w16a16")


def test_rank_five_is_refused_where_the_kernel_has_four_with_the_remedy_to_reshape() -> None:
    (floor,) = judge(graph("(float[1,2,3,4,5] x) => (float[1,2,3,4,5] y) { y = Floor (x) }"), V75, one_scheme("w8a8"))
    assert floor.status == "refused" and "incorrect Rank 5" in floor.reason
    assert floor.remedy.startswith("reshape it to four dimensions")


def test_a_form_that_was_not_measured_is_left_to_the_backend() -> None:
    (row,) = judge(graph(CONV, w=WEIGHT), V75, one_scheme("w2a8"))
    assert row.status == "unknown" and not row.is_bad


NORM = "(float[2,4] x) => (float[2,1] y) { y = ReduceL2 <keepdims=1> (x, a) }"
LOG = "(float[2,4] x) => (float[2,4] y) { y = Log (x) }"


def test_what_integers_run_in_float16_is_refused_where_there_is_none() -> None:
    model = graph(NORM, a=np.array([1]))
    with pytest.raises(TargetError, match=r"it runs in float16 .* has no float16; write it as Mul .* from v69 on"):
        check_graph(model, find_target("v68"), "w8a8")
    check_graph(model, find_target("v69"), "w8a8")


def test_fewer_bits_are_advised_where_they_have_a_kernel() -> None:
    with pytest.raises(TargetError, match="override this layer to w8a8, or name a target from v69 on"):
        check_graph(graph(LOG), find_target("v68"), "w8a16")
    check_graph(graph(LOG), find_target("v68"), "w8a8")
