"""Refuse, before any calibration, what the target will refuse at the very end."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx_ir as oir

from hexaquant.core.errors import InputError, TargetError
from hexaquant.htp import kernels
from hexaquant.htp.faults import left_at_lowering
from hexaquant.htp.forms import form_of
from hexaquant.htp.legality import LEGAL, LegalityTable, Status, Verdict, legality_table
from hexaquant.htp.qdq_view import View
from hexaquant.htp.scheme import SCHEMES, activation_bits, scheme_problem
from hexaquant.htp.soc import ARCHITECTURES, Target
from hexaquant.ir.graph import Graph, Origin, shape_of

SchemeOf = Callable[[oir.Node], str]
"""The name of the scheme in which a node computes."""

SHOWN = 3
"""Refused layers that an error names; the others it counts."""


@dataclass(frozen=True)
class Judgement:
    """What the target does with one layer. ``reason`` is the library's own, ``remedy`` what the user can do."""

    layer: Origin
    op_type: str
    scheme: str
    status: Status
    reason: str = ""
    remedy: str = ""

    @property
    def is_bad(self) -> bool:
        return self.status in ("refused", "wrong")

    def __str__(self) -> str:
        end = f"; {self.remedy}" if self.remedy else ""
        return f"{self.layer} ({self.op_type}, {self.scheme}): {self.reason}{end}"


def verdict_text(judgement: Judgement) -> str:
    """ "runs", or "refused: the library's reason; the remedy"."""
    if judgement.is_bad:
        return f"{judgement.status} in {judgement.scheme}: {judgement.reason}; {judgement.remedy}"
    return "runs" if judgement.status == "legal" else "not measured: the backend decides"


def check_graph(graph: Graph, target: Target, scheme_of: SchemeOf) -> None:
    """Raise TargetError naming every refused layer with the reason and the remedy, InputError for bad shapes."""
    bad = [judgement for judgement in judge(graph, target, scheme_of) if judgement.is_bad]
    if bad:
        more = f" (and {len(bad) - SHOWN} more)" if len(bad) > SHOWN else ""
        told = "; ".join(str(judgement) for judgement in bad[:SHOWN])
        raise TargetError(f"{target.name} refuses this network: {told}{more}")


def judge(graph: Graph, target: Target, scheme_of: SchemeOf) -> list[Judgement]:
    """The judgement of each operator of ``graph`` (prepared for the target), in order.

    Raises InputError for tensors with a dimension of size zero.
    """
    table = legality_table()
    view = View(graph.model.graph, lambda node: activation_bits(scheme_of(node)))
    return [judge_node(graph, node, target, scheme_of(node), table, view) for node in graph.nodes]


def judge_node(
    graph: Graph, node: oir.Node, target: Target, scheme: str, table: LegalityTable, view: View
) -> Judgement:
    """Of one operator in ``scheme``: the faults of the target first (faults.py), then what the table says."""
    layer = graph.origin(node)
    _check_shapes(node, layer)
    if (fault := left_at_lowering(view, node)) is not None:
        row, what = fault
        return Judgement(layer, node.op_type, scheme, row.status, row.reason(what), row.remedy)
    if scheme == "fp16" and (problem := scheme_problem(SCHEMES[scheme], target)):
        return Judgement(layer, node.op_type, scheme, "refused", *problem.split(": ", 1))
    if not target.has_float16 and needs_float16(node.op_type, scheme):
        return Judgement(layer, node.op_type, scheme, "refused", *_float16_problem(node.op_type, target))
    form = form_of(node)
    verdict = table.of_form(form, scheme, target.arch)
    if _is_foreign(node):
        verdict = Verdict("refused", f"nobody here knows {node.domain}.{node.op_type}, an operator of another domain")
    elif kernels.rule_of(node.op_type) is None and not verdict.is_bad:
        verdict = Verdict("refused", "the target has no such operator")
    if not verdict.is_bad:
        return Judgement(layer, node.op_type, scheme, verdict.status)
    remedy = remedy_of(node.op_type, form, scheme, target, table)
    reason = verdict.reason if verdict.status == "refused" else f"the target computes it wrongly ({verdict.reason})"
    return Judgement(layer, node.op_type, scheme, verdict.status, reason, remedy)


def _is_foreign(node: oir.Node) -> bool:
    """Whether it is of a domain that is not ONNX's, and unknown there; its type may be that of a standard operator."""
    if node.domain in ("", "ai.onnx"):
        return False
    from hexaquant.ir.executor.table import lookup  # PyTorch's: only such a network needs it here

    return lookup(node) is None


def needs_float16(op_type: str, scheme: str) -> bool:
    """Whether the target executes ``op_type`` in float16 where ``scheme`` ("w8a16", "w4a8 per tensor") has integers."""
    bits = activation_bits(scheme)
    return bits is not None and kernels.executable_type(op_type, f"u{bits}") == "fp16"


def _float16_problem(op_type: str, target: Target) -> tuple[str, str]:
    kinds = kernels.OPS[op_type].types
    other = "override this layer to w8a8" if "u8" in kinds else kernels.INTEGER_FORMS.get(op_type, "")
    ways = [other, "name a target from v69 on (sm8450 and later)"]
    reason = f"it runs in float16 in this scheme, and {target.name} (Hexagon {target.arch_name}) has no float16"
    return reason, ", or ".join(way for way in ways if way)


def _check_shapes(node: oir.Node, layer: Origin) -> None:
    """Raises InputError for an empty output."""
    for value in node.outputs:
        shape = shape_of(value)
        if shape is not None and 0 in shape:
            raise InputError(f"tensor '{value.name}' of {layer} has a dimension of size zero: {list(shape)}")


def remedy_of(op_type: str, form: str, scheme: str, target: Target, table: LegalityTable) -> str:
    """What helps: another way to write it, other bits for this layer, another SoC; as far as the table knows."""
    ways = []
    if op_type in kernels.REFUSED or kernels.rule_of(op_type) is None:
        ways.append(_rewriting(op_type))
    else:
        ways += [_lower_rank(form, scheme, target, table), _other_bits(form, target, table)]
        ways.append(_other_target(form, scheme, table))
    return ", or ".join(way for way in ways if way) or "replace it, or move it out of the network"


def _lower_rank(form: str, scheme: str, target: Target, table: LegalityTable) -> str:
    lower = form.replace(" rank 5", "")
    is_legal = lower != form and table.of_form(lower, scheme, target.arch) == LEGAL
    return "reshape it to four dimensions" if is_legal else ""


def _other_bits(form: str, target: Target, table: LegalityTable) -> str:
    found = table.schemes(form, target.arch, tuple(SCHEMES))
    return f"override this layer to {' or '.join(found[:3])}" if found else ""


def _other_target(form: str, scheme: str, table: LegalityTable) -> str:
    found = table.architectures(form, scheme)
    if not found:
        return ""
    return f"a target of Hexagon {' or '.join(f'v{a} ({ARCHITECTURES[a]})' for a in found[:2])}"


def _rewriting(op_type: str) -> str:
    if op_type in kernels.REFUSED:
        return kernels.REFUSED[op_type]
    close = difflib.get_close_matches(op_type, kernels.OPS, 1)
    hint = f" (close: {close[0]})" if close else ""
    return f"replace it{hint}, or move it out of the network"


def one_scheme(name: str) -> SchemeOf:
    """Every node in the scheme ``name``."""
    return lambda node: name


def by_name(schemes: Mapping[str, str]) -> SchemeOf:
    """Schemes by node name."""
    return lambda node: schemes[node.name or ""]
