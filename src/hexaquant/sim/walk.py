"""The network of a QuantizedModel one node after the other, on live tensors only.

Walk has forks: at any node a variant of the network branches off that differs in one quantizer, and only what comes
after that node is run again. So the prefix of every variant is computed once, by the walk itself, and the memory is
that of the live tensors of two networks, however many variants there are. ptq/lockstep.py runs the float and the
quantized network together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx

Values = dict[fx.Node, Any]
Flip = frozenset[fx.Node]
NOTHING: Flip = frozenset()


class Walker:
    """The nodes of ``network`` in their order, constants apart: who reads each last, and how one is computed."""

    def __init__(self, network: fx.GraphModule) -> None:
        self.network = network
        nodes = list(network.graph.nodes)
        self.constants = _constants(nodes)
        self.placeholders = [node for node in nodes if node.op == "placeholder"]
        self.output = next(node for node in nodes if node.op == "output")
        self.nodes = [n for n in nodes if n.op not in ("placeholder", "output") and n not in self.constants]
        self.last_use = _last_use(nodes)
        self.modules = dict(network.named_modules(remove_duplicate=False))  # tied tensors have one quantizer

    def release(self, values: Values, node: fx.Node) -> None:
        """Take operands of ``node`` that nothing reads after it out of ``values``."""
        for used in node.all_input_nodes:
            if self.last_use[used] is node and used not in self.constants:
                values.pop(used, None)

    def compute(self, node: fx.Node, values: Values, on: bool) -> Any:
        """The value of an operator or a quantizer, which is set "on" or "off" for it."""
        args = fx.node.map_arg(node.args, lambda n: values[n])
        if node.op == "call_module":
            module = self.modules[str(node.target)]
            module.state = "on" if on else "off"  # type: ignore[assignment]
            return module(*args)
        kwargs = fx.node.map_arg(node.kwargs, lambda n: values[n])
        function: Callable[..., Any] = node.target  # type: ignore[assignment]
        return function(*args, **kwargs)

    def attribute(self, node: fx.Node) -> Tensor:
        """A parameter or buffer as the module has it."""
        value: Tensor = attrgetter(str(node.target))(self.network)
        return value


class Walk(Walker):
    """Walks the module of a QuantizedModel (``model.network``), all quantizers "on" or all "off".

    ``floats``: ONNX name -> the value that a constant has while its quantizer is off (its FP32 value: the module's own
    may lie on the grid already). Calls nothing but the module's nodes; changes the quantizers' ``state``.
    """

    def __init__(self, network: fx.GraphModule, floats: Mapping[str, Tensor], on: bool) -> None:
        super().__init__(network)
        self.on = on
        self._parameters: dict[str, str] = network.meta["parameter_names"]
        self._floats = floats
        self.taps = {network.meta["tap_names"][n.target]: n for n in network.graph.nodes if self._is_tap(n)}
        self._held: Values = {}
        for node in self.constants:
            self._held[node] = self._evaluate(node, self._held, NOTHING)

    def _is_tap(self, node: fx.Node) -> bool:
        return node.op == "call_module" and node.target in self.network.meta["tap_names"]

    def start(self, flip: Flip) -> int:
        """Index of the first node that a variant with the quantizers of ``flip`` turned round computes differently."""
        touched = set(flip) | set(self._overlay(flip))
        for index, node in enumerate(self.nodes):
            if node in touched or not touched.isdisjoint(node.all_input_nodes):
                return index
        return len(self.nodes)

    def run(self, inputs: Mapping[str, Tensor]) -> Iterator[tuple[int, fx.Node, Values]]:
        """Before each node: (its index, it, the values alive then); at the end once more, with the output node."""
        names = self.network.meta["input_names"]
        live = self._held | {node: inputs[names[node.target]] for node in self.placeholders}
        for index, node in enumerate(self.nodes):
            yield index, node, live
            live[node] = self._evaluate(node, live, NOTHING)
            self.release(live, node)
        yield len(self.nodes), self.output, live

    def outputs(self, live: Values) -> tuple[Tensor, ...]:
        """The network's outputs, from the values alive at its end."""
        found = fx.node.map_arg(self.output.args[0], lambda n: live[n])
        return tuple(found) if isinstance(found, tuple | list) else (found,)

    def finish(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """The network's outputs, without forks."""
        *_, (_, _, live) = self.run(inputs)
        return self.outputs(live)

    def variant(self, flip: Flip, start: int, live: Values) -> tuple[Tensor, ...] | None:
        """Outputs with ``flip`` turned round, run from node ``start`` on; None when that changes nothing.

        ``live`` is what the walk yielded there, and stays as it is.
        """
        overlay = self._overlay(flip)
        values = live | overlay
        first = self.nodes[start] if start < len(self.nodes) else None
        if first is not None and first in flip:
            changed = not torch.equal(self._evaluate(first, values, flip), self._evaluate(first, values, NOTHING))
        else:
            changed = any(not torch.equal(value, self._held[node]) for node, value in overlay.items())
        if not changed:
            return None
        for node in self.nodes[start:]:
            values[node] = self._evaluate(node, values, flip)
            self.release(values, node)
        return self.outputs(values)

    def taps_of(self, inputs: Mapping[str, Tensor], forced: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Tensor -> its value after its quantizer, of every computed tensor that has one and of the inputs.

        With ``forced`` each value is replaced by that of the same name before the next node reads it: every layer then
        runs on given inputs, and what is returned is its own answer to them.
        """
        names = {node: name for name, node in self.taps.items() if node not in self.constants}
        found: dict[str, Tensor] = {}
        for index, _, live in self.run(inputs):
            made = self.nodes[index - 1] if index else None
            if made is None or made not in names or made not in live:
                continue
            found[names[made]] = live[made]
            other = (forced or {}).get(names[made])
            if other is not None:
                live[made] = other.reshape(live[made].shape)
        return found

    def value(self, node: fx.Node, live: Values, flip: Flip = NOTHING, replaced: Values | None = None) -> Any:
        """The value of ``node`` from the values alive before it, with the quantizers of ``flip`` turned round.

        ``replaced``: constants with other values.
        """
        return self._evaluate(node, live | self._overlay(flip, replaced), flip)

    def _overlay(self, flip: Flip, replaced: Values | None = None) -> Values:
        """Constants that ``flip`` and ``replaced`` change, in order."""
        changed: Values = dict(replaced or {})
        for node in self.constants if changed or not flip.isdisjoint(self.constants) else ():
            if node not in changed and (node in flip or not changed.keys().isdisjoint(node.all_input_nodes)):
                changed[node] = self._evaluate(node, self._held | changed, flip)
        return changed

    def _evaluate(self, node: fx.Node, values: Values, flip: Flip) -> Any:
        if node.op == "get_attr":
            return self._attribute(node)
        on = self.on != (node in flip)
        name = self.network.meta["tap_names"].get(node.target, "") if node.op == "call_module" else ""
        if not on and node in self.constants and name in self._floats:
            return self._floats[name]
        return self.compute(node, values, on)

    def _attribute(self, node: fx.Node) -> Any:
        """The module's own constant; of one without quantizer, its FP32 value while all are off."""
        value = self.attribute(node)
        if self.on or any(self._is_tap(user) for user in node.users):
            return value
        return self._floats.get(self._parameters.get(str(node.target), ""), value)


def _constants(nodes: list[fx.Node]) -> dict[fx.Node, None]:
    """Nodes that depend on no input, in order (a dict for its order and its quick search)."""
    found: dict[fx.Node, None] = {}
    for node in nodes:
        inputs = node.all_input_nodes
        if node.op == "get_attr" or (node.op.startswith("call") and inputs and all(n in found for n in inputs)):
            found[node] = None
    return found


def _last_use(nodes: list[fx.Node]) -> dict[fx.Node, fx.Node]:
    """Node -> the last that reads it; itself where none does."""
    last = {node: node for node in nodes}
    for node in nodes:
        last |= dict.fromkeys(node.all_input_nodes, node)
    return last
