"""The rewrites that every graph gets before it is planned, in order. Each preserves the function."""

from __future__ import annotations

from collections.abc import Callable

from hexaquant.ir.graph import Graph
from hexaquant.transforms.add_missing_bias import add_missing_bias
from hexaquant.transforms.decompose_groupnorm import decompose_groupnorm
from hexaquant.transforms.form_linear import form_linear

STEPS: tuple[Callable[[Graph], int], ...] = (decompose_groupnorm, form_linear, add_missing_bias)


def prepare_for_target(graph: Graph) -> dict[str, int]:
    """Apply all rewrites to ``graph`` in place; returns how often each changed something."""
    return {step.__name__: step(graph) for step in STEPS}
