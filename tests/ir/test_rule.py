"""The driver of rewriting rules, and why a fusion declines."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as oir
import pytest

from cli.command import hexaquant
from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import normalize
from hexaquant.ir.passes.fuse_gelu import fuse_gelu
from hexaquant.ir.passes.fuse_layernorm import fuse_layernorm
from hexaquant.ir.passes.fuse_rmsnorm import fuse_rmsnorm
from hexaquant.ir.rule import Declined, Rule
from ir.onnx_text import graph, proto

HEAD = "(float[2,4,8] x) => (float[2,4,8] y)"
GELU = "a = Div (x, s)\n e = Erf (a)\n b = Add (e, one)\n c = Mul (x, b)\n y = Mul (c, half)"
NORM = """m = ReduceMean <keepdims=1> (x, axis)
    d = Sub (x, m)
    q = Mul (d, d)
    v = ReduceMean <keepdims=1> (q, axis)
    w = Add (v, eps)
    r = Sqrt (w)
    y = Div (d, r)"""
NUMBERS = {"s": np.float32(2**0.5), "one": np.float32(1), "half": np.float32(0.5)}
PARTS = {"axis": np.array([-1]), "eps": np.float32(1e-5)}


def doubled(node: oir.Node) -> oir.Value | Declined | None:
    if node.inputs[0] is not node.inputs[1]:
        return Declined("the operands differ")
    return node.inputs[0]


def test_a_rule_replaces_what_its_check_finds_and_says_why_it_leaves_the_rest() -> None:
    model = graph("(float[4] x, float[4] z) => (float[4] y) { a = Add (x, x)\n b = Add (a, z)\n y = Relu (b) }")
    seen: list[tuple[str, str]] = []
    rule = Rule("see", ("Add",), doubled, lambda graph, node, value: seen.append((node.outputs[0].name, value.name)))
    assert rule(model) == 1 and seen == [("a", "x")]
    assert [(node.outputs[0].name, reason) for node, reason in rule.declined(model)] == [("b", "the operands differ")]


@pytest.mark.parametrize(
    ("rule", "text", "constants", "reason"),
    [
        (fuse_gelu, GELU, NUMBERS | {"s": np.float32(1.5)}, "not x / sqrt(2)"),
        (fuse_gelu, GELU.replace("y = Mul (c, half)", "t = Mul (c, half)\n y = Add (t, e)"), NUMBERS, "no Add of 1"),
        (fuse_gelu, GELU, NUMBERS | {"half": np.float32(0.6)}, "not multiplied by x and 0.5"),
        (fuse_layernorm, NORM, PARTS | {"axis": np.array([1])}, "not the mean over the last axis"),
        (fuse_layernorm, NORM, PARTS | {"eps": np.full(8, 1e-5, np.float32)}, "plus a single number"),
    ],
)
def test_a_fusion_says_why_it_declines(rule: Rule, text: str, constants: dict[str, np.ndarray], reason: str) -> None:
    left = normalize(graph(f"{HEAD} {{ {text} }}", **constants))
    assert any(reason in told for _, told in rule.declined(left)), rule.declined(left)


@pytest.mark.parametrize(("text", "constants"), [(GELU, NUMBERS), (NORM, PARTS)])
def test_what_is_fused_is_not_declined(text: str, constants: dict[str, np.ndarray]) -> None:
    made: Graph = normalize(graph(f"{HEAD} {{ {text} }}", **constants))
    assert len(made.nodes) == 1
    assert not [told for rule in (fuse_gelu, fuse_layernorm, fuse_rmsnorm) for told in rule.declined(made)]


def test_lint_verbose_says_why_a_gelu_was_not_fused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    onnx.save(proto(f"{HEAD} {{ {GELU} }}", **NUMBERS | {"s": np.float32(1.5)}), tmp_path / "net.onnx")
    told = hexaquant("lint", tmp_path / "net.onnx", "--verbose", "--json").document["not_fused"]
    assert [(one["function"], one["reason"]) for one in told] == [("GELU", "the input of Erf is not x / sqrt(2)")]
    assert "not_fused" not in hexaquant("lint", tmp_path / "net.onnx", "--json").document
