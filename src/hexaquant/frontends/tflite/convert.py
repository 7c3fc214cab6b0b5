"""The first subgraph of a ``.tflite`` file as an ONNX graph, operator by operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as oir

from hexaquant.frontends.tflite.call import Call
from hexaquant.frontends.tflite.graph_writer import Complex, Found, GraphWriter, is_quantized
from hexaquant.frontends.tflite.model_file import Operator, Subgraph
from hexaquant.frontends.tflite.operators import MOVES_COMPLEX, OWN_ACTIVATION, RULES, SAME_NUMBERS
from hexaquant.frontends.tflite.rules_elementwise import activated
from hexaquant.frontends.tflite.schema import ACTIVATIONS
from hexaquant.frontends.tflite.tensors import Tensors
from hexaquant.frontends.tflite.variables import Variables
from hexaquant.ir.graph import Graph

Shapes = Mapping[str, Sequence[int | str]]


def convert(subgraphs: Sequence[Subgraph], source: str, shapes: Shapes) -> tuple[Graph, dict[str, str]]:
    """The graph, not normalized, and its states (input -> output that is its next value).

    ``shapes`` overrides the shapes of inputs. Raises UnsupportedOpError naming the operator and its output.
    """
    conversion = _Conversion(subgraphs, source)
    conversion.write_inputs(shapes)
    for operator in subgraphs[0].operators:
        try:
            conversion.write(operator)
        except (ArithmeticError, IndexError, KeyError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:120]
            raise conversion.writer.refuse(f"is malformed ({reason}); convert the model again") from error
    return conversion.finish()


class _Conversion:
    def __init__(self, subgraphs: Sequence[Subgraph], source: str) -> None:
        self.subgraph = subgraphs[0]
        self.writer = GraphWriter(source)
        self.tensors = Tensors(self.subgraph, self.writer)
        self.variables = Variables(subgraphs, self.tensors, self.writer)

    def write_inputs(self, shapes: Shapes) -> None:
        for index in self.subgraph.inputs:
            tensor = self.subgraph.tensors[index]
            name = self.tensors.name(index)
            self.writer.origin = ("INPUT", name)
            dims: list[int | str | None] = ["batch" if i == 0 else None for i in range(len(tensor.shape))]
            dims = [free if size < 0 else size for size, free in zip(tensor.shape, dims, strict=True)]
            value = self.writer.input(name, tensor.kind, list(shapes.get(name, dims)))
            self.tensors.put_input(index, value)

    def write(self, operator: Operator) -> None:
        """Write one operator; its outputs get their names and grids."""
        names = [self.tensors.name(index) for index in operator.outputs]
        self.writer.origin = (operator.kind, names[0] if names else "")
        if operator.kind == "CALL_ONCE":
            return
        if operator.kind in ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"):
            self._write_variable(operator)
        elif operator.kind in SAME_NUMBERS:
            self._write_same(operator)
        elif operator.kind == "QUANTIZE" and is_quantized(self.tensors.tensor(operator.outputs[0])):
            call = Call(operator, self.tensors, self.writer, self.variables)
            self.tensors.put_on_grid(operator.outputs[0], call.input(0))
        else:
            self._write_rule(operator)

    def _write_variable(self, operator: Operator) -> None:
        if operator.kind == "VAR_HANDLE":
            self.variables.handle(operator)
        elif operator.kind == "READ_VARIABLE":
            self.variables.read(operator)
        else:
            self.variables.assign(operator)

    def _write_same(self, operator: Operator) -> None:
        """A constant becomes another one; what is computed already has its numbers."""
        call = Call(operator, self.tensors, self.writer, self.variables)
        array = call.numbers(0)
        if array is None or is_quantized(call.tensor(0)):
            self.tensors.put(operator.outputs[0], call.op("Identity", call.input(0)))
        else:
            wide = array.astype(np.float32) if call.output().kind == "float32" else array
            self.tensors.fold(operator.outputs[0], wide)

    def _write_rule(self, operator: Operator) -> None:
        rule = RULES.get(operator.kind)
        call = Call(operator, self.tensors, self.writer, self.variables)
        if rule is None:
            raise call.refuse(_reason(operator))
        complex_ = operator.kind in MOVES_COMPLEX and isinstance(call.found(0), Complex)
        results = self._complex(operator) if complex_ else _listed(rule(call))
        kind = ACTIVATIONS[call.option("activation")] if operator.kind not in OWN_ACTIVATION else "NONE"
        for index, result in zip(operator.outputs, results, strict=False):
            found = result if isinstance(result, Complex) else activated(call, result, kind)
            self.tensors.put(index, found)

    def _complex(self, operator: Operator) -> list[Found]:
        parts = []
        for part in ("real", "imaginary"):
            call = Call(operator, self.tensors, self.writer, self.variables)
            call.part = part
            result = RULES[operator.kind](call)
            assert isinstance(result, oir.Value)
            parts.append(result)
        return [Complex(*parts)]

    def finish(self) -> tuple[Graph, dict[str, str]]:
        """The graph with its outputs, states last."""
        outputs = self.writer.graph.outputs
        for index in self.subgraph.outputs:
            self.writer.origin = ("OUTPUT", self.tensors.name(index))
            value = self.tensors.result(index)
            if value.producer() is None or value in outputs:
                value = self.writer.rename(value, f"{self.tensors.name(index)}_output")
            outputs.append(value)
        states = self.variables.finish()
        return Graph(self.writer.model, self.writer.source), states


def _listed(results: Found | Sequence[oir.Value]) -> list[Found]:
    return [results] if isinstance(results, (oir.Value, Complex)) else list(results)


def _reason(operator: Operator) -> str:
    if operator.kind.startswith("Flex"):
        return "is an operator of TensorFlow itself (Flex); convert the model without SELECT_TF_OPS"
    if operator.custom is not None:
        return "is a custom operator that is not known here; replace it by operators of TensorFlow Lite"
    return "has no counterpart here; replace the layer"
