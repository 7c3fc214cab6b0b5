"""One small network for every core, convolution, pooling and recurrent layer of Keras (keras_processing.py: the rest).

A network is a function from Keras tensors to Keras tensors. Nothing is imported before it is asked for: Keras takes its
backend from the environment when it is imported first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

IMAGE, LINE, BOX, STEPS, VECTOR = (12, 12, 4), (16, 6), (6, 6, 6, 3), (8, 6), (12,)
WORDS = 16
"""Ids are 0 .. WORDS - 1."""


@dataclass(frozen=True)
class Network:
    """``build(*inputs)`` gives its output; ``shapes`` of the inputs without batch; ``kind`` of the data.

    ``kind``: normal, pixels (0..255), ids, strings, or padded (steps whose last ones are zero).
    """

    build: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]
    kind: str = "normal"


def layer_networks() -> dict[str, Network]:
    """Core, convolution, pooling and recurrent layers by name."""
    return _core() | _convolutions() | _pooling() | _recurrent() | _masked()


def each(shape: tuple[int, ...], kind: str = "normal", **layers: Any) -> dict[str, Network]:
    """``layers`` of one input of ``shape`` by name."""
    return {name: Network(layer, (shape,), kind) for name, layer in layers.items()}


def _core() -> dict[str, Network]:
    import keras
    from keras import layers as kl

    shared = kl.ReversibleEmbedding(WORDS, 8)
    ids = each(
        (8,),
        "ids",
        Embedding=kl.Embedding(WORDS, 8),
        ReversibleEmbedding=lambda x: shared(shared(x), reverse=True),
    )
    return ids | {
        "Dense": Network(kl.Dense(8), (VECTOR,)),
        "Dense on sequences": Network(kl.Dense(8, activation="relu"), (STEPS,)),
        "EinsumDense": Network(kl.EinsumDense("abc,cde->abde", output_shape=(None, 2, 5), bias_axes="de"), (STEPS,)),
        "Activation": Network(kl.Activation("tanh"), (VECTOR,)),
        "Identity": Network(lambda x: kl.Identity()(x) * 2.0, (VECTOR,)),
        "Masking": Network(lambda x: kl.Dense(4)(kl.Masking()(x)), (STEPS,), "padded"),
        "Lambda": Network(kl.Lambda(lambda x: keras.ops.abs(x) + 1), (VECTOR,)),
    }


def _convolutions() -> dict[str, Network]:
    from keras import layers as kl

    image = each(
        IMAGE,
        Conv2D=kl.Conv2D(8, 3),
        Conv2D_same_strided=kl.Conv2D(8, 3, strides=2, padding="same"),
        Conv2D_dilated=kl.Conv2D(8, 3, dilation_rate=2, padding="same"),
        Conv2D_grouped=kl.Conv2D(8, 3, groups=2, activation="relu"),
        SeparableConv2D=kl.SeparableConv2D(8, 3, depth_multiplier=2),
        DepthwiseConv2D=kl.DepthwiseConv2D(3, depth_multiplier=2, padding="same"),
        DepthwiseConv2D_strided=kl.DepthwiseConv2D(3, strides=2, padding="same"),
        Conv2DTranspose=kl.Conv2DTranspose(8, 3),
        Conv2DTranspose_same=kl.Conv2DTranspose(8, 3, strides=2, padding="same"),
        Conv2DTranspose_even=kl.Conv2DTranspose(8, 4, strides=2, padding="same"),
        Conv2DTranspose_output_padding=kl.Conv2DTranspose(8, 3, strides=2, padding="same", output_padding=1),
    )
    line = each(
        LINE,
        Conv1D=kl.Conv1D(8, 3),
        Conv1D_causal=kl.Conv1D(8, 3, padding="causal", dilation_rate=2),
        SeparableConv1D=kl.SeparableConv1D(8, 3, padding="same"),
        DepthwiseConv1D=kl.DepthwiseConv1D(3, strides=2, padding="same"),
        Conv1DTranspose=kl.Conv1DTranspose(8, 3, strides=2, padding="same"),
    )
    box = each(
        BOX,
        Conv3D=kl.Conv3D(8, 3, padding="same", activation="relu"),
        Conv3D_strided=kl.Conv3D(8, 3, strides=2),
        Conv3DTranspose=kl.Conv3DTranspose(4, 2, strides=2),
    )
    return image | line | box


def _pooling() -> dict[str, Network]:
    from keras import layers as kl

    found: dict[str, Network] = {}
    for rank, shape in ((1, LINE), (2, IMAGE), (3, BOX)):
        for kind in ("Max", "Average"):
            pool = getattr(kl, f"{kind}Pooling{rank}D")
            whole = getattr(kl, f"Global{kind}Pooling{rank}D")
            adaptive = getattr(kl, f"Adaptive{kind}Pooling{rank}D", None)
            found[f"{kind}Pooling{rank}D"] = Network(pool(2), (shape,))
            found[f"{kind}Pooling{rank}D_same"] = Network(pool(3, strides=2, padding="same"), (shape,))
            found[f"Global{kind}Pooling{rank}D"] = Network(whole(), (shape,))
            found[f"Global{kind}Pooling{rank}D_keepdims"] = Network(whole(keepdims=True), (shape,))
            if adaptive is not None:
                found[f"Adaptive{kind}Pooling{rank}D"] = Network(adaptive(3), (shape,))
    return found


def _recurrent() -> dict[str, Network]:
    from keras import layers as kl

    cells = [kl.LSTMCell(5), kl.GRUCell(4)]
    one = each(
        STEPS,
        LSTM=kl.LSTM(5),
        LSTM_sequences=kl.LSTM(5, return_sequences=True),
        LSTM_states=lambda x: list(kl.LSTM(5, return_state=True)(x)),
        LSTM_backwards=kl.LSTM(5, go_backwards=True, return_sequences=True),
        LSTM_no_bias=kl.LSTM(5, use_bias=False),
        LSTM_hard=kl.LSTM(5, recurrent_activation="hard_sigmoid", activation="relu"),
        GRU=kl.GRU(5),
        GRU_sequences=kl.GRU(5, return_sequences=True),
        GRU_reset_before=kl.GRU(5, reset_after=False, return_sequences=True),
        SimpleRNN=kl.SimpleRNN(5),
        SimpleRNN_sequences=kl.SimpleRNN(5, return_sequences=True),
        SimpleRNN_relu=kl.SimpleRNN(5, activation="relu"),
        RNN_LSTMCell=kl.RNN(kl.LSTMCell(5), return_sequences=True),
        RNN_GRUCell=kl.RNN(kl.GRUCell(5)),
        RNN_SimpleRNNCell=kl.RNN(kl.SimpleRNNCell(5)),
        StackedRNNCells=kl.RNN(kl.StackedRNNCells(cells)),
        Bidirectional_LSTM=kl.Bidirectional(kl.LSTM(5, return_sequences=True)),
        Bidirectional_LSTM_last=kl.Bidirectional(kl.LSTM(5)),
        Bidirectional_GRU_sum=kl.Bidirectional(kl.GRU(5, return_sequences=True), merge_mode="sum"),
        Bidirectional_SimpleRNN=kl.Bidirectional(kl.SimpleRNN(5)),
        TimeDistributed=kl.TimeDistributed(kl.Dense(5)),
        stacked_LSTM=lambda x: kl.LSTM(4)(kl.LSTM(5, return_sequences=True)(x)),
    )
    film = each(
        (4, 8, 8, 3),
        TimeDistributed_Conv2D=kl.TimeDistributed(kl.Conv2D(4, 3)),
        ConvLSTM2D=kl.ConvLSTM2D(4, 3, padding="same"),
        ConvLSTM2D_sequences=kl.ConvLSTM2D(4, 3, return_sequences=True),
    )
    state = ((5,), (5,))
    return (
        one
        | film
        | {
            "ConvLSTM1D": Network(kl.ConvLSTM1D(4, 3), ((4, 8, 3),)),
            "ConvLSTM3D": Network(kl.ConvLSTM3D(2, 3), ((3, 5, 5, 5, 2),)),
            "LSTM initial state": Network(
                lambda x, h, c: list(kl.LSTM(5, return_state=True)(x, initial_state=[h, c])), (STEPS, *state)
            ),
            "GRU initial state": Network(lambda x, h: kl.GRU(5)(x, initial_state=h), (STEPS, (5,))),
        }
    )


def _masked() -> dict[str, Network]:
    from keras import layers as kl

    ids = each(
        (8,),
        "ids",
        mask_zero_LSTM=lambda x: kl.LSTM(5)(kl.Embedding(WORDS, 6, mask_zero=True)(x)),
        mask_zero_GRU=lambda x: kl.GRU(5, return_sequences=True)(kl.Embedding(WORDS, 6, mask_zero=True)(x)),
        mask_zero_Bidirectional=lambda x: kl.Bidirectional(kl.LSTM(5))(kl.Embedding(WORDS, 6, mask_zero=True)(x)),
        mask_zero_pool=lambda x: kl.GlobalAveragePooling1D()(kl.Embedding(WORDS, 6, mask_zero=True)(x)),
        mask_zero_attention=lambda x: _attend(kl.Embedding(WORDS, 6, mask_zero=True)(x)),
    )
    return ids | each(
        STEPS,
        "padded",
        Masking_LSTM=lambda x: kl.LSTM(5, return_sequences=True)(kl.Masking()(x)),
        Masking_SimpleRNN=lambda x: kl.SimpleRNN(5)(kl.Masking()(x)),
        Masking_TimeDistributed=lambda x: kl.GRU(4)(kl.TimeDistributed(kl.Dense(5))(kl.Masking()(x))),
    )


def _attend(x: Any) -> Any:
    from keras import layers as kl

    return kl.MultiHeadAttention(2, 3)(x, x)
