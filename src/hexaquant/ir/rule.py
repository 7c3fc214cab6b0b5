"""One driver for rewriting a graph: a rule is a pattern, a check that can say why it declines, and a replacement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import onnx_ir as oir

from hexaquant.ir.graph import Graph

Found = TypeVar("Found")


@dataclass(frozen=True)
class Declined:
    """What looks like the pattern and is none: ``reason`` in words that go on from "not fused: "."""

    reason: str


@dataclass(frozen=True)
class Rule(Generic[Found]):
    """A pass over a graph. ``operators``: at which operator of the default domain a pattern ends or begins.

    ``check``: what of a node ``replace`` needs, Declined where it only looks like the pattern, None for all else.
    """

    name: str
    operators: tuple[str, ...]
    check: Callable[[oir.Node], Found | Declined | None]
    replace: Callable[[Graph, oir.Node, Found], object]

    @property
    def __name__(self) -> str:
        return self.name

    def __call__(self, graph: Graph) -> int:
        """Rewrite ``graph`` in place; returns how often."""
        changed = 0
        for node in graph.nodes:
            found = self._look(node)
            if found is not None and not isinstance(found, Declined):
                self.replace(graph, node, found)
                changed += 1
        return changed

    def declined(self, graph: Graph) -> list[tuple[oir.Node, str]]:
        """The nodes of ``graph`` that look like the pattern and are left, each with the reason."""
        looked = ((node, self._look(node)) for node in graph.nodes)
        return [(node, found.reason) for node, found in looked if isinstance(found, Declined)]

    def _look(self, node: oir.Node) -> Found | Declined | None:
        if node.graph is None or node.domain != "" or node.op_type not in self.operators:
            return None
        return self.check(node)
