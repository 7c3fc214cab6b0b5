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
from hexaquant.htp.recurrent.gru import unroll_gru
from hexaquant.htp.recurrent.lstm import unroll_lstm
from hexaquant.htp.recurrent.rnn import unroll_rnn
from hexaquant.htp.separate_biases import separate_biases
from hexaquant.ir.graph import Graph
from hexaquant.ir.rewrite import rewrite_forms

Step = Callable[[Graph], int]

FORMS: tuple[Step, ...] = (
    rewrite_forms,
    unroll_lstm,
    unroll_gru,
    unroll_rnn,
    form_pointwise,
    form_linear,
    form_pooling,
    form_clip,
)
"""What the target runs better in another form."""
BIASES: tuple[Step, ...] = (add_missing_bias, form_bias_vector, separate_biases)


def prepare_for_target(graph: Graph) -> dict[str, int]:
    """Apply all rewrites to ``graph`` in place; returns how often each changed something, faults by their names."""
    formed = {step.__name__: step(graph) for step in FORMS}
    mended = mend_faults(graph)
    return formed | mended | {step.__name__: step(graph) for step in BIASES}
