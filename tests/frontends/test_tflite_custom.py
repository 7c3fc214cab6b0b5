"""MediaPipe's custom operators against their float kernels written out in numpy: no interpreter has them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flatbuffers import flexbuffers

from frontends.tflite_networks import computed, imported, normal, one_operator
from hexaquant.core.errors import UnsupportedOpError
from hexaquant.frontends.tflite.flexbuffer import read_map

Arrays = Sequence[np.ndarray]


def outputs_of(folder: Path, kind: str, options: bytes, inputs: Arrays, shapes: Any, constants: Arrays = ()) -> Any:
    data = one_operator(kind, options, [*inputs, *constants], shapes, given=len(inputs))
    return computed(imported(folder, data), inputs)


@pytest.mark.parametrize(("padding", "kernel", "size"), [(1, 3, (8, 12)), (2, 2, (8, 12)), (2, 3, (9, 13))])
def test_transposed_convolution_with_a_bias(tmp_path: Path, padding: int, kernel: int, size: tuple[int, int]) -> None:
    x, w, b = normal(1, 4, 6, 3), normal(5, kernel, kernel, 3, seed=1), normal(5, seed=2)
    before = max(3 * 2 + kernel - size[0], 0) // 2 if padding == 1 else 0
    wanted = np.zeros((1, *size, 5), np.float64)
    for row, column, i, j in np.ndindex(4, 6, kernel, kernel):
        at = (2 * row - before + i, 2 * column - before + j)
        if 0 <= at[0] < size[0] and 0 <= at[1] < size[1]:
            wanted[0, at[0], at[1]] += w[:, i, j].astype(np.float64) @ x[0, row, column]
    options = struct.pack("<3i", padding, 2, 2)
    got = outputs_of(tmp_path, "Convolution2DTransposeBias", options, [x], [wanted.shape], [w, b])[0]
    assert np.abs(wanted + b - got).max() < 1e-5


def test_pooling_and_unpooling_with_places(tmp_path: Path) -> None:
    x = normal(1, 6, 8, 3)
    options = struct.pack("<6i", 2, 2, 3, 2, 3, 0)  # padding, strides and windows: width, then height
    tiles = x.reshape(1, 2, 3, 4, 2, 3).transpose(0, 1, 3, 5, 2, 4).reshape(1, 2, 4, 3, 6)
    shape = (1, 2, 4, 3)
    largest, places = outputs_of(tmp_path, "MaxPoolingWithArgmax2D", options, [x], [shape, shape])
    assert (largest == tiles.max(-1)).all() and (places == tiles.argmax(-1)).all()
    back = outputs_of(tmp_path, "MaxUnpooling2D", options, [largest, places + np.float32(0.1)], [x.shape])[0]
    wanted = np.where(x == np.repeat(np.repeat(largest, 3, 1), 2, 2), x, 0)
    assert (back == wanted).all()
    with pytest.raises(UnsupportedOpError, match="MaxPoolingWithArgmax2D 't1' has windows of 3x3 at steps of 2x2"):
        outputs_of(tmp_path, "MaxPoolingWithArgmax2D", struct.pack("<6i", 2, 2, 2, 3, 3, 0), [x], [shape, shape])


def matrix_of(points: np.ndarray, options: dict[str, Any]) -> np.ndarray:
    """Shift, rotation, scale and shift, as 4x4 matrices."""
    left, right = (points[0, options[f"{side}_rotation_idx"]] for side in ("left", "right"))
    turn = options["target_rotation_radians"] - np.arctan2(right[1] - left[1], right[0] - left[0])

    def rotation(angle: float) -> np.ndarray:
        matrix = np.eye(4)
        matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        return matrix

    chosen = points[0, options["subset_idxs"], :2] @ rotation(turn)[:2, :2].T
    low, high = chosen.min(0), chosen.max(0)
    size = np.array([options["output_width"], options["output_height"]])
    first, scale, last = np.eye(4), np.eye(4), np.eye(4)
    first[:2, 3] = rotation(-turn)[:2, :2] @ ((low + high) / 2)
    scale[[0, 1], [0, 1]] = [options["scale_x"], options["scale_y"]] * (high - low) / size
    last[:2, 3] = -size / 2
    return first @ rotation(-turn) @ scale @ last


@pytest.mark.parametrize("target", [0.0, 0.4])
def test_a_crop_around_landmarks(tmp_path: Path, target: float) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(8, 22, (1, 20, 3)).astype(np.float32)
    options = {
        "left_rotation_idx": 3, "right_rotation_idx": 11, "target_rotation_radians": target, "scale_x": 1.1,
        "scale_y": 0.9, "output_width": 8, "output_height": 6, "subset_idxs": [1, 5, 7, 19, 300 % 20, 2],
    }  # fmt: skip
    packed = bytes(flexbuffers.Dumps(options))
    assert read_map(packed) == options
    matrix = outputs_of(tmp_path, "Landmarks2TransformMatrix", packed, [points], [(1, 4, 4)])[0]
    wanted = matrix_of(points.astype(np.float64), options)
    assert np.abs(matrix[0] - wanted).max() < 1e-4

    image = normal(1, 30, 32, 4)
    size = bytes(flexbuffers.Dumps({"output_width": 8, "output_height": 6}))
    crop = outputs_of(tmp_path, "TransformTensorBilinear", size, [image, matrix], [(1, 6, 8, 4)])[0]
    for row, column in np.ndindex(6, 8):
        x, y = (matrix[0, :2] @ np.array([column + 0.5, row + 0.5, 0, 1])) - 0.5
        i, j = int(np.floor(y)), int(np.floor(x))
        corners = image[0, i : i + 2, j : j + 2]
        assert corners.shape[:2] == (2, 2), "the crop lies within the image"
        across = corners[:, 0] * (j + 1 - x) + corners[:, 1] * (x - j)
        assert np.abs(across[0] * (i + 1 - y) + across[1] * (y - i) - crop[0, row, column]).max() < 1e-3

    back = outputs_of(
        tmp_path, "TransformLandmarks", bytes(flexbuffers.Dumps({"dimensions": 3})), [points, matrix], [points.shape]
    )[0]
    placed = np.concatenate([points[0, :, :2], np.zeros((20, 1)), np.ones((20, 1))], 1) @ matrix[0].T
    assert np.abs(back[0, :, :2] - placed[:, :2]).max() < 1e-3 and (back[..., 2] == points[..., 2]).all()
