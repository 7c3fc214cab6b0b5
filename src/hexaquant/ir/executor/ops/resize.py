"""Resize: torch's fused kernels where they compute the same thing, else one interpolation per axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from hexaquant.ir.executor.ops.host import IntList, floats, ints

Numbers = Sequence[float] | Tensor | None
_LINEAR = {3: "linear", 4: "bilinear", 5: "trilinear"}


@dataclass(frozen=True)
class AxisResize:
    """One axis to resize from ``size`` to ``out`` elements; ``roi`` is its normalized crop."""

    axis: int
    size: int
    out: int
    scale: float
    roi: tuple[float, float]


def resize(
    x: Tensor,
    roi: Numbers = None,
    scales: Numbers = None,
    sizes: IntList | None = None,
    *,
    antialias: int = 0,
    axes: Sequence[int] | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Tensor:
    """x resized to ``sizes`` or by ``scales`` along ``axes`` (all when absent)."""
    transform = coordinate_transformation_mode
    plan = _plan(x, roi, scales, sizes, axes, transform, keep_aspect_ratio_policy)
    if not plan:
        return x
    fused = None
    if keep_aspect_ratio_policy == "stretch" and not antialias:
        fused = _fused_mode(x, plan, mode, transform, nearest_mode, cubic_coeff_a, exclude_outside)
    if fused is not None:
        return _interpolate(x, plan, fused, transform == "align_corners", by_scale=sizes is None or not ints(sizes))
    outside = None
    for p in plan:
        place = _coordinates(p, transform, x.device)
        if transform == "tf_crop_and_resize":
            beyond = ((place < 0) | (place > p.size - 1)).reshape([-1] + [1] * (x.dim() - 1 - p.axis))
            outside = beyond if outside is None else outside | beyond
        x = _along(x, p, place, mode, nearest_mode, cubic_coeff_a, exclude_outside, antialias)
    return x if outside is None else x.masked_fill(outside, extrapolation_value)


def axis_matrices(
    shape: Sequence[int],
    roi: Numbers = None,
    scales: Numbers = None,
    sizes: IntList | None = None,
    *,
    antialias: int = 0,
    axes: Sequence[int] | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> dict[int, Tensor] | None:
    """By axis that changes, the float32 matrix (out, size) that Resize multiplies the axis with.

    Operands as of :func:`resize`, ``shape`` that of x. None where what lies outside of a crop gets a value that is
    not zero: that is no product.
    """
    transform = coordinate_transformation_mode
    x = torch.empty(tuple(shape), device="meta")
    result = {}
    for p in _plan(x, roi, scales, sizes, axes, transform, keep_aspect_ratio_policy):
        place = _coordinates(p, transform, torch.device("cpu"))
        unit = torch.eye(p.size)
        matrix = _along(unit, replace(p, axis=0), place, mode, nearest_mode, cubic_coeff_a, exclude_outside, antialias)
        beyond = (place < 0) | (place > p.size - 1)
        if transform == "tf_crop_and_resize" and bool(beyond.any()):
            if extrapolation_value != 0:
                return None
            matrix = matrix.masked_fill(beyond[:, None], 0.0)
        result[p.axis] = matrix
    return result


def _along(
    x: Tensor,
    p: AxisResize,
    place: Tensor,
    mode: str,
    nearest_mode: str,
    a: float,
    exclude_outside: int,
    antialias: int,
) -> Tensor:
    if antialias and mode != "nearest" and p.scale < 1:
        return _apply_matrix(x, p.axis, _antialias_matrix(p, place, mode, a, exclude_outside))
    return _apply(x, p, *_neighbours(p, place, mode, nearest_mode, a, exclude_outside))


def _plan(
    x: Tensor,
    roi: Numbers,
    scales: Numbers,
    sizes: IntList | None,
    axes: Sequence[int] | None,
    transform: str,
    policy: str,
) -> list[AxisResize]:
    """The axes that change."""
    where = list(range(x.dim())) if axes is None else [a % x.dim() for a in axes]
    crop = transform == "tf_crop_and_resize" and roi is not None
    bounds = floats(roi) if crop else [0.0] * len(where) + [1.0] * len(where)  # type: ignore[arg-type]
    goals = [] if sizes is None else ints(sizes)
    if goals:
        factors = [g / x.shape[a] for g, a in zip(goals, where)]
        if policy != "stretch":
            factors = [min(factors) if policy == "not_larger" else max(factors)] * len(where)
            goals = [int(f * x.shape[a] + 0.5) for f, a in zip(factors, where)]
    else:
        factors = floats(scales if scales is not None else [])
        goals = [
            int(x.shape[a] * f * (bounds[i + len(where)] - bounds[i])) for i, (a, f) in enumerate(zip(where, factors))
        ]
    plan = [
        AxisResize(a, x.shape[a], g, f, (bounds[i], bounds[i + len(where)]))
        for i, (a, g, f) in enumerate(zip(where, goals, factors))
    ]
    return [p for p in plan if p.out != p.size or p.scale != 1.0 or p.roi != (0.0, 1.0)]


def _fused_mode(
    x: Tensor,
    plan: list[AxisResize],
    mode: str,
    transform: str,
    nearest_mode: str,
    cubic_coeff_a: float,
    exclude_outside: int,
) -> str | None:
    """The mode of ``F.interpolate`` that computes the same numbers, if there is one."""
    if x.dim() not in _LINEAR or min(p.axis for p in plan) < 2:
        return None
    centred = transform == "half_pixel" or (transform == "pytorch_half_pixel" and all(p.out > 1 for p in plan))
    if mode == "nearest":
        floor = (transform == "asymmetric" and nearest_mode == "floor") or (
            centred and nearest_mode.startswith("round_prefer")
        )
        return "nearest" if floor and all(p.out % p.size == 0 and p.scale == p.out // p.size for p in plan) else None
    if not (centred or transform == "align_corners"):
        return None
    if mode == "linear":
        return _LINEAR[x.dim()]
    return "bicubic" if x.dim() == 4 and cubic_coeff_a == -0.75 and not exclude_outside else None


def _interpolate(x: Tensor, plan: list[AxisResize], mode: str, align_corners: bool, by_scale: bool) -> Tensor:
    corners = None if mode == "nearest" else align_corners
    if by_scale:
        factors = {p.axis: p.scale for p in plan}
        factor = [factors.get(a, 1.0) for a in range(2, x.dim())]
        return F.interpolate(x, scale_factor=factor, mode=mode, align_corners=corners)  # type: ignore[arg-type]
    goals = {p.axis: p.out for p in plan}
    return F.interpolate(
        x, size=[goals.get(a, x.shape[a]) for a in range(2, x.dim())], mode=mode, align_corners=corners
    )


def _coordinates(p: AxisResize, transform: str, device: torch.device) -> Tensor:
    """Position in the input, float32, for each output element."""
    i = torch.arange(p.out, dtype=torch.float32, device=device)
    if transform == "align_corners":
        return i * (p.size - 1) / (p.out - 1) if p.out > 1 else i * 0
    if transform == "asymmetric":
        return i / p.scale
    if transform == "tf_half_pixel_for_nn":
        return (i + 0.5) / p.scale
    if transform == "tf_crop_and_resize":
        start, end = p.roi
        if p.out == 1:
            return i + 0.5 * (start + end) * (p.size - 1)
        return start * (p.size - 1) + i * ((end - start) * (p.size - 1) / (p.out - 1))
    if transform == "pytorch_half_pixel" and p.out == 1:
        return i * 0
    shift = 0.0
    if transform == "half_pixel_symmetric":
        shift = p.size / 2 * (1 - p.out / (p.scale * p.size))
    return shift + (i + 0.5) / p.scale - 0.5


def _neighbours(
    p: AxisResize, place: Tensor, mode: str, nearest_mode: str, a: float, exclude_outside: int
) -> tuple[Tensor, Tensor | None]:
    """Indices (taps, out) of the input elements that each output element mixes, and their weights."""
    if mode == "nearest":
        return _round(place, nearest_mode).clamp(0, p.size - 1).long()[None], None
    if mode == "linear":
        place = place.clamp(0, p.size - 1)
        low = place.floor()
        index = torch.stack([low, (low + 1).clamp(max=p.size - 1)]).long()
        return index, torch.stack([1 - (place - low), place - low])
    low = place.floor()
    index = torch.stack([low - 1, low, low + 1, low + 2])
    weight = _cubic(index - place, a)
    if exclude_outside:
        weight = weight * ((index >= 0) & (index < p.size))
        weight = weight / weight.sum(0)
    return index.clamp(0, p.size - 1).long(), weight


def _round(place: Tensor, nearest_mode: str) -> Tensor:
    if nearest_mode == "round_prefer_floor":
        return torch.ceil(place - 0.5)
    if nearest_mode == "round_prefer_ceil":
        return torch.floor(place + 0.5)
    return torch.floor(place) if nearest_mode == "floor" else torch.ceil(place)


def _cubic(distance: Tensor, a: float) -> Tensor:
    """Keys' cubic convolution kernel."""
    d = distance.abs()
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return torch.where(d <= 1, near, torch.where(d < 2, far, torch.zeros_like(d)))


