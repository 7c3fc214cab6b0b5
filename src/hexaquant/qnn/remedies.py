"""What the legality table advises about the operators that a lowering refused, in the user's words."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as oir

from hexaquant.core.errors import HexaquantError
from hexaquant.htp.check import Judgement, by_name, judge
from hexaquant.htp.soc import target_of_model
from hexaquant.io.qdq_reader import from_qdq
from hexaquant.ir.graph import Graph
from hexaquant.sim.given_encodings import given_schemes


def advice(model: oir.Model, soc_model: int, names: Iterable[str], source: str) -> list[str]:
    """For each node of ``names`` (of the QDQ ``model``) that the table refuses too: "layer 'head': remedy".

    Empty for SoCs that have no row in htp/soc.py, and where the table sees nothing wrong.
    """
    wanted = set(names)
    found = [j for j in _judgements(model, soc_model, source) if j.layer.node in wanted]
    return [f"{judgement.layer}: {judgement.remedy}" for judgement in found]


def _judgements(model: oir.Model, soc_model: int, source: str) -> list[Judgement]:
    target = target_of_model(soc_model)
    if target is None:
        return []
    try:
        graph, given = from_qdq(Graph(model, source))
        return [j for j in judge(graph, target, by_name(given_schemes(graph, given))) if j.is_bad]
    except HexaquantError:
        return []  # the refusal itself is the message; advice needs a network that can be read back
