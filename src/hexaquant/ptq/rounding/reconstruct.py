"""Block reconstruction: the rounding of a block's weights, and its biases, learned on the block's output.

Li et al., "BRECQ", ICLR 2021 (arXiv:2102.05426): layers of a block are rounded together towards the float block's
output, since their errors interact. Wei et al., "QDrop", ICLR 2022 (arXiv:2203.05740), equation 6: while learning, each
element of an activation is quantized only with probability 1/2, which flattens the loss. Blocks are reconstructed in
order on what the blocks before them now give. A block keeps its former integers when the learned ones do not lower the
error on held-out chunks of samples; after PATIENCE such blocks in a row the rest is left as it is.

Memory: as in walk.py, one chunk of samples at a time; only V, its gradient and Adam's moments of one block are added.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from hexaquant.core.events import Events
from hexaquant.ptq.lockstep import Env, LiveStore, Machine
from hexaquant.ptq.rounding.walk import feed
from hexaquant.sim.calibrate import protect_from_overflow
from hexaquant.sim.layers import Layer, find_layers
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.quantizer import ActivationQuantizer

# Rounding that can still be learned: each weight lies softly between its present integer and the next one.
#
# AdaRound's parametrisation (arXiv:2004.10568, equations 22 to 24) started from integers that were already chosen well:
# the alternative of weight W on integer Q is the neighbour on W's side, and the soft value starts inside Q's half.

EDGE = 0.35
"""How far from its integer a weight starts at most; 0.5 would be undecided."""


class SoftRounding:
    """``V`` is what is learned. W, S, Q have the shape of the weight; Q is within low..high."""

    def __init__(self, W: Tensor, S: Tensor, Q: Tensor, low: int, high: int) -> None:
        self.S = S
        self.low = low
        self.high = high
        start = Q + (W / S - Q).clamp(-EDGE, EDGE)
        self.floor = torch.floor(start)
        part = (start - self.floor).clamp(0.01, 0.99)
        self.V = torch.logit((part + 0.1) / 1.2).requires_grad_()

    def soft(self) -> Tensor:
        """The soft weights, with a gradient for V."""
        return (self.floor + self._h()).clamp(self.low, self.high) * self.S

    def hard(self) -> Tensor:
        """The integers that the soft weights are nearest to."""
        return (self.floor + (self.V.detach() > 0)).clamp_(self.low, self.high)

    def undecided(self, beta: float) -> Tensor:
        """AdaRound's regularizer, averaged over the weights: 0 when each is at an integer."""
        return (1 - (2 * self._h() - 1).abs().pow(beta)).mean()

    def _h(self) -> Tensor:
        return (1.2 * torch.sigmoid(self.V) - 0.1).clamp(0, 1)


# Blocks of a network: stretches between cuts where a single tensor is alive, so that residual branches stay whole.

MOST = 3
"""Layers in a row that are joined into one block; a stretch without a cut inside may hold more."""


@dataclass(frozen=True)
class Block:
    """``nodes`` in order, the last of which is the output that everything behind the block depends on."""

    nodes: tuple[fx.Node, ...]
    layers: tuple[fx.Node, ...]

    @property
    def output(self) -> fx.Node:
        return self.nodes[-1]


def find_blocks(nodes: list[fx.Node], layers: Collection[fx.Node], most: int = MOST) -> list[Block]:
    """The blocks of ``nodes`` (those that compute, in order) that hold at least one of ``layers``.

    Together they are all nodes up to the last layer's block; a stretch without layers belongs to the block after it.
    """
    blocks: list[Block] = []
    open_: list[fx.Node] = []
    for stretch in _stretches(nodes):
        held = [n for n in open_ if n in layers]
        added = [n for n in stretch if n in layers]
        if held and added and len(held) + len(added) > most:
            blocks.append(Block(tuple(open_), tuple(held)))
            open_ = []
        open_ = open_ + stretch
    held = [n for n in open_ if n in layers]
    if held:
        blocks.append(Block(tuple(open_), tuple(held)))
    return blocks


def _stretches(nodes: list[fx.Node]) -> list[list[fx.Node]]:
    """``nodes`` split after each one that is alone alive then and is not waiting for its quantizer."""
    place = {node: i for i, node in enumerate(nodes)}
    last_use: dict[fx.Node, int] = {}
    for node in nodes:
        for operand in node.all_input_nodes:
            last_use[operand] = place[node]
        if any(user.op == "output" for user in node.users):
            last_use[node] = len(nodes)
    for node, use in list(last_use.items()):
        if any(user.op == "output" for user in node.users):
            last_use[node] = max(use, len(nodes))
    variable = [n for n in last_use if n in place or n.op == "placeholder"]
    parts: list[list[fx.Node]] = [[]]
    for i, node in enumerate(nodes):
        parts[-1].append(node)
        alive = [n for n in variable if place.get(n, -1) <= i < last_use[n]]
        waiting = len(node.users) == 1 and next(iter(node.users)).op == "call_module"
        if alive == [node] and not waiting:
            parts.append([])
    return [part for part in parts if part]


