"""The simulation made from AIMET's QDQ models computes what those models compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as oir
import pytest
import torch

from hexaquant.htp.scheme import SCHEMES
from hexaquant.htp.soc import find_target
from hexaquant.io.qdq_reader import from_qdq
from hexaquant.ir.graph import Graph
from hexaquant.sim.imported import plan_from_encodings
from hexaquant.sim.model import QuantizedModel
from ir.onnx_text import run

FILES = sorted((Path(__file__).parent.parent / "data" / "aimet").glob("*qdq*.onnx"))
SAMPLES = 32


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_simulation_equals_aimets_qdq_model_within_one_step(path: Path) -> None:
    original = Graph(oir.load(path), path.name)
    batch = original.inputs[0].shape[0] if original.inputs[0].shape is not None else None
    graph, encodings = from_qdq(original)
    model = QuantizedModel(graph, plan_from_encodings(graph, encodings, find_target("sm8650"), SCHEMES["w8a8"]))
    model.set_encodings(encodings)
    size = batch if isinstance(batch, int) else SAMPLES
    x = np.random.default_rng(11).normal(size=(SAMPLES, 3, 16, 16)).astype(np.float32)
    parts = [x[i : i + size] for i in range(0, SAMPLES, size)]
    wanted = np.concatenate([run(original, {original.inputs[0].name or "": part})[0] for part in parts])
    with torch.no_grad():
        got = torch.cat([model(torch.from_numpy(part)) for part in parts]).numpy()
    encoding = encodings.get(graph.outputs[0].name or "")
    if encoding is None:  # a float16 model: nothing is quantized
        np.testing.assert_allclose(got, wanted, atol=1e-5)
        return
    difference = np.abs(got - wanted) / float(encoding.scale)
    assert difference.max() < 1.01 and (difference > 0.5).mean() < 0.02


def test_all_samples_are_there() -> None:
    assert len(FILES) >= 12
