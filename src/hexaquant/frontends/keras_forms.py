"""While a Keras model is exported, some of its computations take the form that ONNX has operators for.

* A recurrent layer of the usual cell is one LSTM, GRU or RNN; one with a mask, another cell or other activations
  is its steps, one after another. (Keras' own loop counts in a tensor, which no static graph holds.)
* BatchNormalization is that operator and not its arithmetic, so that it folds and its parameters keep their names.
* Adaptive pooling, whose windows may differ in size, is one window beside the other, axis by axis.

All are what Keras computes, in inference. The functions replaced are Keras' own of its PyTorch backend.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

GATES = {"LSTMCell": (0, 3, 1, 2), "GRUCell": (0, 1, 2), "SimpleRNNCell": (0,)}
"""For each of ONNX's gates the place of Keras': i f c o to i o f c; both have z r h."""
OPERATORS = {"LSTMCell": "LSTM", "GRUCell": "GRU", "SimpleRNNCell": "RNN"}
DEFAULTS = {"LSTMCell": ("sigmoid", "tanh"), "GRUCell": ("sigmoid", "tanh"), "SimpleRNNCell": ("", "tanh")}
"""Activations of the gates and of the candidate that the operators have by default."""

LAYOUT = "_maybe_convert_to_channels_last"
"""Keras' function that copies for speed, which a graph does not need."""


@contextlib.contextmanager
def exportable_forms() -> Iterator[None]:
    """Within, Keras (on PyTorch) computes recurrent layers and BatchNormalization as above; restored afterwards."""
    import keras
    from keras.src import backend

    layers = keras.layers
    with contextlib.ExitStack() as stack:
        for kind in (layers.RNN, layers.LSTM, layers.GRU):
            stack.enter_context(_replaced(kind, "inner_loop", _inner_loop(kind.inner_loop)))
        stack.enter_context(_replaced(backend, "rnn", unrolled))
        stack.enter_context(_replaced(backend.nn, "batch_normalization", batch_normalization))
        for kind, reduce in (("average", torch.mean), ("max", torch.amax)):
            stack.enter_context(_replaced(backend.nn, f"adaptive_{kind}_pool", _adaptive_pool(reduce)))
        stack.enter_context(_replaced(backend.nn, LAYOUT, lambda tensor: tensor))
        yield


