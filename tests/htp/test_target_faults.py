"""Each fault of the target, on float networks and on QDQ networks that arrive ready-made.

Preparing and lowering give forms that the target computes as the simulation does; what neither can mend is refused by
planning, lint and lowering in the same words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as oir
import pytest
import torch

from hexaquant.api.compile import compile_folder
from hexaquant.api.lint import lint
from hexaquant.core.errors import TargetError
from hexaquant.core.metrics import sqnr_db
from hexaquant.folder.artifacts import binary_name, export_model
from hexaquant.htp.check import by_name, check_graph, one_scheme
from hexaquant.htp.faults import FAULTS, mend_faults, mend_or_refuse
from hexaquant.htp.for_target import prepare_for_target
from hexaquant.htp.soc import find_target
from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import normalize
from hexaquant.qnn.lower import lower
from hexaquant.qnn.runtime import Runtime
from ir.onnx_text import assert_same, graph, random
from qnn.compiled import ARCH, SOC
from qnn.qdq_models import QdqBuilder, conv_relu
from sim.nets import quantized


def small(seed: int) -> np.ndarray:
    """Values in 0.3..0.7, float32 (1, 8)."""
    return np.random.default_rng(seed).uniform(0.3, 0.7, (1, 8)).astype(np.float32)


def wide(seed: int) -> np.ndarray:
    return 2 * random(1, 8, seed=seed)


def rows(seed: int) -> np.ndarray:
    return random(8, 4, seed=seed)


def one(seed: int) -> np.ndarray:
    return random(1, 1, seed=seed)


@dataclass(frozen=True)
class Case:
    """A network with ``count`` times the fault. ``unmended_db``: the target stays below it without mending; None where
    it does not come back, refuses, or errs with some operands only; ``db``: it exceeds that with it."""

    fault: str
    text: str
    draw: Callable[[int], np.ndarray]
    constants: dict[str, Any] = field(default_factory=dict)
    count: int = 1
    scheme: str = "w8a8"
    unmended_db: float | None = 15
    db: float = 30


LOW, HIGH, HALF, C = np.float32(0.3), np.float32(2), np.float32(0.7), np.float32(0.3)
COLUMN, BIAS = random(6, 1, seed=5), random(6, seed=6)
LAYER = {"w": random(4, 4, seed=5), "b": random(4, seed=6)}
VEC = "(float[1,8] x) => (float[1,8] y"
ONE = "(float[1,1] x) => (float[1,6] y"
FIVE = "(float[8,4] x) => (float[1,2,1,4,4] y)"

CASES = {
    "reciprocal": Case("small-reciprocal", f"{VEC}) {{ y = Reciprocal (x) }}", small),
    "addend": Case("undone-difference", f"{VEC}) {{ a = Sub (x, c)\n b = Relu (a)\n y = Add (b, c) }}", wide, {"c": C}),
    "addend, activation read twice": Case(
        "undone-difference",
        f"{VEC}, float[1,8] z) {{ a = Sub (x, c)\n b = Relu (a)\n y = Add (b, c)\n z = Neg (b) }}",
        wide,
        {"c": C},
    ),
    "running sum": Case(
        "turned-sum", "(float[8,4] x) => (float[8,4] y) { y = CumSum (x, a) }", rows, {"a": np.array(0)}
    ),
    "running sum without its own element": Case(
        "partial-sum",
        "(float[8,4] x) => (float[8,4] y) { y = CumSum <exclusive=1> (x, a) }",
        rows,
        {"a": np.array(1)},
        unmended_db=None,
    ),
    "running sum from the end": Case(
        "partial-sum",
        "(float[8,4] x) => (float[8,4] y) { y = CumSum <reverse=1, exclusive=1> (x, a) }",
        rows,
        {"a": np.array(-1)},
        unmended_db=None,
        scheme="w8a16",
        db=60,
    ),
    "squares": Case(
        "squares",
        f"{FIVE} {{ a = Gemm (x, w, b)\n y = Reshape (a, s) }}",
        rows,
        {**LAYER, "s": np.array([1, 2, 1, 4, 4])},
    ),
    "squares of an activation, a size left open": Case(
        "squares",
        f"{FIVE} {{ a = Gemm (x, w, b)\n r = Relu (a)\n y = Reshape (r, s) }}",
        rows,
        {**LAYER, "s": np.array([1, -1, 1, 4, 4])},
    ),
    "one feature": Case(
        "lone-feature",
        f"{ONE}) {{ y = Gemm <transB=1> (x, w, b) }}",
        one,
        {"w": COLUMN, "b": BIAS},
        unmended_db=None,
    ),
    "one feature, a weight of two layers": Case(
        "lone-feature",
        f"{ONE}, float[1,6] z) {{ y = Gemm <transB=1> (x, w, b)\n n = Neg (x)\n z = Gemm <transB=1> (n, w, b) }}",
        one,
        {"w": COLUMN, "b": BIAS},
        count=2,
        unmended_db=None,
    ),
    "one feature in a product": Case(
        "lone-feature", f"{ONE}) {{ y = MatMul (x, w) }}", one, {"w": COLUMN.T.copy()}, unmended_db=None
    ),
    "product of rank 5": Case(
        "rank-5-product",
        "(float[1,2,3,5,8] x) => (float[1,2,3,5,5] y) { r = Reshape (x, s)\n y = MatMul (x, r) }",
        lambda seed: random(1, 2, 3, 5, 8, seed=seed),
        {"s": np.array([1, 2, 3, 8, 5])},
        unmended_db=None,
    ),
    "turned square": Case(
        "turned-square",
        "(float[8,1,8] x) => (float[1,8,8,1] y) { t = Transpose <perm=[1,2,0]> (x)\n r = Reshape (t, s)\n"
        " y = Add (r, c) }",
        lambda seed: random(8, 1, 8, seed=seed),
        {"s": np.array([1, 8, 8, 1]), "c": random(1, 8, 8, 1, seed=5)},
    ),
    "turned square of rank 4": Case(
        "turned-square",
        "(float[1,5,1,5] x) => (float[25] y) { t = Transpose <perm=[2,0,3,1]> (x)\n y = Reshape (t, s) }",
        lambda seed: random(1, 5, 1, 5, seed=seed),
        {"s": np.array([25])},
        scheme="w8a16",
        db=60,
    ),
    "one number of a pool": Case(
        "number-of-a-pool",
        "(float[1,1,4,10] x) => (float[1,1,1,1,1] y) { a = GlobalMaxPool (x)\n y = Reshape (a, s) }",
        lambda seed: random(1, 1, 4, 10, seed=seed),
        {"s": np.array([1, 1, 1, 1, 1])},
        unmended_db=None,
    ),
    "one mean, in two steps": Case(
        "number-of-a-pool",
        "(float[1,1,4,10] x) => (float[1,1,1,1,1] y) { a = GlobalAveragePool (x)\n b = Reshape (a, r)\n"
        " y = Reshape (b, s) }",
        lambda seed: random(1, 1, 4, 10, seed=seed),
        {"r": np.array([1]), "s": np.array([1, 1, 1, 1, 1])},
        scheme="w8a16",
        unmended_db=None,
        db=60,
    ),
    "clip": Case(
        "clip-beside-zero",
        f"{VEC}) {{ a = Mul (x, f)\n y = Clip (a, l, h) }}",
        wide,
        {"f": HALF, "l": LOW, "h": HIGH},
        db=45,
    ),
    "clip below zero": Case(
        "clip-beside-zero",
        f"{VEC}) {{ a = Mul (x, f)\n y = Clip (a, l, h) }}",
        wide,
        {"f": HALF, "l": -HIGH, "h": -LOW},
        unmended_db=20,
        db=45,
    ),
    "clip of a layer": Case(
        "clip-beside-zero",
        f"{VEC}) {{ a = Gemm <transB=1> (x, w)\n y = Clip (a, l, h) }}",
        wide,
        {"w": random(8, 8), "l": LOW, "h": HIGH},
        unmended_db=20,
        db=40,
    ),
    "max of min": Case(
        "max-of-min",
        f"{VEC}) {{ a = Min (x, h)\n y = Max (a, l) }}",
        wide,
        {"l": LOW, "h": HIGH},
        scheme="w8a16",
        db=60,
    ),
    "max of min, min read twice": Case(
        "max-of-min",
        f"{VEC}, float[1,8] z) {{ a = Min (x, h)\n y = Max (a, l)\n z = Neg (a) }}",
        wide,
        {"l": LOW, "h": HIGH},
        scheme="w8a16",
        db=60,
    ),
}


def ready_made(model: Graph, folder: Path, case: Case) -> torch.nn.Module:
    """``model`` quantized as it is, without preparing, and exported to ``folder``."""
    simulation = quantized(model, case.scheme, data=[{"x": case.draw(seed)} for seed in range(8)])
    export_model(simulation, folder)
    return simulation


def agreement(simulation: Any, folder: Path, case: Case) -> float:
    """SQNR in dB of the target against the simulation; compiling proves that every encoding arrives."""
    compile_folder(folder, check=False)
    x = case.draw(3)
    with torch.no_grad():
        wanted = simulation(torch.from_numpy(x))
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    with Runtime(folder / binary_name(simulation.plan.target)) as runtime:
        got = runtime.run({"x": x})
    return min(sqnr_db(a.numpy(), got[name]) for a, name in zip(wanted, ("y", "z")))


@pytest.mark.parametrize("name", CASES)
def test_preparing_mends_a_float_network(name: str) -> None:
    case = CASES[name]
    before = normalize(graph(case.text, **case.constants))
    after = before.clone()
    assert mend_faults(after, [case.fault])[case.fault] == case.count
    assert mend_faults(after, [case.fault])[case.fault] == 0
    assert_same(before, after, {"x": case.draw(1)})
    check_graph(after, find_target("sm8650"), one_scheme(case.scheme))


@pytest.mark.parametrize("name", CASES)
def test_lowering_mends_a_ready_made_network_and_the_target_agrees(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    simulation = ready_made(normalize(graph(case.text, **case.constants)), tmp_path, case)
    model = oir.load(tmp_path / "model.qdq.onnx")
    assert mend_or_refuse(model, "it", ARCH)[case.fault] == case.count
    assert agreement(simulation, tmp_path, case) > case.db
    if case.unmended_db is not None:
        monkeypatch.setattr("hexaquant.qnn.lower.adapt_forms", lambda *_, **__: {})
        assert agreement(simulation, tmp_path, case) < case.unmended_db


EXACT = {
    "an addend without an activation": f"{VEC}) {{ a = Sub (x, c)\n y = Add (a, c) }}",
    "an addition of something else": f"{VEC}) {{ a = Sub (x, c)\n b = Relu (a)\n y = Add (b, d) }}",
    "a max with its constant first": f"{VEC}) {{ a = Min (x, h)\n y = Max (c, a) }}",
    "a min with its constant first": f"{VEC}) {{ a = Min (h, x)\n y = Max (a, c) }}",
    "a max of a min that are crossed": f"{VEC}) {{ a = Min (x, c)\n y = Max (h, a) }}",
}
NUMBERS = {"c": C, "d": np.float32(0.5), "h": HIGH}


@pytest.mark.parametrize("scheme", ["w8a8", "w8a16"])
@pytest.mark.parametrize("name", EXACT)
def test_what_the_target_computes_right_is_neither_changed_nor_refused(name: str, scheme: str, tmp_path: Path) -> None:
    case = Case(
        "", EXACT[name], wide, {k: v for k, v in NUMBERS.items() if f"{k})" in EXACT[name] or f"{k}," in EXACT[name]}
    )
    before = normalize(graph(case.text, **case.constants))
    assert not any(mend_faults(before.clone()).values())
    simulation = ready_made(before, tmp_path, Case("", case.text, wide, scheme=scheme))
    assert agreement(simulation, tmp_path, case) > (30 if scheme == "w8a8" else 60)


def test_a_difference_that_stays_positive_is_exact(tmp_path: Path) -> None:
    """Its quantized range ends at zero, like that of a merged activation."""
    case = Case("", EXACT["an addend without an activation"], wide, {"c": np.float32(-7)}, scheme="w8a16")
    simulation = ready_made(normalize(graph(case.text, **case.constants)), tmp_path, case)
    assert agreement(simulation, tmp_path, case) > 60


@pytest.mark.parametrize("product", ["Mul (c, a)", "Mul (a, c)"])
@pytest.mark.parametrize(("scheme", "count", "db"), [("w8a8", 0, 30), ("w8a16", 1, 60), ("w4a16", 1, 45)])
def test_lowering_keeps_a_gate_apart_from_its_product_in_16_bits(
    product: str, scheme: str, count: int, db: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"(float[1,8,10,10] x) => (float[1,16,10,10] y) {{ c = Conv (x, w, b)\n a = Sigmoid (c)\n y = {product} }}"
    constants = {"w": random(16, 8, 1, 1, seed=5), "b": random(16, seed=6)}
    case = Case("gated-by-itself", text, lambda seed: random(1, 8, 10, 10, seed=seed), constants, scheme=scheme)
    simulation = ready_made(normalize(graph(text, **constants)), tmp_path, case)
    assert mend_or_refuse(oir.load(tmp_path / "model.qdq.onnx"), "it", ARCH)[case.fault] == count
    assert agreement(simulation, tmp_path, case) > db
    if count:
        monkeypatch.setattr("hexaquant.qnn.lower.adapt_forms", lambda *_, **__: {})
        assert agreement(simulation, tmp_path, case) < 30


def test_the_reciprocal_of_a_sigmoid_is_exact_and_lowering_leaves_it(tmp_path: Path) -> None:
    case = Case("", f"{VEC}) {{ a = Sigmoid (x)\n y = Reciprocal (a) }}", wide)
    simulation = ready_made(normalize(graph(case.text)), tmp_path, case)
    assert not any(mend_or_refuse(oir.load(tmp_path / "model.qdq.onnx"), "it", ARCH).values())
    assert agreement(simulation, tmp_path, case) > 30


@pytest.mark.parametrize("text", ["8,1", "1,2"])
def test_layers_of_several_rows_or_features_are_left(text: str) -> None:
    constants = {"w": random(6, int(text[-1]), seed=5)}
    model = graph(f"(float[{text}] x) => (float[{text[0]},6] y) {{ y = Gemm <transB=1> (x, w) }}", **constants)
    assert mend_faults(normalize(model))["lone-feature"] == 0


@pytest.mark.parametrize(
    ("before", "order", "after"),
    [
        ([8, 1, 6], [1, 2, 0], [1, 6, 8, 1]),
        ([8, 1, 8], [2, 1, 0], [8, 8, 1]),
        ([8, 1, 8], [2, 0, 1], [1, 8, 8, 1]),
        ([8, 8], [1, 0], [1, 8, 8, 1]),
        ([1, 8, 1, 8], [0, 2, 1, 3], [64]),
        ([1, 1, 8, 1, 8], [0, 1, 3, 4, 2], [64]),
    ],
)
def test_other_transposes_are_left(before: list[int], order: list[int], after: list[int]) -> None:
    given, wanted = (",".join(map(str, shape)) for shape in (before, after))
    nodes = f"t = Transpose <perm={order}> (x)\n y = Reshape (t, s)"
    model = graph(f"(float[{given}] x) => (float[{wanted}] y) {{ {nodes} }}", s=np.array(after))
    assert mend_faults(model)["turned-square"] == 0


@pytest.mark.parametrize("shape", [[1, 4, 2, 2, 2], [1, 1, 2, 4, 4, 1], [2, 1, 4, 4]])
def test_other_reshapes_of_a_layer_are_left(shape: list[int]) -> None:
    dims = ",".join(map(str, shape))
    text = f"(float[8,4] x) => (float[{dims}] y) {{ a = Gemm (x, w, b)\n y = Reshape (a, s) }}"
    assert mend_faults(normalize(graph(text, **LAYER, s=np.array(shape))))["squares"] == 0


def test_a_reshape_without_a_layer_is_left() -> None:
    text = f"{FIVE} {{ a = Neg (x)\n y = Reshape (a, s) }}"
    assert mend_faults(normalize(graph(text, s=np.array([1, 2, 1, 4, 4]))))["squares"] == 0


def test_a_computed_bias_is_added_behind_the_layer() -> None:
    text = "(float[1,4] x, float[4] b) => (float[1,4] y) { y = Gemm (x, w, b) }"
    before = normalize(graph(text, w=LAYER["w"]))
    after = before.clone()
    assert prepare_for_target(after)["computed-bias"] == 1
    assert_same(before, after, {"x": random(1, 4), "b": random(4, seed=1)})
    text = "(float[1,3,6,6] x, float[4] b) => (float[1,4,4,4] y) { y = Conv (x, w, b) }"
    before = normalize(graph(text, w=random(4, 3, 3, 3)))
    after = before.clone()
    assert prepare_for_target(after)["computed-bias"] == 1
    assert_same(before, after, {"x": random(1, 3, 6, 6), "b": random(4, seed=1)})


REFUSED = {
    "high-rank": ("(float[1,1,1,2,2,2] x) => (float[1,1,1,2,2,2] y) { y = Relu (x) }", {}),
    "lone-feature": (f"{ONE}) {{ y = Gemm <transB=1, alpha=2.0> (x, w) }}", {"w": COLUMN}),
    "computed-bias": (
        "(float[1,4] x) => (float[1,4] y) { n = Neg (x)\n y = Gemm <beta=2.0> (x, w, n) }",
        {"w": LAYER["w"]},
    ),
}
"""Networks that cannot be mended."""


@pytest.mark.parametrize("name", REFUSED)
def test_planning_lint_and_lowering_refuse_in_the_same_words(name: str, tmp_path: Path) -> None:
    text, constants = REFUSED[name]
    model = graph(text, **constants)
    for node in model.nodes:
        node.name = f"n_{node.outputs[0].name}"
    row = next(fault for fault in FAULTS if fault.name == name)
    shape = [int(dim) for dim in model.inputs[0].shape or ()]
    simulation = quantized(model.clone(), data=[{"x": random(*shape, seed=seed)} for seed in range(4)])
    export_model(simulation, tmp_path)
    with pytest.raises(TargetError) as at_lowering:
        lower(tmp_path / "model.qdq.onnx", tmp_path / "model.dlc", SOC, ARCH)
    words = str(at_lowering.value).partition(") ")[2]
    assert row.effect in words and words.endswith(row.remedy)
    reason = words.removesuffix(f": {row.remedy}")
    with pytest.raises(TargetError) as before_calibration:
        check_graph(model, find_target("sm8650"), by_name({n.name or "": "w8a8" for n in model.nodes}))
    assert f"{reason}; {row.remedy}" in str(before_calibration.value)


def by_input_channel(path: Path) -> Path:
    b = QdqBuilder()
    x = b.quantized(b.input("x", [4, 8]), -1, 1)
    w = b.weight("w", random(8, 6), axis=0)
    b.quantized(b.node("MatMul", [x, w], "value"), -4, 4, output="y")
    b.output("y", [4, 6])
    return b.save(path)


def bias_of_another_scale(path: Path) -> Path:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(conv_relu(path))
    scale = next(i for i in model.graph.initializer if i.name == "b_scale")
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * np.float32(2), "b_scale"))
    onnx.save(model, path)
    return path


def space_of_another_encoding(path: Path) -> Path:
    b = QdqBuilder()
    x = b.quantized(b.input("x", [1, 8, 4, 4]), -1, 1)
    b.quantized(b.node("DepthToSpace", [x], "value", blocksize=2), -2, 2, output="y")
    b.output("y", [1, 2, 8, 8])
    return b.save(path)


def padded_pool(path: Path) -> Path:
    b = QdqBuilder()
    x = b.quantized(b.input("x", [1, 8, 6, 6]), -1, 1)
    attributes = {"kernel_shape": [3, 3], "strides": [3, 3], "pads": [1, 1, 2, 2], "count_include_pad": 1}
    b.quantized(b.node("AveragePool", [x], "value", **attributes), -1, 1, output="y")
    b.output("y", [1, 8, 3, 3])
    return b.save(path)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (by_input_channel, "weight-axis"),
        (bias_of_another_scale, "bias-scale"),
        (space_of_another_encoding, "space-encoding"),
        (padded_pool, "average-pool"),
    ],
)
def test_lint_of_a_qdq_file_refuses_what_lowering_refuses(
    make: Callable[[Path], Path], name: str, tmp_path: Path
) -> None:
    path = make(tmp_path / "model.onnx")
    row = next(fault for fault in FAULTS if fault.name == name)
    with pytest.raises(TargetError) as at_lowering:
        lower(path, tmp_path / "model.dlc", SOC, ARCH)
    (told,) = lint(path).refused
    assert str(at_lowering.value).endswith(f"{told.reason}: {told.remedy}")
    assert row.effect in told.reason and told.remedy == row.remedy


def test_every_row_says_what_was_measured_and_what_to_do() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    for fault in FAULTS:
        assert fault.measured and fault.remedy and fault.effect and bool(fault.mend) == bool(fault.mended_as), (
            fault.name
        )
