"""Options that run on a device, and the run itself."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hexaquant.cli.console import Console
from hexaquant.cli.run_input import data_of, input_specs_of
from hexaquant.cli.run_results import result_table, written
from hexaquant.core.errors import InputError

if TYPE_CHECKING:
    from hexaquant.bundle.remote.session import DeviceOptions


# The options that say on which device a command runs.
#
# A command declares one parameter ``device: Device = None``, or ``ProfiledDevice`` where it can profile (see
# cli/option_groups.py), in which it gets the DeviceChoice that they describe, or None.

_KEEP = "Leave the model on the device: the next time only what changed is pushed."
_FIELDS = {"device_folder": "folder", "device_timeout": "timeout_s", "profiling_level": "profiling"}
"""Option -> its field of DeviceOptions, where they are called differently."""


@dataclass(frozen=True)
class DeviceChoice:
    """``address``: as typed."""

    address: str
    options: DeviceOptions


@dataclass(frozen=True)
class DeviceFlags:
    """The device, and how it is used."""

    device: Annotated[str | None, typer.Option(help="Run there: ssh:user@host[:port] or adb[:serial].")] = None
    libs: Annotated[Path | None, typer.Option(help="Folder here with Qualcomm's libraries for the device: pushed.")] = (
        None
    )
    device_libs: Annotated[str | None, typer.Option(help="Folder on the device that has Qualcomm's libraries.")] = None
    device_folder: Annotated[str | None, typer.Option(help="Folder on the device for what is pushed.")] = None
    device_timeout: Annotated[float | None, typer.Option(min=1, help="Seconds for each step there (600).")] = None
    keep: Annotated[bool, typer.Option("--keep", help=_KEEP)] = False
    runner: Annotated[str | None, typer.Option(help="auto, c or python: what runs the model on the device.")] = None

    def value(self) -> DeviceChoice | None:
        """None without --device. Raises InputError for options that need it."""
        given = {name: value for name, value in asdict(self).items() if value is not None and value is not False}
        address = given.pop("device", None)
        if address is None and given:
            raise InputError(f"--{next(iter(given)).replace('_', '-')} needs --device: give the device too")
        if address is None:
            return None
        from hexaquant.bundle.remote.session import DeviceOptions

        return DeviceChoice(address, DeviceOptions(**{_FIELDS.get(n, n): v for n, v in given.items()}))


@dataclass(frozen=True)
class ProfiledDeviceFlags(DeviceFlags):
    """The same with a profile of the run."""

    profiling_level: Annotated[str | None, typer.Option(help="With --device: basic or detailed.")] = None


if TYPE_CHECKING:
    Device = DeviceChoice | None
    ProfiledDevice = DeviceChoice | None
else:
    Device = DeviceFlags
    ProfiledDevice = ProfiledDeviceFlags


# ``hexaquant run --device``: the same inputs and the same result files, computed on a device.

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
