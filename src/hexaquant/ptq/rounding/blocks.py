"""Blocks of a network: stretches between cuts where a single tensor is alive, so that residual branches stay whole."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from torch import fx

MOST = 3
"""Layers in a row that are joined into one block; a stretch without a cut inside may hold more."""


@dataclass(frozen=True)
class Block:
    """``nodes`` in order, the last of which is the output that everything behind the block depends on."""

    nodes: tuple[fx.Node, ...]
    layers: tuple[fx.Node, ...]

    @property
    def output(self) -> fx.Node:
        return self.nodes[-1]


def find_blocks(nodes: list[fx.Node], layers: Collection[fx.Node], most: int = MOST) -> list[Block]:
    """The blocks of ``nodes`` (those that compute, in order) that hold at least one of ``layers``.

    Together they are all nodes up to the last layer's block; a stretch without layers belongs to the block after it.
    """
    blocks: list[Block] = []
    open_: list[fx.Node] = []
    for stretch in _stretches(nodes):
        held = [n for n in open_ if n in layers]
        added = [n for n in stretch if n in layers]
        if held and added and len(held) + len(added) > most:
            blocks.append(Block(tuple(open_), tuple(held)))
            open_ = []
        open_ = open_ + stretch
    held = [n for n in open_ if n in layers]
    if held:
        blocks.append(Block(tuple(open_), tuple(held)))
    return blocks


def _stretches(nodes: list[fx.Node]) -> list[list[fx.Node]]:
    """``nodes`` split after each one that is alone alive then and is not waiting for its quantizer."""
    place = {node: i for i, node in enumerate(nodes)}
    last_use: dict[fx.Node, int] = {}
    for node in nodes:
        for operand in node.all_input_nodes:
            last_use[operand] = place[node]
        if any(user.op == "output" for user in node.users):
            last_use[node] = len(nodes)
    for node, use in list(last_use.items()):
        if any(user.op == "output" for user in node.users):
            last_use[node] = max(use, len(nodes))
    variable = [n for n in last_use if n in place or n.op == "placeholder"]
    parts: list[list[fx.Node]] = [[]]
    for i, node in enumerate(nodes):
        parts[-1].append(node)
        alive = [n for n in variable if place.get(n, -1) <= i < last_use[n]]
        waiting = len(node.users) == 1 and next(iter(node.users)).op == "call_module"
        if alive == [node] and not waiting:
            parts.append([])
    return [part for part in parts if part]
