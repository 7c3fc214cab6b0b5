"""Variables of a streaming network: what one run leaves for the next becomes an input and an output of the graph.

The first READ_VARIABLE of a name reads the input; one after an ASSIGN_VARIABLE reads what was assigned; the last value
assigned is the output NAME_next. A variable that is never assigned is the constant that the file gives it at its start.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as oir

from hexaquant.frontends.tflite.graph_writer import Found, GraphWriter
from hexaquant.frontends.tflite.model_file import Operator, Subgraph, Tensor
from hexaquant.frontends.tflite.tensors import Tensors

NEXT = "_next"
"""What is appended to a state's name for the output that is its next value."""


class Variables:
    """The variables of the first of ``subgraphs``."""

    def __init__(self, subgraphs: Sequence[Subgraph], tensors: Tensors, writer: GraphWriter) -> None:
        self._tensors = tensors
        self._writer = writer
        self._names: dict[int, str] = {}
        self._inputs: dict[str, oir.Value] = {}
        self._current: dict[str, Found] = {}
        self._left: dict[str, oir.Value] = {}
        self._start = at_start(subgraphs)
        self._assigned = set(_assigned(subgraphs[0]))

    def handle(self, operator: Operator) -> None:
        """VAR_HANDLE: a tensor that stands for a variable."""
        for index in operator.outputs:
            self._names[index] = name_of(operator, self._tensors.name(index))

    def read(self, operator: Operator) -> None:
        """READ_VARIABLE: a handle to what the variable holds now."""
        name = self._name(operator)
        index = operator.outputs[0]
        if name in self._current:
            self._tensors.share(index, self._current[name])
        elif name in self._assigned:
            self._tensors.put_input(index, self._input(name, self._tensors.tensor(index)))
            self._current[name] = self._tensors.found(index)
        elif name in self._start:
            self._tensors.fold(index, self._start[name])
        else:
            raise self._writer.refuse(f"reads the variable '{name}', which nothing assigns")

    def assign(self, operator: Operator) -> None:
        """ASSIGN_VARIABLE: a handle and the value that the variable holds from now on."""
        name = self._name(operator)
        self._current[name] = self._tensors.found(operator.inputs[1])
        self._left[name] = self._tensors.result(operator.inputs[1])

    def state(self, index: int) -> oir.Value:
        """What the run before left in the state tensor ``index`` of a layer."""
        name = self._tensors.name(index)
        if name not in self._inputs:
            self._tensors.put_input(index, self._input(name, self._tensors.tensor(index)))
        found = self._tensors.found(index)
        assert isinstance(found, oir.Value)
        return found

    def keep(self, index: int, value: oir.Value) -> None:
        """``value`` is what this run leaves in the state tensor ``index`` of a layer."""
        self._left[self._tensors.name(index)] = self._tensors.on_grid(index, value)

    def _name(self, operator: Operator) -> str:
        name = self._names.get(operator.inputs[0] if operator.inputs else -1)
        if name is None:
            raise self._writer.refuse("has no VAR_HANDLE for its variable; convert the model again")
        return name

    def _input(self, name: str, tensor: Tensor) -> oir.Value:
        dims = [None if size < 0 else size for size in tensor.shape]
        self._inputs[name] = self._writer.input(name, tensor.kind, dims)
        return self._inputs[name]

    def finish(self) -> dict[str, str]:
        """Return the last value of each variable from the graph; the names (state input -> output)."""
        states: dict[str, str] = {}
        for name, value in self._left.items():
            if name in self._inputs:
                output = self._writer.rename(value, f"{name}{NEXT}")
                self._writer.graph.outputs.append(output)
                states[self._inputs[name].name or ""] = output.name or ""
        return states


def name_of(operator: Operator, name: str) -> str:
    """The name of the variable that a VAR_HANDLE stands for; ``name`` is its tensor's."""
    return str(operator.options.get("shared_name") or name)


def at_start(subgraphs: Sequence[Subgraph]) -> dict[str, np.ndarray]:
    """What the subgraphs that CALL_ONCE runs assign to the variables: constants by the variable's name."""
    found: dict[str, np.ndarray] = {}
    for operator in subgraphs[0].operators:
        number = int(operator.options.get("subgraph", -1))
        if operator.kind == "CALL_ONCE" and 0 < number < len(subgraphs):
            tensors = subgraphs[number].tensors
            given = {name: tensors[index].data for name, index in _assigned(subgraphs[number]).items()}
            found.update({name: data for name, data in given.items() if data is not None})
    return found


def _assigned(subgraph: Subgraph) -> dict[str, int]:
    """The variables that ``subgraph`` assigns and the tensors that they get."""
    names: dict[int, str] = {}
    found: dict[str, int] = {}
    for operator in subgraph.operators:
        if operator.kind == "VAR_HANDLE" and operator.outputs:
            names[operator.outputs[0]] = name_of(operator, subgraph.tensors[operator.outputs[0]].name)
        if operator.kind == "ASSIGN_VARIABLE" and len(operator.inputs) == 2 and operator.inputs[0] in names:
            found[names[operator.inputs[0]]] = operator.inputs[1]
    return found
