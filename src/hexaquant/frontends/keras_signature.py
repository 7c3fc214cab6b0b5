"""What a Keras model of any backend says of itself: inputs, outputs, layers and variables by the user's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hexaquant.core.errors import InputError
from hexaquant.ir.edit import unique_name

Shapes = Mapping[str, Sequence[int | str]]


def input_signature(
    model: Any, source: str, shapes: Shapes, examples: Sequence[Any] | None
) -> tuple[list[str], list[tuple[list[int | None], Any]]]:
    """Names of the inputs of ``model``, and for each its shape (None: a free batch) and type.

    ``examples``: arrays, needed where the model does not know its inputs (a subclassed model). Raises InputError naming
    the input whose shape is open.
    """
    known = getattr(model, "inputs", None)
    if known:
        names = [_input_name(t) for t in known]
        given: list[tuple[list[int | None], Any]] = [(list(t.shape), t.dtype) for t in known]
    elif examples is not None:
        arrays = [np.asarray(example) for example in examples]
        names = ["input" if len(arrays) == 1 else f"input_{i}" for i in range(len(arrays))]
        given = [([None, *a.shape[1:]], a.dtype) for a in arrays]
    else:
        raise InputError(f"{source}: the model does not know its inputs; give example_inputs=(array, ...)")
    unknown = [name for name in shapes if name not in names]
    if unknown:
        raise InputError(f"{source} has no input '{unknown[0]}'; its inputs are {', '.join(names)}")
    return names, [(_shape(source, n, shape, shapes), dtype) for n, (shape, dtype) in zip(names, given)]


def _input_name(tensor: Any) -> str:
    history = getattr(tensor, "_keras_history", None)
    operation = getattr(history, "operation", None) or getattr(history, "layer", None)
    return str(getattr(operation, "name", None) or tensor.name)


def _shape(source: str, name: str, shape: list[int | None], shapes: Shapes) -> list[int | None]:
    if name in shapes:
        if len(shapes[name]) != len(shape):
            raise InputError(f"{source}: input '{name}' has {len(shape)} dimensions but {len(shapes[name])} were given")
        return [d if isinstance(d, int) else None for d in shapes[name]]
    if any(dim is None for dim in shape[1:]):
        dims = ",".join("?" if d is None else str(d) for d in shape)
        raise InputError(
            f"{source}: input '{name}' has free dimensions ({dims}) and the target needs fixed ones; give its shape, "
            f"e.g. --shape {name}={','.join('1' if i == 0 else str(d or 224) for i, d in enumerate(shape))} "
            "(shapes={...} in Python)"
        )
    return shape


def output_names(model: Any, count: int) -> list[str]:
    """Names of the ``count`` outputs of ``model``: those of the layers they come from where these differ."""
    names = list(getattr(model, "output_names", None) or ())
    if len(names) != count or len(set(names)) != count:
        names = ["output"] if count == 1 else [f"output_{i}" for i in range(count)]
    return names


def layer_names(model: Any) -> tuple[str, ...]:
    """Names of all layers of ``model``, nested ones included."""
    flatten = getattr(model, "_flatten_layers", None)
    layers = list(flatten(include_self=False)) if flatten is not None else list(getattr(model, "layers", ()))
    return tuple(dict.fromkeys(layer.name for layer in layers))


def variable_names(model: Any) -> list[tuple[str, Any]]:
    """(unique name, variable) of every weight of ``model``: its path ("block/conv/kernel") without ":0"."""
    taken: set[str] = set()
    named = []
    for variable in model.weights:
        path = getattr(variable, "path", None) or variable.name
        name = unique_name(path.removesuffix(":0"), taken)
        taken.add(name)
        named.append((name, variable))
    return named
