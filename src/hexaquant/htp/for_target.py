"""The rewrites that every graph gets before it is planned, in order. Each preserves the function."""

from __future__ import annotations

from collections.abc import Callable

from hexaquant.htp.biases import add_missing_bias
from hexaquant.htp.clips import form_clip
from hexaquant.htp.form_bias_vector import form_bias_vector
from hexaquant.htp.form_cumsum import form_cumsum
from hexaquant.htp.form_division import form_division
from hexaquant.htp.form_pointwise import form_pointwise
from hexaquant.htp.form_product import form_product
from hexaquant.htp.form_scalar_layer import form_scalar_layer
from hexaquant.htp.linear import form_linear
from hexaquant.htp.pooling import form_pooling
from hexaquant.htp.recurrent.gru import unroll_gru
from hexaquant.htp.recurrent.lstm import unroll_lstm
from hexaquant.htp.recurrent.rnn import unroll_rnn
from hexaquant.htp.separate_biases import separate_biases
from hexaquant.htp.split_reshape import split_reshape
from hexaquant.htp.swap_addends import swap_addends
from hexaquant.ir.graph import Graph
from hexaquant.ir.rewrite import rewrite_forms

STEPS: tuple[Callable[[Graph], int], ...] = (
    rewrite_forms,
    unroll_lstm,
    unroll_gru,
    unroll_rnn,
    form_pointwise,
    form_linear,
    form_scalar_layer,
    form_product,
    split_reshape,
    form_pooling,
    form_clip,
    form_division,
    form_cumsum,
    swap_addends,
    add_missing_bias,
    form_bias_vector,
    separate_biases,
)


def prepare_for_target(graph: Graph) -> dict[str, int]:
    """Apply all rewrites to ``graph`` in place; returns how often each changed something."""
    return {step.__name__: step(graph) for step in STEPS}
