"""Keras: one small network for every documented layer and one of every family of keras.applications, random weights.

Each is loaded and planned, and its graph in float32 must equal Keras' own ``predict``; ``measure`` takes the layers to
the emulator too. Needs hexaquant[keras]; KERAS_BACKEND chooses the backend that builds and predicts (torch here).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gallery.keras_layers import WORDS, Network, layer_networks
from gallery.keras_processing import processing_networks
from gallery.outcome import Outcome, attempt, tell, timed

TARGET, SCHEME = "sm8650", "w8a8"
CLOSE = 1e-4
"""Largest difference to ``predict``, relative to the largest output."""
ROWS = 2

FAMILIES = {
    "ConvNeXtTiny": 64, "DenseNet121": 64, "EfficientNetB0": 64, "EfficientNetV2B0": 64, "InceptionResNetV2": 75,
    "InceptionV3": 75, "MobileNet": 64, "MobileNetV2": 64, "MobileNetV3Small": 64, "NASNetMobile": 64, "ResNet50": 64,
    "ResNet50V2": 64, "VGG16": 64, "Xception": 71,
}  # fmt: skip
"""The smallest of each family with the side of its images."""
RAW_PIXELS = ("EfficientNet", "MobileNetV3", "ConvNeXt")
"""Networks that hold their own preprocessing."""


def run(names: Sequence[str], folder: Path, measure: bool = False) -> None:
    """All networks (or ``names``); ``measure``: layers on the emulator too."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    everything = {**layer_networks(), **processing_networks()}
    chosen: list[Any] = list(everything.items())
    chosen += [(f"applications/{name}", None) for name in FAMILIES]
    outcomes: list[Outcome] = []
    for name, network in chosen:
        if not names or any(part in name for part in names):
            outcomes.append(timed(attempt(name, lambda name=name, network=network: _work(name, network, measure))))
    tell(outcomes, folder / ("keras_measured.json" if measure else "keras.json"))


def _work(name: str, network: Network | None, measure: bool) -> str:
    if network is None:
        model, arrays = application(name.partition("/")[2])
    else:
        model, arrays = made(network)
    words = planned(model, arrays)
    if measure and network is not None:
        words += f", {on_emulator(model, network)}"
    return words


def made(network: Network) -> tuple[Any, list[np.ndarray]]:
    """The model with weights that are neither 0 nor 1, and ROWS samples of its inputs."""
    import keras

    keras.utils.set_random_seed(0)
    dtype = {"ids": "int32", "strings": "string"}.get(network.kind, "float32")
    inputs = [keras.Input(shape, dtype=dtype, name=f"x{i}") for i, shape in enumerate(network.shapes)]
    outputs = network.build(*inputs)
    model = keras.Model(inputs if len(inputs) > 1 else inputs[0], outputs)
    randomize(model)
    return model, data(network, ROWS, 1)


def application(name: str) -> tuple[Any, list[np.ndarray]]:
    """One of keras.applications with random weights and statistics, and ROWS images."""
    import keras

    keras.utils.set_random_seed(0)
    side = FAMILIES[name]
    build = getattr(keras.applications, name)
    model = build(input_shape=(side, side, 3), weights=None, classifier_activation=None)
    randomize(model)
    raw = name.startswith(RAW_PIXELS)
    return model, data(Network(model, ((side, side, 3),), "pixels" if raw else "normal"), ROWS, 1)


def randomize(model: Any) -> None:
    """Biases, statistics and affine parameters of ``model`` away from 0 and 1."""
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if len(variable.shape) == 1 and "float" in str(variable.dtype):
            low, high = (-0.3, 0.3) if "bias" in variable.path or "mean" in variable.path else (0.5, 1.5)
            variable.assign(rng.uniform(low, high, variable.shape).astype(np.float32))


def data(network: Network, count: int, seed: int) -> list[np.ndarray]:
    """``count`` samples for each input."""
    rng = np.random.default_rng(seed)
    return [_array(network.kind, (count, *shape), rng) for shape in network.shapes]


