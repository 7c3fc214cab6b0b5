"""AIMET's encodings become a DLC that computes what AIMET's QDQ model does; what does not fit is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper

from hexaquant.api.convert import Network, check_operators, convert, read_network
from hexaquant.core.errors import EncodingError, InputError, TargetError
from hexaquant.folder.manifest import verify_files
from hexaquant.frontends import load
from hexaquant.htp.legality import legality_table
from hexaquant.htp.soc import find_target
from hexaquant.io.encodings_file import read_encodings
from hexaquant.io.qdq_reader import from_qdq
from hexaquant.ir.graph import constant
from hexaquant.qnn.compile import compile_dlc
from hexaquant.qnn.runtime import Runtime
from hexaquant.sim.given_encodings import MissingEncodings, complete_encodings

AIMET = Path(__file__).parent.parent / "data" / "aimet"
NET = AIMET / "net_fp32.onnx"
RELU, ADD = "/relu1/Relu_output_0", "/Add_output_0"
FUSED = "/dw/Conv_output_0"

CASES = [
    *((NET, f"onnx_w8a8_{v}.encodings", "onnx_qdq_w8a8_pre1_unsigned") for v in ("0.6.1", "1.0.0", "2.0.0")),
    *((NET, f"onnx_w8a16_{v}.encodings", "onnx_qdq_w8a16_pre1_unsigned") for v in ("0.6.1", "1.0.0", "2.0.0")),
    (AIMET / "onnx_qdq_w8a8_pre0_signed.onnx", None, "onnx_qdq_w8a8_pre0_signed"),
    (AIMET / "onnx_qdq_w4a16_pre1_unsigned.onnx", None, "onnx_qdq_w4a16_pre1_unsigned"),
    (AIMET / "torch_qdq_w8a8.onnx", None, "torch_qdq_w8a8"),
]
"""(network, encodings, AIMET's QDQ model of the same quantization)."""


def images(count: int = 8) -> np.ndarray:
    return np.random.default_rng(7).normal(size=(count, 3, 16, 16)).astype(np.float32)


def onnxruntime_without_fusions(path: Path, x: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options)
    return np.concatenate([session.run(None, {session.get_inputs()[0].name: image[None]})[0] for image in x])


def emulated(dlc: Path, x: np.ndarray) -> np.ndarray:
    compile_dlc(dlc, dlc.with_suffix(".bin"), 57, 75, o_level=1)
    with Runtime(dlc.with_suffix(".bin")) as runtime:
        name, output = runtime.inputs[0].name, runtime.outputs[0].name
        return np.concatenate([runtime.run({name: image[None]})[output].reshape(1, -1) for image in x])


@pytest.mark.parametrize(("network", "encodings", "reference"), CASES, ids=lambda v: v if isinstance(v, str) else "")
def test_the_target_computes_what_aimets_qdq_model_does(
    network: Path, encodings: str | None, reference: str, tmp_path: Path
) -> None:
    """8 bits: within 2 steps of the output. 16 bits: the simulation is, and the target's Softmax kernel adds its own
    error, known to the table of what the target takes; 20 to 29 steps are measured here."""
    read = read_network(network, AIMET / encodings if encodings else None)
    done = convert(read, tmp_path / "net.dlc", float_io=reference.endswith("signed"))
    assert not done.coverage.failures() and done.coverage.counts()["exact"] >= 25
    x, levels = images(), 65535 if "a16" in reference else 255
    expected = onnxruntime_without_fusions(AIMET / f"{reference}.onnx", x)
    kernel = legality_table().errors_16["Softmax"] if levels > 255 else 0
    assert np.abs(emulated(tmp_path / "net.dlc", x) - expected).max() * levels <= 2.01 + kernel
    model = complete_encodings(read.graph, read.given, find_target("sm8650")).model
    with torch.no_grad():
        simulated = np.concatenate([model(torch.from_numpy(image[None])).numpy() for image in x])
    assert np.abs(simulated - expected).max() * levels <= 2.01


def cut_before_softmax(path: Path, folder: Path) -> tuple[Path, float]:
    """The QDQ model up to the dequantized logits, and their step."""
    model = onnx.load(path)
    softmax = next(node for node in model.graph.node if node.op_type == "Softmax")
    dequantize = next(node for node in model.graph.node if node.output[0] == softmax.input[0])
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info(softmax.input[0], onnx.TensorProto.FLOAT, None))
    onnx.save(model, folder / "cut.onnx")
    scale = next(i for i in model.graph.initializer if i.name == dequantize.input[1])
    return folder / "cut.onnx", float(numpy_helper.to_array(scale))


