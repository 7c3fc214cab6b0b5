"""``hexaquant run --device``: the same inputs and the same result files, computed on a device."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from hexaquant.cli.console import Console
from hexaquant.cli.device_options import DeviceChoice
from hexaquant.cli.run_input import data_of, input_specs_of
from hexaquant.cli.run_results import result_table, written

PROGRAM = "hexaquant run --device"


def run_there(
    console: Console,
    binary: Path,
    target: str | None,
    device: DeviceChoice,
    given: tuple[list[str], Path | None],
    folder: Path,
    form: str,
    native: bool,
) -> None:
    """Run and show. ``given``: --input texts and --input-list; ``folder``: for results and the profile."""
    from hexaquant.api.remote import device_pool
    from hexaquant.qnn.profile import FILE, Profile, write_profile

    level = device.options.profiling
    with console.events() as events:
        pool = device_pool(binary, device.address, device.options, target=target, float_io=not native, events=events)
        card = pool.session.card
        data = data_of(input_specs_of(card, native), *given, native)
        with pool, closing(events.track(pool.map(data.batches()), "execute", None)) as results:
            document: dict[str, Any] = written(card.binary, results, folder, form)
    document["device"] = str(pool.session.address)
    if level is not None:
        write_profile(folder / FILE, Profile(PROGRAM, level, card.target.model, tuple(pool.session.stages)))
        document["profile"] = str(folder / FILE)
    console.result(document, lambda: result_table(document))
