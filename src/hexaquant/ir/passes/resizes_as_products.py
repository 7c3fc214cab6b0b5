"""Resize in modes that a target may lack, as gathers and products with constant matrices.

Nearest picks one element for each output: along each axis that changes

1. the same elements as "asymmetric, floor" or "half_pixel, round_prefer_ceil" pick: the Resize in that mode, which
   Qualcomm's kernels compute right (release 2.7.0; of the other modes they refuse some and compute others as one of
   these two, without a word: "half_pixel, floor" came out at -2 dB);
2. otherwise: a Gather an axis.

Every other mode is a weighted sum along each axis, that is a product with a constant matrix (out, size). It is written
as such where the Resize is not of the plain kind: rank 3 or 4, batch and channels unchanged, align_corners,
asymmetric, half_pixel or pytorch_half_pixel, no anti-aliasing, the usual cubic kernel. Legal when all dimensions but
the first are numbers, roi, scales and sizes are constants, and nothing outside of a crop gets a value but zero.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import string_attribute
from hexaquant.ir.emitter import Emitter
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.symbolic import dims_of

RIGHT = {"asymmetric": "floor", "half_pixel": "round_prefer_ceil"}
"""Coordinate transformation -> the nearest_mode in which it is computed right."""

PLAIN = ("align_corners", "asymmetric", "half_pixel", "pytorch_half_pixel")
USUAL = {"antialias": 0, "cubic_coeff_a": -0.75, "exclude_outside": 0, "keep_aspect_ratio_policy": "stretch"}


def resizes_as_products(graph: Graph) -> int:
    """Returns the number of Resize nodes rewritten."""
    changed = 0
    for node in graph.nodes:
        if node.op_type == "Resize" and node.domain == "":
            changed += _rewrite(node)
    return changed


def _rewrite(node: oir.Node) -> bool:
    attributes = _attributes(node)
    dims = dims_of(node.inputs[0])
    if dims is None or not all(d.is_Integer for d in dims[1:]) or any(_is_computed(v) for v in node.inputs[1:]):
        return False
    nearest = attributes.get("mode", "nearest") == "nearest"
    if not nearest and _is_plain(node, attributes, len(dims)):
        return False
    shape = [int(d) if d.is_Integer else 1 for d in dims]
    matrices = _matrices(node, shape, attributes)
    if matrices is None or (nearest and _stands(node, shape, attributes, matrices)):
        return False
    emit = Emitter(node)
    value = node.inputs[0]
    assert value is not None
    if nearest and (transform := _right_transform(matrices, shape)):
        emit.finish(_resize(emit, value, _scales(matrices, shape), transform))
        return True
    for axis, matrix in matrices.items():
        value = _pick(emit, value, axis, matrix.argmax(1)) if nearest else _multiply(emit, value, axis, matrix)
    emit.finish(value)
    return True


def _attributes(node: oir.Node) -> dict[str, object]:
    return {name: value.value for name, value in node.attributes.items() if isinstance(value, oir.Attr)}


def _is_computed(value: oir.Value | None) -> bool:
    return value is not None and constant(value) is None


def _is_plain(node: oir.Node, attributes: dict[str, object], rank: int) -> bool:
    transform = string_attribute(node, "coordinate_transformation_mode", "half_pixel")
    before = dims_of(node.inputs[0]) or []
    after = dims_of(node.outputs[0]) or []
    if transform == "pytorch_half_pixel" and 1 in after[2:]:
        return False  # only this mode reads the first element then
    usual = all(attributes.get(key, default) == default for key, default in USUAL.items())
    return usual and rank in (3, 4) and before[:2] == after[:2] and transform in PLAIN and "axes" not in attributes


def _matrices(node: oir.Node, shape: list[int], attributes: dict[str, object]) -> dict[int, np.ndarray] | None:
    from hexaquant.ir.executor.ops.resize import axis_matrices

    roi, scales, sizes = (constant(value) for value in (*node.inputs[1:4], None, None, None)[:3])
    given = [None if array is None or not array.size else array.tolist() for array in (roi, scales, sizes)]
    if given[1] is None and given[2] is None:
        return None
    found = axis_matrices(shape, *given, **attributes)  # type: ignore[arg-type]
    return None if found is None else {axis: matrix.numpy() for axis, matrix in found.items()}


def _stands(node: oir.Node, shape: list[int], attributes: dict[str, object], matrices: dict[int, np.ndarray]) -> bool:
    """Whether the Resize is in a mode that is right already, as a target does it that knows sizes only."""
    transform = string_attribute(node, "coordinate_transformation_mode", "half_pixel")
    mode = string_attribute(node, "nearest_mode", "round_prefer_floor")
    if RIGHT.get(transform) != mode or not _is_spatial(matrices, shape) or "axes" in attributes:
        return False
    return _same(matrices, shape, transform, sizes=_sizes(matrices, shape))


def _is_spatial(matrices: dict[int, np.ndarray], shape: list[int]) -> bool:
    return len(shape) in (3, 4) and min(matrices, default=2) >= 2


def _sizes(matrices: dict[int, np.ndarray], shape: list[int]) -> list[int]:
    return [len(matrices[axis]) if axis in matrices else size for axis, size in enumerate(shape)]


def _scales(matrices: dict[int, np.ndarray], shape: list[int]) -> np.ndarray:
    """Factors by which the sizes come out, since Resize rounds down."""
    sizes = _sizes(matrices, shape)
    factors = np.array([new / old for new, old in zip(sizes, shape)], np.float32)
    short = np.floor(factors * np.array(shape, np.float32)) < sizes
    return np.where(short, np.nextafter(factors, np.float32(np.inf)), factors).astype(np.float32)


def _same(matrices: dict[int, np.ndarray], shape: list[int], transform: str, **goal: list[int] | np.ndarray) -> bool:
    """Whether the Resize to ``goal`` in the right mode of ``transform`` picks the same elements."""
    from hexaquant.ir.executor.ops.resize import axis_matrices

    modes = {"coordinate_transformation_mode": transform, "nearest_mode": RIGHT[transform]}
    given = {key: np.asarray(value).tolist() for key, value in goal.items()}
    other = axis_matrices(shape, **given, **modes) or {}  # type: ignore[arg-type]
    unit = {axis: np.eye(size, dtype=np.float32) for axis, size in enumerate(shape)}
    return all(
        np.array_equal(other[axis].numpy() if axis in other else unit[axis], matrix)
        for axis, matrix in matrices.items()
    )


def _right_transform(matrices: dict[int, np.ndarray], shape: list[int]) -> str:
    """The coordinate transformation of RIGHT that picks the same elements, by sizes and by scales, or nothing."""
    if not _is_spatial(matrices, shape):
        return ""
    goals = {"sizes": _sizes(matrices, shape)}, {"scales": _scales(matrices, shape)}
    found = (t for t in RIGHT if all(_same(matrices, shape, t, **goal) for goal in goals))  # type: ignore[arg-type]
    return next(found, "")


def _resize(emit: Emitter, value: oir.Value, scales: np.ndarray, transform: str) -> oir.Value:
    factors = emit.constant(f"{value.name}_scales", scales)
    modes = {"coordinate_transformation_mode": transform, "nearest_mode": RIGHT[transform], "mode": "nearest"}
    return emit.op("Resize", [value, None, factors], f"{value.name}_resized", **modes)


def _pick(emit: Emitter, value: oir.Value, axis: int, index: np.ndarray) -> oir.Value:
    places = emit.constant(f"{value.name}_places{axis}", index.astype(np.int64))
    return emit.op("Gather", [value, places], f"{value.name}_axis{axis}", axis=axis)


def _multiply(emit: Emitter, value: oir.Value, axis: int, matrix: np.ndarray) -> oir.Value:
    assert value.shape is not None
    order = list(range(len(value.shape)))
    name = f"{value.name}_axis{axis}"
    order[axis], order[-1] = order[-1], order[axis]
    weight = emit.constant(f"{name}_weight", matrix.T.astype(np.float32))
    product = emit.op("MatMul", [emit.transposed(value, order, f"{name}_turned"), weight], f"{name}_product")
    return emit.transposed(product, order, name)
