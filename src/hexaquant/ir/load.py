"""Read an ONNX file into onnx_ir and refuse, in one sentence, what cannot be a usable model.

Checked here: the file exists and is an ONNX model, its opset is one we convert, external data lie beside
it and are complete, sizes of constants match their shapes, no input dimension is zero; ``check_weights``: no NaN.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as oir
from google.protobuf.message import DecodeError

from hexaquant.core.errors import InputError
from hexaquant.core.text_file import is_text
from hexaquant.ir.check_operators import check_operators

MIN_OPSET = 7
MAX_OPSET = onnx.defs.onnx_opset_version()
"""Opsets of the default domain that ``ir.opset`` converts to 21."""

IN_MEMORY_LIMIT = 1_500_000_000
"""Bytes of constants up to which external data are read into memory; above they stay memory-mapped."""

WEIGHTED = frozenset(
    [
        "Conv",
        "ConvTranspose",
        "Gemm",
        "MatMul",
        "BatchNormalization",
        "LayerNormalization",
        "InstanceNormalization",
        "GroupNormalization",
        "LSTM",
        "GRU",
        "RNN",
        "PRelu",
    ]
)
"""Operators whose constants are weights: infinity in them is an error (elsewhere it may be a mask or a limit)."""


def read_model(path: Path) -> oir.Model:
    """The model in the ONNX file ``path``, constants memory-mapped where they are external. Raises InputError."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; give the path of an .onnx file")
    try:
        with _quiet_reader():
            model = _load(path)
    except (DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: this is not an ONNX file (or it is truncated); export the model again") from error
    except (ValueError, KeyError, TypeError, OSError, AttributeError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: the ONNX file cannot be read ({reason}); export the model again") from error
    check_model(model, str(path))
    if sum(tensor.nbytes for _, tensor in _constants(model)) <= IN_MEMORY_LIMIT:
        model = oir.external_data.load_to_model(model)
    return model


def check_model(model: oir.Model, source: str) -> None:
    """Raise InputError when ``model`` (called ``source`` in messages) cannot be used; puts its operators in order."""
    if not list(model.graph) or not model.graph.outputs:
        raise InputError(f"{source}: this is not an ONNX model with operators and outputs; export the model again")
    opset = model.opset_imports.get("", model.opset_imports.get("ai.onnx"))
    if opset is None:
        raise InputError(
            f"{source}: the ONNX file names no opset; export it again with opset {MIN_OPSET} to {MAX_OPSET}"
        )
    if not MIN_OPSET <= opset <= MAX_OPSET:
        raise InputError(f"{source}: opset {opset} is not supported; export with opset {MIN_OPSET} to {MAX_OPSET}")
    _check_connections(model, source)
    check_operators(model, opset, source)
    for name, tensor in _constants(model):
        _check_storage(name, tensor, source)
    for value in model.graph.inputs:
        _check_input(value, source)
    try:
        model.graph.sort()  # a file may list its operators in any order, a clone needs theirs
    except ValueError:
        raise InputError(f"{source}: operators wait for each other in a circle; the file is damaged") from None


def check_weights(model: oir.Model, source: str) -> None:
    """Raise InputError when a float constant is NaN, or infinite where it is a weight."""
    for value in model.graph.initializers.values():
        if value.const_value is None or not value.const_value.dtype.is_floating_point():
            continue
        data = value.const_value.numpy()
        if data.dtype.itemsize < 2 or bool(np.isfinite(data).all()):
            continue
        if bool(np.isnan(data).any()):
            raise InputError(f"{source}: weight '{value.name}' holds NaN; repair or retrain the model")
        if any(use.node.op_type in WEIGHTED for use in value.uses()):
            raise InputError(f"{source}: weight '{value.name}' holds infinity; repair or retrain the model")


def _constants(model: oir.Model) -> Iterator[tuple[str, oir.TensorProtocol]]:
    for value in model.graph.initializers.values():
        if value.const_value is not None:
            yield value.name or "", value.const_value
    for node in oir.traversal.RecursiveGraphIterator(model.graph):
        for attribute in node.attributes.values():
            if isinstance(attribute, oir.Attr) and attribute.type == oir.AttributeType.TENSOR:
                yield node.outputs[0].name or node.name or "", attribute.value


@contextlib.contextmanager
def _quiet_reader() -> Iterator[None]:
    """onnx_ir logs dangling inputs; ``_check_connections`` turns them into an error instead."""
    logger = logging.getLogger("onnx_ir")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _check_connections(model: oir.Model, source: str) -> None:
    """Every tensor that a node reads or the graph returns must come from somewhere."""
    for node in oir.traversal.RecursiveGraphIterator(model.graph):
        words = [node.op_type, node.domain, node.name or "", *(v.name or "" for v in node.outputs)]
        if not all(isinstance(word, str) and is_text(word) for word in words):
            raise InputError(f"{source}: the name of an operator or tensor is not text; the file is damaged")
        for value in node.inputs:
            if value is not None and _comes_from_nowhere(value):
                raise InputError(
                    f"{source}: operator {node.op_type} ('{node.name}') reads '{value.name}', which nothing produces; "
                    "the file is damaged, export the model again"
                )
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        if not is_text(value.name or ""):
            raise InputError(f"{source}: the name of an input or constant is not text; the file is damaged")
    _require_unique([value.name or "" for value in model.graph.inputs], "inputs", source)
    for value in model.graph.outputs:
        if _comes_from_nowhere(value):
            raise InputError(f"{source}: nothing produces the output '{value.name}'; export the model again")


def _require_unique(names: Sequence[str], what: str, source: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"{source}: two {what} are called '{twice[0]}'; the file is damaged, export the model again")


def _load(path: Path) -> oir.Model:
    """As onnx_ir.load, which keeps the last of two constants, inputs or outputs of one name and says nothing."""
    proto = onnx.load(path, load_external_data=False)
    _require_unique([tensor.name for tensor in proto.graph.initializer], "constants", str(path))
    _require_unique([value.name for value in proto.graph.input], "inputs", str(path))
    _require_unique([value.name for value in proto.graph.output], "outputs", str(path))
    model = oir.from_proto(proto)
    oir.external_data.set_base_dir(model.graph, path.parent)
    return model


def _comes_from_nowhere(value: oir.Value) -> bool:
    known = value.producer() is not None or value.is_graph_input() or value.is_initializer()
    return not known and value.const_value is None


def _check_storage(name: str, tensor: oir.TensorProtocol, source: str) -> None:
    try:
        known = tensor.dtype != oir.DataType.UNDEFINED
    except ValueError:
        known = False
    if not known:
        raise InputError(f"{source}: constant '{name}' states no known data type; export the model again")
    if isinstance(tensor, oir.ExternalTensor):
        _check_external(name, tensor, source)
        return
    misfit = f"{source}: the data of constant '{name}' do not fit its shape {list(tensor.shape.numpy())}; "
    if isinstance(tensor, oir.StringTensor):
        if len(tensor.string_data()) != tensor.size:
            raise InputError(misfit + "export the model again")
        return
    if _claims_more_than_it_holds(tensor):
        raise InputError(misfit + "export the model again")
    try:
        array = tensor.numpy()
    except (ValueError, TypeError, IndexError, AssertionError) as error:
        raise InputError(misfit + "export the model again") from error
    if tuple(array.shape) != tuple(tensor.shape.numpy()):
        raise InputError(f"{source}: constant '{name}' is truncated; export the model again")


def _claims_more_than_it_holds(tensor: oir.TensorProtocol) -> bool:
    """True when the shape of a tensor inside the file needs more bytes than the file holds for it.

    Before anything of that size is allocated. An element takes a byte at least (a small integer stored in a wider
    field), or its bits where several share a byte.
    """
    proto = getattr(tensor, "raw", None)
    if not isinstance(proto, onnx.TensorProto):
        return False
    held = len(proto.raw_data) or proto.ByteSize()
    return bool(tensor.size * min(tensor.dtype.bitwidth, 8) > 8 * held)


def _check_external(name: str, tensor: oir.ExternalTensor, source: str) -> None:
    base = Path(tensor.base_dir).resolve()
    location = Path(tensor.location)
    file = (base / location).resolve()
    if location.is_absolute() or not file.is_relative_to(base):
        raise InputError(f"{source}: weight '{name}' points to '{location}' outside the model's folder; refused")
    if not file.is_file():
        raise InputError(f"{source}: the data file '{location}' of weight '{name}' is missing; put it beside the model")
    need = math.ceil(tensor.size * tensor.dtype.itemsize)
    if tensor.length is not None and tensor.length != need:
        raise InputError(
            f"{source}: weight '{name}' has {tensor.length} bytes of external data but its shape needs {need}; "
            "export the model again"
        )
    if file.stat().st_size < (tensor.offset or 0) + need:
        raise InputError(
            f"{source}: the data file '{location}' is truncated (weight '{name}' ends past its end); copy it again"
        )


def _check_input(value: oir.Value, source: str) -> None:
    if value.type is not None and not isinstance(value.type, oir.TensorType):
        raise InputError(f"{source}: input '{value.name}' is not a tensor (a sequence or map); export it with tensors")
    if value.shape is not None and any(d == 0 for d in value.shape if isinstance(d, int)):
        raise InputError(
            f"{source}: input '{value.name}' has a dimension of size 0 in {list(value.shape)}; "
            f"set its shape with --shape {value.name}=..."
        )
