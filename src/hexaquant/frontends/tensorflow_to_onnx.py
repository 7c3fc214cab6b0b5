"""A frozen TensorFlow graph or a ``.tflite`` file to a plain ONNX file, through tf2onnx, in the converter's process.

tf2onnx's own optimizer is left out: constants, names and Transposes are the business of ``ir/passes``, which keep track
of the parameters they came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import numpy_helper

from hexaquant.core.errors import InputError, UnsupportedOpError
from hexaquant.frontends.keras_trace import Traced, parameter_tensor
from hexaquant.frontends.tensorflow_erfc import replace_erfc

OPSET = 18
"""The newest opset that tf2onnx writes."""
LIMIT = 1_900_000_000
"""Bytes of parameters that one protobuf message holds."""


def convert_traced(traced: Traced, source: str) -> onnx.ModelProto:
    """ONNX of ``traced`` with its parameters as initializers. Raises UnsupportedOpError naming the layer."""
    import tensorflow as tf

    if sum(array.nbytes for array in traced.parameters.values()) > LIMIT:
        raise InputError(f"{source}: more than 1.9 GB of parameters cannot be imported; export the model to ONNX")
    tensors = [parameter_tensor(i) for i in range(len(traced.parameters))]
    names = dict([*traced.inputs, *traced.outputs])
    with tf.Graph().as_default() as graph:
        definition = tf.compat.v1.GraphDef.FromString(traced.graph_def)
        replace_erfc(definition)
        tf.import_graph_def(definition, name="")
        inputs = [*(tensor for tensor, _ in traced.inputs), *tensors]
        outputs = [tensor for tensor, _ in traced.outputs]
        proto = _convert(
            source, tf_graph=graph, input_names=inputs, output_names=outputs, tensors_to_rename=_free(names)
        )
    _to_initializers(proto, dict(zip(tensors, traced.parameters.items())))
    return proto


def convert_tflite(path: Path) -> onnx.ModelProto:
    """ONNX of a ``.tflite`` file; a quantized one has Q and DQ nodes around every quantized tensor."""
    return _convert(path.name, tf_graph=None, tflite_path=str(path))


def _free(names: dict[str, str]) -> dict[str, str]:
    """Renames that give no two tensors one name."""
    taken = list(names.values())
    return {tensor: name for tensor, name in names.items() if taken.count(name) == 1}


def _convert(source: str, **arguments: Any) -> onnx.ModelProto:
    from keras.src.export.onnx import patch_tf2onnx
    from tf2onnx.tfonnx import process_tf_graph

    patch_tf2onnx()
    try:
        converted = process_tf_graph(opset=OPSET, **arguments)
        proto = converted.make_model(source)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise UnsupportedOpError(f"{source}: tf2onnx cannot convert the model: {reason}") from error
    _refuse_unknown(proto.graph.node, source)
    return onnx.shape_inference.infer_shapes(proto)


def _refuse_unknown(nodes: Sequence[onnx.NodeProto], source: str) -> None:
    for node in nodes:
        if node.domain in ("", "ai.onnx") and not onnx.defs.has(node.op_type, max_inclusive_version=OPSET):
            raise UnsupportedOpError(
                f"{source}: layer '{node.name}' needs TensorFlow's {node.op_type}, which has no counterpart in ONNX; "
                "replace the layer"
            )


def _to_initializers(proto: onnx.ModelProto, parameters: dict[str, tuple[str, Any]]) -> None:
    """Graph inputs that stand for parameters become initializers under the user's names."""
    kept = [value for value in proto.graph.input if value.name not in parameters]
    del proto.graph.input[:]
    proto.graph.input.extend(kept)
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in parameters.values())
    for node in proto.graph.node:
        for index, tensor in enumerate(node.input):
            if tensor in parameters:
                node.input[index] = parameters[tensor][0]
