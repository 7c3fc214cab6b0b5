"""Length-prefixed messages between a runtime and its worker: raw tensor bytes, or JSON. Never pickle."""

from __future__ import annotations

import os
import select
import struct
import time
from collections.abc import Sequence

_HEAD = struct.Struct("<BQ")  # kind, length of the payload in bytes

HELLO = 1
TENSORS = 2
ERROR = 3
PROFILE = 4
"""Kinds: the worker's JSON greeting; tensors concatenated in graph order; a failure as JSON {kind, message}; the
question for what was measured (empty) and its answer as JSON [stage, ...]."""


class ChannelClosed(Exception):
    """The other side is gone."""


class ChannelTimeout(Exception):
    """Nothing complete arrived in time."""


def send(descriptor: int, kind: int, buffers: Sequence[bytes | memoryview]) -> None:
    """Write one message. Raises ChannelClosed."""
    views = [memoryview(buffer).cast("B") for buffer in buffers]
    try:
        _write(descriptor, memoryview(_HEAD.pack(kind, sum(view.nbytes for view in views))))
        for view in views:
            _write(descriptor, view)
    except (BrokenPipeError, OSError) as error:
        raise ChannelClosed from error


def receive(descriptor: int, timeout_s: float | None = None, limit: int = 1 << 34) -> tuple[int, bytearray]:
    """Read one message: its kind and payload. Raises ChannelClosed, ChannelTimeout."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    head = bytearray(_HEAD.size)
    _read(descriptor, memoryview(head), deadline)
    kind, length = _HEAD.unpack(head)
    if length > limit:
        raise ChannelClosed(f"a message of {length} bytes")
    payload = bytearray(length)
    _read(descriptor, memoryview(payload), deadline)
    return kind, payload


def _write(descriptor: int, view: memoryview) -> None:
    while view.nbytes:
        view = view[os.write(descriptor, view[: 1 << 20]) :]


def _read(descriptor: int, view: memoryview, deadline: float | None) -> None:
    while view.nbytes:
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                raise ChannelTimeout
        count = os.readv(descriptor, [view])
        if not count:
            raise ChannelClosed
        view = view[count:]
