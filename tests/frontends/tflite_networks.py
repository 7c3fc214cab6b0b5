"""TFLite files made by TensorFlow's converter, and what TensorFlow Lite's interpreter computes from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hexaquant.frontends import load
from hexaquant.ir.executor.build import build_module
from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import freeze_batch

Arrays = Sequence[np.ndarray]


def converted(function: Callable[..., Any], specs: Sequence[Any], **settings: Any) -> bytes:
    """``function`` of tensors like ``specs`` (tf.TensorSpec) as TensorFlow Lite; ``settings`` of the converter."""
    import tensorflow as tf

    concrete = tf.function(function, input_signature=list(specs)).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    for name, value in settings.items():
        setattr(converter, name, value)
    return bytes(converter.convert())


def interpreted(data: bytes, *runs: Arrays) -> list[list[np.ndarray]]:
    """The outputs of each run of the interpreter, one after another (variables live on), in the file's order."""
    import tensorflow as tf

    kind = tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = tf.lite.Interpreter(model_content=data, experimental_op_resolver_type=kind)
    interpreter.allocate_tensors()
    results = []
    for inputs in runs:
        for detail, array in zip(interpreter.get_input_details(), inputs, strict=True):
            if tuple(detail["shape"]) != array.shape:
                interpreter.resize_tensor_input(detail["index"], array.shape)
                interpreter.allocate_tensors()
            interpreter.set_tensor(detail["index"], array)
        interpreter.invoke()
        results.append([interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()])
    return results


def imported(folder: Path, data: bytes, name: str = "net.tflite", **options: Any) -> Graph:
    """Our graph of a file with these bytes."""
    path = folder / name
    path.write_bytes(data)
    return load(path, **options)


def computed(graph: Graph, inputs: Arrays) -> list[np.ndarray]:
    """The outputs of our executor, in the graph's order."""
    with torch.no_grad():
        found = build_module(freeze_batch(graph))(*(torch.from_numpy(np.array(array)) for array in inputs))
    return [tensor.numpy() for tensor in (found if isinstance(found, (tuple, list)) else [found])]


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)
