"""The one rule for recurrent operators, which planning, lint and lowering read.

Where the target has float16 (v69 on) LSTM, GRU and RNN stay one operator in graph, plan, simulation and training; it
computes in float16, and lowering writes it out step by step (steps.py). Measured against integers step by step, LSTM
of 40 inputs, 64 hidden units, 32 steps, w8a8: 40.1 to 28.5 dB, and calibration sees one operator. 1024 steps are a
limit of patience, not of the target: the largest that was compiled is plcmos' 250. v68 has no float16: there planning
unrolls, and every step has integers of its own, up to 128 steps.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as oir

from hexaquant.htp.recurrent.gru import unroll_gru
from hexaquant.htp.recurrent.layer import DEFAULTS, read_layer
from hexaquant.htp.recurrent.lstm import unroll_lstm
from hexaquant.htp.recurrent.rnn import unroll_rnn
from hexaquant.htp.soc import Target
from hexaquant.ir.graph import Graph


def stays_whole(target: Target | None) -> bool:
    """Whether recurrent operators stay one operator for ``target`` (None: a target with float16)."""
    return target is None or target.has_float16


def recurrent_nodes(graph: Graph) -> Iterator[oir.Node]:
    """The LSTM, GRU and RNN nodes of ``graph``."""
    return (node for node in graph.nodes if node.op_type in DEFAULTS and node.domain == "")


def form_recurrent(graph: Graph, target: Target | None) -> int:
    """Check recurrent operators that stay whole; unroll the others, in place. Returns how many were unrolled.

    Raises InputError or TargetError for one that lowering could not write out.
    """
    if not stays_whole(target):
        return unroll_recurrent(graph, in_float=False)
    for node in recurrent_nodes(graph):
        read_layer(graph, node, in_float=True)
    return 0


def unroll_recurrent(graph: Graph, in_float: bool) -> int:
    """Write all recurrent operators out step by step, in place; returns how many. Errors as in form_recurrent."""
    return unroll_lstm(graph, in_float) + unroll_gru(graph, in_float) + unroll_rnn(graph, in_float)
