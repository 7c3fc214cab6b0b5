"""Legal ways of writing a file that mean nothing: they are made plain at import."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hexaquant.core.errors import InputError
from hexaquant.frontends import load
from hexaquant.ir.normalize import require_static
from wild import deployed, normal, written

IMAGES, UNSEEN = {"x": normal(24, 3, 12, 12, seed=1)}, {"x": normal(8, 3, 12, 12, seed=2)}
HEAD = "(float[1,3,12,12] x) => (float[1,4,24,24] y) "


@pytest.mark.parametrize("scheme,least", [("w8a8", 28.0), ("w8a16", 40.0)])
def test_a_resize_with_an_empty_roi(tmp_path: Path, scheme: str, least: float) -> None:
    resize = 'Resize<mode="linear", coordinate_transformation_mode="half_pixel">'
    body = f"{{c = Conv<pads=[1,1,1,1]>(x, w) y = {resize}(c, r, s)}}"
    constants = {"w": normal(4, 3, 3, 3), "r": np.zeros(0, np.float32), "s": np.array([1, 1, 2, 2], np.float32)}
    path = written(tmp_path / "net.onnx", HEAD + body, 11, **constants)
    assert deployed(path, tmp_path / "out", scheme, IMAGES, UNSEEN)["y"] > least


@pytest.mark.parametrize("scheme,least", [("w8a8", 32.0), ("w8a16", 42.0)])
def test_constants_that_are_also_inputs_are_not_asked_for(tmp_path: Path, scheme: str, least: float) -> None:
    head = "(float[1,3,12,12] x, float[4,3,3,3] w, int64 steps) => (float[1,4,12,12] y) "
    body = "{y = Conv<pads=[1,1,1,1]>(x, w)}"
    path = written(tmp_path / "net.onnx", head + body, 9, 3, w=normal(4, 3, 3, 3), steps=np.int64(5))
    assert deployed(path, tmp_path / "out", scheme, IMAGES, UNSEEN)["y"] > least


@pytest.mark.parametrize("dtype", ["float16", "double"])
@pytest.mark.parametrize("scheme,least", [("w8a8", 28.0), ("w8a16", 40.0)])
def test_other_float_types_are_taken_and_their_data_too(tmp_path: Path, dtype: str, scheme: str, least: float) -> None:
    kind = np.dtype(np.float64 if dtype == "double" else np.float16)
    body = "{c = MatMul(x, w) f = Cast<to=1>(c) g = Relu(f) h = CastLike(g, x) y = Mul(h, s)}"
    constants = {"w": normal(12, 8).astype(kind), "s": np.array(0.5, kind)}
    path = written(tmp_path / "net.onnx", f"({dtype}[1,3,12,12] x) => ({dtype}[1,3,12,8] y) " + body, 17, **constants)
    samples = [{name: array.astype(kind) for name, array in data.items()} for data in (IMAGES, UNSEEN)]
    assert deployed(path, tmp_path / "out", scheme, *samples)["y"] > least


def test_free_sizes_are_asked_for_with_the_flag_to_type(tmp_path: Path) -> None:
    head = "(float[n,3,h,w] x, float[n,2] t) => (float[n,4,h,w] y) "
    path = written(tmp_path / "net.onnx", head + "{y = Conv<pads=[1,1,1,1]>(x, k)}", k=normal(4, 3, 3, 3))
    with pytest.raises(InputError, match="--shape x=1,3,N,N"):
        require_static(load(path))
    require_static(load(path, shapes={"x": ["n", 3, 8, 8]}))


def test_nodes_may_come_in_any_order(tmp_path: Path) -> None:
    import onnx

    path = written(tmp_path / "net.onnx", HEAD + "{a = Relu(x) b = Abs(a) y = Conv(b, w)}", w=normal(4, 3, 1, 1))
    model = onnx.load(path)
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)
    assert [node.op_type for node in load(path).nodes] == ["Relu", "Abs", "Conv"]
