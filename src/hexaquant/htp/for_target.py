"""The rewrites that every graph gets before it is planned, in order. Each preserves the function."""

from __future__ import annotations

from collections.abc import Callable

from hexaquant.htp.biases import add_missing_bias
from hexaquant.htp.clips import form_clip
from hexaquant.htp.faults import mend_faults
from hexaquant.htp.form_bias_vector import form_bias_vector
from hexaquant.htp.form_pointwise import form_pointwise
from hexaquant.htp.linear import form_linear
from hexaquant.htp.pooling import form_pooling
from hexaquant.htp.recurrent.rule import form_recurrent
from hexaquant.htp.separate_biases import separate_biases
from hexaquant.htp.soc import Target
from hexaquant.ir.graph import Graph
from hexaquant.ir.rewrite import rewrite_forms

Step = Callable[[Graph], int]

FORMS: tuple[Step, ...] = (
    form_pointwise,
    form_linear,
    form_pooling,
    form_clip,
)
"""What the target runs better in another form."""
BIASES: tuple[Step, ...] = (add_missing_bias, form_bias_vector, separate_biases)


def prepare_for_target(graph: Graph, target: Target | None = None) -> dict[str, int]:
    """Apply all rewrites to ``graph`` in place; returns how often each changed something, faults by their names.

    ``target`` decides what becomes of recurrent operators (htp/recurrent/rule.py); None: one with float16. Raises
    InputError or TargetError for a recurrent operator that cannot be lowered.
    """
    formed = {"rewrite_forms": rewrite_forms(graph), "form_recurrent": form_recurrent(graph, target)}
    formed |= {step.__name__: step(graph) for step in FORMS}
    mended = mend_faults(graph)
    return formed | mended | {step.__name__: step(graph) for step in BIASES}
