"""The event stream of a training run as TensorBoard logs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hexaquant.core import ranks
from hexaquant.core.errors import EnvironmentLacksError
from hexaquant.core.events import Event, Events, Listener


@contextmanager
def logged(events: Events, folder: str | Path | None) -> Iterator[Events]:
    """``events`` and, with ``folder``, TensorBoard logs there of every number that progress events carry.

    Of several processes the first one writes.

    Raises EnvironmentLacksError when the package tensorboard is missing.
    """
    if folder is None or ranks.rank() > 0:
        yield events
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise EnvironmentLacksError(
            "TensorBoard logs need the package tensorboard: pip install 'hexaquant[train]', or leave them out"
        ) from None
    writer = SummaryWriter(str(folder))
    try:
        yield Events(events.emit, scalars(writer))
    finally:
        writer.close()


def scalars(writer: Any) -> Listener:
    """A listener that writes each number of a progress event as the scalar "<task>/<name>" at that step."""

    def listen(event: Event) -> None:
        if event.kind == "progress":
            for name, value in event.data.items():
                writer.add_scalar(f"{event.task}/{name}", value, event.done)

    return listen
