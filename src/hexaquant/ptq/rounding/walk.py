"""The float and the quantized network side by side, layer by layer, over any number of samples in bounded memory.

Each operator runs once for each chunk of samples. At a layer all chunks are seen, the visitor changes the layer's
parameters, and the walk goes on with what they give: every layer sees the inputs that the layers already changed
produce. Between two layers only live tensors are kept (lockstep/live.py).

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
from hexaquant.ptq.lockstep.live import Env, LiveStore
from hexaquant.ptq.lockstep.machine import Machine
from hexaquant.ptq.lockstep.samples import split_batches
from hexaquant.ptq.rounding.layers import Layer
from hexaquant.sim.model import QuantizedModel


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
                    _advance(machine, part, env, layer, pending)
                    if layer is not None:
                        visitor.observe(layer, env.quant[layer.x], goal(layer, env), seen)
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


def _advance(machine: Machine, part: list[fx.Node], env: Env, layer: Layer | None, pending: Layer | None) -> None:
    """Compute ``part``; of ``layer``, its last node, the float side only: the other waits for new parameters.

    That of ``pending``, the layer before, comes first.
    """
    if pending is not None:
        machine.quantized(pending.y, env)
        machine.free(pending.y, env)
    for node in part:
        machine.floating(node, env)
        if layer is not None and node is layer.y:
            return
        machine.quantized(node, env)
        machine.free(node, env)


def goal(layer: Layer, env: Env) -> Tensor:
    """The float output of ``layer``; where it is added to a tensor that exists, plus what that one has lost."""
    wanted: Tensor = env.float[layer.y]
    other = added_to(layer.y)
    if other is None or other not in env.quant or env.quant[other].shape != wanted.shape:
        return wanted
    return wanted + (env.float[other] - env.quant[other])


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


def added_to(node: fx.Node) -> fx.Node | None:
    """The other operand of the Add that alone reads ``node`` (through its quantizer)."""
    readers = list(node.users)
    while len(readers) == 1 and readers[0].op == "call_module":
        node, readers = readers[0], list(readers[0].users)
    if len(readers) != 1 or readers[0].meta.get("op_type") != "Add":
        return None
    others = [n for n in readers[0].all_input_nodes if n is not node]
    return others[0] if len(others) == 1 else None
