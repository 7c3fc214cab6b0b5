"""What a mask can be is within its range whatever calibration shows; nothing else is widened."""

from __future__ import annotations

import onnx
import pytest

from hexaquant.frontends import load
from hexaquant.htp.scheme import find_scheme
from hexaquant.htp.soc import find_target
from hexaquant.ir.passes.clamp_masks import MASK
from hexaquant.sim.masks import margin_of, mask_ranges, masked_scores
from hexaquant.sim.plan import QuantPlan
from hexaquant.sim.plan_json import plan_from_json, plan_to_json
from hexaquant.sim.planner import make_plan

HEAD = '<ir_version: 8, opset_import: ["" : 17]> g (float[1,4,4] s, {declared}) => (float[1,4,4] y) '
CONSTANTS = "<float one = {1.0}, float big = {1e9}, float lowest = {-3.4e38}, float zero = {0.0}, int64[1] at = {1}> "


def planned(declared: str, body: str) -> QuantPlan:
    head = HEAD.replace("{declared}", declared)
    return make_plan(
        load(onnx.parser.parse_model(head + CONSTANTS + "{" + body + "}")), find_target("sm8650"), find_scheme("w8a8")
    )


@pytest.mark.parametrize(
    "declared,body,wanted",
    [
        (
            "int64[1,4] a",
            "f = Cast<to=1>(a) i = Sub(one, f) n = Mul(i, lowest) u = Unsqueeze(n, at) r = Relu(s) "
            "m = Add(r, u) y = Softmax(m)",
            {"f": (0.0, 1.0), "i": (0.0, 1.0), "n": (MASK, 0.0)},
        ),
        (
            "float[1,4] a",
            "i = Sub(a, one) n = Mul(i, big) u = Unsqueeze(n, at) r = Relu(s) m = Add(u, r) y = Softmax(m)",
            {"a": (0.0, 1.0), "i": (-1.0, 0.0), "n": (MASK, 0.0)},
        ),
        (
            "bool[1,4] a",
            "n = Where(a, zero, lowest) u = Unsqueeze(n, at) r = Relu(s) m = Add(r, u) y = Softmax(m)",
            {"n": (MASK, 0.0)},
        ),
        ("float[1,4,4] a", "s2 = Relu(s) m = Add(s2, a) y = Softmax(m)", {"a": (MASK, 0.0), "a_clipped": (MASK, 0.0)}),
    ],
)
def test_the_ranges_of_a_mask_and_the_margin_of_its_scores(
    declared: str, body: str, wanted: dict[str, tuple[float, float]]
) -> None:
    plan = planned(declared, body)
    assert {p.name: p.holds for p in plan if p.holds is not None} == wanted
    assert {(p.name, p.margin, p.along) for p in plan if p.margin is not None} == {("m", margin_of(4, 8), -1)}
    assert plan_from_json(plan_to_json(plan)) == plan


@pytest.mark.parametrize(
    "declared,body",
    [
        (
            "float[1,4] a",
            "i = Sub(one, a) u = Unsqueeze(i, at) r = Relu(s) m = Add(r, u) y = Softmax(m)",
        ),  # a bias, no mask
        ("int64[1,4] a", "f = Cast<to=1>(a) n = Mul(f, big) u = Unsqueeze(n, at) y = Add(s, u)"),  # no Softmax
    ],
)
def test_what_is_no_mask_is_only_observed(declared: str, body: str) -> None:
    plan = planned(declared, body)
    assert not [p for p in plan if p.holds is not None or p.margin is not None]


def test_a_constant_mask_gives_its_scores_a_margin_and_nothing_else() -> None:
    text = HEAD.replace(", {declared}", "") + "<float[4] k = {0.0, 0.0, -1e9, 0.0}> {m = Add(s, k) y = Softmax(m)}"
    graph = load(onnx.parser.parse_model(text))
    assert mask_ranges(graph) == {}
    assert masked_scores(graph, {}) == {"m": (-1, 4)}


@pytest.mark.parametrize(
    "body,wanted",
    [
        ("m = Add(s, k) y = Softmax<axis=1>(m)", (-2, 4)),
        ("m = Add(s, k) t = Transpose<perm=[0,2,1]>(m) y = Softmax<axis=1>(t)", (-1, 4)),
        ("m = Add(s, k) t = Reshape(m, merged) y = Softmax(t)", (-1, 4)),
        ("m = Add(s, k) t = Reshape(m, whole) y = Softmax(t)", (None, None)),
        ("m = Add(s, k) a = Softmax(m) b = Softmax<axis=1>(m) y = Add(a, b)", (None, None)),
    ],
)
def test_the_rows_of_scores_are_those_of_the_softmax_behind_them(
    body: str, wanted: tuple[int | None, int | None]
) -> None:
    constants = "float[4] k = {0.0, 0.0, -1e9, 0.0}, int64[4] merged = {1, 2, 2, 4}, int64[2] whole = {2, 8}"
    shape = "float[2,8]" if "whole" in body else "float[1,2,2,4]" if "merged" in body else "float[1,4,4]"
    text = (
        HEAD.replace(", {declared}", "").replace("=> (float[1,4,4] y", f"=> ({shape} y") + f"<{constants}> {{{body}}}"
    )
    assert masked_scores(load(onnx.parser.parse_model(text)), {})["m"] == wanted
