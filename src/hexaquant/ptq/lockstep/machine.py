"""Float and quantized network in lock-step: one operator at a time, run in both, on live tensors only.

The float side has the parameters of the graph that the model was built from, whatever earlier steps made of the
model's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx

from hexaquant.ir.graph import constant
from hexaquant.ptq.lockstep.live import Env
from hexaquant.sim.model import QuantizedModel


class Machine(fx.Interpreter):
    """Runs nodes of the model's network on an Env; constants are computed where they are used and never kept.

    ``replaced``: constants of the quantized network that are other tensors for now.
    """

    def __init__(self, model: QuantizedModel) -> None:
        super().__init__(model.network, garbage_collect_values=False)
        self.model = model
        self.constants: set[fx.Node] = set()
        self.nodes: list[fx.Node] = []
        self.last_use: dict[fx.Node, fx.Node] = {}
        for node in model.network.graph.nodes:
            if node.op == "get_attr" or (node.all_input_nodes and self.constants.issuperset(node.all_input_nodes)):
                self.constants.add(node)
            elif node.op not in ("placeholder", "output"):
                self.nodes.append(node)
            self.last_use.update(dict.fromkeys(node.all_input_nodes, node))
        self.replaced: dict[fx.Node, Tensor] = {}
        self._original: dict[fx.Node, Tensor] = {}

    def inputs(self, batch: Mapping[str, Tensor]) -> Env:
        """The Env that a batch starts with."""
        placeholders = [n for n in self.model.network.graph.nodes if n.op == "placeholder"]
        names = [value.name or "" for value in self.model.source_graph.inputs]
        values = {node: batch[name] for node, name in zip(placeholders, names, strict=True)}
        return Env(dict(values), dict(values))

    def floating(self, node: fx.Node, env: Env) -> None:
        """The float network's value of ``node``."""
        env.float[node] = self.value(node, env.float, "off")

    def quantized(self, node: fx.Node, env: Env) -> None:
        """The quantized network's value of ``node``."""
        env.quant[node] = self.value(node, env.quant, "on")

    def free(self, node: fx.Node, env: Env) -> None:
        """Drop operands of ``node`` that nothing reads after it."""
        self.free_side(node, env.float)
        self.free_side(node, env.quant)

    def free_side(self, node: fx.Node, values: dict[fx.Node, Any]) -> None:
        """:meth:`free` in one of the two networks."""
        for operand in node.all_input_nodes:
            if self.last_use[operand] is node:
                values.pop(operand, None)

    def value(self, node: fx.Node, values: dict[fx.Node, Any], state: str) -> Any:
        """``node`` computed from ``values`` with its quantizers, and those of its constants, in ``state``."""
        added = [n for n in node.all_input_nodes if n in self.constants and n not in values]
        for operand in added:
            values[operand] = self._constant(operand, values, state)
        if node.op == "call_module":
            self.submodules[str(node.target)].state = state  # type: ignore[assignment]
        self.env = values
        result = self.run_node(node)
        for operand in added:
            del values[operand]
        return result

    def _constant(self, node: fx.Node, values: dict[fx.Node, Any], state: str) -> Any:
        if state == "on" and node in self.replaced:
            return self.replaced[node]
        if state == "off" and node.op == "get_attr":
            return self.original(node)
        return self.value(node, values, state)

    def original(self, node: fx.Node) -> Tensor:
        """A parameter or buffer as the source graph has it."""
        if node not in self._original:
            name = node.meta.get("untapped", node.meta.get("value", ""))
            value = self.model.source_graph.initializers.get(name)
            data, now = constant(value), self.fetch_attr(str(node.target))
            same = data is None or not now.is_floating_point()
            self._original[node] = now if same else torch.tensor(data).to(now)  # type: ignore[arg-type]
        return self._original[node]
