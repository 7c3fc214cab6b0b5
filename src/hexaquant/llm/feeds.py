"""Inputs of the graphs for a sequence of tokens, chunk by chunk, with the cache that earlier chunks left."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from hexaquant.llm.graphs import COS, IDS, INDEX, MASK, SIN, Form, causal_mask
from hexaquant.llm.rope import Rope
from hexaquant.llm.static_decoder import Shapes

Feed = dict[str, npt.NDArray[np.generic]]
Run = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
"""A graph: inputs by name to outputs by name (native integers or floats, as the cache holds them)."""


class Cache:
    """Keys and values of the tokens so far, ``columns`` at most; ``empty``: what the cache holds where nothing is."""

    def __init__(self, form: Form, context: int, dtype: npt.DTypeLike = np.float32, empty: int = 0) -> None:
        self.seen = 0
        self._tensors = {name: np.full(shape, empty, dtype) for name, shape in form.cache_shapes(context).items()}

    def inputs(self, columns: int) -> Feed:
        """The first ``columns`` tokens' keys and values, by the names of the graph's inputs."""
        return {f"{name}_in": _columns(tensor, name, 0, columns) for name, tensor in self._tensors.items()}

    def append(self, outputs: Mapping[str, np.ndarray], count: int) -> None:
        """Take over ``count`` tokens from a graph's outputs."""
        for name, tensor in self._tensors.items():
            new = _columns(outputs[f"{name}_out"], name, 0, count)
            _columns(tensor, name, self.seen, self.seen + count)[...] = new
        self.seen += count


def _columns(tensor: np.ndarray, name: str, start: int, end: int) -> np.ndarray:
    """Tokens ``start`` to ``end``: the last axis of keys, the one before of values."""
    return tensor[..., start:end] if "key" in name else tensor[..., start:end, :]


def feed(form: Form, rope: Rope | None, shapes: Shapes, tokens: Sequence[int], cache: Cache, pad: int = 0) -> Feed:
    """The inputs for ``tokens`` (at most AR) after those in ``cache``, float32 where the graph is float."""
    count = len(tokens)
    width = shapes.tokens
    ids = np.full((1, width), pad, np.int64)
    ids[0, :count] = tokens
    found: Feed = {IDS: ids, MASK: causal_mask(shapes, cache.seen, count, form.mask)}
    positions = np.minimum(cache.seen + np.arange(width), shapes.context - 1)
    if rope is None:
        found[INDEX] = positions[None]
    else:
        cos, sin = rope.values(shapes.context)
        found[COS], found[SIN] = (table.numpy()[positions][None, None] for table in (cos, sin))
    return found | cache.inputs(shapes.past)


def chunks(
    form: Form, rope: Rope | None, shapes: Shapes, sequences: Iterable[Sequence[int]], run: Run
) -> Iterator[Feed]:
    """The inputs of every chunk of every sequence, in order; ``run`` gives what the next one's cache needs."""
    for sequence in sequences:
        cache = Cache(form, shapes.context)
        for start in range(0, len(sequence), shapes.tokens):
            part = sequence[start : start + shapes.tokens]
            inputs = feed(form, rope, shapes, part, cache)
            yield inputs
            if start + shapes.tokens < len(sequence):
                cache.append(run(inputs), len(part))
