"""Values of settings files as typed objects: pydantic in strict mode, its complaints as one sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from hexaquant.core.errors import InputError

T = TypeVar("T")


def validated(kind: type[T], values: Any, where: str, names: Mapping[str, str] | None = None) -> T:
    """``values`` (as read from YAML or JSON) as a ``kind``, a dataclass or pydantic model.

    Nothing is converted but lists to tuples and integers to floats: "false" is no boolean and true no number.
    ``names``: what a field is called in the file where that is not the field's name. Raises InputError naming the
    field, what it must be and what it is.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_json(json.dumps(values, default=_plain), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join((names or {}).get(str(part), str(part)) for part in first["loc"])
        wrong = first["msg"].removeprefix("Input ").removeprefix("Value error, ")
        raise InputError(f"{where}: '{field}' {wrong}, not {first['input']!r}") from None
    except (TypeError, ValueError) as error:
        raise InputError(f"{where} holds what YAML and JSON have no type for ({error}); give plain numbers") from None


def _plain(value: Any) -> Any:
    """A number of numpy's as Python's."""
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return value.item()
    raise TypeError(type(value).__name__)
