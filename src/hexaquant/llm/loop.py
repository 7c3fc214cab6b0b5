"""Our own decoding loop over the compiled graphs, in the integers that Genie would hand to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from hexaquant.core.errors import InputError
from hexaquant.llm.feeds import Cache, Feed, feed
from hexaquant.llm.graphs import COS, IDS, INDEX, LOGITS, MASK, SIN, Form, graph_name
from hexaquant.llm.rope import Rope
from hexaquant.llm.static_decoder import Shapes
from hexaquant.qnn.runtime import Runtime
from hexaquant.qnn.tensor_io import TensorSpec, to_float


class Loop:
    """A decoder's binary with a cache; a context manager. ``logits`` float32, as the target gives them.

    ``shapes``: of the graphs in ``binary``, the prompt graph of the longest context first. Raises InputError when the
    binary holds other graphs.
    """

    def __init__(self, binary: Path, form: Form, rope: Rope | None, shapes: Sequence[Shapes], pad: int = 0) -> None:
        self.form, self.rope, self.shapes, self.pad = form, rope, tuple(shapes), pad
        self._stack = ExitStack()
        with ExitStack() as stack:
            self._runtimes = {
                size: stack.enter_context(Runtime(binary, workers=1, float_io=False, graph=graph_name(size)))
                for size in self.shapes
            }
            self._stack = stack.pop_all()
        self._specs = {spec.name: spec for spec in self._runtimes[self.shapes[0]].inputs}
        self._logits = {size: _spec(runtime, LOGITS) for size, runtime in self._runtimes.items()}
        self.reset()

    def reset(self) -> None:
        """Forget the tokens so far."""
        name = next(self.form.cache_names())
        spec = self._specs[f"{name}_in"]
        self.cache = Cache(self.form, self.shapes[0].context, spec.dtype, -spec.offset)

    def feed(self, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
        """Logits (count, vocabulary) of ``tokens``, which join the cache: the prompt graph while they are many."""
        found = []
        start = 0
        while start < len(tokens):
            size = choose(self.shapes, self.cache.seen, len(tokens) - start)
            part = tokens[start : start + size.tokens]
            found.append(self._run(size, part))
            start += len(part)
        if not found:
            raise InputError("no tokens were given: a prompt has one at least")
        return np.concatenate(found)

    def generate(self, prompt: Sequence[int], count: int, stop: Sequence[int] = ()) -> Iterator[int]:
        """At most ``count`` tokens of greedy decoding after ``prompt``; one of ``stop`` ends them and is not given."""
        logits = self.feed(prompt)[-1]
        for index in range(count):
            token = int(logits.argmax())
            if token in stop:
                return
            yield token
            if index + 1 == count:
                return
            logits = self.feed([token])[-1]

    def _run(self, size: Shapes, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
        values = feed(self.form, self.rope, size, tokens, self.cache, self.pad)
        outputs = self._runtimes[size].run(native(values, self._specs))
        self.cache.append(outputs, len(tokens))
        logits: npt.NDArray[np.float32] = to_float(outputs[LOGITS], self._logits[size])
        return logits.reshape(size.tokens, -1)[: len(tokens)]

    def close(self) -> None:
        """End the processes."""
        self._stack.close()

    def __enter__(self) -> Loop:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def choose(shapes: Sequence[Shapes], seen: int, left: int) -> Shapes:
    """The graph for the next of ``left`` tokens after ``seen``: the shortest context that holds them, in it the fewest
    calls. Raises InputError when none does."""
    most = max(size.tokens for size in shapes)
    for context in sorted({size.context for size in shapes}):
        if seen + min(left, most) > context:
            continue
        fits = [size for size in shapes if size.context == context and seen <= size.past]
        enough = [size for size in fits if size.tokens >= left]
        if fits:
            return min(enough, key=lambda size: size.tokens) if enough else max(fits, key=lambda size: size.tokens)
    raise InputError(f"{seen + left} tokens do not fit a context of {max(size.context for size in shapes)}")


def _spec(runtime: Runtime, name: str) -> TensorSpec:
    for spec in runtime.outputs:
        if spec.name == name:
            return spec
    raise InputError(f"{runtime.path.name} has no output '{name}': it is no decoder that hexaquant llm compiled")


def native(values: Mapping[str, np.ndarray], specs: Mapping[str, TensorSpec]) -> Feed:
    """``values`` as Genie gives them: the mask as 0 or 65535, cosine and sine rounded down with the cosine's encoding.

    Measured with Genie of release 2.7.0: its logits are these with this rounding and no other. The cache is in
    integers already.
    """
    found: Feed = {}
    for name, value in values.items():
        spec = specs[name]
        if name == MASK:
            found[name] = np.where(value == 0, np.iinfo(spec.dtype).max, 0).astype(spec.dtype)
        elif name in (COS, SIN):
            scale = specs[COS]
            assert scale.scale is not None
            q = np.floor(value.astype(np.float32) / np.float32(scale.scale)) - scale.offset
            found[name] = np.clip(q, 0, np.iinfo(spec.dtype).max).astype(spec.dtype)
        elif name in (IDS, INDEX):
            found[name] = value.astype(np.int32)
        else:
            found[name] = value
    return found
