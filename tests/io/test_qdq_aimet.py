"""AIMET's QDQ models: read, written again and run, they give the very same numbers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as oir
import pytest

from hexaquant.core.grid import Lpbq
from hexaquant.io.encodings_file import read_encodings
from hexaquant.io.qdq_reader import from_qdq, is_qdq
from hexaquant.io.qdq_writer import to_qdq
from hexaquant.ir.graph import Graph

FILES = sorted((Path(__file__).parent.parent / "data" / "aimet").glob("*qdq*.onnx"))


def loaded(path: Path) -> Graph:
    return Graph(oir.load(path), path.name)


def some_input(path: Path) -> np.ndarray:
    batch = 1 if path.name.startswith("torch") else 4
    return np.random.default_rng(7).normal(size=(batch, 3, 16, 16)).astype(np.float32)


@pytest.mark.parametrize("prequantize", [True, False])
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_read_then_written_computes_exactly_what_aimet_exported(
    path: Path, prequantize: bool, run_ort: Callable[..., list[np.ndarray]]
) -> None:
    graph, encodings = from_qdq(loaded(path))
    again = to_qdq(graph, encodings, prequantize=prequantize)
    onnx.checker.check_model(oir.to_proto(again.model), full_check=True)
    x = some_input(path)
    assert np.array_equal(run_ort(again, x)[0], run_ort(path, x)[0])


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_the_float_graph_has_the_original_names_and_no_qdq(path: Path, net: Graph) -> None:
    graph, encodings = from_qdq(loaded(path))
    assert not is_qdq(graph)
    assert {v.name for v in net.values()} <= {v.name for v in graph.values()}
    assert set(encodings) <= {v.name for v in graph.values()}
    assert [v.name for v in graph.outputs] == ["output"]
    ours = [n.op_type for n in graph.nodes if n.op_type != "Constant"]
    assert ours == [n.op_type for n in net.nodes if n.op_type != "Constant"]


def test_float_weights_survive_where_the_file_has_them(samples: Path) -> None:
    path = samples / "onnx_qdq_w4a16_pre0_unsigned.onnx"
    graph, _ = from_qdq(loaded(path))
    before = {i.name: onnx.numpy_helper.to_array(i) for i in onnx.load(path).graph.initializer}
    assert np.array_equal(graph.initializers["conv3.weight"].const_value.numpy(), before["conv3.weight"])


def test_encodings_of_qdq_equal_those_of_the_same_simulations_json(samples: Path) -> None:
    _, from_onnx = from_qdq(loaded(samples / "torch_qdq_w8a8.onnx"))
    from_json = read_encodings(samples / "torch_w8a8_2.0.0.encodings").all
    assert set(from_onnx) == set(from_json)
    assert all(from_onnx[name].same_as(from_json[name]) for name in from_json)


def test_lpbq_is_recognised(samples: Path) -> None:
    _, encodings = from_qdq(loaded(samples / "onnx_qdq_lpbq_gemm.onnx"))
    encoding = encodings["fc2.weight"]
    assert encoding.grid.granularity == Lpbq(1, 16, 0, 8) and encoding.grid.bits == 4
    assert encoding.block_scale is not None and encoding.block_scale.shape == (10, 4)
    assert float(encoding.block_scale.max()) <= 16


def test_json_encodings_on_the_float_net_quantize_as_aimets_qdq_does(
    samples: Path, run_ort: Callable[..., list[np.ndarray]]
) -> None:
    path = samples / "torch_qdq_w8a8.onnx"
    graph, _ = from_qdq(loaded(path))
    encodings = read_encodings(samples / "torch_w8a8_2.0.0.encodings").resolve(graph)
    x = some_input(path)
    assert np.array_equal(run_ort(to_qdq(graph, encodings.all), x)[0], run_ort(path, x)[0])


def test_signed_and_unsigned_storage_give_the_same_numbers(
    samples: Path, run_ort: Callable[..., list[np.ndarray]]
) -> None:
    graph, encodings = from_qdq(loaded(samples / "onnx_qdq_w8a8_pre1_signed.onnx"))
    assert encodings["input"].grid.signed
    x = some_input(samples / "onnx")
    unsigned = {n: flipped(e) if n in ("input", "output", "/Add_output_0") else e for n, e in encodings.items()}
    signed_out, unsigned_out = (run_ort(to_qdq(graph, e), x)[0] for e in (encodings, unsigned))
    assert np.array_equal(signed_out, unsigned_out)


def flipped(encoding):
    grid = type(encoding.grid)(encoding.grid.bits, not encoding.grid.signed, False, encoding.grid.granularity)
    return type(encoding)(grid, encoding.scale, encoding.offset)


def test_a_fully_float16_model_has_no_encodings(samples: Path) -> None:
    graph, encodings = from_qdq(loaded(samples / "onnx_qdq_fp16_pre1_unsigned.onnx"))
    assert encodings == {} and not is_qdq(graph)
