"""Live tensors of each chunk of samples between two layers: in memory up to a budget, beyond it in a scratch file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, fx

BUDGET = 256 * 2**20
"""Bytes of live tensors that are held in memory."""

Values = dict[fx.Node, Any]


class Env:
    """Values of one chunk by fx node: of the float network and of the quantized one."""

    def __init__(self, float_: Values | None = None, quant: Values | None = None) -> None:
        self.float: Values = float_ or {}
        self.quant: Values = quant or {}

    def size(self) -> int:
        """Bytes of its tensors; one that both networks share counts once."""
        tensors = {id(v): v for side in (self.float, self.quant) for v in side.values() if isinstance(v, Tensor)}
        return sum(t.numel() * t.element_size() for t in tensors.values())


class LiveStore:
    """Holds one Env per chunk. A context manager: its scratch folder goes with it."""

    def __init__(self, budget: int = BUDGET) -> None:
        self.budget, self.held = budget, 0
        self._kept: dict[int, tuple[Env, int]] = {}
        self._on_disk: dict[int, list[fx.Node]] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="hexaquant-")

    def __enter__(self) -> LiveStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def put(self, chunk: int, env: Env) -> None:
        """Keep ``env``; it must not be changed afterwards."""
        size = env.size()
        if self.held + size <= self.budget:
            self._kept[chunk] = env, size
            self.held += size
            return
        nodes = list({**env.float, **env.quant})
        sides = [[_own(side[n]) if n in side else None for n in nodes] for side in (env.float, env.quant)]
        shared = [
            a if a is b else None for a, b in zip([env.float.get(n) for n in nodes], [env.quant.get(n) for n in nodes])
        ]
        sides[1] = [None if s is not None else b for s, b in zip(shared, sides[1])]
        torch.save((sides, [s is not None for s in shared]), self._path(chunk))
        self._on_disk[chunk] = nodes

    def take(self, chunk: int) -> Env:
        """The Env of ``chunk``, which is no longer held."""
        if chunk in self._kept:
            env, size = self._kept.pop(chunk)
            self.held -= size
            return env
        env = self.peek(chunk)
        del self._on_disk[chunk]
        self._path(chunk).unlink()
        return env

    def peek(self, chunk: int) -> Env:
        """The Env of ``chunk``, which stays held and must not be changed."""
        if chunk in self._kept:
            return self._kept[chunk][0]
        nodes = self._on_disk[chunk]
        (first, second), shared = torch.load(self._path(chunk), weights_only=True)
        second = [a if same else b for a, b, same in zip(first, second, shared)]
        return Env(
            {n: v for n, v in zip(nodes, first) if v is not None},
            {n: v for n, v in zip(nodes, second) if v is not None},
        )

    def _path(self, chunk: int) -> Path:
        return Path(self._folder.name) / f"{chunk}.pt"


def _own(value: Any) -> Any:
    """``value`` without the rest of a larger storage that it is a view of."""
    if isinstance(value, Tensor) and value.untyped_storage().nbytes() > value.numel() * value.element_size():
        return value.clone()
    return value
