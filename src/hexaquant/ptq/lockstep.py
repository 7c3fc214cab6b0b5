"""Float and quantized network in lock-step: one operator at a time, run in both, on live tensors only.

The float side has the parameters of the graph that the model was built from, whatever earlier steps made of the
model's. Between two layers the live tensors of each chunk of samples are in memory up to a budget, beyond it in a
scratch file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, fx

from hexaquant.core.errors import InputError
from hexaquant.ir.graph import constant
from hexaquant.ir.input_spec import first_samples, input_specs, joined, samples_of_a_run
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.walk import Values, Walker

BUDGET = 256 * 2**20
"""Bytes of live tensors that are held in memory."""
CHUNK = 8
"""Samples that run at once."""


class Env:
    """Values of one chunk by fx node: of the float network and of the quantized one."""

    def __init__(self, float_: Values | None = None, quant: Values | None = None) -> None:
        self.float: Values = float_ or {}
        self.quant: Values = quant or {}

    def size(self) -> int:
        """Bytes of its tensors; one that both networks share counts once."""
        tensors = {id(v): v for side in (self.float, self.quant) for v in side.values() if isinstance(v, Tensor)}
        return sum(t.numel() * t.element_size() for t in tensors.values())


class LiveStore:
    """Holds one Env per chunk. A context manager: its scratch folder goes with it."""

    def __init__(self, budget: int = BUDGET) -> None:
        self.budget = budget
        self.held = 0
        self._kept: dict[int, tuple[Env, int]] = {}
        self._on_disk: dict[int, list[fx.Node]] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="hexaquant-")

    def __enter__(self) -> LiveStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def put(self, chunk: int, env: Env) -> None:
        """Keep ``env``; it must not be changed afterwards."""
        size = env.size()
        if self.held + size <= self.budget:
            self._kept[chunk] = env, size
            self.held += size
            return
        nodes = list({**env.float, **env.quant})
        sides = [[_own(side[n]) if n in side else None for n in nodes] for side in (env.float, env.quant)]
        shared = [
            a if a is b else None for a, b in zip([env.float.get(n) for n in nodes], [env.quant.get(n) for n in nodes])
        ]
        sides[1] = [None if s is not None else b for s, b in zip(shared, sides[1])]
        torch.save((sides, [s is not None for s in shared]), self._path(chunk))
        self._on_disk[chunk] = nodes

    def take(self, chunk: int) -> Env:
        """The Env of ``chunk``, which is no longer held."""
        if chunk in self._kept:
            env, size = self._kept.pop(chunk)
            self.held -= size
            return env
        env = self.peek(chunk)
        del self._on_disk[chunk]
        self._path(chunk).unlink()
        return env

    def peek(self, chunk: int) -> Env:
        """The Env of ``chunk``, which stays held and must not be changed."""
        if chunk in self._kept:
            return self._kept[chunk][0]
        nodes = self._on_disk[chunk]
        (first, second), shared = torch.load(self._path(chunk), weights_only=True)
        second = [a if same else b for a, b, same in zip(first, second, shared)]
        return Env(
            {n: v for n, v in zip(nodes, first) if v is not None},
            {n: v for n, v in zip(nodes, second) if v is not None},
        )

    def _path(self, chunk: int) -> Path:
        return Path(self._folder.name) / f"{chunk}.pt"


def _own(value: Any) -> Any:
    """``value`` without the rest of a larger storage that it is a view of."""
    if isinstance(value, Tensor) and value.untyped_storage().nbytes() > value.numel() * value.element_size():
        return value.clone()
    return value


class Machine(Walker):
    """Runs nodes of the model's network on an Env; constants are computed where they are used and never kept.

    ``replaced``: constants of the quantized network that are other tensors for now.
    """

    def __init__(self, model: QuantizedModel) -> None:
        super().__init__(model.network)
        self.model = model
        self.replaced: dict[fx.Node, Tensor] = {}
        self._original: dict[fx.Node, Tensor] = {}

    def inputs(self, batch: Mapping[str, Tensor]) -> Env:
        """The Env that a batch starts with."""
        names = [value.name or "" for value in self.model.source_graph.inputs]
        values = {node: batch[name] for node, name in zip(self.placeholders, names, strict=True)}
        return Env(dict(values), dict(values))

    def floating(self, node: fx.Node, env: Env) -> None:
        """The float network's value of ``node``."""
        env.float[node] = self.value(node, env.float, "off")

    def quantized(self, node: fx.Node, env: Env) -> None:
        """The quantized network's value of ``node``."""
        env.quant[node] = self.value(node, env.quant, "on")

    def free(self, node: fx.Node, env: Env) -> None:
        """Drop operands of ``node`` that nothing reads after it."""
        self.release(env.float, node)
        self.release(env.quant, node)

    def value(self, node: fx.Node, values: Values, state: str) -> Any:
        """``node`` computed from ``values`` with its quantizers, and those of its constants, in ``state``."""
        added = [n for n in node.all_input_nodes if n in self.constants and n not in values]
        for operand in added:
            values[operand] = self._constant(operand, values, state)
        result = self.attribute(node) if node.op == "get_attr" else self.compute(node, values, state == "on")
        for operand in added:
            del values[operand]
        return result

    def _constant(self, node: fx.Node, values: Values, state: str) -> Any:
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
            data = constant(value)
            now = self.attribute(node)
            same = data is None or not now.is_floating_point()
            self._original[node] = now if same else torch.tensor(data).to(now)  # type: ignore[arg-type]
        return self._original[node]


def runnable_chunks(
    model: QuantizedModel, batches: Iterable[Mapping[str, Any]], samples: int
) -> list[dict[str, Tensor]]:
    """The first ``samples`` samples in chunks that ``model`` can run: one sample each where it runs no batches.

    Raises InputError when there is none.
    """
    specs = input_specs(model.source_graph)
    chunks = list(first_samples(batches, specs, samples, CHUNK))
    if not chunks:
        raise InputError("the calibration data is empty: give at least one sample")
    return chunks if takes_batches(model, chunks) else list(first_samples(chunks, specs, samples, 1))


def takes_batches(model: QuantizedModel, chunks: Iterable[Mapping[str, Any]]) -> bool:
    """False for a network that holds on to the one sample it was exported with: it cannot run two, or mixes them."""
    specs = input_specs(model.source_graph)
    if samples_of_a_run(specs) is None:
        return True
    if not all(spec.batched for spec in specs):
        return False
    one = next(iter(first_samples(chunks, specs, 1)))
    other = {name: t.flip(-1) if t.is_floating_point() else t for name, t in one.items()}
    try:
        with model.float_mode(), torch.no_grad():
            pair = _outputs(model(**joined([one, other], specs)))
            first = _outputs(model(**one))
            second = _outputs(model(**other))
    except (RuntimeError, ValueError, IndexError):
        return False
    return all(_is_pair(both, a, b) for both, a, b in zip(pair, first, second, strict=True))


def _outputs(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else list(result)


def _is_pair(both: Tensor, first: Tensor, second: Tensor) -> bool:
    if (
        not both.dim()
        or not first.dim()
        or not second.dim()
        or both.shape[1:] != first.shape[1:]
        or len(both) != len(first) + len(second)
    ):
        return False
    return torch.allclose(both, torch.cat([first, second]), rtol=1e-3, atol=1e-4 * max(1.0, float(both.abs().max())))
