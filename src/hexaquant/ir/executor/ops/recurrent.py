"""LSTM, GRU and RNN. torch's fused kernels where they compute the same thing, else a loop over time (not elements)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from hexaquant.core.errors import UnsupportedOpError
from hexaquant.ir.executor.ops.activation import hard_sigmoid, thresholded_relu

# The activation functions that LSTM, GRU and RNN nodes name in their attributes.

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
    alpha = iter(alphas)
    beta = iter(betas)
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


Lengths = Sequence[int] | Tensor | None
Step = Callable[..., tuple[Tensor, ...]]
_LSTM_ORDER = (0, 2, 3, 1)
"""ONNX orders the gates i, o, f, c; torch i, f, g, o."""
_GRU_ORDER = (1, 0, 2)
"""ONNX orders the gates z, r, h; torch r, z, n."""


def lstm(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    sequence_lens: Lengths = None,
    initial_h: Tensor | None = None,
    initial_c: Tensor | None = None,
    p: Tensor | None = None,
    *,
    activation_alpha: Sequence[float] = (),
    activation_beta: Sequence[float] = (),
    activations: Sequence[str] = (),
    clip: float = 0.0,
    direction: str = "forward",
    hidden_size: int = 0,
    input_forget: int = 0,
    layout: int = 0,
    n_outputs: int = 1,
) -> tuple[Tensor, ...]:
    """x (T, B, I), w (D, 4H, I), r (D, 4H, H), b (D, 8H), states (D, B, H), p (D, 3H) -> (T, D, B, H), state, cell.

    With layout 1 the batch comes first in x, the outputs and the states.
    """
    x, h, c = _time_first(x, r, initial_h, initial_c, layout)
    lengths = _lengths(sequence_lens, x)
    functions, usual = activations_of(
        activations, activation_alpha, activation_beta, ("Sigmoid", "Tanh", "Tanh"), r.shape[0]
    )
    if lengths is None and p is None and not clip and not input_forget and usual:
        params = _torch_params(w, r, b, _LSTM_ORDER)
        y, h, c = _fused(torch.lstm, x, (h, c), params, b is not None, direction)
        return _batch_first((y, h, c), layout)[:n_outputs]
    steps = [
        _lstm_step(r[d], None if p is None else p[d], functions[d], clip, bool(input_forget)) for d in range(r.shape[0])
    ]
    y, states = _loop(x, w, b, (h, c), steps, lengths, direction, both_biases=True)
    return _batch_first((y, *states), layout)[:n_outputs]


def gru(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    sequence_lens: Lengths = None,
    initial_h: Tensor | None = None,
    *,
    activation_alpha: Sequence[float] = (),
    activation_beta: Sequence[float] = (),
    activations: Sequence[str] = (),
    clip: float = 0.0,
    direction: str = "forward",
    hidden_size: int = 0,
    layout: int = 0,
    linear_before_reset: int = 0,
    n_outputs: int = 1,
) -> tuple[Tensor, ...]:
    """x (T, B, I), w (D, 3H, I), r (D, 3H, H), b (D, 6H), initial_h (D, B, H) -> (T, D, B, H), state."""
    x, h = _time_first(x, r, initial_h, None, layout)[:2]
    lengths = _lengths(sequence_lens, x)
    functions, usual = activations_of(activations, activation_alpha, activation_beta, ("Sigmoid", "Tanh"), r.shape[0])
    if lengths is None and not clip and usual and linear_before_reset:
        params = _torch_params(w, r, b, _GRU_ORDER)
        return _batch_first(_fused(torch.gru, x, h, params, b is not None, direction), layout)[:n_outputs]
    hidden = r.shape[2]
    steps = [
        _gru_step(r[d], None if b is None else b[d, 3 * hidden :], functions[d], clip, bool(linear_before_reset))
        for d in range(r.shape[0])
    ]
    y, states = _loop(x, w, b, (h,), steps, lengths, direction, both_biases=False)
    return _batch_first((y, *states), layout)[:n_outputs]


def rnn(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    sequence_lens: Lengths = None,
    initial_h: Tensor | None = None,
    *,
    activation_alpha: Sequence[float] = (),
    activation_beta: Sequence[float] = (),
    activations: Sequence[str] = (),
    clip: float = 0.0,
    direction: str = "forward",
    hidden_size: int = 0,
    layout: int = 0,
    n_outputs: int = 1,
) -> tuple[Tensor, ...]:
    """x (T, B, I), w (D, H, I), r (D, H, H), b (D, 2H), initial_h (D, B, H) -> (T, D, B, H), state."""
    x, h = _time_first(x, r, initial_h, None, layout)[:2]
    lengths = _lengths(sequence_lens, x)
    functions, usual = activations_of(activations, activation_alpha, activation_beta, ("Tanh",), r.shape[0])
    if lengths is None and not clip and usual:
        params = _torch_params(w, r, b, (0,))
        return _batch_first(_fused(torch.rnn_tanh, x, h, params, b is not None, direction), layout)[:n_outputs]
    steps = [_rnn_step(r[d], functions[d], clip) for d in range(r.shape[0])]
    y, states = _loop(x, w, b, (h,), steps, lengths, direction, both_biases=True)
    return _batch_first((y, *states), layout)[:n_outputs]


def _time_first(x: Tensor, r: Tensor, h: Tensor | None, c: Tensor | None, layout: int) -> tuple[Tensor, Tensor, Tensor]:
    """x as (T, B, I) and the states as (D, B, H), zero where absent."""
    x = x.transpose(0, 1) if layout else x
    zero = x.new_zeros(r.shape[0], x.shape[1], r.shape[2])
    h, c = (zero if s is None else (s.transpose(0, 1) if layout else s) for s in (h, c))
    return x, h, c


def _batch_first(results: tuple[Tensor, ...], layout: int) -> tuple[Tensor, ...]:
    if not layout:
        return results
    y, *states = results
    return y.permute(2, 0, 1, 3), *(s.transpose(0, 1) for s in states)


def _lengths(lengths: Lengths, x: Tensor) -> Tensor | None:
    """Lengths as a tensor, or None when all sequences are known to be complete."""
    if lengths is None or isinstance(lengths, Tensor):
        return lengths
    return None if all(n == x.shape[0] for n in lengths) else torch.tensor(lengths, device=x.device)


def _torch_params(w: Tensor, r: Tensor, b: Tensor | None, order: tuple[int, ...]) -> list[Tensor]:
    """Weights in torch's gate order, direction by direction."""

    def reorder(m: Tensor) -> Tensor:
        return torch.cat([m.chunk(len(order))[i] for i in order]) if len(order) > 1 else m

    params = []
    for d in range(w.shape[0]):
        params += [reorder(w[d]), reorder(r[d])]
        if b is not None:
            params += [reorder(part) for part in b[d].chunk(2)]
    return params


