"""TFLite files, each with ONE command, beside onnxruntime's QNN recipe on our float import of the same file.

MediaPipe's networks (float16 weights, a sparse one) and microWakeWord's (int8, streaming, with variables) come out of
public packages, as in packages.py. A hybrid and a 16x8 file are made by TensorFlow's converter (extra ``keras``) from
a small convolutional network with random weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gallery import samples as make
from gallery.packages import Folders, Network, run_networks
from gallery.samples import Samples

MEDIAPIPE = "mediapipe==0.10.21"
WAKE = "pymicro-wakeword"
MODULES = "mediapipe/modules"
SIDE = 64
"""Pixels of the networks that are made here."""


def _nhwc(name: str, side: int, low: float = 0.0) -> Any:
    """Pictures (1, side, side, 3) within ``low``..1."""

    def data(folders: Folders, count: int, seed: int) -> Samples:
        images = make.pictures(folders, (side, side), count, seed)
        return {name: np.stack([(i / 255 * (1 - low) + low)[None] for i in images]).astype(np.float32)}

    return data


def _features(folders: Folders, count: int, seed: int) -> Samples:
    """Consecutive steps of 3 frames of 40 log energies of bands (30 ms windows every 10 ms), in 0..26."""
    audio = make.speech((3 * count + 3) / 100 + 0.03, seed)
    frames = np.stack([audio[160 * i : 160 * i + 480] * np.hanning(480) for i in range(3 * count)])
    power = np.abs(np.fft.rfft(frames, 512)) ** 2
    edges = np.linspace(3, 257, 41).astype(int)
    bands = np.add.reduceat(power, edges[:-1], axis=1)
    energy = np.clip(np.log(bands + 1e-6) * 2.2 + 14, 0, 26)
    return {"serving_default_input_audio": energy.reshape(count, 1, 3, 40).astype(np.float32)}


def _written(kind: str) -> Any:
    """Writes a small MobileNet-like classifier as a ``hybrid`` or ``16x8`` file."""

    def write(path: Path) -> None:
        import tensorflow as tf

        rng = np.random.default_rng(0)

        def weight(*shape: int) -> np.ndarray:
            return (rng.normal(0, 1, shape) / np.sqrt(np.prod(shape[:-1]) / 2)).astype(np.float32)

        layers = [(weight(3, 3, c, 1) * np.float32(2), weight(1, 1, c, n)) for c, n in ((16, 32), (32, 64), (64, 128))]
        first = weight(3, 3, 3, 16)
        head = weight(128, 10)

        @tf.function(input_signature=[tf.TensorSpec((1, SIDE, SIDE, 3), tf.float32, name="image")])  # type: ignore[untyped-decorator]
        def network(image: Any) -> Any:
            x = tf.nn.relu6(tf.nn.conv2d(image, first, 2, "SAME"))
            for depthwise, pointwise in layers:
                x = tf.nn.relu6(tf.nn.depthwise_conv2d(x, depthwise, [1, 2, 2, 1], "SAME"))
                x = tf.nn.relu6(tf.nn.conv2d(x, pointwise, 1, "SAME"))
            return tf.matmul(tf.reduce_mean(x, [1, 2]), head)

        converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()])
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if kind == "16x8":
            ops = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
            converter.target_spec.supported_ops = [ops]
            shape = (1, SIDE, SIDE, 3)
            converter.representative_dataset = lambda: ([rng.random(shape, np.float32) * 2 - 1] for _ in range(16))
        path.write_bytes(converter.convert())

    return write


NETWORKS = (
    Network(
        "BlazeFace short range",
        MEDIAPIPE,
        f"{MODULES}/face_detection/face_detection_short_range.tflite",
        _nhwc("input", 128, -1.0),
    ),
    Network("palm detection", MEDIAPIPE, f"{MODULES}/palm_detection/palm_detection_lite.tflite", _nhwc("input_1", 192)),
    Network(
        "BlazeFace full range, sparse",
        MEDIAPIPE,
        f"{MODULES}/face_detection/face_detection_full_range_sparse.tflite",
        _nhwc("input_1", 192, -1.0),
    ),
    Network(
        "selfie segmentation",
        MEDIAPIPE,
        f"{MODULES}/selfie_segmentation/selfie_segmentation.tflite",
        _nhwc("input_1", 256),
    ),
    Network("wake word, int8 streaming", WAKE, "pymicro_wakeword/models/okay_nabu.tflite", _features),
    Network("hybrid", "", "hybrid.tflite", _nhwc("image", SIDE, -1.0), write=_written("hybrid")),
    Network("16x8", "", "16x8.tflite", _nhwc("image", SIDE, -1.0), write=_written("16x8")),
)


def run(names: Sequence[str], out: Path, measure: bool = False) -> None:
    """All networks, or those whose name contains one of ``names``."""
    run_networks(NETWORKS, "tflite", names, out)
