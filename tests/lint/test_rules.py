"""Rules beyond the ten planted faults: what each finds, what it leaves alone, and in which words."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from hexaquant.analysis.lint.finding import Finding
from hexaquant.analysis.lint.run import NAMES, RULES
from hexaquant.api.lint import lint, lint_and_fix
from hexaquant.htp.legality import legality_table
from lint.test_planted_faults import CONV, HEAD, SMALL, TOKENS, model, weight

FLAT = "(float[N,6,16] x) => (float[N,6,16] y) "


def only(made: onnx.ModelProto, rule: str, **options: object) -> list[Finding]:
    return lint(made, **options).of(rule)  # type: ignore[arg-type]


def test_every_rule_has_a_name_of_its_own_and_a_title() -> None:
    assert len(set(NAMES)) == len(RULES) and all(rule.title for rule in RULES)


def test_a_shape_that_depends_on_data_is_an_error() -> None:
    made = model("(float[N,4,12,12] x, int64[2] s) => (float y) { y = Reshape (x, s) }")
    (told,) = only(made, "dynamic-reshape")
    assert told.severity == "error" and told.layer.node == "n_y" and not told.fixable


def test_a_free_dimension_beside_the_batch_is_an_error_that_shows_the_option() -> None:
    made = model("(float[N,4,H,12] x) => (float y) { y = Relu (x) }")
    (told,) = only(made, "dynamic-shape")
    assert told.severity == "error" and "'H'" in told.text and "--shape x=1,4,...,12" in told.fix
    assert not only(made, "dynamic-shape", shapes={"x": [1, 4, 12, 12]})


def test_a_batchnorm_that_cannot_fold_is_a_warning_with_the_reason() -> None:
    norm = {"g": np.array([1, 1, 1, 30.0]), "b": np.ones(4), "m": np.zeros(4), "v": np.ones(4)}
    made = model(
        f"{HEAD} {{ r = Relu (x) y = BatchNormalization (r, g, b, m, v) }}",
        **{name: array.astype(np.float32) for name, array in norm.items()},
    )
    (told,) = only(made, "batchnorm")
    assert told.severity == "warning" and "does not follow" in told.text and "30 times" in told.text
    (measured,) = only(made, "batchnorm", data=SMALL)
    assert measured.cost_db is not None and measured.cost_db < 45


@pytest.mark.parametrize(
    ("rule", "body", "numbers"),
    [
        (
            "decomposed-layernorm",
            "m = ReduceMean <keepdims=1> (x, ax) d = Sub (x, m) q = Mul (d, d) v = ReduceMean <keepdims=1> (q, ax) "
            "e = Add (v, eps) r = Sqrt (e) y = Div (d, r)",
            {"ax": np.array([-1]), "eps": np.float32(1e-5)},
        ),
        (
            "decomposed-rmsnorm",
            "q = Mul (x, x) v = ReduceMean <keepdims=1> (q, ax) e = Add (v, eps) r = Sqrt (e) y = Div (x, r)",
            {"ax": np.array([-1]), "eps": np.float32(1e-5)},
        ),
        (
            "decomposed-hardswish",
            "a = Add (x, three) c = Clip (a, zero, six) p = Mul (x, c) y = Div (p, six)",
            {"three": np.float32(3), "zero": np.float32(0), "six": np.float32(6)},
        ),
    ],
)
def test_functions_written_out_are_found_at_their_last_operator_and_mended(
    rule: str, body: str, numbers: dict[str, np.ndarray]
) -> None:
    made = model(f"{FLAT} {{ {body} }}", **numbers)
    (told,) = only(made, rule)
    assert told.layer.node == "n_y" and told.severity == "info" and "hexaquant does this" in told.fix
    mended = lint_and_fix(made)
    assert [len(mended.graph.nodes), mended.repairs[-1].reason] == [1, ""] and mended.repairs[-1].deviation < 1e-5


def test_a_mask_of_minus_3e38_is_found_and_becomes_minus_100() -> None:
    body = "q = MatMul (x, w) t = Transpose <perm=[0,2,1]> (x) s = MatMul (q, t) m = Add (s, mask) p = Softmax (m)"
    mask = np.triu(np.full((6, 6), -3.4e38, np.float32), 1)
    made = model(f"{FLAT} {{ {body} y = MatMul (p, x) }}", w=weight(16, 16), mask=mask)
    (told,) = only(made, "overflowing-constant")
    assert told.layer.node == "n_m" and told.fixable and told.severity == "info" and "3.4e+38" in told.text
    assert not only(made, "softmax-input", data=TOKENS)  # import made the mask -100 already
    mended = lint_and_fix(made, data=TOKENS)
    assert "overflowing-constant" in {r.rule for r in mended.repairs if not r.reason}
    assert float(mended.graph.initializers["mask"].const_value.numpy().min()) == -100  # type: ignore[union-attr]
    assert not lint(mended.graph).of("overflowing-constant")


def test_factors_of_attention_go_into_the_weights() -> None:
    body = "a = MatMul (x, w) q = Mul (a, c) t = Transpose <perm=[0,2,1]> (x) s = MatMul (q, t) p = Softmax (s)"
    made = model(f"{FLAT} {{ {body} y = MatMul (p, x) }}", w=weight(16, 16), c=np.float32(0.25))
    (told,) = only(made, "attention-scale")
    assert told.layer.node == "n_q" and told.fixable
    mended = lint_and_fix(made)
    assert "Mul" not in [node.op_type for node in mended.graph.nodes]


def test_a_matrix_from_the_left_becomes_a_convolution() -> None:
    made = model("(float[N,16,9] x) => (float y) { m = MatMul (w, x) y = Add (m, b) }", w=weight(8, 16), b=weight(8, 1))
    (told,) = only(made, "linear-as-convolution")
    assert told.layer.node == "n_y" and told.fixable
    assert [node.op_type for node in lint_and_fix(made).graph.nodes] == ["Conv"]
    assert not lint(made, scheme="w8a16").of("refused")


def test_what_hexaquant_rewrites_is_told_with_the_reason() -> None:
    made = model(f"{HEAD} {{ a = Abs (x) b = Add (a, one) y = Reciprocal (b) }}", one=np.float32(1))
    (told,) = only(made, "rewritten")
    assert told.layer.node == "n_y" and told.severity == "info" and "division" in told.why


def test_unused_inputs_and_constant_outputs_are_told() -> None:
    text = "(float[1,4] x, float[1,4] idle) => (float y, float z) { y = Relu (x) z = Identity (k) }"
    made = model(text, k=np.ones(3, np.float32))
    told = only(made, "dead-branch")
    assert {f.layer.node for f in told} == {"input idle", "n_z"} and {f.severity for f in told} == {"warning"}


def test_weights_that_one_scale_cannot_hold_are_found_and_per_channel_is_recommended() -> None:
    data = weight(16, 4, 3, 3)
    data[1:] /= 200
    made = model(f"{HEAD} {{ y = {CONV} (x, w) }}", w=data)
    assert not only(made, "coarse-weight")
    (told,) = only(made, "coarse-weight", overrides={"w": {"bits": 8, "granularity": "tensor"}})
    assert "per channel" in told.fix and told.tensor == "w"


def test_dead_channels_are_counted() -> None:
    data = weight(16, 4, 3, 3)
    data[[2, 7]] = 0
    (told,) = only(model(f"{HEAD} {{ y = {CONV} (x, w) }}", w=data), "dead-channel")
    assert told.text.startswith("2 of 16")


def test_a_stream_too_wide_for_what_is_added_is_found() -> None:
    text = f"{HEAD} {{ a = Mul (x, big) c = {CONV} (x, w) y = Add (a, c) }}"
    wide, usual = (model(text, w=weight(4, 4, 3, 3), big=np.float32(number)) for number in (500, 2))
    (told,) = only(wide, "wide-residual", data=SMALL)
    assert told.layer.node == "n_y" and "'c'" in told.text and told.severity in ("warning", "info")
    assert not only(usual, "wide-residual", data=SMALL)


def test_a_repair_that_changes_the_function_is_undone_and_told() -> None:
    """Scores 150 apart make a mask of -100 visible: condition 4 of clamp_masks does not hold; the check says so."""
    body = "m = Add (x, mask) y = Softmax (m)"
    mask = np.full((6, 16), 0, np.float32)
    mask[:, 8:] = -3.4e38
    made = model(f"{FLAT} {{ {body} }}", mask=mask)
    far = np.zeros((1, 6, 16), np.float32)
    far[..., 12] = 150
    done = lint_and_fix(made, data={"x": far})
    (undone,) = [r for r in done.repairs if r.rule == "overflowing-constant"]
    assert "would differ" in undone.reason
    assert float(done.graph.initializers["mask"].const_value.numpy().min()) < -1e38  # type: ignore[union-attr]


def test_an_option_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(TypeError, match="targt"):
        lint_and_fix(model(f"{HEAD} {{ y = Relu (x) }}"), targt="sm8350")  # type: ignore[call-arg]


def test_the_errors_of_16_bit_kernels_are_those_of_the_table() -> None:
    errors = legality_table().errors_16
    for operator in ("Softplus", "Sqrt", "Tan"):
        made = model(f"{HEAD} {{ a = Abs (x) y = {operator} (a) }}")
        (told,) = only(made, "coarse-16-bit", scheme="w8a16")
        assert f"about {errors[operator]} steps of 16 bits" in told.text and told.layer.node == "n_y"
        assert not only(made, "coarse-16-bit", scheme="w8a8")


def test_a_product_of_activations_is_warned_of_where_it_stays_a_matmul() -> None:
    rank_3 = "(float[1,4,8] x) => (float y) { t = Transpose <perm=[0,2,1]> (x) y = MatMul (x, t) }"
    assert not only(model(rank_3), "coarse-16-bit", scheme="w8a16")
    rank_2 = "(float[4,8] x) => (float y) { t = Transpose <perm=[1,0]> (x) y = MatMul (x, t) }"
    (told,) = only(model(rank_2), "coarse-16-bit", scheme="w8a16")
    assert f"about {legality_table().errors_16['MatMul']} steps" in told.text
