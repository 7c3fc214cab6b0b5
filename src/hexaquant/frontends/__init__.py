"""Frontends: everything a user may hand in becomes one normalized Graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hexaquant.core.errors import InputError
from hexaquant.ir.graph import Graph

LATER = {".keras": "Keras", ".h5": "Keras", ".hdf5": "Keras", ".tflite": "TensorFlow Lite", ".pb": "TensorFlow"}
"""Suffixes of frameworks whose frontend is not built yet."""

SUPPORTED = ".onnx (ONNX), .pt2 (torch.export program) or a torch.nn.Module in Python"


def load(
    model: Any,
    example_inputs: Sequence[Any] | None = None,
    example_kwargs: Mapping[str, Any] | None = None,
    shapes: Mapping[str, Sequence[int | str]] | None = None,
    *,
    dynamic_batch: bool = True,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
) -> Graph:
    """The normalized graph of ``model``: a path (.onnx, .pt2), an ``nn.Module``, an ONNX ModelProto or a Graph.

    ``example_inputs`` and ``example_kwargs`` (tensors) are needed for an ``nn.Module``; ``shapes`` overrides input
    shapes (ints or symbol names). Raises InputError in one sentence for anything that cannot be loaded.
    """
    if isinstance(model, (str, Path)):
        return _load_path(Path(model), shapes)
    if isinstance(model, Graph):
        return model if shapes is None else _normalize(model, shapes)
    kind = type(model).__module__.partition(".")[0]
    if hasattr(model, "SerializeToString") and hasattr(model, "graph"):
        return _load_proto(model, shapes)
    if kind in ("keras", "tensorflow", "tf_keras"):
        raise InputError(f"{type(model).__name__}: Keras and TensorFlow models are not supported yet; export to ONNX")
    if hasattr(model, "named_parameters") and hasattr(model, "forward"):
        return _load_module(model, example_inputs, example_kwargs, shapes, dynamic_batch, input_names, output_names)
    raise InputError(f"a model of type {type(model).__name__} cannot be loaded; give {SUPPORTED}")


def _load_path(path: Path, shapes: Mapping[str, Sequence[int | str]] | None) -> Graph:
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        from hexaquant.frontends.onnx_file import from_onnx

        return from_onnx(path, shapes)
    if suffix == ".pt2":
        from hexaquant.frontends.torch_module import from_exported

        return from_exported(path, shapes)
    if suffix in LATER or (path / "saved_model.pb").is_file():
        raise InputError(
            f"{path}: {LATER.get(suffix, 'TensorFlow')} models are not supported yet; export the model to ONNX first"
        )
    raise InputError(f"{path}: unknown kind of model '{suffix or path.name}'; give {SUPPORTED}")


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


def _load_proto(proto: Any, shapes: Mapping[str, Sequence[int | str]] | None) -> Graph:
    import onnx_ir as oir

    try:
        model = oir.from_proto(proto)
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise InputError(f"the ONNX model is malformed ({str(error).splitlines()[0]}); export it again") from error
    return _normalize(Graph(model, model.graph.name or "ModelProto"), shapes)


def _normalize(graph: Graph, shapes: Mapping[str, Sequence[int | str]] | None) -> Graph:
    from hexaquant.ir.normalize import normalize

    return normalize(graph, shapes)