@contextlib.contextmanager
def _replaced(owner: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    before = getattr(owner, name, None)
    if before is None:  # a Keras without this layer
        yield
        return
    setattr(owner, name, function)
    try:
        yield
    finally:
        setattr(owner, name, before)


def batch_normalization(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    axis: int,
    offset: Tensor | None = None,
    scale: Tensor | None = None,
    epsilon: float = 1e-3,
) -> Tensor:
    """(x - mean) scale / sqrt(variance + epsilon) + offset along ``axis``, by the operator (channels second)."""
    moved = torch.movedim(x, axis, 1)
    normal = torch.nn.functional.batch_norm(moved, mean, variance, scale, offset, training=False, eps=epsilon)
    return torch.movedim(normal, 1, axis)


def _adaptive_pool(reduce: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Pooling to n windows an axis of length L: window i is [floor(i L / n), ceil((i + 1) L / n))."""

    def adaptive_pool(inputs: Tensor, output_size: Any, data_format: str | None = None) -> Tensor:
        import keras

        first = 2 if (data_format or keras.config.image_data_format()) == "channels_first" else 1
        rank = inputs.dim() - 2
        for axis, n in enumerate([output_size] * rank if isinstance(output_size, int) else output_size, first):
            length = inputs.shape[axis]
            bounds = [(i * length // n, -(-(i + 1) * length // n)) for i in range(n)]
            windows = [inputs.narrow(axis, low, high - low) for low, high in bounds]
            inputs = torch.cat([reduce(window, dim=axis, keepdim=True) for window in windows], axis)
        return inputs

    return adaptive_pool


def _inner_loop(original: Callable[..., Any]) -> Callable[..., Any]:
    def inner_loop(layer: Any, sequences: Tensor, initial_state: Any, mask: Any, training: bool = False) -> Any:
        kind = type(layer.cell).__name__
        if mask is None and kind in OPERATORS and _is_plain(layer.cell, kind):
            return _whole(layer, kind, sequences, initial_state)
        # a mask or another cell: Keras' steps, through ``unrolled``
        return original(layer, sequences, initial_state, mask, training)

    return inner_loop


def _is_plain(cell: Any, kind: str) -> bool:
    """True when the operator of ``kind`` has the cell's activations."""
    inner, outer = (getattr(getattr(cell, n, None), "__name__", "") for n in ("recurrent_activation", "activation"))
    return (inner, outer) == DEFAULTS[kind]


def _whole(layer: Any, kind: str, sequences: Tensor, initial_state: Any) -> tuple[Tensor, Tensor, list[Tensor]]:
    """(last output, outputs (batch, steps, units), last states) of one operator."""
    cell = layer.cell
    units = int(cell.units)
    batch, steps = sequences.shape[:2]
    states = list(initial_state) if isinstance(initial_state, list | tuple) else [initial_state]
    attributes: dict[str, Any] = {"hidden_size": units, "direction": "reverse" if layer.go_backwards else "forward"}
    if kind == "GRUCell":
        attributes["linear_before_reset"] = int(cell.reset_after)
    outputs = torch.onnx.ops.symbolic_multi_out(
        OPERATORS[kind],
        [sequences.transpose(0, 1), *_parameters(cell, kind), None, *(state.unsqueeze(0) for state in states)],
        attributes,
        dtypes=[sequences.dtype] * (1 + len(states)),
        shapes=[(steps, 1, batch, units), *[(1, batch, units)] * len(states)],
        version=21,
    )
    last = [state.squeeze(0) for state in outputs[1:]]
    whole = outputs[0].squeeze(1).transpose(0, 1)
    if layer.go_backwards and layer.return_sequences:
        whole = whole.flip(1)  # Keras: in the order in which the steps were taken
    return last[0], whole, last


def _parameters(cell: Any, kind: str) -> list[Tensor | None]:
    """ONNX's W (1, gates * units, inputs), R and B (1, 2 * gates * units) of ``cell``."""
    order = GATES[kind]

    def arranged(matrix: Tensor) -> Tensor:
        gates = matrix.chunk(len(order), -1)
        return torch.cat([gates[place] for place in order], -1)

    w, r = (arranged(torch.as_tensor(k)).transpose(0, 1).unsqueeze(0) for k in _kernels(cell))
    if cell.bias is None:
        return [w, r, None]
    bias = cell.bias.value
    rows = [arranged(row) for row in bias] if bias.dim() == 2 else [arranged(bias), torch.zeros_like(bias)]
    return [w, r, torch.cat(rows).unsqueeze(0)]


def _kernels(cell: Any) -> tuple[Tensor, Tensor]:
    return cell.kernel.value, cell.recurrent_kernel.value


def unrolled(
    step_function: Callable[..., Any],
    inputs: Any,
    initial_states: Any,
    go_backwards: bool = False,
    mask: Tensor | None = None,
    constants: Sequence[Tensor] | None = None,
    unroll: bool = False,
    input_length: Any = None,
    time_major: bool = False,
    zero_output_for_mask: bool = False,
    return_all_outputs: bool = True,
) -> tuple[Tensor, Tensor, Any]:
    """Keras' ``backend.rnn``, step by step: (last output, outputs, last states). A masked step keeps its state."""
    import keras

    time = 0 if time_major else 1
    steps = keras.tree.flatten(inputs)[0].shape[time]
    states = tuple(initial_states)
    outputs: list[Tensor] = []
    for step in reversed(range(steps)) if go_backwards else range(steps):
        now = keras.tree.map_structure(lambda x: x.select(time, step), inputs)  # noqa: B023
        output, new = step_function(now, (*states, *(constants or ())))
        if mask is not None:
            seen = mask.select(time, step).bool()
            kept = torch.zeros_like(output) if zero_output_for_mask or not outputs else outputs[-1]
            output = _where(seen, output, kept)
            new = [_where(seen, after, before) for after, before in zip(new, states, strict=True)]
        states = tuple(new)
        outputs.append(output)
    every = outputs if return_all_outputs else outputs[-1:]
    return outputs[-1], torch.stack(every, time), states


def _where(seen: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """``new`` in the samples that are ``seen`` (batch,), ``old`` in the others."""
    return torch.where(seen.reshape(-1, *[1] * (new.dim() - 1)), new, old)
