"""The note in a graph that some of its inputs are states: each takes the last value of an output."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hexaquant.core.errors import InputError
from hexaquant.ir.graph import Graph, shape_of
from hexaquant.ir.input_spec import STATES


def with_states(graph: Graph, states: Mapping[str, str] | None) -> Graph:
    """``graph`` with the note that each key of ``states`` (an input) takes the last value of an output, beside those
    that are noted already.

    Raises InputError when one does not exist or when their shapes or types differ.
    """
    if not states:
        return graph
    inputs, outputs = ({v.name or "": v for v in values} for values in (graph.inputs, graph.outputs))
    for state, output in states.items():
        for name, kind, known in ((state, "input", inputs), (output, "output", outputs)):
            if name not in known:
                raise InputError(
                    f"state {state}={output}: {graph.source} has no {kind} '{name}'; its {kind}s are {', '.join(known)}"
                )
        wanted = shape_of(inputs[state])
        given = shape_of(outputs[output])
        if inputs[state].dtype != outputs[output].dtype or not _may_be_equal(wanted, given):
            raise InputError(
                f"state {state}={output}: the input is {_words(inputs[state])} but the output "
                f"{_words(outputs[output])}; name the output that is the next value of this state"
            )
    known = json.loads(graph.model.metadata_props.get(STATES, "{}"))
    graph.model.metadata_props[STATES] = json.dumps(known | dict(states))
    return graph


def _may_be_equal(a: Any, b: Any) -> bool:
    if a is None or b is None:
        return True
    fixed = (isinstance(x, int) and isinstance(y, int) and x != y for x, y in zip(a, b))
    return len(a) == len(b) and not any(fixed)


def _words(value: Any) -> str:
    return f"{value.dtype} {'x'.join(map(str, shape_of(value) or ('?',)))}"
