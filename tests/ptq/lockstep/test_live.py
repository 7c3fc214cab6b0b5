"""Live tensors wait in memory within a budget, beyond it on disk, and come back unchanged."""

from __future__ import annotations

import torch

from hexaquant.ptq.lockstep import Env, LiveStore


def test_the_store_keeps_within_its_budget() -> None:
    node, other = (torch.fx.Graph().placeholder(name) for name in "ab")
    with LiveStore(budget=1000) as store:
        tensors = [torch.randn(100) for _ in range(5)]
        for i, tensor in enumerate(tensors):
            store.put(i, Env({node: tensor, other: tensor + 1}, {node: tensor}))
        assert store.held <= 1000
        for i, tensor in enumerate(tensors):
            env = store.take(i)
            assert torch.equal(env.float[node], tensor) and torch.equal(env.quant[node], tensor)
            assert torch.equal(env.float[other], tensor + 1) and other not in env.quant
        assert store.held == 0
