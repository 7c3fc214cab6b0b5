"""Cases of Resize, sampling, recurrent layers, attention and Fourier transforms."""

from __future__ import annotations

import numpy as np

from ..op_case import OpCase
from .data import f32, i64, normal, scalar, uniform

IMAGE = normal(2, 3, 5, 6)
UP, DOWN, TWICE = f32(1, 1, 1.6, 2.3), f32(1, 1, 0.6, 0.5), f32(1, 1, 2, 3)
_TRANSFORMS = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric")


def _resize(
    name: str, scales: np.ndarray | None = None, sizes: np.ndarray | None = None, **attributes: object
) -> OpCase:
    x = attributes.pop("x", IMAGE)
    held = (2,) if sizes is None else (3,)
    inputs = (x, None, scales) if sizes is None else (x, None, None, sizes)
    return OpCase("Resize", inputs, attributes, name, constant=held)  # type: ignore[arg-type]


_RESIZE = [
    *(
        _resize(f"{mode}_{t}_{n}", s, mode=mode, coordinate_transformation_mode=t)
        for mode in ("nearest", "linear", "cubic")
        for t in _TRANSFORMS
        for n, s in (("up", UP), ("down", DOWN))
    ),
    *(
        _resize(f"nearest_{r}", UP, mode="nearest", nearest_mode=r, coordinate_transformation_mode="asymmetric")
        for r in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
    ),
    _resize(
        "nearest_integer_asymmetric_floor", TWICE, nearest_mode="floor", coordinate_transformation_mode="asymmetric"
    ),
    _resize("nearest_integer_half_pixel", TWICE),
    _resize("linear_sizes", sizes=i64(2, 3, 9, 4), mode="linear"),
    _resize("cubic_sizes", sizes=i64(2, 3, 9, 4), mode="cubic"),
    _resize("nearest_sizes", sizes=i64(2, 3, 10, 12)),
    _resize("cubic_exclude_outside", UP, mode="cubic", exclude_outside=1, cubic_coeff_a=-0.5),
    *(_resize(f"linear_antialias{e}", DOWN, mode="linear", antialias=1, exclude_outside=e) for e in (0, 1)),
    _resize("cubic_antialias", DOWN, mode="cubic", antialias=1, cubic_coeff_a=-0.5),
    _resize("linear_1d", f32(1, 1, 2.5), mode="linear", x=normal(2, 3, 7)),
    _resize("linear_3d", f32(1, 1, 2, 1.5, 2), mode="linear", x=normal(1, 2, 3, 4, 3)),
    _resize("axes", f32(2.0, 0.5), mode="linear", axes=[2, 3]),
    _resize("channels_last", f32(1, 2, 2, 1), mode="linear"),
    _resize("not_larger", sizes=i64(9, 9), axes=[2, 3], keep_aspect_ratio_policy="not_larger", mode="linear"),
    OpCase(
        "Resize",
        (normal(1, 1, 5, 6), f32(0, 0, 0.2, -0.1, 1, 1, 0.8, 1.2), None, i64(1, 1, 4, 5)),
        {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 9.0},
        "crop",
        constant=(1, 3),
    ),
]
_GRID = uniform(-1.2, 1.2, 2, 4, 3, 2)
_SAMPLING = [
    *(
        OpCase("GridSample", (IMAGE, _GRID), {"mode": m, "padding_mode": p, "align_corners": a}, f"{m}_{p}_{a}")
        for m in ("linear", "nearest", "cubic")
        for p in ("zeros", "border", "reflection")
        for a in (0, 1)
    ),
    OpCase("AffineGrid", (normal(2, 2, 3), i64(2, 3, 4, 5)), constant=(1,)),
    OpCase("Col2Im", (normal(1, 12, 20), i64(5, 6), i64(2, 2)), {"pads": [0, 0, 0, 0]}, constant=(1, 2)),
    OpCase(
        "RoiAlign",
        (IMAGE, f32(0, 0, 4, 3, 1, 1, 5, 4, -3, -1, 9, 2).reshape(3, 4), i64(0, 1, 0)),
        {"output_height": 2, "output_width": 3, "sampling_ratio": 2},
        constant=(2,),
    ),
    OpCase(
        "RoiAlign",
        (IMAGE, f32(0, 0, 8, 6, 2, 2, 6, 8).reshape(2, 4), i64(1, 0)),
        {
            "output_height": 2,
            "output_width": 2,
            "spatial_scale": 0.5,
            "coordinate_transformation_mode": "output_half_pixel",
        },
        "adaptive",
        constant=(2,),
    ),
]


