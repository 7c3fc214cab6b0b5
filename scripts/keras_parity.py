"""Import parity of Keras applications: maximal absolute difference between Keras and the imported graph.

    python scripts/keras_parity.py [NETWORK ...]

Random weights and statistics, random inputs of 96x96, logits. Takes a minute a network on one core.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import torch

from hexaquant.frontends import load
from hexaquant.ir.executor.build import build_module

NETWORKS = (
    "MobileNetV2",
    "MobileNetV3Small",
    "EfficientNetB0",
    "ResNet50",
    "DenseNet121",
    "NASNetMobile",
    "Xception",
    "ConvNeXtTiny",
)
RAW_PIXELS = ("EfficientNet", "MobileNetV3", "ConvNeXt")
"""Networks that hold their own preprocessing."""
BOUND = 1e-4


def main(names: list[str]) -> int:
    """Print a line a network; 1 when one misses BOUND."""
    worst = 0.0
    for name in names or NETWORKS:
        worst = max(worst, difference(name))
    return int(worst > BOUND)


def difference(name: str) -> float:
    """Maximal absolute difference of the logits of two samples."""
    rng = np.random.default_rng(0)
    model = getattr(keras.applications, name)(input_shape=(96, 96, 3), weights=None, classifier_activation=None)
    for variable in model.weights:
        _randomize(variable, rng)
    x = rng.normal(0, 1, (2, 96, 96, 3)).astype(np.float32)
    if name.startswith(RAW_PIXELS):
        x = rng.uniform(0, 255, x.shape).astype(np.float32)
    wanted = np.asarray(model(x, training=False))
    graph = load(model)
    with torch.no_grad():
        got = build_module(graph)(torch.from_numpy(x)).numpy()
    error = float(np.abs(wanted - got).max())
    transposes = sum(node.op_type == "Transpose" for node in graph.nodes)
    print(f"{name}: {error:.1e} of {np.abs(wanted).max():.3g}, {len(graph.nodes)} nodes, {transposes} Transposes")
    return error


def _randomize(variable: object, rng: np.random.Generator) -> None:
    """Statistics and affine parameters of BatchNormalizations away from 0 and 1."""
    ranges = {"moving_mean": (-0.3, 0.3), "moving_variance": (0.5, 1.5), "beta": (-0.2, 0.2)}
    for ending, (low, high) in ranges.items():
        if variable.path.endswith(ending):  # type: ignore[attr-defined]
            variable.assign(rng.uniform(low, high, variable.shape))  # type: ignore[attr-defined]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
