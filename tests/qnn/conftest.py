"""One small network, lowered and compiled once for all tests of this folder."""

from __future__ import annotations

import pytest

from hexaquant.qnn.compile import compile_dlc
from hexaquant.qnn.lower import lower
from qnn.compiled import ARCH, SOC, Compiled
from qnn.qdq_models import conv_relu


@pytest.fixture(scope="session")
def conv_u8(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """Conv + Relu, uint8 activations, int8 weights, for SM8650."""
    folder = tmp_path_factory.mktemp("conv_u8")
    source = conv_relu(folder / "conv.onnx")
    lowered = lower(source, folder / "conv.dlc", SOC, ARCH)
    return Compiled(source, lowered, compile_dlc(lowered.path, folder / "conv.bin", SOC, ARCH, graph_name="conv"))
