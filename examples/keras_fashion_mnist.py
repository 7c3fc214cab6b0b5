"""A Keras CNN to the NPU: trained, PTQ w8a8, QAT w4a8, both measured on the target; weights back into Keras.

    python examples/keras_fashion_mnist.py [OUT] [--epochs 3] [--images 1000]

Needs hexaquant[tensorflow], for tf.data. The images are the subset of Fashion-MNIST that lies inside the package.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import hexaquant as hq
from hexaquant.demo.data import load_test, load_train, normalized

CALIBRATION = 256
"""Training images that the ranges are measured on."""


def network() -> keras.Model:
    """A convolutional network of 24k parameters with BatchNormalization and a depthwise block; NHWC, 10 logits."""
    layers = keras.layers
    image = x = keras.Input((28, 28, 1), name="image")
    for index, channels in enumerate((16, 32)):
        x = layers.Conv2D(channels, 3, strides=2, padding="same", use_bias=False, name=f"conv{index}")(x)
        x = layers.BatchNormalization(name=f"norm{index}")(x)
        x = layers.ReLU(name=f"relu{index}")(x)
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    y = layers.BatchNormalization(name="depthwise_norm")(y)
    y = layers.ReLU(name="depthwise_relu")(y)
    y = layers.Conv2D(32, 1, name="pointwise")(y)
    x = layers.ReLU(name="sum_relu")(layers.Add(name="sum")([x, y]))
    x = layers.Conv2D(64, 3, strides=2, padding="same", name="conv2", activation="relu")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(10, name="logits")(x), name="fashion")


def channels_last(images: np.ndarray) -> np.ndarray:
    """uint8 (N, 28, 28) to float32 (N, 28, 28, 1)."""
    return normalized(images).transpose(0, 2, 3, 1)


def train(model: keras.Model, epochs: int, images: int | None = None) -> None:
    """Train ``model`` on the first ``images`` training images (default: all 27,000)."""
    x, y = load_train()
    x, y = channels_last(x[:images]), y[:images]
    steps = epochs * -(-len(x) // 64)
    rate = keras.optimizers.schedules.CosineDecay(2e-3, steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(rate), loss=loss, metrics=["accuracy"])
    model.fit(x, y, batch_size=64, epochs=epochs, verbose=0)


def deploy(model: keras.Model, out: Path, images: int, qat_images: int) -> dict[str, dict[str, Any]]:
    """PTQ w8a8 and QAT w4a8 of ``model`` to the target; the verification report of each."""
    import tensorflow as tf

    test, labels = load_test()
    evaluation = {"image": channels_last(test[:images]), "labels": labels[:images]}
    training = channels_last(load_train()[0][:qat_images])
    graph = hq.load(model)
    reports = {}
    for scheme in ("w8a8", "w4a8"):
        quantized = hq.quantize(graph, training[:CALIBRATION], scheme=scheme)
        if scheme == "w4a8":
            hq.finetune(quantized, tf.data.Dataset.from_tensor_slices(training).batch(64), loss="kl", epochs=2)
            print("written back into Keras:", len(quantized.write_back(model).written), "variables")
        folder = out / scheme
        quantized.export(folder)
        hq.compile(folder)
        reports[scheme] = hq.verify(folder, data=evaluation)
    return reports


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=Path, default=Path("out/keras"))
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--images", type=int, default=1000, help="test images on the target")
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    model = network()
    train(model, options.epochs)
    for scheme, report in deploy(model, options.out, options.images, 16_000).items():
        scores = report["metrics"]
        print(f"{scheme}: FP32 {scores['fp32']:.2%}, simulation {scores['sim']:.2%}, target {scores['target']:.2%}")


if __name__ == "__main__":
    main()