def _array(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if kind == "pixels":
        return rng.uniform(0, 255, shape).astype(np.float32)
    if kind == "strings":
        return rng.choice(np.array(["a", "b", "c"]), shape)
    if kind == "ids":
        array = rng.integers(1, WORDS, shape).astype(np.int32)
        return np.where(np.arange(shape[1]) < rng.integers(1, shape[1] + 1, (shape[0], 1)), array, 0).astype(np.int32)
    array = rng.standard_normal(shape).astype(np.float32)
    if kind == "padded":
        lengths = rng.integers(1, shape[1] + 1, (shape[0], 1))
        array *= (np.arange(shape[1]) < lengths)[..., None]
    return array


def predicted(model: Any, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What Keras computes, output by output."""
    outputs = model.predict(list(arrays) if len(arrays) > 1 else arrays[0], verbose=0)
    return [np.asarray(output) for output in (outputs if isinstance(outputs, list | tuple) else [outputs])]


def planned(model: Any, arrays: Sequence[np.ndarray]) -> str:
    """Loaded, compared with ``predict``, planned for TARGET at SCHEME."""
    from hexaquant import make_plan
    from hexaquant.frontends import load
    from hexaquant.htp.for_target import prepare_for_target

    graph = load(model)
    error = difference(graph, arrays, predicted(model, arrays))
    transposes = sum(node.op_type == "Transpose" for node in graph.nodes)
    prepare_for_target(graph)
    plan = make_plan(graph, TARGET, SCHEME)
    if error > CLOSE:
        raise ValueError(f"the graph leaves predict by {error:.1e} of its largest output")
    return f"{error:.0e}, {len(graph.nodes)} operators, {transposes} Transposes, {len(plan.tensors)} tensors"


def difference(graph: Any, arrays: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> float:
    """Largest difference of the float graph's outputs, relative to the largest number of each output."""
    import torch

    from hexaquant.ir.executor.build import build_module

    module = build_module(graph)
    frozen = bool(graph.inputs) and isinstance(graph.inputs[0].shape[0], int)
    worst = 0.0
    for rows in [slice(i, i + 1) for i in range(len(arrays[0]))] if frozen else [slice(None)]:
        with torch.no_grad():
            found = module(*(torch.from_numpy(array[rows]) for array in arrays))
        for got, right in zip(found if isinstance(found, list | tuple) else [found], wanted, strict=True):
            if tuple(got.shape) != right[rows].shape:
                raise ValueError(f"an output has shape {tuple(got.shape)}, predict gives {right[rows].shape}")
            size = max(float(np.abs(right[rows]).max()), 1e-6)
            worst = max(worst, float(np.abs(got.double().numpy() - right[rows]).max()) / size)
    return worst


def on_emulator(model: Any, network: Network) -> str:
    """SQNR in dB of the emulator against ``predict`` on 8 unseen samples, calibrated on 24."""
    import hexaquant as hq
    from hexaquant.core.metrics import sqnr_db

    graph = hq.load(model)
    names = [value.name or "" for value in graph.inputs]
    shown, unseen = data(network, 24, 2), data(network, 8, 3)
    with tempfile.TemporaryDirectory() as folder:
        quantized = hq.quantize(graph, dict(zip(names, shown)), target=TARGET, scheme=SCHEME, recipe="plain")
        quantized.export(folder)
        hq.compile(folder, target=TARGET)
        with hq.Runtime(next(Path(folder).glob("*.bin"))) as runtime:
            rows = [runtime.run({n: a[i : i + 1] for n, a in zip(names, unseen)}) for i in range(8)]
    wanted = predicted(model, unseen)
    keys = [value.name or "" for value in graph.outputs]
    found = [np.stack([np.asarray(row[key]) for row in rows]) for key in keys]
    return ", ".join(f"{sqnr_db(w, f.reshape(w.shape)):.1f} dB" for w, f in zip(wanted, found))
