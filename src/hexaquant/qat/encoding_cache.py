"""Keeps an Encoding until one of the tensors it is computed from changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from hexaquant.core.encoding import Encoding


class EncodingCache:
    """The same object until a tensor is written to or replaced, so that readers can compare by identity."""

    def __init__(self) -> None:
        self._kept: Encoding | None = None
        self._kept_for: tuple[int, ...] = ()

    def get(self, tensors: Sequence[Tensor | None], make: Callable[[], Encoding]) -> Encoding:
        """What ``make`` returned when ``tensors`` were last as they are now."""
        key = tuple(number for t in tensors if t is not None for number in (t._version, t.data_ptr()))
        if self._kept is None or key != self._kept_for:
            self._kept, self._kept_for = make(), key
        return self._kept
