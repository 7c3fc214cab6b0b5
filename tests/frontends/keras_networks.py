"""Small Keras networks and their files for the tests; imports TensorFlow when called."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@dataclass(frozen=True)
class Saved:
    """A model, its files by kind, an input (4, 12, 12, 3) and Keras' output for it."""

    model: Any
    files: dict[str, Path]
    x: np.ndarray
    y: np.ndarray


def network() -> Any:
    """Convolutions with and without bias, BatchNormalization, depthwise, residual, concatenation, squeeze-excite."""
    import keras

    layers = keras.layers
    image = keras.Input((12, 12, 3), name="image")
    x = layers.ReLU(6.0, name="relu1")(_conv_bn(image, 8, "1", strides=2))
    y = layers.DepthwiseConv2D(3, padding="same", name="deep")(x)
    y = layers.ReLU(name="relu2")(layers.BatchNormalization(name="deep_norm")(y))
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(y)
    gate = layers.Conv2D(8, 1, activation="sigmoid", name="excite")(gate)
    x = layers.Add(name="sum")([x, layers.Multiply(name="gated")([y, gate])])
    x = layers.Concatenate(name="both")([x, layers.MaxPooling2D(3, 1, "same", name="pool")(x)])
    x = layers.Conv2DTranspose(4, 2, strides=2, name="up")(x)
    x = layers.Dense(7, name="head")(layers.GlobalAveragePooling2D(name="mean")(x))
    return randomized(keras.Model(image, layers.Softmax(name="probability")(x), name="tiny"))


def _conv_bn(x: Any, channels: int, name: str, **options: Any) -> Any:
    import keras

    x = keras.layers.Conv2D(channels, 3, padding="same", name=f"conv{name}", **options)(x)
    return keras.layers.BatchNormalization(name=f"norm{name}")(x)


def randomized(model: Any, seed: int = 0) -> Any:
    """``model`` with biases, statistics and affine parameters away from 0 and 1."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if len(variable.shape) == 1:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape).astype(np.float32))
    return model


def saved(folder: Path) -> Saved:
    """The network in every format."""
    model = network()
    x = np.random.default_rng(1).normal(0, 1, (4, 12, 12, 3)).astype(np.float32)
    kinds = {"keras": "net.keras", "h5": "net.h5", "saved_model": "net", "pb": "net.pb", "tflite": "net.tflite"}
    files = {kind: folder / name for kind, name in kinds.items()}
    model.save(files["keras"])
    model.save(files["h5"])
    model.export(files["saved_model"], verbose=False)
    files["pb"].write_bytes(_frozen(model))
    files["tflite"].write_bytes(_lite(model, None))
    files["quantized"] = folder / "quantized.tflite"
    files["quantized"].write_bytes(_lite(model, x))
    return Saved(model, files, x, np.asarray(model(x, training=False)))


def _frozen(model: Any) -> bytes:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    signature = [tf.TensorSpec([None, 12, 12, 3], name="image")]
    function = tf.function(lambda image: model(image, training=False), input_signature=signature)
    frozen = convert_variables_to_constants_v2(function.get_concrete_function())
    return bytes(frozen.graph.as_graph_def().SerializeToString())


def _lite(model: Any, calibration: np.ndarray | None) -> bytes:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if calibration is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([row[None]] for row in calibration)
    return bytes(converter.convert())


def lite_output(path: Path, x: np.ndarray) -> np.ndarray:
    """What TensorFlow Lite's interpreter computes, sample by sample."""
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(str(path))
    interpreter.allocate_tensors()
    outputs = []
    for row in x:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], row[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    return np.concatenate(outputs)