REGULARIZE = 0.1
"""Weight of the regularizer against the block's error relative to what it was."""
HELD_OUT = 4
"""One chunk of samples in so many is held out."""
PATIENCE = 5
"""So many blocks in a row that nothing was gained in end the reconstruction: where coordinate descent has done its
work on plenty of data, no block gains (none of EfficientNet-Lite0)."""
GAIN = 0.05
"""A block must lower its held-out error by this part: less is noise of the samples."""


@dataclass(frozen=True)
class Training:
    """``iterations`` of Adam a block, each on ``batch`` samples; ``rate`` of V; ``drop``: QDrop's probability."""

    iterations: int = 100
    batch: int = 8
    rate: float = 0.1
    drop: float = 0.5
    seed: int = 0


@dataclass(frozen=True)
class BlockReport:
    """One block: the mean squared error of its output over its variance, on held-out samples, and what was kept."""

    layer: str
    layers: tuple[str, ...]
    error_before: float
    error: float
    kept: bool


def reconstruct_blocks(
    model: QuantizedModel,
    batches: Iterable[Mapping[str, Any]],
    training: Training,
    *,
    samples: int = 64,
    events: Events | None = None,
) -> tuple[int, list[BlockReport]]:
    """Reconstruct all blocks of ``model`` (calibrated, better rounded) in place; (samples, a report a block)."""
    layers = {layer.y: layer for layer in find_layers(model)}
    machine = _Machine(model, torch.Generator().manual_seed(training.seed))
    blocks = find_blocks(machine.nodes, layers)
    reports = []
    with LiveStore() as store:
        try:
            sizes = feed(machine, batches, samples, store)
            for block in (events or Events()).track(blocks, "reconstruct blocks"):
                task = _Task(model, machine, store, block, [layers[node] for node in block.layers], sizes)
                reports.append(task.run(training))
                if len(reports) >= PATIENCE and not any(report.kept for report in reports[-PATIENCE:]):
                    break
        finally:
            machine.replaced = {}
            machine.drop = 0.0
            model.set_state("on")
    protect_from_overflow(model)
    return sum(sizes), reports


class _Machine(Machine):
    """A Machine whose activations are quantized element by element at random while ``drop`` is above 0."""

    def __init__(self, model: QuantizedModel, generator: torch.Generator) -> None:
        super().__init__(model)
        self.generator = generator
        self.drop = 0.0

    def value(self, node: fx.Node, values: dict[fx.Node, Any], state: str) -> Any:
        result = super().value(node, values, state)
        if not self.drop or state != "on" or node.op != "call_module" or node in self.constants:
            return result
        quantizer = self.modules[str(node.target)]
        if not isinstance(quantizer, ActivationQuantizer):
            return result
        dropped = torch.rand(result.shape, generator=self.generator) < self.drop
        return torch.where(dropped, quantizer.clamp(values[node.all_input_nodes[0]]), result)


