"""The float and the quantized network side by side, layer by layer, over any number of samples in bounded memory.

Each operator runs once for each chunk of samples. At a layer all chunks are seen, the visitor changes the layer's
parameters, and the walk goes on with what they give: every layer sees the inputs that the layers already changed
produce. Between two layers only live tensors are kept (live.py). The float network has the parameters of the
source graph, whatever earlier steps made of the model's.

A layer that ends a residual branch is asked to make up for what the other branch has lost: what must be right is the
sum (Qronos, arXiv:2505.11695, carries errors on likewise).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, fx

from hexaquant.core.errors import InputError
from hexaquant.core.events import Events
from hexaquant.ir.graph import constant
from hexaquant.ptq.rounding.layers import Layer
from hexaquant.ptq.rounding.live import Env, LiveStore
from hexaquant.sim.model import QuantizedModel

CHUNK = 8
"""Samples that run at once."""


class Visitor(Protocol):
    """What is done at a layer."""

    def observe(self, layer: Layer, x: Tensor, y: Tensor, samples: int) -> None:
        """One chunk: ``x`` the quantized network's input of the layer, ``y`` the output that it should give on that.

        ``samples``: how many there will be in all.
        """
        ...

    def finish(self, layer: Layer) -> None:
        """All chunks were observed: change the layer's parameters."""
        ...


@torch.no_grad()
def walk(
    model: QuantizedModel,
    batches: Iterable[Mapping[str, Any]],
    layers: Sequence[Layer],
    visitor: Visitor,
    *,
    samples: int,
    title: str,
    events: Events | None = None,
) -> int:
    """Lead ``visitor`` through ``layers`` on the first ``samples`` samples; returns how many there were.

    Quantizers are on afterwards. Raises InputError when there is no sample.
    """
    machine, by_node = Machine(model), {layer.y: layer for layer in layers}
    with LiveStore() as store:
        try:
            chunks, seen = feed(machine, batches, samples, store)
            parts = _segments(machine.nodes, by_node)
            pending: Layer | None = None
            for part in (events or Events()).track(parts, title):
                layer = by_node.get(part[-1])
                for chunk in range(chunks):
                    env = store.take(chunk)
                    machine.run(part, env, layer, pending)
                    if layer is not None:
                        visitor.observe(layer, env.quant[layer.x], machine.goal(layer, env), seen)
                        store.put(chunk, env)
                if layer is None:
                    break
                visitor.finish(layer)
                pending = layer
        finally:
            model.set_state("on")
    return seen


def _segments(nodes: list[fx.Node], layers: Mapping[fx.Node, Layer]) -> list[list[fx.Node]]:
    """Nodes up to and with the first layer, up to the second, and so on; what follows the last layer is not needed."""
    parts: list[list[fx.Node]] = [[]]
    for node in nodes:
        parts[-1].append(node)
        if node in layers:
            parts.append([])
    return parts[:-1]


def feed(machine: Machine, batches: Iterable[Mapping[str, Any]], samples: int, store: LiveStore) -> tuple[int, int]:
    """Put the inputs of each chunk into ``store``; (chunks, samples)."""
    chunks = seen = 0
    for batch in split_batches(batches, samples):
        env = machine.inputs(batch)
        store.put(chunks, env)
        chunks += 1
        seen += len(next(iter(batch.values())))
    if not seen:
        raise InputError("the calibration data is empty: give at least one sample")
    return chunks, seen


def split_batches(batches: Iterable[Mapping[str, Any]], samples: int) -> Iterator[dict[str, Tensor]]:
    """The first ``samples`` samples in chunks of at most CHUNK."""
    left = samples
    for batch in batches:
        tensors = {name: torch.as_tensor(value) for name, value in batch.items()}
        size = min(len(next(iter(tensors.values()))), left)
        for start in range(0, size, CHUNK):
            yield {name: t[start : min(start + CHUNK, size)].clone() for name, t in tensors.items()}
        left -= size
        if not left:
            return


def added_to(node: fx.Node) -> fx.Node | None:
    """The other operand of the Add that alone reads ``node`` (through its quantizer)."""
    readers = list(node.users)
    while len(readers) == 1 and readers[0].op == "call_module":
        node, readers = readers[0], list(readers[0].users)
    if len(readers) != 1 or readers[0].meta.get("op_type") != "Add":
        return None
    others = [n for n in readers[0].all_input_nodes if n is not node]
    return others[0] if len(others) == 1 else None


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

    def run(self, part: list[fx.Node], env: Env, layer: Layer | None, pending: Layer | None) -> None:  # type: ignore[override]
        """Compute ``part``; of ``layer``, its last node, the float side only: the other waits for new parameters.

        That of ``pending``, the layer before, comes first.
        """
        if pending is not None:
            self.quantized(pending.y, env)
            self.free(pending.y, env)
        for node in part:
            self.floating(node, env)
            if layer is not None and node is layer.y:
                return
            self.quantized(node, env)
            self.free(node, env)

    def floating(self, node: fx.Node, env: Env) -> None:
        """The float network's value of ``node``."""
        env.float[node] = self.value(node, env.float, "off")

    def quantized(self, node: fx.Node, env: Env) -> None:
        """The quantized network's value of ``node``."""
        env.quant[node] = self.value(node, env.quant, "on")

    def goal(self, layer: Layer, env: Env) -> Tensor:
        """The float output of ``layer``; where it is added to a tensor that exists, plus what that one has lost."""
        wanted: Tensor = env.float[layer.y]
        other = added_to(layer.y)
        if other is None or other not in env.quant or env.quant[other].shape != wanted.shape:
            return wanted
        return wanted + (env.float[other] - env.quant[other])

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
