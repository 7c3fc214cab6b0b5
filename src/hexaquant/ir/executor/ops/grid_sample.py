"""Sampling at computed positions: GridSample, AffineGrid, RoiAlign, Col2Im."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from hexaquant.core.errors import UnsupportedOpError
from hexaquant.ir.executor.ops.host import IntList, ints

_MODES = {"linear": "bilinear", "bilinear": "bilinear", "nearest": "nearest", "cubic": "bicubic", "bicubic": "bicubic"}


def grid_sample(
    x: Tensor, grid: Tensor, *, align_corners: int = 0, mode: str = "linear", padding_mode: str = "zeros"
) -> Tensor:
    """x (N, C, *size) sampled at grid (N, *out, rank), positions in [-1, 1], x first."""
    return F.grid_sample(x, grid, _MODES[mode], padding_mode, bool(align_corners))


def affine_grid(theta: Tensor, size: IntList, *, align_corners: int = 0) -> Tensor:
    return F.affine_grid(theta, ints(size), bool(align_corners))


def col2im(
    x: Tensor,
    image_shape: IntList,
    block_shape: IntList,
    *,
    dilations: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    strides: Sequence[int] = (1, 1),
) -> Tensor:
    """Columns (N, C * block, L) summed into an image (N, C, H, W); two spatial axes."""
    (h, w), (top, left, bottom, right) = ints(image_shape), pads
    wide = F.fold(
        x, (h + top + bottom, w + left + right), tuple(ints(block_shape)), tuple(dilations), 0, tuple(strides)
    )
    return wide[:, :, top : top + h, left : left + w]


def roi_align(
    x: Tensor,
    rois: Tensor,
    batch_indices: Tensor,
    *,
    coordinate_transformation_mode: str = "half_pixel",
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Tensor:
    """Mean of bilinear samples in each bin of each region: rois (R, 4) as x1, y1, x2, y2 -> (R, C, out_h, out_w)."""
    if mode != "avg":
        raise UnsupportedOpError(f"RoiAlign with mode '{mode}' is not supported: use mode 'avg'")
    centred = coordinate_transformation_mode == "half_pixel"
    box = rois * spatial_scale - (0.5 if centred else 0.0)
    least = 0.0 if centred else 1.0
    ys, wy = _samples(box[:, 1], box[:, 3], output_height, sampling_ratio, least)
    xs, wx = _samples(box[:, 0], box[:, 2], output_width, sampling_ratio, least)
    my = _bilinear_matrix(ys, wy, x.shape[2])
    mx = _bilinear_matrix(xs, wx, x.shape[3])
    return torch.einsum("rchw,rih,rjw->rcij", x.index_select(0, batch_indices), my.to(x.dtype), mx.to(x.dtype))


def _samples(start: Tensor, end: Tensor, bins: int, ratio: int, least: float) -> tuple[Tensor, Tensor]:
    """Sample positions (R, bins, S) and weights (R, 1, S), 1 / (number of samples of that region) or zero."""
    step = (end - start).clamp(min=least) / bins if least else (end - start) / bins
    count = torch.full_like(step, ratio) if ratio > 0 else torch.ceil(step).clamp(min=1)
    i = torch.arange(int(count.max()) if count.numel() else 1, device=start.device, dtype=start.dtype)
    inside = (i[None] + 0.5) / count[:, None] * step[:, None]
    edges = start[:, None] + torch.arange(bins, device=start.device) * step[:, None]
    weights = (i[None] < count[:, None]) / count[:, None]
    return edges[:, :, None] + inside[:, None], weights[:, None]


def _bilinear_matrix(place: Tensor, weight: Tensor, size: int) -> Tensor:
    """Weights (R, bins, size) of the input elements; a sample more than one element outside counts as zero."""
    weight = weight * ((place >= -1) & (place <= size))
    place = place.clamp(0, size - 1)
    distance = (place[..., None] - torch.arange(size, device=place.device)).abs()
    return ((1 - distance).clamp(min=0) * weight[..., None]).sum(2)
