"""Equal forms of what the target computes wrongly: Reciprocal, Add of what a Sub took away, CumSum, squares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hexaquant.api.compile import compile_folder
from hexaquant.core.errors import TargetError
from hexaquant.core.metrics import sqnr_db
from hexaquant.folder.artifacts import binary_name, export_model
from hexaquant.htp.form_cumsum import form_cumsum
from hexaquant.htp.form_division import form_division
from hexaquant.htp.form_scalar_layer import form_scalar_layer
from hexaquant.htp.split_reshape import split_reshape
from hexaquant.htp.swap_addends import swap_addends
from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import normalize
from hexaquant.qnn.runtime import Runtime
from ir.onnx_text import assert_same, graph, random
from sim.nets import quantized

RECIPROCAL = "(float[1,8] x) => (float[1,8] y) { y = Reciprocal (x) }"
UNDONE = "(float[1,8] x) => (float[1,8] y) { a = Sub (x, c)\n b = Relu (a)\n y = Add (b, c) }"
SQUARES = "(float[8,4] x) => (float[1,2,1,4,4] y) { a = Gemm (x, w, b)\n y = Reshape (a, s) }"
LAYER = {"w": random(4, 4, seed=5), "b": random(4, seed=6), "s": np.array([1, 2, 1, 4, 4])}
TURNED = "(float[8,4] x) => (float[8,4] y) { y = CumSum (x, a) }"
OTHER = "(float[1,8] x) => (float[1,8] y) { a = Sub (x, c)\n b = Relu (a)\n y = Add (b, d) }"


def small(seed: int) -> np.ndarray:
    """Values in 0.3..0.7, float32 (1, 8)."""
    return np.random.default_rng(seed).uniform(0.3, 0.7, (1, 8)).astype(np.float32)


def wide(seed: int) -> np.ndarray:
    return 2 * random(1, 8, seed=seed)


def rows(seed: int) -> np.ndarray:
    return random(8, 4, seed=seed)


def agreement(model: Graph, folder: Path, draw) -> float:  # type: ignore[no-untyped-def]
    """SQNR in dB of the target in w8a8 against the simulation."""
    simulation, x = quantized(model, "w8a8", data=[{"x": draw(seed)} for seed in range(8)]), draw(3)
    export_model(simulation, folder)
    compile_folder(folder)
    with torch.no_grad():
        wanted = simulation(torch.from_numpy(x)).numpy()
    with Runtime(folder / binary_name(simulation.plan.target)) as runtime:
        return sqnr_db(wanted, runtime.run({"x": x})["y"])


@pytest.mark.parametrize(
    ("text", "constants", "rewrite", "draw", "fix"),
    [
        (RECIPROCAL, {}, form_division, small, r"'y' \(Reciprocal\) .* write it as Div"),
        (UNDONE, {"c": np.float32(0.3)}, swap_addends, wide, r"'y' \(Add\) adds what 'a' \(Sub\).* swap its operands"),
        (
            TURNED,
            {"a": np.array(0)},
            form_cumsum,
            rows,
            r"'y' \(CumSum\) sums along another axis .* transpose around it",
        ),
        (SQUARES, LAYER, split_reshape, rows, r"'y' \(Reshape\) cuts what 'a' \(Gemm\).* flatten it first"),
    ],
    ids=["reciprocal", "addend", "cumsum", "squares"],
)
def test_the_target_agrees_with_the_equal_form_only_and_lowering_refuses_the_other(  # type: ignore[no-untyped-def]
    text, constants, rewrite, draw, fix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = normalize(graph(text, **constants))
    after = before.clone()
    assert rewrite(after) == 1 and rewrite(after) == 0
    assert_same(before, after, {"x": draw(1)})
    with pytest.raises(TargetError, match=fix):
        agreement(before, tmp_path / "refused", draw)
    with monkeypatch.context() as unchecked:
        unchecked.setattr("hexaquant.qnn.lower.check_silent_errors", lambda *_: None)
        assert agreement(before, tmp_path / "before", draw) < 15
    assert agreement(after, tmp_path / "after", draw) > 30


def test_an_addition_of_something_else_is_left() -> None:
    assert swap_addends(normalize(graph(OTHER, c=np.float32(0.3), d=np.float32(0.5)))) == 0


def test_a_layer_of_one_feature_is_a_convolution_and_the_other_form_is_refused(tmp_path: Path) -> None:
    constants = {"w": random(6, 1, seed=5), "b": random(6, seed=6)}
    before = normalize(graph("(float[1,1] x) => (float[1,6] y) { y = Gemm <transB=1> (x, w, b) }", **constants))
    after = before.clone()
    assert form_scalar_layer(after) == 1 and form_scalar_layer(after) == 0
    assert_same(before, after, {"x": random(1, 1, seed=1)})
    with pytest.raises(TargetError, match=r"'y' \(Gemm\) reads one row of one feature.* write it as a 1x1 Conv"):
        agreement(before, tmp_path / "refused", lambda seed: random(1, 1, seed=seed))
    assert agreement(after, tmp_path / "after", lambda seed: random(1, 1, seed=seed)) > 35


@pytest.mark.parametrize("rows", ["8,1", "1,2"])
def test_layers_of_several_rows_or_features_are_left(rows: str) -> None:
    constants = {"w": random(6, int(rows[-1]), seed=5)}
    model = graph(f"(float[{rows}] x) => (float[{rows[0]},6] y) {{ y = Gemm <transB=1> (x, w) }}", **constants)
    assert form_scalar_layer(normalize(model)) == 0


@pytest.mark.parametrize("shape", [[1, 4, 2, 2, 2], [1, 1, 2, 4, 4, 1], [2, 1, 4, 4]])
def test_other_reshapes_of_a_matrix_are_left(shape: list[int]) -> None:
    dims = ",".join(map(str, shape))
    model = normalize(graph(f"(float[8,4] x) => (float[{dims}] y) {{ y = Reshape (x, s) }}", s=np.array(shape)))
    assert split_reshape(model) == 0
