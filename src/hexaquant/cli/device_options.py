"""The options that say on which device a command runs.

A command declares one parameter ``device: Device = None`` and is decorated with :func:`takes_device_options`; on the
command line that parameter is several options, in the function it is the DeviceChoice they describe, or None.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hexaquant.core.errors import InputError

if TYPE_CHECKING:
    from hexaquant.bundle.remote.session import DeviceOptions

_KEEP = "Leave the model on the device: the next time only what changed is pushed."
OPTIONS: dict[str, Any] = {
    "device": Annotated[str | None, typer.Option(help="Run there: ssh:user@host[:port] or adb[:serial].")],
    "libs": Annotated[Path | None, typer.Option(help="Folder here with Qualcomm's libraries for the device: pushed.")],
    "device_libs": Annotated[str | None, typer.Option(help="Folder on the device that has Qualcomm's libraries.")],
    "device_folder": Annotated[str | None, typer.Option(help="Folder on the device for what is pushed.")],
    "device_timeout": Annotated[float | None, typer.Option(min=1, help="Seconds for each step there (600).")],
    "keep": Annotated[bool, typer.Option("--keep", help=_KEEP)],
    "runner": Annotated[str | None, typer.Option(help="auto, c or python: what runs the model on the device.")],
    "profiling_level": Annotated[str | None, typer.Option(help="With --device: basic or detailed.")],
}


@dataclass(frozen=True)
class DeviceChoice:
    """``address``: as typed."""

    address: str
    options: DeviceOptions


if TYPE_CHECKING:
    Device = DeviceChoice | None
else:
    Device = Any


def takes_device_options(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator that replaces the parameter ``device`` by OPTIONS, or by those of ``names``."""
    chosen = names or tuple(OPTIONS)

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)

        @functools.wraps(command)
        def wrapper(*args: Any, **kwargs: Any) -> None:
            given = {name: kwargs.pop(name, None) for name in chosen}
            command(*args, device=device_choice(given), **kwargs)

        parameters = []
        for parameter in signature.parameters.values():
            parameters += _options(chosen) if parameter.name == "device" else [parameter]
        wrapper.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
        return wrapper

    return decorate


def _options(names: tuple[str, ...]) -> list[inspect.Parameter]:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    default = {"keep": False}
    return [inspect.Parameter(n, kind, default=default.get(n), annotation=OPTIONS[n]) for n in names]


def device_choice(given: dict[str, Any]) -> DeviceChoice | None:
    """What the options say; None without --device. Raises InputError for options that need it."""
    address = given["device"]
    if address is None:
        lonely = next((name for name, value in given.items() if value), None)
        if lonely is not None:
            raise InputError(f"--{lonely.replace('_', '-')} needs --device: give the device too")
        return None
    from hexaquant.bundle.remote.session import DeviceOptions

    names = {"device_folder": "folder", "device_timeout": "timeout_s", "profiling_level": "profiling"}
    values = {names.get(n, n): v for n, v in given.items() if n != "device" and v is not None}
    return DeviceChoice(address, DeviceOptions(**values))
