"""The float and the quantized network side by side, layer by layer, over any number of samples in bounded memory.

Each operator runs once for each chunk of samples. At a layer all chunks are seen, the visitor changes the layer's
parameters, and the walk goes on with what they give: every layer sees the inputs that the layers already changed
produce. Between two layers only live tensors are kept (ptq/lockstep.py).

Layers differ in how many samples they need: one with 112x112 outputs has seen enough after a few, one behind a pooling
wants hundreds. So the walk starts with few samples, and at a layer that asks for more others catch up: they run through
the layers before it as those are by then. Only their inputs had to be kept.

A layer that ends a residual branch is asked to make up for what the other branch has lost: what must be right is the
sum (Qronos, arXiv:2505.11695, carries errors on likewise).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, fx

from hexaquant.core.errors import InputError
from hexaquant.core.events import Events
from hexaquant.ir.input_spec import first_samples, input_specs, sample_count
from hexaquant.ptq.lockstep import CHUNK, Env, LiveStore, Machine
from hexaquant.sim.layers import Layer
from hexaquant.sim.model import QuantizedModel


class Visitor(Protocol):
    """What is done at a layer."""

    def wanted(self, layer: Layer, y: Tensor) -> int:
        """How many samples the layer needs; ``y`` is its output for one chunk of them."""
        ...

    def observe(self, layer: Layer, x: Tensor, y: Tensor, samples: int) -> None:
        """One chunk: ``x`` the quantized network's input of the layer, ``y`` the output that it should give on that.

        ``samples``: how many there will be in all at this layer.
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
    first: int,
    title: str,
    events: Events | None = None,
) -> int:
    """Lead ``visitor`` through ``layers``, on ``first`` samples to begin with and at most on ``samples``.

    Returns how many were used. Quantizers are on afterwards. Raises InputError when there is no sample.
    """
    machine = Machine(model)
    by_node = {layer.y: layer for layer in layers}
    with LiveStore() as store:
        try:
            sizes = feed(machine, batches, samples, store)
            joined = _chunks_for(first, sizes)
            parts = _segments(machine.nodes, by_node)
            done: list[fx.Node] = []
            present = joined
            for part in (events or Events()).track(parts, title):
                layer = by_node[part[-1]]
                chunk = 0
                while chunk < joined:
                    env = store.take(chunk)
                    _advance(machine, part, env, done if chunk >= present else done[-1:])
                    y = goal(layer, env)
                    if chunk == 0:
                        joined = max(joined, _chunks_for(visitor.wanted(layer, y), sizes))
                    visitor.observe(layer, env.quant[layer.x], y, sum(sizes[:joined]))
                    store.put(chunk, env)
                    chunk += 1
                visitor.finish(layer)
                present = joined
                done = done + part
        finally:
            model.set_state("on")
    return sum(sizes[:joined])


def _chunks_for(samples: int, sizes: Sequence[int]) -> int:
    """The number of chunks, of ``sizes``, that hold ``samples`` samples; all of them when there are fewer."""
    total = 0
    for index, size in enumerate(sizes, start=1):
        total += size
        if total >= samples:
            return index
    return len(sizes)


def _segments(nodes: list[fx.Node], layers: Mapping[fx.Node, Layer]) -> list[list[fx.Node]]:
    """Nodes up to and with the first layer, up to the second, and so on; what follows the last layer is not needed."""
    parts: list[list[fx.Node]] = [[]]
    for node in nodes:
        parts[-1].append(node)
        if node in layers:
            parts.append([])
    return parts[:-1]


def _advance(machine: Machine, part: list[fx.Node], env: Env, before: list[fx.Node]) -> None:
    """Compute ``part``; of the layer that ends it the float side only: the other waits for new parameters.

    ``before``: nodes that come first: the layer before, whose quantized side has waited, or all up to it for samples
    that have just joined.
    """
    for node in before:
        if node not in env.float:
            machine.floating(node, env)
        machine.quantized(node, env)
        machine.free(node, env)
    for node in part[:-1]:
        machine.floating(node, env)
        machine.quantized(node, env)
        machine.free(node, env)
    machine.floating(part[-1], env)


def goal(layer: Layer, env: Env) -> Tensor:
    """The float output of ``layer``; where it is added to a tensor that exists, plus what that one has lost."""
    wanted: Tensor = env.float[layer.y]
    other = added_to(layer.y)
    if other is None or other not in env.quant or env.quant[other].shape != wanted.shape:
        return wanted
    return wanted + (env.float[other] - env.quant[other])


def feed(machine: Machine, batches: Iterable[Mapping[str, Any]], samples: int, store: LiveStore) -> list[int]:
    """Put the inputs of each chunk into ``store``; the samples of each. Raises InputError when there is none."""
    sizes: list[int] = []
    specs = input_specs(machine.model.source_graph)
    for batch in first_samples(batches, specs, samples, CHUNK):
        store.put(len(sizes), machine.inputs(batch))
        sizes.append(sample_count(batch, specs))
    if not sizes:
        raise InputError("the calibration data is empty: give at least one sample")
    return sizes


def added_to(node: fx.Node) -> fx.Node | None:
    """The other operand of the Add that alone reads ``node`` (through its quantizer)."""
    readers = list(node.users)
    while len(readers) == 1 and readers[0].op == "call_module":
        node = readers[0]
        readers = list(readers[0].users)
    if len(readers) != 1 or readers[0].meta.get("op_type") != "Add":
        return None
    others = [n for n in readers[0].all_input_nodes if n is not node]
    return others[0] if len(others) == 1 else None