def _apply(x: Tensor, p: AxisResize, index: Tensor, weight: Tensor | None) -> Tensor:
    if weight is None:
        return x.index_select(p.axis, index[0])
    view = [-1] + [1] * (x.dim() - 1 - p.axis)
    parts = [x.index_select(p.axis, i) * w.to(x.dtype).reshape(view) for i, w in zip(index, weight)]
    return torch.stack(parts).sum(0) if len(parts) > 2 else parts[0] + parts[1]


def _antialias_matrix(p: AxisResize, place: Tensor, mode: str, a: float, exclude_outside: int) -> Tensor:
    """Weights (out, size) of a kernel widened by 1/scale; what falls outside counts for the edge or is excluded."""
    reach = math.ceil((2 if mode == "cubic" else 1) / p.scale)
    index = place.floor()[:, None] + torch.arange(-reach, reach + 2, device=place.device)
    distance = (index - place[:, None]) * p.scale
    weight = _cubic(distance, a) if mode == "cubic" else (1 - distance.abs()).clamp(min=0)
    if exclude_outside:
        weight = weight * ((index >= 0) & (index < p.size))
    weight = weight / weight.sum(1, keepdim=True)
    return weight.new_zeros(p.out, p.size).scatter_add(1, index.clamp(0, p.size - 1).long(), weight)


def _apply_matrix(x: Tensor, axis: int, matrix: Tensor) -> Tensor:
    return (x.movedim(axis, -1) @ matrix.to(x.dtype).t()).movedim(-1, axis)
