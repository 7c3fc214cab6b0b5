"""Keras and TensorFlow models become graphs that compute the same, in every format."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

import hexaquant as hq
from frontends.keras_networks import Saved, lite_output, saved
from hexaquant.core.errors import EnvironmentLacksError, InputError
from hexaquant.frontends import keras_model, load, tensorflow_process
from hexaquant.frontends.keras_file import LARGEST_CONFIG, check_keras_file
from hexaquant.io.qdq_reader import from_qdq
from hexaquant.ir.edit import set_constant
from hexaquant.ir.executor.build import build_module
from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import freeze_batch
from hexaquant.sim.keras_write_back import write_back_keras


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    return saved(tmp_path_factory.mktemp("keras"))


@pytest.fixture(scope="module")
def graph(net: Saved) -> Graph:
    return load(net.model)


def run(graph: Graph, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(build_module(graph)(torch.from_numpy(x)))


def test_model_in_memory_computes_the_same(net: Saved, graph: Graph) -> None:
    assert np.abs(run(graph, net.x) - net.y).max() < 1e-5
    assert [v.name for v in graph.inputs] == ["image"] and [v.name for v in graph.outputs] == ["probability"]


def test_only_the_transpose_of_the_input_is_left(graph: Graph) -> None:
    counts = Counter(node.op_type for node in graph.nodes)
    assert counts["Transpose"] == 1 and graph.nodes[0].op_type == "Transpose"
    assert counts["Reshape"] == 0 and counts["Conv"] == 3 and counts["ConvTranspose"] == 1
    assert counts["Mul"] == 1 and counts["Add"] == 1  # the gate and the sum; BatchNormalizations and biases are folded


def test_parameters_and_origins_are_those_of_the_layers(net: Saved, graph: Graph) -> None:
    assert {"conv1/kernel", "conv1/bias", "deep/kernel", "head/kernel", "up/kernel"} <= set(graph.initializers)
    origins = {graph.origin(node).module for node in graph.nodes}
    assert {"conv1", "deep", "sum", "head", "probability"} <= origins


@pytest.mark.parametrize("kind", ["keras", "h5", "saved_model", "pb", "tflite"])
def test_every_format_computes_the_same(net: Saved, kind: str) -> None:
    graph = load(net.files[kind])
    assert np.abs(run(graph, net.x[:1]) - net.y[:1]).max() < 1e-5
    assert sum(node.op_type == "Transpose" for node in graph.nodes) == 1


def test_quantized_tflite_keeps_its_encodings(net: Saved) -> None:
    graph = load(net.files["quantized"])
    wanted = lite_output(net.files["quantized"], net.x)
    got = np.concatenate([run(graph, row[None]) for row in net.x])
    assert np.abs(got - wanted).max() <= 2 / 256  # TensorFlow Lite rounds products in integers
    _, encodings = from_qdq(freeze_batch(graph))
    weights = [e for e in encodings.values() if e.grid.symmetric and e.scale.numel() == 8]
    assert len(weights) >= 2  # a scale a channel for the weights of conv1 and deep
    assert any(not e.grid.symmetric for e in encodings.values())


def test_trained_weights_go_back_into_the_model(net: Saved, graph: Graph) -> None:
    model = hq.quantize(graph, net.x, scheme="w8a8")
    with torch.no_grad():
        for parameter in model.weight_parameters():
            parameter.mul_(1 + 0.2 * torch.rand_like(parameter))
        with model.float_mode():
            wanted = model(torch.from_numpy(net.x)).numpy()
    before = [np.asarray(variable) for variable in net.model.weights]
    report = model.write_back(net.model)
    got = np.asarray(net.model(net.x, training=False))
    for variable, value in zip(net.model.weights, before):
        variable.assign(value)
    assert not report.left and "deep/kernel" in report.written and "norm1/beta" in report.written
    assert np.abs(wanted - net.y).max() > 1e-3
    assert np.abs(got - wanted).max() < 1e-5


def test_tensorflow_datasets_train_and_calibrate(net: Saved, graph: Graph) -> None:
    import keras
    import tensorflow as tf

    class Batches(keras.utils.PyDataset):
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
            return net.x[2 * index : 2 * index + 2], np.array([0, 1])

    model = hq.quantize(graph, tf.data.Dataset.from_tensor_slices(net.x).batch(2), scheme="w4a8")
    assert len(hq.finetune(model, Batches(workers=1), epochs=2, batch_size=2).losses) == 4


def keras_archive(path: Path, layer: dict[str, object]) -> Path:
    """A .keras file whose model has one layer of this configuration."""
    config = {"class_name": "Functional", "module": "keras", "config": {"name": "m", "layers": [layer]}}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
    return path


def test_code_in_a_file_is_refused_by_the_layers_name(tmp_path: Path) -> None:
    scale = {"class_name": "Lambda", "module": "keras.layers", "config": {"name": "scale_it", "function": "code"}}
    with pytest.raises(InputError, match=r"layer 'scale_it' is a Lambda.*hexaquant\.load"):
        load(keras_archive(tmp_path / "lambda.keras", scale))
    own = {"class_name": "Own", "module": None, "registered_name": "pack>Own", "config": {"name": "mine"}}
    with pytest.raises(InputError, match="layer 'mine' is the custom object 'pack>Own'"):
        check_keras_file(keras_archive(tmp_path / "custom.keras", own))
    system = {"class_name": "system", "module": "os", "config": {"name": "run"}}
    with pytest.raises(InputError, match=r"custom object 'os\.system'"):
        check_keras_file(keras_archive(tmp_path / "module.keras", system))


def test_damaged_and_swollen_archives_are_refused(tmp_path: Path) -> None:
    path = keras_archive(tmp_path / "net.keras", {"class_name": "Dense", "module": "keras.layers", "config": {}})
    check_keras_file(path)
    whole = path.read_bytes()
    unpacked = whole.index(b"PK\x01\x02") + 20  # sizes in the central directory: packed, then unpacked
    path.write_bytes(whole[:unpacked] + b"\xff\xff\x00\x00" * 2 + whole[unpacked + 8 :])
    with pytest.raises(InputError, match="the archive holds no Keras model"):
        check_keras_file(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b" " * (LARGEST_CONFIG + 1))
    with pytest.raises(InputError, match="the archive holds no Keras model"):
        check_keras_file(path)


def test_a_file_goes_without_tensorflow(net: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorflow_process, "NEEDED", ("a_package_that_is_not_installed",))
    assert [v.name for v in load(net.files["keras"]).inputs] == ["image"]


def test_lambda_of_a_model_in_memory_is_the_users_own_code() -> None:
    import keras

    image = keras.Input((4,), name="x")
    model = keras.Model(image, keras.layers.Lambda(lambda x: 2 * x + 1, name="twice")(image))
    x = np.ones((2, 4), np.float32)
    assert np.abs(run(load(model), x) - 3).max() == 0


def test_free_dimensions_need_a_shape() -> None:
    import keras

    image = keras.Input((None, None, 3), name="picture")
    model = keras.Model(image, keras.layers.Conv2D(4, 3, padding="same", name="conv")(image))
    with pytest.raises(InputError, match=r"'picture' has free dimensions.*--shape picture=1,224,224,3"):
        load(model)
    graph = load(model, shapes={"picture": [1, 8, 8, 3]})
    assert list(graph.outputs[0].shape or ()) == [1, 8, 8, 4]


def test_unsupported_layer_is_named() -> None:
    import keras

    image = keras.Input((8,), name="x")
    model = keras.Model(
        image, keras.layers.Lambda(lambda x: keras.ops.sort(x) + keras.ops.erfinv(x), name="odd")(image)
    )
    with pytest.raises(InputError, match="odd"):
        load(model)


def test_recurrent_layers_are_operators() -> None:
    import keras

    layers = keras.layers
    steps = keras.Input((5, 3), name="steps")
    lstm = layers.LSTM(4, name="memory", return_sequences=True)(steps)
    both = layers.Bidirectional(layers.GRU(3, return_sequences=True), name="both")(lstm)
    before = layers.GRU(3, reset_after=False, name="before")(both)
    model = keras.Model(steps, layers.SimpleRNN(2, name="plain")(layers.RepeatVector(3)(before)))
    x = np.random.default_rng(0).normal(0, 1, (2, 5, 3)).astype(np.float32)
    graph = load(model)
    assert np.abs(run(graph, x) - model.predict(x, verbose=0)).max() < 1e-6
    counts = Counter(node.op_type for node in graph.nodes)
    assert (counts["LSTM"], counts["GRU"], counts["RNN"], counts["Slice"]) == (1, 3, 1, 0)
    assert {graph.origin(node).module for node in graph.nodes} >= {"memory", "both/forward_gru", "before", "plain"}

    values = {
        n: torch.from_numpy(v.const_value.numpy()) * 1.3 + 0.05 for n, v in graph.initializers.items() if "/" in n
    }
    for name, value in values.items():
        set_constant(graph.initializers[name], value.numpy())
    report = write_back_keras(graph, values, model)
    assert not report.left and set(report.written) == {v.path for v in model.weights}
    assert np.abs(run(graph, x) - model.predict(x, verbose=0)).max() < 1e-6


def test_masks_hold_the_state() -> None:
    import keras

    layers = keras.layers
    ids = keras.Input((6,), dtype="int32", name="ids")
    x = layers.Embedding(9, 4, mask_zero=True)(ids)
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(x)
    model = keras.Model(ids, layers.GRU(2)(x))
    words = np.array([[3, 4, 5, 0, 0, 0], [1, 0, 2, 8, 0, 0], [0, 0, 1, 2, 3, 4]], np.int32)
    assert np.abs(run(load(model), words) - model.predict(words, verbose=0)).max() < 1e-6


def test_missing_tensorflow_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "net.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))
    monkeypatch.setattr(tensorflow_process, "KERAS", ("a_package_that_is_not_installed",))
    with pytest.raises(EnvironmentLacksError, match=r"hexaquant\[keras\]"):
        keras_model.from_keras_file(tmp_path / "net.h5")
