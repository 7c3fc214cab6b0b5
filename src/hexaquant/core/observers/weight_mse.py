"""Weight encodings that minimise the squared quantization error by clipping, per tensor, channel or block: the error of
the weight itself, or that of the outputs where it is known how much each element counts."""

from __future__ import annotations

import torch
from torch import Tensor

from hexaquant.core.encoding import MIN_SCALE, Encoding, encoding_from_range, float_encoding, range_of
from hexaquant.core.fake_quant import fake_quantize
from hexaquant.core.grid import Grid, Lpbq, PerBlock, PerChannel, PerTensor

COARSE = torch.linspace(1.0, 0.3, 29).tolist()
FINE = torch.linspace(-0.02, 0.02, 9).tolist()


def mse_weight_encoding(w: Tensor, grid: Grid, importance: Tensor | None = None) -> Encoding:
    """Encoding of the weight ``w`` on ``grid`` whose range is shrunk, for each scale on its own, to the least error.

    ``importance`` (shape of ``w``): factor on each element's squared error; all count the same without. Both ends are
    shrunk by the same factor, 0.3 to 1, in two stages. LPBQ: the best float scale of each block is found first,
    then the best integer. Raises EncodingError as encoding_of does.
    """
    if grid.is_float:
        return float_encoding(grid.bits)
    if isinstance(grid.granularity, Lpbq):
        return _lpbq(w, grid, importance)
    w = w.detach().float()
    low, high = (v.clamp(max=0) if i == 0 else v.clamp(min=0) for i, v in enumerate(range_of(w, grid.granularity)))
    best = torch.ones_like(low)
    least = torch.full_like(low, torch.inf)
    for stage in (COARSE, FINE):
        center = best.clone() if stage is FINE else torch.zeros_like(best)
        for part in stage:
            factor = (center + part).clamp(0.05, 1)
            error = squared_error(w, encoding_from_range(low * factor, high * factor, grid), importance)
            best = torch.where(error < least, factor, best)
            least = torch.minimum(error, least)
    return encoding_from_range(low * best, high * best, grid)


def _lpbq(w: Tensor, grid: Grid, importance: Tensor | None) -> Encoding:
    """The channel scale follows the largest clipped block; each block then takes its best integer."""
    lpbq = grid.granularity
    assert isinstance(lpbq, Lpbq)
    blocks = PerBlock(lpbq.axis, lpbq.block_size, lpbq.channel_axis)
    free = mse_weight_encoding(w, Grid(grid.bits, True, True, blocks), importance).scale
    top = 2 ** (lpbq.decompressed_bits - grid.bits)
    scale = (free.amax(1) / top).clamp(min=MIN_SCALE)
    offset = torch.full_like(scale, float(grid.symmetric_offset))
    candidates = [Encoding(grid, scale, offset, torch.full_like(free, float(n))) for n in range(1, top + 1)]
    errors = torch.stack([squared_error(w.detach().float(), e, importance) for e in candidates])
    return Encoding(grid, scale, offset, errors.argmin(0).float() + 1)


def squared_error(w: Tensor, encoding: Encoding, importance: Tensor | None = None) -> Tensor:
    """Summed squared quantization error of ``w``, times ``importance``, in the stored shape of the encoding's steps."""
    error = fake_quantize(w, encoding).sub_(w).square_()
    if importance is not None:
        error *= importance
    granularity = encoding.grid.granularity
    if isinstance(granularity, PerTensor):
        return error.sum()
    if isinstance(granularity, PerChannel):
        return error.movedim(granularity.axis, 0).flatten(1).sum(1) if error.dim() > 1 else error
    moved = error.movedim((granularity.channel_axis, granularity.axis), (0, 1))
    return moved.reshape(moved.shape[0], moved.shape[1] // granularity.block_size, -1).sum(2)