class _Task:
    """One block: its inputs and wanted outputs lie in the store, chunk by chunk."""

    def __init__(
        self,
        model: QuantizedModel,
        machine: _Machine,
        store: LiveStore,
        block: Block,
        layers: list[Layer],
        sizes: list[int],
    ) -> None:
        self.model = model
        self.machine = machine
        self.store = store
        self.block = block
        self.layers = layers
        self.parameters = model.parameters_by_name()
        self.sizes, self.chunks = sizes, list(range(len(sizes)))
        self.held = self.chunks[HELD_OUT - 1 :: HELD_OUT] or self.chunks[-1:]
        self.fits = [c for c in self.chunks if c not in self.held] or self.chunks

    def run(self, training: Training) -> BlockReport:
        with torch.no_grad():
            for chunk in self.chunks:
                self._float(chunk)
            before = self._error()
        former = {name: self.parameters[name].detach().clone() for name in self._names()}
        with torch.enable_grad():
            self._learn(training, before)
        with torch.no_grad():
            after = self._error()
            better = after < (1 - GAIN) * before
            if not better:
                for name, value in former.items():
                    self.parameters[name].copy_(value)
            for chunk in self.chunks:
                self._advance(chunk)
        names = tuple(layer.name for layer in self.layers)
        return BlockReport(names[-1], names, before, after if better else before, better)

    def _names(self) -> list[str]:
        return [name for layer in self.layers for name in (layer.weight, layer.bias) if name]

    def _float(self, chunk: int) -> None:
        """Run the float side, keep its output beside the quantized side's inputs."""
        env = self.store.take(chunk)
        for node in self.block.nodes:
            self.machine.floating(node, env)
            self.machine.release(env.float, node)
        self.store.put(chunk, env)

    def _advance(self, chunk: int) -> None:
        """Run the quantized side for good."""
        env = self.store.take(chunk)
        for node in self.block.nodes:
            self.machine.quantized(node, env)
            self.machine.release(env.quant, node)
        self.store.put(chunk, env)

    def _output(self, chunk: int, pick: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(wanted, got) of a chunk, or of some of its samples."""
        env = self.store.peek(chunk)
        wanted = env.float[self.block.output]
        quant = dict(env.quant)
        if pick is not None and len(pick) < self.sizes[chunk] and self._has_rows(chunk, [wanted, *quant.values()]):
            wanted = wanted[pick]
            quant = {n: v[pick] for n, v in quant.items()}
        part = Env({}, quant)
        for node in self.block.nodes:
            self.machine.quantized(node, part)
            self.machine.release(part.quant, node)
        return wanted, part.quant[self.block.output]

    def _has_rows(self, chunk: int, values: Iterable[Any]) -> bool:
        """True where each value has one row per sample, so that some of the samples can be taken out."""
        return all(isinstance(v, Tensor) and v.dim() and len(v) == self.sizes[chunk] for v in values)

    def _error(self) -> float:
        """Relative error of the held-out chunks."""
        error = power = 0.0
        for chunk in self.held:
            wanted, got = self._output(chunk)
            error += float((wanted - got).double().square().sum())
            power += float((wanted - wanted.mean()).double().square().sum())
        return error / max(power, 1e-30)

    def _learn(self, training: Training, scale: float) -> None:
        soft = {layer.weight: self._soft(layer) for layer in self.layers}
        biases = {layer.bias: self.parameters[layer.bias].detach().clone() for layer in self.layers if layer.bias}
        for layer in self.layers:
            if layer.bias:
                biases[layer.bias].requires_grad_()
        optimizer = torch.optim.Adam(
            [
                {"params": [s.V for s in soft.values()], "lr": training.rate},
                {"params": list(biases.values()), "lr": 1e-2 * max(_size(biases), 1e-6)},
            ]
        )
        for step in range(training.iterations):
            wanted, got = self._sampled(training, soft, biases)
            error = (wanted - got).square().mean() / wanted.var(correction=0).clamp(min=1e-12)
            beta = 20 - 18 * step / training.iterations
            late = step >= training.iterations // 5
            loss = error / max(scale, 1e-9)
            if late:
                loss = loss + REGULARIZE * sum(s.undecided(beta) for s in soft.values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        self.machine.replaced = {}
        with torch.no_grad():
            for layer in self.layers:
                encoding = self.model.quantizers[layer.weight].encoding
                q = soft[layer.weight].hard() - encoding.grid.symmetric_offset
                self.parameters[layer.weight].copy_(encoding.dequantize(q))
                if layer.bias:
                    self.parameters[layer.bias].copy_(biases[layer.bias].detach())

    def _sampled(
        self, training: Training, soft: dict[str, SoftRounding], biases: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """(wanted, got) of a random batch under the soft weights."""
        generator = self.machine.generator
        chunk = self.fits[int(torch.randint(len(self.fits), (), generator=generator))]
        pick = torch.randperm(self.sizes[chunk], generator=generator)[: training.batch]
        self.machine.replaced = {layer.y.all_input_nodes[1]: soft[layer.weight].soft() for layer in self.layers}
        self.machine.replaced |= {
            layer.y.all_input_nodes[2]: biases[layer.bias] for layer in self.layers if layer.bias is not None
        }
        self.machine.drop = training.drop
        result = self._output(chunk, pick)
        self.machine.drop = 0.0
        return result

    def _soft(self, layer: Layer) -> SoftRounding:
        encoding = self.model.quantizers[layer.weight].encoding
        now = self.parameters[layer.weight].detach()
        half = encoding.grid.levels // 2
        S = encoding.expanded(now.shape)[0].expand(now.shape)
        original = self.machine.original(_parameter_node(layer.y.all_input_nodes[1]))
        return SoftRounding(original, S, encoding.quantize(now) - half, -half, half - 1)


def _parameter_node(node: fx.Node) -> fx.Node:
    while node.op == "call_module":
        node = node.all_input_nodes[0]
    return node


def _size(biases: Mapping[str, Tensor]) -> float:
    """Mean magnitude of the biases, by which their learning rate is scaled."""
    if not biases:
        return 0.0
    return float(torch.cat([b.detach().abs().reshape(-1) for b in biases.values()]).mean())
