"""The artifact folder: what is written reads back as the same simulation; what was changed is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as oir
import pytest
import torch

import hexaquant as hq
from hexaquant.api.quantize import quantize
from hexaquant.core.errors import EncodingError, InputError
from hexaquant.folder.artifacts import (
    ENCODINGS,
    FLOAT,
    MODEL,
    QDQ,
    RECIPE,
    REFERENCE,
    check_reread,
    export_encodings,
    export_model,
    load_quantized,
)
from hexaquant.folder.manifest import read_manifest
from hexaquant.io.encodings_file import read_encodings
from hexaquant.ir.graph import Graph
from hexaquant.sim.model import QuantizedModel
from ir.onnx_text import random, run
from sim.nets import batches, conv_net, net, planned, quantized

X = torch.from_numpy(random(4, 3, 8, 8, seed=70))
VERSIONS = ["0.6.1", "1.0.0", "2.0.0"]


def norm_net() -> Graph:
    text = """(float[N,6,16] x) => (float[N,6,16] y) {
        n = LayerNormalization (x, g, b)
        s = Sigmoid (n)
        e = Selu (n)
        p = Mul (e, s)
        y = MatMul (p, w)
    }"""
    return net(text, g=random(16), b=random(16, seed=1), w=random(16, 16))


CASES = {
    "w8a8": (conv_net, "w8a8", None),
    "w8a16": (conv_net, "w8a16", None),
    "w4a8": (conv_net, "w4a8", None),
    "w16a16": (conv_net, "w16a16", None),
    "fp16": (conv_net, "fp16", None),
    "mixed": (conv_net, "w8a8", {"y": "w8a16", "r": {"observer": "percentile"}}),
    "float layer": (conv_net, "w8a8", {"y": "fp16"}),
    "float input": (conv_net, "w8a8", {"x": "fp16"}),
    "norm and island": (norm_net, "w8a16", None),
}


@pytest.fixture(scope="module", params=CASES)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[QuantizedModel, Path]:
    make, scheme, overrides = CASES[request.param]
    graph = make()
    data = None if make is conv_net else batches(shape=(2, 6, 16))
    model = quantized(graph, scheme, overrides, data)
    folder = tmp_path_factory.mktemp("exported")
    export_model(model, folder)
    return model, folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    export_model(quantized(conv_net()), tmp_path)
    return tmp_path


def some_input(model: QuantizedModel) -> torch.Tensor:
    return X if "c" in model.plan.tensors else torch.from_numpy(random(3, 6, 16, seed=71))


def test_load_quantized_is_bit_identical(exported: tuple[QuantizedModel, Path]) -> None:
    model, folder = exported
    again, x = load_quantized(folder), some_input(model)
    with torch.no_grad():
        assert torch.equal(again(x), model(x))
    assert again.plan == model.plan
    assert all(again.encodings()[name].same_as(encoding) for name, encoding in model.encodings().items())


def test_what_was_loaded_exports_the_same_files_again(exported: tuple[QuantizedModel, Path], tmp_path: Path) -> None:
    _, folder = exported
    export_model(load_quantized(folder), tmp_path)
    first, second = (read_encodings(f / ENCODINGS) for f in (folder, tmp_path))
    assert all(second.all[name].same_as(encoding) for name, encoding in first.all.items())
    sources = [onnx.load(f / QDQ) for f in (folder, tmp_path)]
    x = some_input(load_quantized(folder)).numpy()
    np.testing.assert_array_equal(*[run(source, {"x": x})[0] for source in sources])


def test_a_loaded_model_exports_what_its_folder_holds(tmp_path: Path) -> None:
    overrides = {"y": {"bits": 16}}
    model = hq.quantize(conv_net(), batches(), scheme="w8a8", overrides=overrides, recipe="fast")
    model.export(tmp_path / "first")
    loaded = hq.load_quantized(tmp_path / "first")
    assert type(loaded) is type(model) is hq.QuantizedModel
    loaded.export(tmp_path / "second")
    for name in (MODEL, ENCODINGS, QDQ, REFERENCE, FLOAT, RECIPE):
        first, second = (tmp_path / folder / name for folder in ("first", "second"))
        if name.endswith(".onnx"):
            assert_same_network(first, second)
        else:
            assert first.read_bytes() == second.read_bytes(), name
    sections = [read_manifest(tmp_path / folder).sections for folder in ("first", "second")]
    assert sections[0] == sections[1] and sections[0]["quantization"]["overrides"] == overrides


def assert_same_network(first: Path, second: Path) -> None:
    """The same nodes and the same constants to the last bit."""
    one, two = (onnx.load(path).graph for path in (first, second))
    assert [n.SerializeToString() for n in one.node] == [n.SerializeToString() for n in two.node], first.name
    constants = [{t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer} for graph in (one, two)]
    assert constants[0].keys() == constants[1].keys()
    for name, value in constants[0].items():
        np.testing.assert_array_equal(value, constants[1][name], err_msg=f"{first.name} {name}")


def test_a_loaded_model_does_not_export_a_reference_that_was_changed(tmp_path: Path) -> None:
    hq.quantize(conv_net(), batches()).export(tmp_path / "first")
    loaded = hq.load_quantized(tmp_path / "first")
    (tmp_path / "first" / REFERENCE).write_bytes(b"")
    with pytest.raises(InputError, match=r"fp32\.onnx was changed since it was made"):
        loaded.export(tmp_path / "second")


def test_weights_in_the_float_model_are_on_their_grid(exported: tuple[QuantizedModel, Path]) -> None:
    model, folder = exported
    encodings = model.encodings()
    for tensor in onnx.load(folder / MODEL).graph.initializer:
        encoding = encodings.get(tensor.name)
        if encoding is not None and not encoding.grid.is_float and encoding.grid.bits <= 16:
            data = torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
            assert torch.equal(encoding.fake_quantize(data), data)


@pytest.mark.parametrize("version", VERSIONS)
def test_encodings_of_every_version_quantize_alike(folder: Path, version: str) -> None:
    done = export_encodings(folder, version)
    assert done.files == (folder / ENCODINGS,)
    stored = read_encodings(folder / ENCODINGS)
    assert stored.version == version
    wanted, graph = load_quantized(folder).encodings(), Graph(oir.load(folder / MODEL))
    for name, encoding in stored.resolve(graph).all.items():
        assert torch.equal(encoding.scale, wanted[name].scale), name
        assert torch.equal(encoding.offset, wanted[name].offset), name
    assert (
        json.loads((folder / "manifest.json").read_text())["sections"]["quantization"]["encodings_version"] == version
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_export_writes_the_version_it_is_asked_for(tmp_path: Path, version: str) -> None:
    export_model(quantized(conv_net()), tmp_path, encodings_version=version)
    assert read_encodings(tmp_path / ENCODINGS).version == version


def test_encodings_elsewhere_leave_the_folder_alone(folder: Path, tmp_path: Path) -> None:
    before = (folder / ENCODINGS).read_bytes()
    export_encodings(folder, "2.0.0", tmp_path / "other.json")
    assert (folder / ENCODINGS).read_bytes() == before and read_encodings(tmp_path / "other.json").version == "2.0.0"


@pytest.mark.parametrize("name", [MODEL, QDQ])
def test_a_changed_file_is_refused(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(InputError, match=f"{name} was changed since it was made"):
        load_quantized(folder)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not an artifact folder \(no manifest.json\)"):
        load_quantized(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot create the artifact folder"):
        export_model(quantized(conv_net()), tmp_path / "file" / "out")


def test_an_uncalibrated_model_is_not_exported(tmp_path: Path) -> None:
    graph = conv_net()
    with pytest.raises(EncodingError, match="no encoding yet"):
        export_model(QuantizedModel(graph, planned(graph)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_that_differ_from_the_encodings_are_noticed(folder: Path) -> None:
    encodings = load_quantized(folder).encodings()
    with pytest.raises(EncodingError, match="'y' reads back differently"):
        check_reread(folder, {**encodings, "y": encodings["x"]}, "1.0.0")


def test_quantize_exports_with_its_reference(tmp_path: Path) -> None:
    graph = conv_net()
    model = quantize(graph, [{"x": batch["x"]} for batch in batches()], overrides={"y": "w8a16"})
    model.export(tmp_path)
    x = X.numpy()
    np.testing.assert_allclose(
        run(onnx.load(tmp_path / REFERENCE), {"x": x})[0], run(graph, {"x": x})[0], rtol=1e-5, atol=1e-5
    )
    with torch.no_grad():
        assert torch.equal(load_quantized(tmp_path)(X), model(X))
    section = json.loads((tmp_path / "manifest.json").read_text())["sections"]["quantization"]
    assert section["overrides"] == {"y": "w8a16"}
    assert {"calibrate", "correct biases"} <= {step["step"] for step in section["steps"]}


def test_a_moved_folder_still_loads(folder: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(folder, tmp_path / "moved"))
    with torch.no_grad():
        assert torch.equal(load_quantized(moved)(X), load_quantized(folder)(X))