def test_in_16_bits_the_softmax_kernel_is_what_differs(tmp_path: Path) -> None:
    """Of the 20 steps between target and AIMET's QDQ model 18 come from Softmax: the logits are within 2."""
    name, logits = "onnx_qdq_w8a16_pre1_unsigned.onnx", "/fc2/Gemm_output_0"
    x = images()
    reference, step = cut_before_softmax(AIMET / name, tmp_path)
    network = read_network(NET, AIMET / "onnx_w8a16_1.0.0.encodings", outputs=[logits])
    assert [value.name for value in network.graph.outputs] == [logits]
    done = convert(network, tmp_path / "net.dlc")
    assert not done.coverage.failures()
    expected = onnxruntime_without_fusions(reference, x)
    assert np.abs(emulated(tmp_path / "net.dlc", x) - expected).max() / step <= 2.01


@pytest.mark.parametrize(("wide", "least", "most"), [(False, 5.0, 40.0), (True, 0.0, 3.01)])
def test_4_bit_weights_stored_in_8_bits_are_summed_up_exactly(
    wide: bool, least: float, most: float, tmp_path: Path
) -> None:
    """w4a16: the logits are 16 steps from AIMET's QDQ model with 4-bit storage, 2 with the same numbers in 8 bits."""
    name, logits = "onnx_qdq_w4a16_pre1_unsigned.onnx", "/fc2/Gemm_output_0_updated"
    x = images()
    reference, step = cut_before_softmax(AIMET / name, tmp_path)
    done = convert(read_network(AIMET / name, outputs=[logits]), tmp_path / "net.dlc", wide_int4=wide)
    assert not done.coverage.failures()
    error = np.abs(emulated(tmp_path / "net.dlc", x) - onnxruntime_without_fusions(reference, x)).max() / step
    assert least <= error <= most


def test_every_encoding_is_taken_or_says_why_not(tmp_path: Path) -> None:
    done = convert(read_network(NET, AIMET / "onnx_w8a8_2.0.0.encodings"), tmp_path / "net.dlc")
    assert len(done.decisions) == 28
    bounds = {"/relu6/Constant_output_0", "/relu6/Constant_1_output_0"}
    assert {d.tensor: d.outcome for d in done.departures()} == {FUSED: "fused"} | dict.fromkeys(bounds, "parameter")
    document = json.loads(done.coverage_file.read_text())
    assert document["counts"] == done.coverage.counts() and len(document["rows"]) == len(done.coverage.rows)
    verify_files(tmp_path, ["net.dlc", "net.dlc.coverage.json"])


def damaged(tmp_path: Path, change: Callable[[list[dict[str, Any]]], Any], section: str = "activation") -> Path:
    document = json.loads((AIMET / "onnx_w8a8_1.0.0.encodings").read_text())
    change(document[f"{section}_encodings"])
    path = tmp_path / "damaged.encodings"
    path.write_text(json.dumps(document))
    return path