def _recurrent(op: str, gates: int, name: str, states: int, *, lengths: bool = False, **attributes: object) -> OpCase:
    d = 2 if attributes.get("direction") == "bidirectional" else 1
    time_first = not attributes.get("layout")
    x = normal(5, 3, 4) if time_first else normal(3, 5, 4)
    w, r, b = 0.5 * normal(d, gates * 6, 4), 0.5 * normal(d, gates * 6, 6), 0.5 * normal(d, 2 * gates * 6)
    state = normal(d, 3, 6) if time_first else normal(3, d, 6)
    inputs = [x, w, r, b, np.array([5, 2, 4], np.int32) if lengths else None, *[state] * states]
    if attributes.pop("peepholes", False):
        inputs.append(0.5 * normal(d, 18))
    attributes = {"hidden_size": 6, **attributes}
    outputs = 3 if op == "LSTM" else 2
    return OpCase(op, tuple(inputs), attributes, name, outputs=outputs, constant=(1, 2, 3, 4))  # type: ignore[arg-type]


_KINDS = [("LSTM", 4, 2), ("GRU", 3, 1), ("RNN", 1, 1)]
_RECURRENT = [
    *(
        _recurrent(op, gates, f"{direction}_{n}_states", n, direction=direction)
        for op, gates, states in _KINDS
        for direction in ("forward", "reverse", "bidirectional")
        for n in (0, states)
    ),
    *(_recurrent(op, gates, "lengths", n, lengths=True, direction="bidirectional") for op, gates, n in _KINDS),
    *(_recurrent(op, gates, "clip", n, clip=0.3) for op, gates, n in _KINDS),
    *(
        _recurrent("GRU", 3, f"linear_before_reset_{d}", 1, linear_before_reset=1, direction=d)
        for d in ("forward", "reverse", "bidirectional")
    ),
    _recurrent("LSTM", 4, "peepholes", 2, peepholes=True),
    _recurrent("LSTM", 4, "input_forget", 2, input_forget=1),
    _recurrent("LSTM", 4, "activations", 2, activations=["HardSigmoid", "Relu", "Tanh"]),
    _recurrent("RNN", 1, "relu", 1, activations=["Relu"]),
    _recurrent(
        "RNN",
        1,
        "leaky_elu",
        1,
        activations=["LeakyRelu", "Elu"],
        activation_alpha=[0.2, 0.5],
        direction="bidirectional",
    ),
]
_Q, _K, _V = normal(2, 4, 5, 8), normal(2, 4, 6, 8), normal(2, 4, 6, 7)
_ATTENTION = [
    OpCase("Attention", (_Q, _K, _V), opset=23),
    OpCase("Attention", (_Q, _K, _V, normal(5, 6)), {"scale": 0.2}, "mask", opset=23),
    OpCase("Attention", (_Q, _K, _V, np.tril(np.ones((5, 6), bool))), name="boolean_mask", opset=23),
    OpCase("Attention", (_Q, _K, _V), {"is_causal": 1}, "causal", opset=23),
    OpCase("Attention", (_Q, _K, _V), {"softcap": 2.0}, "softcap", opset=23),
    OpCase("Attention", (_Q, _K[:, :2], _V[:, :2]), name="grouped", opset=23),
    OpCase(
        "Attention",
        (normal(2, 5, 32), normal(2, 6, 32), normal(2, 6, 28)),
        {"q_num_heads": 4, "kv_num_heads": 4},
        "flat",
        opset=23,
    ),
    OpCase(
        "Attention",
        (_Q, _K, _V, None, normal(2, 4, 3, 8), normal(2, 4, 3, 7)),
        name="cache",
        outputs=3,
        opset=23,
    ),
    *(
        OpCase(
            "RotaryEmbedding", (_Q, normal(2, 5, 4), normal(2, 5, 4)), {"interleaved": i}, f"interleaved{i}", opset=23
        )
        for i in (0, 1)
    ),
    OpCase(
        "RotaryEmbedding",
        (normal(2, 5, 32), normal(9, 4), normal(9, 4), np.arange(10).reshape(2, 5) % 9),
        {"num_heads": 4},
        "flat_positions",
        opset=23,
    ),
]
_SPECTRAL = [
    OpCase("STFT", (normal(2, 64, 1), scalar(8, np.int64), uniform(0, 1, 16)), constant=(1, 2), atol=1e-4),
    OpCase(
        "STFT",
        (normal(2, 64, 1), scalar(8, np.int64), None, scalar(16, np.int64)),
        {"onesided": 0},
        "two_sided",
        constant=(1, 3),
        atol=1e-4,
    ),
    OpCase("DFT", (normal(2, 16, 1), None, scalar(1, np.int64)), {"onesided": 1}, constant=(2,), atol=1e-4),
    OpCase("DFT", (normal(2, 16, 2), None, scalar(1, np.int64)), {"inverse": 1}, "inverse", constant=(2,), atol=1e-4),
]

CASES = [*_RESIZE, *_SAMPLING, *_RECURRENT, *_ATTENTION, *_SPECTRAL]
