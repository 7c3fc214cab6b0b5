"""Layers that the target refuses, or takes and computes wrongly.

From the legality table (htp/legality.json): one operator at a time, lowered, compiled and run on Qualcomm's
emulator in every scheme on every architecture. The reason is the library's own. Also tensors of rank 6 and more.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as oir

from hexaquant.analysis.lint.finding import Finding
from hexaquant.analysis.lint.subject import Subject

RULE = "refused"


def refused(subject: Subject) -> Iterator[Finding]:
    """One finding a layer that is refused or wrong."""
    nodes: dict[str, oir.Node] = {node.name or "": node for node in subject.prepared.nodes}
    for one in subject.judgements:
        if not one.is_bad:
            continue
        node = nodes.get(one.layer.node)
        tensor = node.outputs[0].name if node is not None else ""
        why = f"{subject.target.name} does not run it in {one.scheme}"
        if one.status == "wrong":
            why = f"{subject.target.name} compiles it in {one.scheme} and computes something else, without a word"
        yield Finding(RULE, "error", one.layer, one.op_type, one.reason, why, one.remedy, tensor or "")
