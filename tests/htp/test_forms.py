"""Forms say of an operator what decides whether the target takes it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hexaquant.htp.forms import form_of
from ir.onnx_text import graph

W = np.zeros((4, 4, 3, 3), np.float32)


def form(text: str, **constants: Any) -> str:
    return form_of(graph(text, **constants).nodes[-1])


@pytest.mark.parametrize(
    ("attributes", "weight", "expected"),
    [
        ("", W, "Conv 2d"),
        ("<group=4>", W[:, :1], "Conv 2d depthwise"),
        ("<group=2>", W[:, :2], "Conv 2d grouped"),
        ("<dilations=[2,2]>", W, "Conv 2d dilated"),
    ],
)
def test_convolutions_differ_by_groups_and_dilation(attributes: str, weight: np.ndarray, expected: str) -> None:
    assert form(f"(float[1,4,9,9] x) => (float[a,b,c,d] y) {{ y = Conv {attributes} (x, w) }}", w=weight) == expected


def test_a_computed_weight_is_another_form() -> None:
    assert form("(float[1,4,9,9] x, float[4,4,3,3] w) => (float[a,b,c,d] y) { y = Conv (x, w) }").endswith("weight")


def test_ranks_up_to_four_are_one_form_and_five_is_another() -> None:
    forms = {form(f"(float[{shape}] x) => (float[{shape}] y) {{ y = Tanh (x) }}") for shape in ("8", "2,8", "1,2,3,4")}
    assert forms == {"Tanh"}
    assert form("(float[1,2,3,4,5] x) => (float[1,2,3,4,5] y) { y = Tanh (x) }") == "Tanh rank 5"


def test_operands_are_scalar_constant_computed_or_broadcast() -> None:
    two = "(float[2,4] x, float[{}] z) => (float[2,4] y) {{ y = Add (x, z) }}"
    one = "(float[2,4] x) => (float[2,4] y) { y = Add (x, c) }"
    assert form(two.format("2,4")) == "Add"
    assert form(two.format("2,1")) == "Add broadcast"
    assert form(one, c=np.float32(1)) == "Add scalar"
    assert form(one, c=np.zeros(4, np.float32)) == "Add constant"


def test_integers_are_another_form() -> None:
    assert form("(int64[4] x, int64[4] z) => (int64[4] y) { y = Add (x, z) }") == "Add int"


def test_axes_are_the_last_or_another() -> None:
    text = "(float[2,3,4] x) => (float[2,3,4] y) {{ y = Softmax <axis={}> (x) }}"
    assert [form(text.format(axis)) for axis in (-1, 2, 1)] == [
        "Softmax last axis",
        "Softmax last axis",
        "Softmax another axis",
    ]
