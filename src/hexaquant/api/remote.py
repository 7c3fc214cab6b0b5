"""Runs on a device over ssh or adb: hq.run_on_device, and the pool that verify takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from hexaquant.api.bundle import model_card
from hexaquant.bundle.card import ModelCard
from hexaquant.bundle.remote.pool import DevicePool
from hexaquant.bundle.remote.session import DeviceOptions, Session
from hexaquant.bundle.remote.transport import Address, parse_address
from hexaquant.core.errors import InputError
from hexaquant.core.events import Events
from hexaquant.folder.manifest import check_integrity, recorded_io, sha256_of
from hexaquant.htp.soc import Target, target_of_model
from hexaquant.qnn.inspect import inspect_binary
from hexaquant.qnn.runtime import Inputs
from hexaquant.qnn.tensor_io import ordered_specs


def device_pool(
    path: str | Path,
    device: str | Address,
    options: DeviceOptions | None = None,
    *,
    target: str | Target | None = None,
    float_io: bool = True,
    events: Events | None = None,
) -> DevicePool:
    """A pool of one device for the binary ``path``, or that of the artifact folder ``path`` for ``target``.

    ``device``: ssh:user@host[:port] or adb[:serial]. Nothing happens before the pool is entered.
    """
    address = parse_address(device) if isinstance(device, str) else device
    card = model_card(path, target=target) if Path(path).is_dir() else card_of_binary(Path(path))
    return DevicePool(Session(card, address, options, events), float_io)


def run_on_device(
    path: str | Path,
    items: Iterable[Inputs],
    device: str | Address,
    options: DeviceOptions | None = None,
    *,
    target: str | Target | None = None,
    float_io: bool = True,
    events: Events | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """Yield the outputs of each item of ``items``, computed on ``device``; arguments as for device_pool."""
    with device_pool(path, device, options, target=target, float_io=float_io, events=events) as pool:
        yield from pool.map(items)


def card_of_binary(path: Path) -> ModelCard:
    """The card of a context binary that may lie anywhere. Raises InputError."""
    info = inspect_binary(path)
    check_integrity(path)
    graph = info.graphs[0]
    soc = target_of_model(info.soc_model)
    if soc is None:
        raise InputError(f"{path} was compiled for SoC model {info.soc_model}, which is unknown here")
    io = recorded_io(path, graph.name) or {}
    inputs, outputs = (
        tuple(ordered_specs(tensors, io.get(side, ())))
        for side, tensors in (("inputs", graph.inputs), ("outputs", graph.outputs))
    )
    return ModelCard(path, sha256_of(path), soc, "", graph.name, inputs, outputs)
