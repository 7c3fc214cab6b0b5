"""Finding: one thing that a rule has to say about one layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import onnx_ir as oir

from hexaquant.ir.graph import Graph, Origin

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
"""The gravest first. *error*: the target refuses it or computes it wrongly. *warning*: it costs accuracy or time.
*info*: hexaquant mends it by itself at import, or the figures say that it does little harm."""

BY_IMPORT = "hexaquant does this for you at import"


@dataclass(frozen=True)
class Finding:
    """``text``: what was seen; ``why``: what that means on this target; ``fix``: what to do, in words.

    ``tensor``: the one concerned, if any. ``fixable``: ``--fix`` mends it in the ONNX file. ``cost_db``: SQNR of the
    network's outputs on the samples with the quantizer of ``tensor`` alone (None: not measured).
    """

    rule: str
    severity: Severity
    layer: Origin
    op_type: str
    text: str
    why: str
    fix: str
    tensor: str = ""
    fixable: bool = False
    cost_db: float | None = None

    @property
    def where(self) -> str:
        """The layer in the user's words."""
        return self.layer.module or self.layer.node


def about(
    graph: Graph,
    node: oir.Node,
    rule: str,
    severity: Severity,
    text: str,
    why: str,
    fix: str,
    *,
    fixable: bool = False,
    tensor: str | None = None,
) -> Finding:
    """A finding on ``node`` of ``graph``; its tensor is the node's first output unless given."""
    concerned = tensor or (node.outputs[0].name if node.outputs else "") or ""
    return Finding(rule, severity, graph.origin(node), node.op_type, text, why, fix, concerned, fixable)
