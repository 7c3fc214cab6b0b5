"""Which constants are the FP32 values of a quantized network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as oir
import pytest
import torch

from analysis.nets import exported, residual_net, samples
from hexaquant.analysis.float_values import find_float_values
from hexaquant.folder.artifacts import FLOAT, REFERENCE, load_quantized
from hexaquant.ir.graph import Graph, constant

SAMPLE = {"x": torch.from_numpy(samples(2))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("float"))


def read(path: Path) -> Graph:
    return Graph(oir.load(path), str(path))


def test_the_folder_keeps_them_beside_the_weights_on_the_grid(folder: Path) -> None:
    model, reference = load_quantized(folder), read(folder / REFERENCE)
    found = find_float_values(model, [read(folder / FLOAT)], reference, SAMPLE)
    wanted = constant(residual_net().initializers["w4"])
    assert wanted is not None and np.array_equal(found["w4"].numpy(), wanted)
    assert not torch.equal(found["w4"], model.parameters_by_name()["w4"])


def test_constants_from_before_equalization_are_not_taken(folder: Path) -> None:
    """The same function with channels scaled up in one layer and down in the next: its constants do not mix."""
    other, factor = residual_net(), np.float32(7)
    for name, change in (("w4", factor), ("b4", factor), ("w5", 1 / factor)):
        value = other.initializers[name]
        value.const_value = oir.tensor((constant(value) * change).astype(np.float32), name=name)
    model, reference = load_quantized(folder), read(folder / REFERENCE)
    assert find_float_values(model, [other], reference, SAMPLE) == {}
    assert find_float_values(model, [other, reference], reference, SAMPLE)
