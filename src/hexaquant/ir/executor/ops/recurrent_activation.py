"""The activation functions that LSTM, GRU and RNN nodes name in their attributes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from hexaquant.core.errors import UnsupportedOpError
from hexaquant.ir.executor.ops.activation import hard_sigmoid, thresholded_relu

Function = Callable[[Tensor], Tensor]


def affine(x: Tensor, alpha: float, beta: float) -> Tensor:
    return alpha * x + beta


def scaled_tanh(x: Tensor, alpha: float, beta: float) -> Tensor:
    return alpha * torch.tanh(beta * x)


_PLAIN: dict[str, Function] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "softsign": F.softsign,
    "softplus": F.softplus,
}
_WITH_ALPHA: dict[str, tuple[Callable[..., Tensor], str, float]] = {
    "leakyrelu": (F.leaky_relu, "negative_slope", 0.01),
    "elu": (F.elu, "alpha", 1.0),
    "thresholdedrelu": (thresholded_relu, "alpha", 1.0),
}
_WITH_ALPHA_BETA: dict[str, tuple[Callable[..., Tensor], float, float]] = {
    "hardsigmoid": (hard_sigmoid, 0.2, 0.5),
    "affine": (affine, 1.0, 0.0),
    "scaledtanh": (scaled_tanh, 1.0, 1.0),
}


def activations_of(
    names: Sequence[str], alphas: Sequence[float], betas: Sequence[float], default: Sequence[str], directions: int
) -> tuple[list[tuple[Function, ...]], bool]:
    """The functions of each direction, and whether they are the operator's ``default`` (as without ``names``).

    ``alphas`` and ``betas`` are consumed in order by the functions that take them, as ONNX says.
    Raises UnsupportedOpError for a name that ONNX does not define.
    """
    usual = [name.lower() for name in default] * directions
    wanted = [name.lower() for name in names] or usual
    alpha, beta = iter(alphas), iter(betas)
    functions = [_function(name, alpha, beta) for name in wanted]
    each = len(functions) // directions
    return [tuple(functions[d * each : (d + 1) * each]) for d in range(directions)], wanted == usual


def _function(name: str, alphas: object, betas: object) -> Function:
    if name in _PLAIN:
        return _PLAIN[name]
    if name in _WITH_ALPHA:
        fn, keyword, alpha = _WITH_ALPHA[name]
        return partial(fn, **{keyword: next(alphas, alpha)})  # type: ignore[call-overload]
    if name in _WITH_ALPHA_BETA:
        fn, alpha, beta = _WITH_ALPHA_BETA[name]
        return partial(fn, alpha=next(alphas, alpha), beta=next(betas, beta))  # type: ignore[call-overload]
    raise UnsupportedOpError(f"ONNX defines no recurrent activation '{name}': correct the node's activations attribute")
