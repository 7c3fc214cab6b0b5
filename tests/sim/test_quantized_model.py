"""QuantizedModel: the float network, the simulation, and anything between; copies, states and gradients."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from hexaquant.core.encoding import Encoding, float_encoding
from hexaquant.core.errors import EncodingError
from hexaquant.core.grid import Grid
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.quantizer import ActivationQuantizer
from ir.onnx_text import random, run
from sim.nets import batches, conv_net, net, planned, quantized

X = torch.from_numpy(random(5, 3, 8, 8, seed=7))


@pytest.fixture(scope="module")
def calibrated() -> QuantizedModel:
    return quantized(conv_net())


@pytest.fixture
def model(calibrated: QuantizedModel) -> QuantizedModel:
    return copy.deepcopy(calibrated)


def test_before_calibration_the_model_is_the_float_network() -> None:
    graph = conv_net()
    model = QuantizedModel(graph, planned(graph))
    with torch.no_grad():
        np.testing.assert_allclose(model(X).numpy(), run(graph, {"x": X.numpy()})[0], rtol=1e-5, atol=1e-5)


def test_state_dict_has_the_original_parameter_names(model: QuantizedModel) -> None:
    state = model.state_dict()
    assert {"w", "b", "w2", "b2"} <= set(state)
    assert {key.rpartition(".")[2] for key in state if "." in key} == {"scale", "offset", "block_scale"}
    assert torch.equal(state["w"], torch.from_numpy(random(6, 3, 3, 3)))


def test_state_dict_round_trip_is_bit_identical(model: QuantizedModel) -> None:
    graph = conv_net()
    twin = QuantizedModel(graph, planned(graph))
    with torch.no_grad():
        model.parameters_by_name()["w"].mul_(0.9)
        twin.load_state_dict(model.state_dict())
        twin.set_state("on")
        assert torch.equal(twin(X), model(X))


def test_deepcopy_is_bit_identical_and_independent(model: QuantizedModel) -> None:
    with torch.no_grad():
        before = model(X)
        twin = copy.deepcopy(model)
        assert torch.equal(twin(X), before)
        twin.parameters_by_name()["w"].zero_()
        twin.quantizers["x"].encoding = Encoding(Grid(8), torch.tensor(1.0), torch.tensor(-128.0))
        assert not torch.equal(twin(X), before) and torch.equal(model(X), before)


def test_deepcopy_keeps_class_and_extra_attributes(model: QuantizedModel) -> None:
    class Named(QuantizedModel):
        pass

    named = Named(model.source_graph, model.plan)
    named.note = "kept"  # type: ignore[assignment]
    twin = copy.deepcopy(named)
    assert type(twin) is Named and twin.note == "kept"


def test_gradients_reach_weights_biases_and_inputs(model: QuantizedModel) -> None:
    x = X.clone().requires_grad_()
    model(x).square().sum().backward()
    assert x.grad is not None and bool(x.grad.abs().sum() > 0)
    for name, parameter in model.parameters_by_name().items():
        assert parameter.grad is not None and bool(parameter.grad.abs().sum() > 0), name


def test_training_moves_the_simulation_towards_its_goal(model: QuantizedModel) -> None:
    goal = torch.zeros(5, 4, 6, 6)
    optimizer = torch.optim.SGD(model.weight_parameters(), lr=1e-3)
    losses = []
    for _ in range(5):
        loss = torch.nn.functional.mse_loss(model(X), goal)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]


def test_outputs_follow_weights_that_change_without_gradients(model: QuantizedModel) -> None:
    with torch.no_grad():
        before = model(X)
        model.parameters_by_name()["w2"].mul_(0.5)
        assert not torch.equal(model(X), before)


def test_outputs_follow_every_new_weight_encoding(model: QuantizedModel) -> None:
    w, quantizer = model.parameters_by_name()["w"].detach(), model.quantizers["w"]
    for bits in (1.0, 1.5, 2.0, 3.0):  # the encodings before are freed, and their addresses used again
        quantizer.encoding = Encoding(quantizer.grid, torch.full((6,), bits), torch.full((6,), -128.0))
        assert torch.equal(quantizer(w), quantizer.encoding.fake_quantize(w))


def test_float_mode_and_only_restore_what_was_on(model: QuantizedModel) -> None:
    model.quantizers["x"].state = "off"
    with torch.no_grad():
        simulated = model(X)
        with model.float_mode():
            np.testing.assert_allclose(
                model(X).numpy(), run(model.source_graph, {"x": X.numpy()})[0], rtol=1e-5, atol=1e-5
            )
        with model.only("w*"):
            on = [name for name, quantizer in model.quantizers.items() if quantizer.state == "on"]
            assert sorted(on) == ["w", "w2"] and not torch.equal(model(X), simulated)
        assert model.quantizers["x"].state == "off" and torch.equal(model(X), simulated)


def test_states_are_restored_after_an_error(model: QuantizedModel) -> None:
    with pytest.raises(RuntimeError), model.float_mode():
        model(torch.zeros(1, 2))
    assert all(quantizer.state == "on" for quantizer in model.quantizers.values())


def test_the_batch_is_free(model: QuantizedModel) -> None:
    with torch.no_grad():
        whole = model(X)
        assert torch.equal(torch.cat([model(X[:1]), model(X[1:])]), whole)
        assert torch.equal(model(x=X), whole)


def test_encodings_cover_the_plan(model: QuantizedModel) -> None:
    encodings = model.encodings()
    assert set(encodings) == {"x", "w", "b", "r", "w2", "b2", "y"}, "the fused tensor has none"
    assert torch.equal(encodings["b2"].scale, encodings["r"].scale * encodings["w2"].scale)
    assert encodings["b2"].grid.bits == 32


def test_bias_scale_is_input_scale_times_weight_scale_also_after_the_weight_changed(model: QuantizedModel) -> None:
    weight = model.quantizers["w"]
    weight.encoding = Encoding(weight.grid, weight.encoding.scale * 2, weight.encoding.offset)
    encodings = model.encodings()
    assert torch.equal(encodings["b"].scale, encodings["x"].scale * encodings["w"].scale)


def test_float_tensors_are_stated_as_float16() -> None:
    model = quantized(conv_net(), overrides={"y": "fp16"})
    assert all(model.encodings()[name].grid == float_encoding().grid for name in ("y", "w2", "b2"))


def test_an_uncalibrated_tensor_is_named() -> None:
    graph = conv_net()
    model = QuantizedModel(graph, planned(graph))
    with pytest.raises(EncodingError, match="tensor 'x' has no encoding yet: calibrate the model"):
        model.encodings()


# encodings from elsewhere


def test_set_encodings_gives_the_same_simulation(model: QuantizedModel) -> None:
    graph = conv_net()
    twin = QuantizedModel(graph, planned(graph))
    assert twin.set_encodings(model.encodings()) == []
    with torch.no_grad():
        assert torch.equal(twin(X), model(X))


def test_missing_encodings_are_returned(model: QuantizedModel) -> None:
    graph = conv_net()
    twin = QuantizedModel(graph, planned(graph))
    assert twin.set_encodings({name: e for name, e in model.encodings().items() if name != "r"}) == ["r"]


def sixteen_bits() -> Encoding:
    return Encoding(Grid(16), torch.tensor(1e-3), torch.tensor(-30000.0))


def test_another_grid_is_refused_when_strict(model: QuantizedModel) -> None:
    with pytest.raises(EncodingError, match="tensor 'x': the encoding is uint16 but the plan says uint8"):
        model.set_encodings({"x": sixteen_bits()})


def test_without_strict_the_plan_follows_the_encoding(model: QuantizedModel) -> None:
    model.set_encodings({"x": sixteen_bits()}, strict=False)
    assert model.plan["x"].grid == Grid(16) and model.encodings()["x"].same_as(sixteen_bits())
    twin = copy.deepcopy(model)
    with torch.no_grad():
        assert torch.equal(twin(X), model(X))


def test_signed_storage_of_the_same_numbers_is_accepted(model: QuantizedModel) -> None:
    own = model.encodings()["x"]
    model.set_encodings({"x": Encoding(Grid(8, signed=True), own.scale, own.offset)})
    assert model.encodings()["x"].same_as(own)


# fused activations


def clipped(model: QuantizedModel, high: float) -> ActivationQuantizer:
    quantizer = model.quantizers["r"]
    assert isinstance(quantizer, ActivationQuantizer)
    quantizer.encoding = Encoding(quantizer.grid, torch.tensor(high / 255), torch.tensor(0.0))
    return quantizer


@pytest.mark.parametrize(("high", "exact"), [(1.0, True), (1.5, True), (1.6, False)])
def test_a_clip_is_dropped_only_where_the_encoding_does_it(high: float, exact: bool) -> None:
    model = quantized(conv_net("Clip", lo=np.float32(0), hi=np.float32(1.5)))
    assert clipped(model, high).clips_exactly is exact
    assert model.bypassed() == (["r"] if exact else [])
    with torch.no_grad():
        assert float(model.quantizers["r"](torch.tensor([9.0]))) <= 1.5 + 0.5 * high / 255


def test_exported_graph_carries_the_trained_parameters(model: QuantizedModel) -> None:
    with torch.no_grad():
        model.parameters_by_name()["b2"].add_(1)
        exported = model.exported_graph()
        with model.float_mode():
            wanted = model(X).numpy()
    np.testing.assert_allclose(run(exported, {"x": X.numpy()})[0], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kind", "bits", "size"), [("block", 4, 16), ("lpbq", 4, 16), ("block", 8, 32)])
def test_blocks_and_lpbq_have_a_bias_scale_per_channel(kind: str, bits: int, size: int) -> None:
    text = "(float[N,32] x) => (float[N,6] y) { y = Gemm <transB=1> (x, w, b) }"
    override = {"w": {"granularity": kind, "block_size": size, "bits": bits}}
    model = quantized(net(text, w=random(6, 32), b=random(6)), overrides=override, data=batches(shape=(4, 32)))
    assert model.encodings()["b"].scale.shape == (6,)
    with torch.no_grad():
        x = torch.from_numpy(random(8, 32, seed=3))
        simulated = model(x)
        with model.float_mode():
            error = (simulated - model(x)).square().mean() / model(x).square().mean()
    assert float(error) < 0.02
