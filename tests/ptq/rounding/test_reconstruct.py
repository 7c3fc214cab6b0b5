"""Block reconstruction: blocks follow the graph's cuts, outputs improve, what does not improve stays."""

from __future__ import annotations

import torch

from hexaquant.ptq.lockstep import Machine
from hexaquant.ptq.rounding.reconstruct import PATIENCE, SoftRounding, Training, find_blocks, reconstruct_blocks
from hexaquant.sim.layers import find_layers
from ir.onnx_text import random
from ptq.rounding.test_apply import data, fresh, rounded, sqnr
from sim.nets import conv_net, net, quantized


def blocks_of(text: str, **constants: torch.Tensor) -> list[list[str]]:
    model = quantized(net(text, **constants), data=[{"x": random(2, 4, 6, 6)}])
    layers = {layer.y: layer.weight for layer in find_layers(model)}
    blocks = find_blocks(Machine(model).nodes, layers, most=2)
    return [[layers[node] for node in block.layers] for block in blocks]


def test_residual_branches_stay_whole_and_chains_are_cut() -> None:
    text = """(float[N,4,6,6] x) => (float[N,4,6,6] y) {
        a = Conv (x, wa, b)
        r = Relu (a)
        c = Conv (r, wc, b)
        d = Conv (c, wd, b)
        e = Conv (d, we, b)
        s = Add (e, r)
        f = Conv (s, wf, b)
        y = Conv (f, wg, b)
    }"""
    weights = {f"w{name}": random(4, 4, 1, 1, seed=i) for i, name in enumerate("acdefg")}
    assert blocks_of(text, **weights, b=random(4)) == [["wa"], ["wc", "wd", "we"], ["wf", "wg"]]


def test_soft_rounding_starts_at_the_integers_it_is_given() -> None:
    W, S = torch.tensor([0.3, -1.2, 2.6, 9.0]), torch.tensor(1.0)
    Q = torch.tensor([1.0, -1.0, 3.0, 7.0])
    soft = SoftRounding(W, S, Q, -8, 7)
    assert torch.equal(soft.hard(), Q)
    assert float((soft.soft() - Q).abs().max()) <= 0.36
    soft.V.data.neg_()
    assert soft.hard().tolist() == [0.0, -2.0, 2.0, 7.0]


def test_outputs_on_held_out_data_improve_over_nearest() -> None:
    model = fresh("w4a8")
    before = sqnr(model)
    _, reports = reconstruct_blocks(model, data(), Training(iterations=60))
    assert sqnr(model) > before + 1
    changed = {layer for report in reports if report.kept for layer in report.layers}
    assert changed
    assert all(report.error <= report.error_before for report in reports)
    assert all(quantizer.state == "on" for quantizer in model.quantizers.values())
    for name in ("pw", "dw", "lw", "fw"):
        if model.plan[name].layer not in changed:
            continue
        parameter = model.parameters_by_name()[name].detach()
        torch.testing.assert_close(model.quantizers[name].encoding.fake_quantize(parameter), parameter)


def test_well_rounded_weights_are_not_made_worse() -> None:
    model = fresh("w4a8")
    rounded(model)
    before = sqnr(model)
    reconstruct_blocks(model, data(), Training(iterations=20))
    assert sqnr(model) > before - 0.5


def test_a_block_that_does_not_improve_keeps_its_parameters() -> None:
    model = quantized(conv_net())
    before = {name: p.detach().clone() for name, p in model.parameters_by_name().items()}
    batches = [{"x": random(4, 3, 8, 8, seed=i)} for i in range(2)]
    _, reports = reconstruct_blocks(model, batches, Training(iterations=1, rate=50.0))
    assert not any(report.kept for report in reports)
    assert all(torch.equal(p, before[name]) for name, p in model.parameters_by_name().items())


def test_blocks_without_gain_in_a_row_end_it() -> None:
    count = 3 * (PATIENCE + 2)
    lines = "".join(f"h{i + 1} = Conv (h{i}, w{i}, b)\n" for i in range(count))
    text = f"(float[N,4,6,6] h0) => (float[N,4,6,6] h{count}) {{ {lines} }}"
    weights = {f"w{i}": random(4, 4, 1, 1, seed=i) for i in range(count)}
    batches = [{"h0": random(4, 4, 6, 6, seed=i)} for i in range(2)]
    model = quantized(net(text, **weights, b=0 * random(4)), data=batches)
    _, reports = reconstruct_blocks(model, batches, Training(iterations=1, rate=1e-9))
    assert not any(report.kept for report in reports)
    assert len(reports) == PATIENCE


def test_the_same_seed_gives_the_same_result() -> None:
    models = [fresh("w4a8"), fresh("w4a8")]
    for model in models:
        reconstruct_blocks(model, data(), Training(iterations=5, seed=3))
    for name, value in models[0].state_dict().items():
        assert torch.equal(value, models[1].state_dict()[name]), name
