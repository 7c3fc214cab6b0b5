"""The MODEL argument: a file, or a Python function that returns the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hexaquant.core.errors import HexaquantError, InputError
from hexaquant.core.user_code import find_object, looks_like_function

if TYPE_CHECKING:
    from hexaquant.ir.graph import Graph


def load_model(
    text: str, shapes: Mapping[str, Sequence[int | str]] | None = None, fixed: Mapping[str, Any] | None = None
) -> Graph:
    """The graph of a path, or of what ``module:function`` returns: (nn.Module, example_inputs[, example_kwargs]).

    ``fixed``: inputs that become constants. Naming a function executes the user's code. Raises InputError for whatever
    cannot become a graph, and for free sizes other than the batch, naming the flags that give them.
    """
    from hexaquant.frontends import load
    from hexaquant.ir.normalize import float_network, require_static

    found = Path(text).exists() or not looks_like_function(text)
    if found:
        graph = load(text, shapes=shapes, fixed=fixed)
    else:
        graph = load_made(_call(text), text, shapes)
        graph = load(graph, fixed=fixed) if fixed else graph
    require_static(graph)
    return float_network(graph)


def written_model(
    text: str,
    shapes: Mapping[str, Sequence[int | str]] | None = None,
    fixed: Mapping[str, Any] | None = None,
    load_file: bool = False,
) -> Graph | Path:
    """As :func:`load_model`, but not normalized; without ``fixed`` and ``load_file`` a file or folder as its path.

    Errors as there.
    """
    from hexaquant.frontends.onnx_file import load_written
    from hexaquant.ir.shapes import fix_inputs

    is_file = Path(text).exists() or not looks_like_function(text)
    if is_file and not fixed and not load_file:
        return Path(text)
    graph = load_written(text, shapes=shapes) if is_file else _written(text, shapes)
    return fix_inputs(graph, fixed) if fixed else graph


def _written(text: str, shapes: Mapping[str, Sequence[int | str]] | None) -> Graph:
    """What a function returns, not normalized."""
    from hexaquant.frontends.onnx_file import load_written

    made = _call(text)
    if isinstance(made, tuple) and len(made) in (2, 3) and hasattr(made[0], "named_parameters"):
        inputs = made[1] if isinstance(made[1], (tuple, list)) else (made[1],)
        return load_written(made[0], inputs, made[2] if len(made) == 3 else None, shapes)
    return load_made(made, text, shapes)


def _call(text: str) -> Any:
    function = find_object(text, "the model")
    if not callable(function):
        return function
    try:
        return function()
    except HexaquantError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(f"the model '{text}' raised {type(error).__name__} ({reason}); repair the function") from error


def load_made(made: Any, text: str, shapes: Mapping[str, Sequence[int | str]] | None) -> Graph:
    """The graph of a function's result."""
    from hexaquant.frontends import load

    if isinstance(made, tuple) and len(made) in (2, 3):
        inputs = made[1] if isinstance(made[1], (tuple, list)) else (made[1],)
        return load(made[0], inputs, made[2] if len(made) == 3 else None, shapes)
    if hasattr(made, "named_parameters"):
        raise InputError(f"the model '{text}' returned only a module; return (module, example_inputs)")
    return load(made, shapes=shapes)
