"""Normalization: from whatever a frontend read to the canonical graph (invariants in ir/graph.py).

Order: functions inlined, parameters marked, user's shapes applied, opset 21, Constants lifted; CLEANUP to a fixed
point; FUSE, and CLEANUP again; unsupported constructs refused; names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from onnx_ir.passes.common import ShapeInferencePass

from hexaquant.core.errors import InputError
from hexaquant.ir.check_fit import check_fit
from hexaquant.ir.graph import NOTE, Graph, shape_of
from hexaquant.ir.invariants import require_invariants
from hexaquant.ir.load import check_model, check_weights
from hexaquant.ir.opset import OPSET, convert_opset
from hexaquant.ir.passes.clamp_masks import clamp_masks
from hexaquant.ir.passes.clip_mask_inputs import clip_mask_inputs
from hexaquant.ir.passes.decompose_batchnorm import decompose_batchnorm
from hexaquant.ir.passes.decompose_groupnorm import decompose_groupnorm
from hexaquant.ir.passes.drop_constant_inputs import drop_constant_inputs, drop_empty_operands
from hexaquant.ir.passes.drop_infinite_bounds import drop_infinite_bounds
from hexaquant.ir.passes.drop_zero_biases import drop_zero_biases
from hexaquant.ir.passes.drop_zero_states import drop_zero_states
from hexaquant.ir.passes.eliminate_identity import eliminate_identity
from hexaquant.ir.passes.expand_functions import expand_functions
from hexaquant.ir.passes.fold_batchnorm import fold_batchnorm
from hexaquant.ir.passes.fold_constants import fold_constants
from hexaquant.ir.passes.fold_pad import fold_pad
from hexaquant.ir.passes.form_gemm import form_gemm
from hexaquant.ir.passes.form_global_pool import form_global_pool
from hexaquant.ir.passes.form_selection import form_selection
from hexaquant.ir.passes.fuse_gelu import fuse_gelu
from hexaquant.ir.passes.fuse_hardswish import fuse_hardswish
from hexaquant.ir.passes.fuse_layernorm import fuse_layernorm
from hexaquant.ir.passes.fuse_rmsnorm import fuse_rmsnorm
from hexaquant.ir.passes.inline_functions import inline_functions
from hexaquant.ir.passes.inline_if import inline_if, where_if
from hexaquant.ir.passes.keep_batch import keep_batch
from hexaquant.ir.passes.lift_constants import lift_constants
from hexaquant.ir.passes.lower_ranks import MAX_RANK
from hexaquant.ir.passes.merge_transposes import merge_transposes
from hexaquant.ir.passes.name_everything import name_everything
from hexaquant.ir.passes.name_parameters import mark_parameters, name_parameters
from hexaquant.ir.passes.refuse_unsupported import holds_unsupported, refuse_unsupported
from hexaquant.ir.passes.remove_unused import remove_unused
from hexaquant.ir.passes.resolve_casts import resolve_casts
from hexaquant.ir.passes.scale_resizes import scale_resizes
from hexaquant.ir.passes.split_sequences import split_sequences
from hexaquant.ir.passes.to_float32 import WAS, to_float32
from hexaquant.ir.passes.undo_integers import fold_wide_constants, undo_integers
from hexaquant.ir.passes.undo_quantization import undo_quantization
from hexaquant.ir.shapes import apply_shapes, batch_arithmetic

Pass = Callable[[Graph], int]

CLEANUP: tuple[Pass, ...] = (
    fold_constants,
    undo_integers,
    expand_functions,
    inline_if,
    lift_constants,
    resolve_casts,
    drop_zero_biases,
    drop_zero_states,
    split_sequences,
    drop_empty_operands,
    scale_resizes,
    drop_infinite_bounds,
    eliminate_identity,
    fold_batchnorm,
    fold_pad,
    merge_transposes,
    remove_unused,
)
"""Repeated until nothing changes."""

FUSE: tuple[Pass, ...] = (
    decompose_batchnorm,
    decompose_groupnorm,
    fuse_gelu,
    fuse_hardswish,
    fuse_layernorm,
    fuse_rmsnorm,
    form_gemm,
    form_global_pool,
    keep_batch,
    form_selection,
    clamp_masks,
    clip_mask_inputs,
)
"""Run when CLEANUP has nothing left to do; CLEANUP follows again."""

MAX_ROUNDS = 12
QUANTIZATION = frozenset({"QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "QGemm"})


def normalize(
    graph: Graph, shapes: Mapping[str, Sequence[int | str]] | None = None, extra: Sequence[Pass] = ()
) -> Graph:
    """The canonical form of ``graph`` (a new Graph; the given one is left as it was).

    ``shapes`` overrides input shapes: dimensions are ints or symbol names. ``extra``: passes that a frontend needs
    between the first CLEANUP and FUSE, alternating with CLEANUP until nothing changes. Raises
    InputError for an input that does
    not exist, a rank that differs, or a construct that the package does not support.
    """
    result = as_written(graph, shapes)
    check_weights(result.model, result.source)
    _simplify(result, extra)
    if holds_unsupported(result) and (frozen := _frozen(graph, shapes)) is not None:
        return frozen
    refuse_unsupported(result)
    name_parameters(result)
    name_everything(result)
    require_invariants(result, "import")
    return _without_batch_arithmetic(result)


def _frozen(graph: Graph, shapes: Mapping[str, Sequence[int | str]] | None) -> Graph | None:
    """``graph`` with a batch of 1; None when its batch is not free, or when it is refused that way too."""
    if not _has_free_batch(graph) and not shapes:
        return None
    shaped = as_written(graph, shapes)
    if not _has_free_batch(shaped):
        return None
    try:
        return _noted(freeze_batch(shaped))
    except InputError:
        return None


def _noted(frozen: Graph) -> Graph:
    _note(frozen, "the batch is fixed to 1: the network computes shapes from it")
    return frozen


def _note(graph: Graph, text: str) -> None:
    before = graph.model.metadata_props.get(NOTE)
    graph.model.metadata_props[NOTE] = f"{before}; {text}" if before else text


def notes_of(graph: Graph) -> list[str]:
    """What import changed that the user should know: a fixed batch, quantization undone, other types of inputs."""
    notes = [note] if (note := graph.model.metadata_props.get(NOTE)) else []
    for what, values in (("input", graph.inputs), ("output", graph.outputs)):
        for value in values:
            if WAS in value.metadata_props:
                notes.append(f"{what} '{value.name}' is float32 here, {value.metadata_props[WAS]} in the file")
    return notes


def _has_free_batch(graph: Graph) -> bool:
    return any(dims and dims[0] is not None and not isinstance(dims[0], int) for dims in _dims(graph))


def _without_batch_arithmetic(graph: Graph) -> Graph:
    """``graph`` with a batch of 1 where that folds what is left of a free batch; else as it is.

    Left are shapes computed from it, and tensors of a high rank whose batch is unknown: their axes cannot be merged.

    The target's graphs are static: what cannot be folded is refused, and it must not be refused for a freedom that
    ends at lowering anyway. (transformers' masks: Range, ConstantOfShape and Expand of the batch.)
    """
    computed = _left_of_batch(graph)
    if not computed or not _has_free_batch(graph):
        return graph
    try:
        frozen = freeze_batch(graph)
    except InputError:
        return graph  # other dimensions are free as well
    return graph if _left_of_batch(frozen) == computed else _noted(frozen)


def _left_of_batch(graph: Graph) -> int:
    shapes = [shape_of(value) or () for node in graph.nodes for value in node.outputs]
    unknown = sum(len(shape) > MAX_RANK and None in shape for shape in shapes)
    return len(batch_arithmetic(graph)) + unknown


def _dims(graph: Graph) -> list[tuple[int | str | None, ...]]:
    return [shape_of(value) or () for value in graph.inputs]


def _template(dims: tuple[int | str | None, ...]) -> str:
    """What to type for ``dims``: "1,3,N,N"."""
    return ",".join(str(d) if isinstance(d, int) else "1" if i == 0 else "N" for i, d in enumerate(dims))


def require_static(graph: Graph) -> None:
    """Raise InputError naming every input with a free dimension other than the batch, and the flags to type."""
    free = [(v.name, dims) for v in graph.inputs if (dims := shape_of(v)) and any(not isinstance(d, int) for d in dims)]
    batch = {dims[0] for _, dims in free if not isinstance(dims[0], int)}
    open_ = [(n, dims) for n, dims in free if any(not isinstance(d, int) and d not in batch for d in dims[1:])]
    if not open_:
        return
    told = "; ".join(f"'{name}' is {'x'.join(str(d or '?') for d in dims)}" for name, dims in open_)
    flags = " ".join(f"--shape {name}={_template(dims)}" for name, dims in open_)
    raise InputError(
        f"{graph.source}: the sizes of its inputs are free ({told}) and the target's graphs are static; "
        f"give them with {flags} (numbers for N), in Python with shapes="
    )


def as_written(graph: Graph, shapes: Mapping[str, Sequence[int | str]] | None = None) -> Graph:
    """A copy of ``graph`` in which every operator of the user still stands, but in opset 21, with names, without
    functions and with Constants as initializers: what :func:`normalize` starts from. Errors as there."""
    check_model(graph.model, graph.source)
    result = graph.clone()
    drop_constant_inputs(result)
    inline_functions(result)
    to_float32(result)
    name_everything(result)
    mark_parameters(result)
    apply_shapes(result, shapes or {})
    if result.model.opset_imports.get("", OPSET) < 13:
        ShapeInferencePass(strict_mode=False, check_type=False)(result.model)
    convert_opset(result.model, result.source)
    lift_constants(result)
    fold_wide_constants(result)
    return result


def float_network(graph: Graph) -> Graph:
    """``graph`` itself, or, when it came quantized, the float network that it stands for (a new Graph)."""
    if not any(node.op_type in QUANTIZATION for node in graph.nodes):
        return graph
    result = graph.clone()
    undo_quantization(result)
    result = normalize(result)
    _note(result, "it came quantized: its activations are calibrated anew")
    return result


def _simplify(graph: Graph, extra: Sequence[Pass]) -> None:
    check_fit(graph)
    clean_up(graph)
    check_fit(graph)  # again, with the shapes that are known now
    for _ in range(MAX_ROUNDS):
        if not sum(step(graph) for step in extra):
            break
        clean_up(graph)
    for _ in range(MAX_ROUNDS):
        if not where_if(graph):
            break
        clean_up(graph)
    if sum(step(graph) for step in FUSE):
        clean_up(graph)


def clean_up(graph: Graph) -> None:
    """Repeat CLEANUP on ``graph`` until nothing changes."""
    for _ in range(MAX_ROUNDS):
        if not sum(step(graph) for step in CLEANUP):
            return


def freeze_batch(graph: Graph, batch: int = 1, symbols: Mapping[str, int] | None = None) -> Graph:
    """A copy of ``graph`` in which no input dimension is symbolic.

    ``symbols`` gives values to symbols by name; every other symbol at position 0 of an input becomes ``batch``.
    Raises InputError naming the input when a symbol at another position has no value.
    """
    symbols = dict(symbols or {})
    first = {str(v.shape[0]) for v in graph.inputs if v.shape and not isinstance(v.shape[0], int)}
    shapes: dict[str, list[int | str]] = {}
    for value in graph.inputs:
        if value.shape is None:
            raise InputError(f"{graph.source}: input '{value.name}' has no shape; give one with --shape")
        dims: list[int | str] = []
        for axis, dim in enumerate(value.shape):
            name = None if isinstance(dim, int) else dim.value
            known = dim if isinstance(dim, int) else symbols.get(name or "")
            if known is None and (axis == 0 or name in first):
                known = batch
            if known is None:
                raise InputError(
                    f"{graph.source}: dimension {axis} ('{name}') of input '{value.name}' is dynamic; "
                    f"fix it with --shape {value.name}=..."
                )
            dims.append(int(known))
        shapes[value.name or ""] = dims
    return normalize(graph, shapes)