def entry(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(e for e in entries if e["name"] == name)


def test_a_removed_encoding_is_named(tmp_path: Path) -> None:
    path = damaged(tmp_path, lambda entries: entries.remove(entry(entries, ADD)))
    with pytest.raises(
        MissingEncodings, match=r"1 tensor has no encoding: '/Add_output_0'.*--float_fallback"
    ) as caught:
        convert(read_network(NET, path), tmp_path / "net.dlc")
    assert caught.value.names == (ADD,)
    assert not (tmp_path / "net.dlc").exists()


def test_a_renamed_encoding_is_named(tmp_path: Path) -> None:
    for section, name in (("activation", ADD), ("activation", FUSED), ("param", "fc.weight")):
        path = damaged(tmp_path, lambda entries, n=name: entry(entries, n).update(name=n + "x"), section)
        with pytest.raises(EncodingError, match=rf"'{name}x' \(closest: '{name}'\)"):
            read_network(NET, path)


def test_a_weight_without_an_encoding_uses_its_own_range_and_says_so(tmp_path: Path) -> None:
    path = damaged(tmp_path, lambda entries: entries.remove(entry(entries, "fc.weight")), "param")
    read = read_network(NET, path)
    done = complete_encodings(read.graph, read.given, find_target("sm8650"))
    assert [d.outcome for d in done.decisions if d.tensor == "fc.weight"] == ["own range"]


def test_float_fallback_runs_what_has_no_encoding_in_float16(tmp_path: Path) -> None:
    path = damaged(tmp_path, lambda entries: entries.remove(entry(entries, "/conv3/Conv_output_0")))
    done = convert(read_network(NET, path), tmp_path / "net.dlc", float_fallback=True)
    assert "/conv3/Conv_output_0" in {d.tensor for d in done.departures() if d.outcome == "float"}
    x = images()
    expected = onnxruntime_without_fusions(AIMET / "onnx_qdq_w8a8_pre1_unsigned.onnx", x)
    assert np.abs(emulated(tmp_path / "net.dlc", x) - expected).max() * 255 <= 2.01


def test_a_range_beyond_its_activation_is_clamped(tmp_path: Path) -> None:
    path = damaged(tmp_path, lambda entries: entry(entries, RELU).update(offset=[-20.0]))
    read = read_network(NET, path)
    done = complete_encodings(read.graph, read.given, find_target("sm8650"))
    (clamped,) = [d for d in done.decisions if d.outcome == "clamped"]
    assert clamped.tensor == RELU and "-> [0, 2.2319" in clamped.detail
    encoding = done.model.encodings()[RELU]
    assert float(encoding.min) == 0 and float(encoding.max) == pytest.approx(235 * 0.009497592, rel=1e-6)


def test_the_files_encodings_go_before_those_of_the_model() -> None:
    qdq = AIMET / "onnx_qdq_w8a8_pre1_unsigned.onnx"
    alone, both = read_network(qdq), read_network(qdq, AIMET / "onnx_w8a16_1.0.0.encodings")
    assert alone.given[ADD].grid.bits == 8 and both.given[ADD].grid.bits == 16
    assert set(both.given) == set(alone.given)


def test_a_network_without_encodings_becomes_a_float_dlc(tmp_path: Path) -> None:
    done = convert(read_network(NET), tmp_path / "net.dlc")
    assert done.scheme == "fp16" and not done.coverage.rows and done.report.float_tensors
    x = images()
    np.testing.assert_allclose(emulated(tmp_path / "net.dlc", x), onnxruntime_without_fusions(NET, x), atol=1e-3)


def with_batchnorm(path: Path) -> Path:
    """conv1 of the network followed by a BatchNormalization."""
    model = onnx.load(NET)
    for name, value in {"g": 2.0, "b": 0.0, "m": 0.0, "v": 1.0}.items():
        channels = next(i for i in model.graph.initializer if i.name == "conv1.bias").dims[0]
        model.graph.initializer.append(numpy_helper.from_array(np.full(channels, value, np.float32), name))
    conv = model.graph.node[0]
    conv.output[0] = "before"
    outputs = ["/conv1/Conv_output_0"]
    model.graph.node.insert(
        1, onnx.helper.make_node("BatchNormalization", ["before", "g", "b", "m", "v"], outputs, name="bn")
    )
    onnx.save(model, path)
    return path


def test_encodings_made_before_batchnorm_folding_are_refused(tmp_path: Path) -> None:
    path = with_batchnorm(tmp_path / "bn.onnx")
    with pytest.raises(EncodingError, match=r"'conv1.weight' was made before its BatchNorm was folded"):
        read_network(path, AIMET / "onnx_w8a8_1.0.0.encodings")


def test_block_encodings_that_cannot_arrive_are_refused_by_name() -> None:
    read = read_network(NET, AIMET / "onnx_bq_2.0.0.encodings")
    with pytest.raises(TargetError, match=r"weight '\S+' of .* has one scale per block.*one scale per channel"):
        complete_encodings(read.graph, read.given, find_target("sm8650"))


LPBQ = [(NET, "onnx_lpbq_1.0.0"), (NET, "onnx_lpbq_2.0.0"), (AIMET / "onnx_qdq_lpbq_gemm.onnx", None)]


@pytest.mark.parametrize(("network", "encodings"), LPBQ, ids=lambda v: v if isinstance(v, str) else "")
def test_lpbq_weights_arrive_as_the_same_numbers_with_one_scale_a_channel(
    network: Path, encodings: str | None, tmp_path: Path
) -> None:
    read = read_network(network, AIMET / f"{encodings}.encodings" if encodings else None)
    done = convert(read, tmp_path / "net.dlc", float_io=True)
    assert read.expanded and not done.coverage.failures()
    told = {d.tensor: d.detail for d in done.departures()}
    assert all(told[name].startswith("LPBQ: the same numbers as 8-bit") for name in read.expanded)
    blocks = raw_lpbq(network, encodings)
    for name in read.expanded:
        weight = torch.from_numpy(numbers(read, name))
        assert torch.equal(read.given[name].fake_quantize(weight), weight), "they lie on the grid of 8 bits"
        torch.testing.assert_close(blocks[name].fake_quantize(weight), weight, rtol=1e-6, atol=0)


def raw_lpbq(network: Path, encodings: str | None) -> dict[str, Any]:
    graph = load(network)
    if encodings:
        return read_encodings(AIMET / f"{encodings}.encodings").resolve(graph).all
    return from_qdq(graph)[1]


def numbers(read: Network, name: str) -> np.ndarray:
    data = constant(read.graph.value(name))
    assert data is not None
    return data


def test_a_network_with_lpbq_computes_what_aimets_qdq_model_does(tmp_path: Path) -> None:
    path, x = AIMET / "onnx_qdq_lpbq_gemm.onnx", images()
    convert(read_network(path), tmp_path / "net.dlc", float_io=True)
    expected = onnxruntime_without_fusions(path, x)
    assert np.abs(emulated(tmp_path / "net.dlc", x) - expected).max() < 0.01


def test_an_exported_program_of_pytorch(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()).eval()
    torch.export.save(torch.export.export(module, (torch.zeros(1, 3, 8, 8),)), tmp_path / "net.pt2")
    read = read_network(tmp_path / "net.pt2")
    assert [node.op_type for node in read.graph.nodes] == ["Conv", "Relu"] and not read.given


def test_batch_and_symbols() -> None:
    assert list(read_network(NET, batch=4).graph.inputs[0].shape or ()) == [4, 3, 16, 16]
    assert list(read_network(NET, symbols={"N": 3}).graph.inputs[0].shape or ()) == [3, 3, 16, 16]
    assert list(read_network(NET, shapes={"input": [2, 3, 16, 16]}).graph.inputs[0].shape or ()) == [2, 3, 16, 16]


def test_every_operator_has_a_verdict() -> None:
    rows = check_operators(read_network(NET).graph, "v69")
    assert len(rows) == 15 and {row.verdict for row in rows} == {"runs"}


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        convert(read_network(NET), tmp_path / "none" / "net.dlc")


def test_the_encoding_of_a_product_reaches_it_through_the_reshape_of_its_rewriting(tmp_path: Path) -> None:
    """MatMul of rank 3 becomes a Gemm between reshapes: the given encoding is that of the Gemm."""
    weight = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
    x, y = (onnx.helper.make_tensor_value_info(n, 1, [1, 5, size]) for n, size in (("x", 8), ("y", 6)))
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["y"], name="product")]
    graph = onnx.helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(weight, "w")])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, tmp_path / "net.onnx")

    def entry(scale: float, offset: int) -> list[dict[str, Any]]:
        ends = {"min": scale * offset, "max": scale * (offset + 255), "scale": scale, "offset": offset}
        return [{"bitwidth": 8, "dtype": "int", "is_symmetric": str(offset == -128), **ends}]

    given = {"x": entry(0.01, -127), "y": entry(0.03, -120)}
    document = {"version": "0.6.1", "activation_encodings": given, "param_encodings": {"w": entry(0.02, -128)}}
    (tmp_path / "net.encodings").write_text(json.dumps(document | {"quantizer_args": {}}))
    done = convert(read_network(tmp_path / "net.onnx", tmp_path / "net.encodings"), tmp_path / "net.dlc")
    rows = {row.tensor: row for row in done.coverage.rows}
    assert "scale 0.03 offset -120" in rows["y"].asked and rows["y"].verdict in ("exact", "inherited", "absorbed")
