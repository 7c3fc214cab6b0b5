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


Given = Sequence["np.ndarray | str | None"]
"""Inputs of one operator: the first are the network's, other arrays constants, "state" a variable, None is absent."""


def one_operator(
    kind: str,
    options: dict[str, Any] | bytes,
    inputs: Given,
    outputs: Sequence[tuple[int, ...]],
    states: Sequence[tuple[int, ...]] = (),
    given: int = 1,
) -> bytes:
    """A file with one operator, packed by TensorFlow's schema.

    ``options``: fields by name, or a custom operator's bytes; ``states``: shapes of the variables; ``given``: how many
    of ``inputs`` are the network's.
    """
    import flatbuffers
    from tensorflow.lite.python import schema_py_generated as schema

    buffers, tensors, places = [schema.BufferT()], [], []
    shapes = iter(states)
    for number, array in enumerate([*inputs, *outputs]):
        if array is None:
            places.append(-1)
            continue
        tensor = schema.TensorT()
        tensor.name, tensor.buffer, tensor.isVariable = f"t{len(tensors)}", 0, isinstance(array, str)
        tensor.shape = list(next(shapes) if isinstance(array, str) else getattr(array, "shape", array))
        if isinstance(array, np.ndarray) and number >= given:
            tensor.buffer = len(buffers)
            buffers.append(schema.BufferT())
            buffers[-1].data = np.frombuffer(array.astype(np.float32).tobytes(), np.uint8)
        places.append(len(tensors))
        tensors.append(tensor)
    operator, graph, model = schema.OperatorT(), schema.SubGraphT(), schema.ModelT()
    operator.inputs, operator.outputs = places[: len(inputs)], places[len(inputs) :]
    graph.tensors, graph.operators = tensors, [operator]
    graph.inputs, graph.outputs = places[:given], operator.outputs
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [_code(kind, options)], [graph], buffers
    if isinstance(options, bytes):
        operator.customOptions = np.frombuffer(options, np.uint8)
    else:
        operator.builtinOptionsType, operator.builtinOptions = _options(kind, options)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _code(kind: str, options: dict[str, Any] | bytes) -> Any:
    from tensorflow.lite.python import schema_py_generated as schema

    code = schema.OperatorCodeT()
    custom = isinstance(options, bytes)
    code.builtinCode = schema.BuiltinOperator.CUSTOM if custom else getattr(schema.BuiltinOperator, kind)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.customCode = kind if custom else None
    return code


def options_kind(operator: str) -> str:
    """The name of the schema's table of options of a builtin operator; "" where there is none."""
    from tensorflow.lite.python import schema_py_generated as schema

    special = {"L2_NORMALIZATION": "L2Norm", "UNIDIRECTIONAL_SEQUENCE_RNN": "SequenceRNN", "MEAN": "Reducer"}
    special |= {"SUM": "Reducer", "MAX_POOL_2D": "Pool2D", "AVERAGE_POOL_2D": "Pool2D", "L2_POOL_2D": "Pool2D"}
    plain = "Reducer" if operator.startswith("REDUCE_") else special.get(operator, operator)
    wanted = plain.replace("_", "").lower() + "options"
    return next((name for name in vars(schema.BuiltinOptions) if name.lower() == wanted), "")


def _options(kind: str, fields: dict[str, Any]) -> tuple[int, Any]:
    from tensorflow.lite.python import schema_py_generated as schema

    name = options_kind(kind)
    if not name:
        return 0, None
    options = getattr(schema, f"{name}T")()
    for field, value in fields.items():
        assert hasattr(options, field), field
        setattr(options, field, value)
    return getattr(schema.BuiltinOptions, name), options
