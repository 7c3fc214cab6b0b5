"""Options that belong together, declared once as a dataclass.

A command has a parameter whose type is such a dataclass and is decorated with :func:`grouped`. On the command line each
field is an option in the parameter's place; in the function the parameter is the dataclass, or what its method
``value`` makes of it. Fields are annotated as typer's parameters are, and have defaults. The class variable ``panel``
is the heading of its options in ``--help`` (see GroupedCommand).
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, get_type_hints

from typer.core import TyperCommand

HEADINGS = ("Arguments", "Data", "Image folders", "Target and quantization", "Verification", "Output")
"""Of ``--help``, in their order; others follow, and what has none stands under "Options" at the end."""


class GroupedCommand(TyperCommand):
    """A command whose ``--help`` has its options under their headings (``rich_help_panel``)."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        panels: dict[str, list[tuple[str, str]]] = {heading: [] for heading in HEADINGS}
        rest: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            heading = getattr(parameter, "rich_help_panel", None)
            if parameter.param_type_name == "argument":
                heading = HEADINGS[0]
            record = parameter.get_help_record(ctx)
            if record is not None:
                (panels.setdefault(heading, []) if heading else rest).append(record)
        for heading, records in [*panels.items(), ("Options", rest)]:
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` with the fields in the place of each parameter that is a dataclass of options."""
    signature = inspect.signature(command, eval_str=True)
    groups = {p.name: p.annotation for p in signature.parameters.values() if is_dataclass(p.annotation)}

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        made = {name: _made(group, kwargs) for name, group in groups.items()}
        command(*args, **kwargs, **made)

    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        parameters += _options(groups[parameter.name]) if parameter.name in groups else [parameter]
    wrapper.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapper


def _made(group: Any, given: dict[str, Any]) -> Any:
    """The dataclass of what was ``given``, from which it is taken out; or its value."""
    made = group(**{field.name: given.pop(field.name) for field in fields(group) if field.name in given})
    return made.value() if hasattr(made, "value") else made


def _options(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=field.default,
            annotation=_under(getattr(group, "panel", None), hints[field.name]),
        )
        for field in fields(group)
    ]


def _under(panel: str | None, hint: Any) -> Any:
    """``hint``, its option under the heading ``panel`` unless it has one of its own."""
    option = copy.copy(hint.__metadata__[0])
    option.rich_help_panel = option.rich_help_panel or panel
    return Annotated[hint.__origin__, option]
