"""Every network of the table is what the breadth tests rely on: small, reproducible and exportable."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from networks import ARCHITECTURES, NETWORKS
from networks.case import Case

each_network = pytest.mark.parametrize("case", NETWORKS.values(), ids=NETWORKS.keys())
each_architecture = pytest.mark.parametrize("case", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())


def _outputs(case: Case, seed: int = 0) -> tuple[torch.Tensor, ...]:
    args, kwargs = case.example(seed=seed)
    with torch.no_grad():
        result = case.build()(*args, **kwargs)
    return result if isinstance(result, tuple) else (result,)


@each_network
def test_two_builds_of_a_network_agree_and_its_outputs_depend_on_the_input(case: Case) -> None:
    first, again, other = _outputs(case), _outputs(case), _outputs(case, seed=1)
    assert len(first) == case.outputs
    for a, b, c in zip(first, again, other, strict=True):
        assert torch.equal(a, b)
        assert torch.isfinite(a).all()
        assert (a - c).abs().max() > 0.01


@each_network
def test_a_network_is_small(case: Case) -> None:
    assert sum(p.numel() for p in case.build().parameters()) < 200_000
    assert all(array.size < 1000 for array in case.batches(1)[0].values())


@each_network
def test_the_exported_network_computes_what_pytorch_computes(case: Case) -> None:
    args, kwargs = case.example()
    with torch.no_grad():
        program = torch.onnx.export(case.build(), args, kwargs=kwargs, dynamo=True, verbose=False)
    assert program is not None
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = case.batches(1, batch=2, seed=0)[0]
    assert [value.name for value in session.get_inputs()] == list(feeds)
    for expected, got in zip(_outputs(case), session.run(None, feeds), strict=True):
        np.testing.assert_allclose(got, expected.numpy(), atol=1e-4)


def test_batchnorm_statistics_are_those_of_the_inputs() -> None:
    norm = next(m for m in NETWORKS["separable"].build().modules() if isinstance(m, torch.nn.BatchNorm2d))
    assert norm.running_mean is not None and norm.running_var is not None
    assert norm.running_mean.abs().max() > 0
    assert (norm.running_var - 1).abs().max() > 0.1


@each_architecture
def test_an_architecture_is_small_and_its_outputs_depend_on_the_input(case: Case) -> None:
    assert sum(p.numel() for p in case.build().parameters()) < 300_000
    first, other = _outputs(case), _outputs(case, seed=1)
    assert len(first) == case.outputs
    assert all((a - b).abs().max() > 1e-3 for a, b in zip(first, other, strict=True))
