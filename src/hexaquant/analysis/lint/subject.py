"""What the rules look at: the network as it was written, imported and prepared for the target, and what data showed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import onnx_ir as oir

from hexaquant.analysis.lint.statistics import TensorStatistics
from hexaquant.core.encoding import Encoding
from hexaquant.htp.check import Judgement, by_name, judge
from hexaquant.htp.for_target import prepare_for_target
from hexaquant.htp.scheme import Scheme, activation_bits
from hexaquant.htp.soc import Target
from hexaquant.ir.graph import Graph
from hexaquant.ir.infer_shapes import infer_node
from hexaquant.ir.normalize import as_written, clean_up, normalize
from hexaquant.ir.symbolic import Contents
from hexaquant.sim.node_schemes import node_schemes
from hexaquant.sim.overrides import Overrides
from hexaquant.sim.plan import QuantPlan
from hexaquant.sim.planner import ActivationPlanner, plan_unchecked


@dataclass(frozen=True)
class Subject:
    """``written``: every operator of the user, with inferred shapes; ``imported``: normalized; ``prepared``: in the
    forms that the target computes right. ``schemes``: of the nodes of ``prepared``; ``statistics``: by tensor of
    ``prepared``, empty without data; ``given``: encodings by tensor, empty where none were handed in.
    """

    written: Graph
    imported: Graph
    prepared: Graph
    target: Target
    scheme: Scheme
    overrides: Overrides
    schemes: Mapping[str, str]
    judgements: tuple[Judgement, ...]
    statistics: Mapping[str, TensorStatistics] = field(default_factory=dict)
    given: Mapping[str, Encoding] = field(default_factory=dict)

    @cached_property
    def cleaned(self) -> Graph:
        """``written`` with constants folded and no-ops gone, before anything is fused."""
        graph = self.written.clone()
        clean_up(graph)
        return graph

    @cached_property
    def _planned(self) -> tuple[Graph, QuantPlan]:
        graph = self.prepared.clone()
        return graph, plan_unchecked(graph, self.target, self.scheme, self.overrides)

    @property
    def compiled(self) -> Graph:
        """``prepared`` as planning leaves it: with converts, and products in the form that 16 bits need."""
        return self._planned[0]

    @property
    def plan(self) -> QuantPlan:
        """How each tensor of ``prepared`` would be quantized."""
        return self._planned[1]

    @cached_property
    def left_over(self) -> frozenset[tuple[str, str]]:
        """(name, operator) of what the import left as it was."""
        return frozenset((node.name or "", node.op_type) for node in self.imported.nodes)

    def remains(self, node: oir.Node) -> bool:
        """Whether ``node`` of ``written`` is still in the imported network."""
        return (node.name or "", node.op_type) in self.left_over

    def activation_bits(self, node: oir.Node) -> int | None:
        """Of ``node`` of ``prepared``: 8, 16, or None in float16."""
        scheme = self.schemes.get(node.name or "", self.scheme.name)
        return activation_bits(scheme)


def make_subject(
    raw: Graph,
    target: Target,
    scheme: Scheme,
    overrides: Overrides,
    shapes: Mapping[str, Sequence[int | str]] | None = None,
) -> Subject:
    """The subject of ``raw`` (see frontends/onnx_file.py), without data. Raises InputError for what cannot be read."""
    written = as_written(raw, shapes)
    infer_shapes(written)
    imported = normalize(raw, shapes)
    prepared = imported.clone()
    prepare_for_target(prepared, target)
    schemes = node_schemes(ActivationPlanner(prepared, scheme, overrides))
    judgements = tuple(judge(prepared, target, by_name(schemes)))
    return Subject(written, imported, prepared, target, scheme, overrides, schemes, judgements)


def infer_shapes(graph: Graph) -> None:
    """Fill dtypes and shapes of all values of ``graph`` in place and change nothing else."""
    contents = Contents()
    for node in graph.nodes:
        infer_node(node, contents)
        contents.evaluate(node)


def formed_by(graph: Graph, rewrite: Callable[[Graph], int], op_type: str) -> list[oir.Node]:
    """The nodes of type ``op_type`` that ``rewrite`` would make of ``graph`` (which stays as it is)."""
    trial = graph.clone()
    before = {(node.name, node.op_type) for node in trial.nodes}
    if not rewrite(trial):
        return []
    return [node for node in trial.nodes if node.op_type == op_type and (node.name, node.op_type) not in before]


def gone_by(graph: Graph, rewrite: Callable[[Graph], int], op_types: Sequence[str]) -> list[oir.Node]:
    """The nodes of ``graph`` of ``op_types`` that ``rewrite`` would remove (``graph`` stays as it is)."""
    trial = graph.clone()
    if not rewrite(trial):
        return []
    left = {(node.name, node.op_type) for node in trial.nodes}
    return [node for node in graph.nodes if node.op_type in op_types and (node.name, node.op_type) not in left]
