"""Work in cache-sized pieces covers every element once, in any memory layout."""

from __future__ import annotations

import pytest
import torch

from hexaquant.core.encoding import Encoding, encoding_of
from hexaquant.core.fake_quant import BLOCK, fake_quantize, flat_in_memory_order, row_blocks
from hexaquant.core.grid import Grid, PerChannel
from hexaquant.qat.lsq import learned_fake_quantize


def test_row_blocks_cover_all_rows_once() -> None:
    for shape in ((7, 3), (1000, 1, 1), (3, BLOCK + 1), (600, 4608)):
        covered = torch.zeros(shape[0])
        for rows in row_blocks(shape):
            covered[rows] += 1
        assert bool((covered == 1).all())


def test_vectors_share_the_memory_of_tensors_in_their_own_order() -> None:
    x = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    y = torch.randn(2, 3, 4, 5)
    flat_x, flat_y = flat_in_memory_order(x, y)
    assert flat_x.data_ptr() == x.data_ptr()
    assert torch.equal(flat_y, y.permute(0, 2, 3, 1).reshape(-1))


def test_weights_of_several_blocks_are_quantized_like_each_row_alone() -> None:
    w = torch.randn(96, 64, 10, 10, generator=torch.Generator().manual_seed(0))
    assert w.numel() > 2 * BLOCK
    encoding = encoding_of(w / 2, Grid(4, True, True, PerChannel(0)))
    assert torch.equal(fake_quantize(w, encoding), encoding.fake_quantize(w))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("grid", [Grid(8), Grid(4, True, True, PerChannel(0))], ids=str)
def test_the_block_size_does_not_change_gradients(
    monkeypatch: pytest.MonkeyPatch, grid: Grid, layout: torch.memory_format
) -> None:
    generator = torch.Generator().manual_seed(0)
    v = (torch.randn(6, 5, 8, 8, generator=generator)).contiguous(memory_format=layout)
    grad = torch.randn(6, 5, 8, 8, generator=generator)
    start = encoding_of(v / 1.5, grid)
    results = []
    for size in (1 << 18, 100):
        for module in ("hexaquant.core.fake_quant", "hexaquant.qat.lsq"):
            monkeypatch.setattr(f"{module}.BLOCK", size)
        leaf, scale, offset = (t.clone().requires_grad_() for t in (v, start.scale, start.offset))
        out = learned_fake_quantize(leaf, scale, offset, Encoding(grid, start.scale, start.offset))
        out.backward(grad)
        results.append((out, leaf.grad, scale.grad, offset.grad))
    for whole, pieces in zip(*results):
        assert torch.allclose(whole, pieces, rtol=1e-4, atol=1e-6)
