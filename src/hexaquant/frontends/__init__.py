"""Frontends: everything a user may hand in becomes one normalized Graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hexaquant.core.errors import InputError
from hexaquant.ir.graph import Graph
from hexaquant.ir.states import with_states

KERAS_FILES = (".keras", ".h5", ".hdf5")

SUPPORTED = (
    ".onnx (ONNX), .pt2 (torch.export program), .keras or .h5 (Keras), a SavedModel folder, .pb (frozen graph), "
    ".tflite, or a torch.nn.Module or keras.Model in Python"
)


def load(
    model: Any,
    example_inputs: Sequence[Any] | None = None,
    example_kwargs: Mapping[str, Any] | None = None,
    shapes: Mapping[str, Sequence[int | str]] | None = None,
    *,
    dynamic_batch: bool = True,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    states: Mapping[str, str] | None = None,
    fixed: Mapping[str, Any] | None = None,
) -> Graph:
    """The normalized graph of ``model``: a path, an ``nn.Module``, a ``keras.Model``, an ONNX ModelProto or a Graph.

    Paths: .onnx, .pt2, .keras, .h5, SavedModel folders, .pb (``input_names`` and ``output_names`` choose its tensors),
    .tflite. ``example_inputs`` and ``example_kwargs`` (tensors) are needed for an ``nn.Module``; ``shapes`` overrides
    input shapes (ints or symbol names). ``states``: recurrent states, input -> the output that is its next value, so
    that data need only give the first (io/recurrent_state.py). ``fixed``: inputs that become constants (a sample rate,
    a flag), name -> number or array. Raises InputError in one sentence for anything that cannot be loaded.
    """
    named: dict[str, Any] = {"dynamic_batch": dynamic_batch, "input_names": input_names, "output_names": output_names}
    if states:
        return with_states(load(model, example_inputs, example_kwargs, shapes, fixed=fixed, **named), states)
    if fixed:
        return _with_fixed(model, example_inputs, example_kwargs, shapes, fixed)
    if isinstance(model, (str, Path)):
        return _load_path(Path(model), shapes, input_names, output_names)
    if isinstance(model, Graph):
        return model if shapes is None else _normalize(model, shapes)
    if hasattr(model, "SerializeToString") and hasattr(model, "graph"):
        return _normalize(read_proto(model), shapes)
    if is_keras_model(model):
        from hexaquant.frontends.keras_model import from_keras

        return from_keras(model, example_inputs, shapes)
    if hasattr(model, "named_parameters") and hasattr(model, "forward"):
        return _load_module(model, example_inputs, example_kwargs, shapes, dynamic_batch, input_names, output_names)
    raise InputError(f"a model of type {type(model).__name__} cannot be loaded; give {SUPPORTED}")


def _with_fixed(
    model: Any,
    example_inputs: Sequence[Any] | None,
    example_kwargs: Mapping[str, Any] | None,
    shapes: Mapping[str, Sequence[int | str]] | None,
    fixed: Mapping[str, Any],
) -> Graph:
    """Inputs are fixed before anything is normalized: what only they decide (an If) is gone then."""
    from hexaquant.frontends.onnx_file import load_written
    from hexaquant.ir.shapes import fix_inputs

    written = load_written(model, example_inputs, example_kwargs)
    left = {name: dims for name, dims in (shapes or {}).items() if name not in fixed}
    return _normalize(fix_inputs(written, fixed), left)


def is_keras_model(model: Any) -> bool:
    """True for a model of Keras 3, tf.keras or tf_keras, told without importing any of them."""
    kinds = [f"{kind.__module__}.{kind.__qualname__}" for kind in type(model).__mro__]
    return any(kind.partition(".")[0] in ("keras", "tf_keras") and kind.endswith(".Model") for kind in kinds)


def _load_path(
    path: Path,
    shapes: Mapping[str, Sequence[int | str]] | None,
    input_names: Sequence[str] | None,
    output_names: Sequence[str] | None,
) -> Graph:
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        from hexaquant.frontends.onnx_file import from_onnx

        return from_onnx(path, shapes)
    if suffix == ".pt2":
        from hexaquant.frontends.torch_module import from_exported

        return from_exported(path, shapes)
    if suffix == ".tflite":
        from hexaquant.frontends.tflite.file import from_tflite

        return from_tflite(path, shapes)
    if suffix in KERAS_FILES:
        from hexaquant.frontends.keras_model import from_keras_file

        return from_keras_file(path, shapes)
    return _load_tensorflow(path, shapes, input_names, output_names)


def _load_tensorflow(
    path: Path,
    shapes: Mapping[str, Sequence[int | str]] | None,
    input_names: Sequence[str] | None,
    output_names: Sequence[str] | None,
) -> Graph:
    from hexaquant.frontends import tensorflow_file

    if tensorflow_file.is_saved_model(path):
        return tensorflow_file.from_saved_model(path, shapes)
    if path.name == "saved_model.pb":
        return tensorflow_file.from_saved_model(path.parent, shapes)
    if path.suffix.lower() == ".pb":
        return tensorflow_file.from_graph_def(path, shapes, input_names, output_names)
    raise InputError(f"{path}: unknown kind of model '{path.suffix.lower() or path.name}'; give {SUPPORTED}")


def _load_module(
    module: Any,
    example_inputs: Sequence[Any] | None,
    example_kwargs: Mapping[str, Any] | None,
    shapes: Mapping[str, Sequence[int | str]] | None,
    dynamic_batch: bool,
    input_names: Sequence[str] | None,
    output_names: Sequence[str] | None,
) -> Graph:
    from hexaquant.frontends.torch_module import from_torch

    if example_inputs is None and not example_kwargs:
        raise InputError(f"{type(module).__name__}: an nn.Module needs example_inputs=(tensor, ...) to be exported")
    return from_torch(
        module,
        () if example_inputs is None else example_inputs,
        example_kwargs,
        dynamic_batch=dynamic_batch,
        input_names=input_names,
        output_names=output_names,
        shapes=shapes,
    )


def read_proto(proto: Any) -> Graph:
    """The ModelProto as it is, not normalized. Raises InputError when it is malformed."""
    import onnx_ir as oir

    try:
        model = oir.from_proto(proto)
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise InputError(f"the ONNX model is malformed ({str(error).splitlines()[0]}); export it again") from error
    return Graph(model, model.graph.name or "ModelProto")


def _normalize(graph: Graph, shapes: Mapping[str, Sequence[int | str]] | None) -> Graph:
    from hexaquant.ir.normalize import normalize

    return normalize(graph, shapes)
