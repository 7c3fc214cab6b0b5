"""Options that belong together, declared once as a dataclass.

A command has a parameter whose type is such a dataclass and is decorated with :func:`grouped`. On the command line each
field is an option in the parameter's place; in the function the parameter is the dataclass, or what its method
``value`` makes of it. Fields are annotated as typer's parameters are, and have defaults.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints


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
    hints, kind = get_type_hints(group, include_extras=True), inspect.Parameter.POSITIONAL_OR_KEYWORD
    return [inspect.Parameter(f.name, kind, default=f.default, annotation=hints[f.name]) for f in fields(group)]
