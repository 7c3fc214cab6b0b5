"""BatchNorm put back for training: the deployed model outside training, PyTorch's BatchNorm in it, folded exactly."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor

import hexaquant as hq
from hexaquant.core.errors import InputError
from hexaquant.core.metrics import sqnr_db
from hexaquant.folder.artifacts import Model
from hexaquant.qat.batchnorm import estimate_statistics, fold_norms, norms_of, put_norms_back
from hexaquant.qat.learn import freeze_encodings, learn_encodings
from qat.normed import Normed, images, ptq, trained_module
from qat.rescaled import rescaled_net, smooth_images
from sim.nets import quantized

X = images(32, 5)
DATA = [{"x": images(32, seed)} for seed in range(20)]


@pytest.fixture
def model() -> Model:
    return ptq()


def simulated(model: Model) -> Tensor:
    with torch.no_grad():
        return model(X)


def test_putting_norms_back_changes_nothing_outside_training(model: Model) -> None:
    before = simulated(model)
    weights = put_norms_back(model, DATA)
    assert weights == ["conv1.weight", "conv2.weight", "linear.weight"]  # the transposed convolution has two groups
    assert torch.equal(simulated(model), before)


def test_the_statistics_are_those_of_the_layer_with_folded_weights() -> None:
    module, x = trained_module(), images(256, 3)
    model = ptq("w16a16")
    put_norms_back(model, [{"x": x}])
    with torch.no_grad():
        scale = module.norm1.weight / (module.norm1.running_var + module.norm1.eps).sqrt()
        z = module.conv1(module.pre(x)) * scale.reshape(1, -1, 1, 1)
    torch.testing.assert_close(norms_of(model)[0].mean, z.mean((0, 2, 3)), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(norms_of(model)[0].start_var, z.var((0, 2, 3)), atol=1e-3, rtol=5e-3)


def test_in_training_it_is_batch_norm_with_gradients_that_gradcheck() -> None:
    torch.manual_seed(0)
    model = ptq()
    put_norms_back(model, DATA)
    norm = norms_of(model)[0].double().train()
    x = torch.randn(3, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    w = torch.randn(8, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    b = torch.randn(8, dtype=torch.float64, requires_grad=True)
    reference = torch.nn.BatchNorm2d(8).double()
    with torch.no_grad():
        reference.weight.copy_((norm.start_var + 1e-5).sqrt())
        reference.bias.copy_(b + norm.start_mean)
    expected = reference(torch.nn.functional.conv2d(x, w))
    torch.testing.assert_close(norm(x, w, b), expected)
    assert torch.autograd.gradcheck(norm, (x, w, b), atol=1e-4)


@pytest.mark.parametrize("scheme", ["w8a8", "w4a8"])
def test_folding_is_exact_and_keeps_the_integers_of_the_weights(scheme: str) -> None:
    model = ptq(scheme)
    put_norms_back(model, DATA)
    learn_encodings(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    model.train()
    for batch in DATA[:8]:
        optimizer.zero_grad()
        model(**batch).square().mean().backward()
        optimizer.step()
    model.eval()
    weight = model.parameters_by_name()["conv1.weight"]
    integers = model.quantizers["conv1.weight"].encoding.quantize(weight.detach())
    ratio = norms_of(model)[0].ratio().detach()
    before = simulated(model)
    freeze_encodings(model)
    assert norms_of(model) == [] and not any("batch_norms" in name for name in model.state_dict())
    assert float((ratio - 1).abs().max()) > 1e-3
    assert torch.equal(model.quantizers["conv1.weight"].encoding.quantize(weight.detach()), integers)
    assert sqnr_db(before.numpy(), simulated(model).numpy()) > 45  # int32 biases and ties of 8-bit rounding


def test_estimated_statistics_are_the_average_over_the_batches(model: Model) -> None:
    put_norms_back(model, DATA[:1])
    norm = norms_of(model)[0]
    means = []
    for batch in DATA[:3]:
        estimate_statistics(model, [batch])
        means.append(norm.mean.clone())
    estimate_statistics(model, DATA[:3])
    torch.testing.assert_close(norm.mean, torch.stack(means).mean(0))


def test_training_with_batch_statistics_improves_and_exports_the_deployed_graph() -> None:
    module = trained_module()
    model, data = ptq("w4a8"), [images(32, seed) for seed in range(10)]
    x = images(128, 999)
    with torch.no_grad():
        reference = module(x).numpy()
        before = sqnr_db(reference, model(x).numpy())
        names = set(model.state_dict())
        done = hq.finetune(model, data, steps=60, lr=3e-3, batchnorm="batch")
        after = sqnr_db(reference, model(x).numpy())
    assert after > before + 2, (before, after)
    assert set(model.state_dict()) == names and done.steps == 60
    assert not any(node.op_type == "BatchNormalization" for node in model.exported_graph().nodes)


def test_an_unfolded_model_is_neither_exported_nor_copied(model: Model, tmp_path: Path) -> None:
    put_norms_back(model, DATA[:1])
    for attempt in (lambda: model.export(tmp_path), lambda: copy.deepcopy(model), lambda: model.write_back(Normed())):
        with pytest.raises(InputError, match="freeze_encodings"):
            attempt()
    freeze_encodings(model)
    copy.deepcopy(model)


def test_a_network_without_batch_norms_is_refused() -> None:
    model = quantized(rescaled_net(0.0), data=[{"x": smooth_images(4, 1)}])
    with pytest.raises(InputError, match="folded"):
        put_norms_back(model, [{"x": smooth_images(4, 1)}])
    assert fold_norms(model) == []
