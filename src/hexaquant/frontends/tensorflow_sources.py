"""Open what TensorFlow users have on disk, in the converter's process: each becomes a Traced graph.

Nothing that a file says is executed but TensorFlow's own operators: graphs with operators that call Python or touch
files are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hexaquant.core.errors import InputError
from hexaquant.frontends.keras_trace import Traced

Named = tuple[tuple[str, str], ...]

FORBIDDEN = frozenset(
    ["PyFunc", "PyFuncStateless", "EagerPyFunc", "ReadFile", "WriteFile", "MatchingFiles", "LoadLibrary"]
)
"""Operators that run Python or reach files; no network needs them."""


def open_graph_def(path: Path, inputs: Sequence[str] | None, outputs: Sequence[str] | None) -> Traced:
    """A frozen ``.pb``: named inputs and outputs, else its placeholders and the operators nothing reads."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.framework import graph_pb2

    graph_def = graph_pb2.GraphDef()
    try:
        graph_def.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise InputError(f"{path}: this is no frozen TensorFlow graph; give the .pb of a frozen GraphDef") from error
    nodes = {node.name: node for node in graph_def.node}
    if not nodes:
        raise InputError(f"{path}: the graph is empty; a saved_model.pb is loaded by the path of its folder")
    _check_operators(graph_def, path.name)
    found = inputs or [n.name for n in graph_def.node if n.op == "Placeholder"]
    ends = outputs or _ends(graph_def)
    for name in (*found, *ends):
        if name.split(":")[0] not in nodes:
            raise InputError(f"{path.name} has no tensor '{name}'; give input_names and output_names of the graph")
    variables = [n.name for n in graph_def.node if n.op in ("VariableV2", "VarHandleOp")]
    if variables:
        raise InputError(f"{path.name}: '{variables[0]}' is a variable without data; freeze the graph first")
    return Traced(graph_def.SerializeToString(), _named(found), _named(ends))


def open_saved_model(path: Path, signature: str = "serving_default") -> Traced:
    """A SavedModel of TensorFlow 2, or of TensorFlow 1 through the compat loader."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel()
    proto.ParseFromString((path / "saved_model.pb").read_bytes())
    for meta in proto.meta_graphs:
        _check_operators(meta.graph_def, path.name)
    try:
        loaded = tf.saved_model.load(str(path))
        signatures = dict(loaded.signatures)
    except Exception:
        return _saved_model_v1(path, signature)
    if not signatures:
        raise InputError(f"{path}: the SavedModel has no signatures; save it with model.export('FOLDER')")
    concrete = signatures.get(signature) or next(iter(signatures.values()))
    return _frozen_signature(concrete)


def _frozen_signature(concrete: Any) -> Traced:
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    frozen = convert_variables_to_constants_v2(concrete, lower_control_flow=False)
    keywords = concrete.structured_input_signature[1]
    plain = {tensor.name.split(":")[0]: tensor.name for tensor in frozen.inputs}
    inputs = [(plain[spec.name], name) for name, spec in keywords.items() if spec.name in plain]
    if len(inputs) != len(frozen.inputs):
        inputs = [(tensor.name, tensor.name.split(":")[0]) for tensor in frozen.inputs]
    names = list(concrete.structured_outputs)
    outputs = tuple((tensor.name, name) for tensor, name in zip(frozen.outputs, names))
    return Traced(frozen.graph.as_graph_def(add_shapes=True).SerializeToString(), tuple(inputs), outputs)


def _saved_model_v1(path: Path, signature: str) -> Traced:
    import tensorflow as tf

    v1 = tf.compat.v1
    try:
        with tf.Graph().as_default(), v1.Session() as session:
            meta = v1.saved_model.loader.load(session, ["serve"], str(path))
            found = meta.signature_def.get(signature) or next(iter(meta.signature_def.values()))
            inputs = tuple((info.name, name) for name, info in found.inputs.items())
            outputs = tuple((info.name, name) for name, info in found.outputs.items())
            nodes = [tensor.split(":")[0] for tensor, _ in outputs]
            graph_def = v1.graph_util.convert_variables_to_constants(
                session, session.graph.as_graph_def(add_shapes=True), nodes
            )
    except (RuntimeError, ValueError, OSError, StopIteration, tf.errors.OpError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{path}: TensorFlow cannot load the SavedModel ({reason}); save it again") from error
    return Traced(_inlined(graph_def, inputs, outputs), inputs, outputs)


def _inlined(graph_def: Any, inputs: Named, outputs: Named) -> bytes:
    """The graph with the bodies of the functions that it calls in their places."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    if not graph_def.library.function:
        return bytes(graph_def.SerializeToString())
    wrapped = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph_def, name=""), [])
    ends = [wrapped.graph.as_graph_element(tensor) for tensor, _ in outputs]
    pruned = wrapped.prune([wrapped.graph.as_graph_element(tensor) for tensor, _ in inputs], ends)
    frozen = convert_variables_to_constants_v2(pruned, lower_control_flow=False)
    return bytes(frozen.graph.as_graph_def(add_shapes=True).SerializeToString())


def _check_operators(graph_def: Any, source: str) -> None:
    functions = [node for function in graph_def.library.function for node in function.node_def]
    for node in (*graph_def.node, *functions):
        if node.op in FORBIDDEN:
            raise InputError(f"{source}: '{node.name}' is a {node.op}, which may execute code or read files; remove it")


def _ends(graph_def: Any) -> list[str]:
    read = {name.lstrip("^").split(":")[0] for node in graph_def.node for name in node.input}
    silent = ("Placeholder", "Const", "NoOp", "Assert")
    return [n.name for n in graph_def.node if n.name not in read and n.op not in silent]


def _named(names: Sequence[str]) -> Named:
    return tuple((n if ":" in n else f"{n}:0", n.removesuffix(":0")) for n in names)