def _fused(
    kernel: Callable[..., tuple[Tensor, ...]],
    x: Tensor,
    state: Tensor | tuple[Tensor, Tensor],
    params: list[Tensor],
    has_biases: bool,
    direction: str,
) -> tuple[Tensor, ...]:
    """One layer by torch's kernel; the output as (T, D, B, H)."""
    both = direction == "bidirectional"
    backwards = direction == "reverse"
    y, *states = kernel(x.flip(0) if backwards else x, state, params, has_biases, 1, 0.0, False, both, False)
    y = y.reshape(y.shape[0], y.shape[1], 2 if both else 1, -1).transpose(1, 2)
    return (y.flip(0) if backwards else y), *states


def _loop(
    x: Tensor,
    w: Tensor,
    b: Tensor | None,
    states: tuple[Tensor, ...],
    steps: list[Step],
    lengths: Tensor | None,
    direction: str,
    both_biases: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run each direction's step over time. Input products of all times are one matrix product."""
    outputs = []
    finals = []
    for d, step in enumerate(steps):
        inputs = x @ w[d].t()
        if b is not None:
            inputs = inputs + (b[d, : w.shape[1]] + b[d, w.shape[1] :] if both_biases else b[d, : w.shape[1]])
        backwards = direction == "reverse" or d == 1
        y, final = _scan(inputs, tuple(s[d] for s in states), step, lengths, backwards)
        outputs.append(y)
        finals.append(final)
    return torch.stack(outputs, 1), tuple(torch.stack(s) for s in zip(*finals))


def _scan(
    inputs: Tensor, state: tuple[Tensor, ...], step: Step, lengths: Tensor | None, backwards: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Outputs (T, B, H) and the last state; beyond its length a sequence keeps its state and outputs zero."""
    times = range(inputs.shape[0])
    outputs: list[Tensor] = []
    for t in reversed(times) if backwards else times:
        new = step(inputs[t], *state)
        if lengths is None:
            outputs.append(new[0])
        else:
            alive = (t < lengths)[:, None]
            outputs.append(new[0] * alive)
            new = tuple(torch.where(alive, n, s) for n, s in zip(new, state))
        state = new
    return torch.stack(outputs[::-1] if backwards else outputs), state


def _limit(x: Tensor, clip: float) -> Tensor:
    return x.clamp(-clip, clip) if clip else x


def _lstm_step(r: Tensor, p: Tensor | None, functions: Sequence[Callable], clip: float, input_forget: bool) -> Step:
    f, g, h_function = functions
    pi, po, pf = p.chunk(3) if p is not None else (0.0, 0.0, 0.0)

    def step(x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        i, o, forget, cell = (x + h @ r.t()).chunk(4, -1)
        i = f(_limit(i + pi * c, clip))
        forget = 1 - i if input_forget else f(_limit(forget + pf * c, clip))
        c = forget * c + i * g(_limit(cell, clip))
        return f(_limit(o + po * c, clip)) * h_function(c), c

    return step


def _gru_step(r: Tensor, rb: Tensor | None, functions: Sequence[Callable], clip: float, reset_after: bool) -> Step:
    f, g = functions
    n = r.shape[1]
    bias = r.new_zeros(3 * n) if rb is None else rb

    def step(x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        gates = f(_limit(x[:, : 2 * n] + h @ r[: 2 * n].t() + bias[: 2 * n], clip))
        update, reset = gates.chunk(2, -1)
        if reset_after:
            inner = reset * (h @ r[2 * n :].t() + bias[2 * n :])
        else:
            inner = (reset * h) @ r[2 * n :].t() + bias[2 * n :]
        return ((1 - update) * g(_limit(x[:, 2 * n :] + inner, clip)) + update * h,)

    return step


def _rnn_step(r: Tensor, functions: Sequence[Callable], clip: float) -> Step:
    (f,) = functions

    def step(x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        return (f(_limit(x + h @ r.t(), clip)),)

    return step
