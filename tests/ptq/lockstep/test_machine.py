"""Both networks in lock-step give what each gives alone, and hold only what is still to be read."""

from __future__ import annotations

import pytest
import torch

from hexaquant.ptq.lockstep import Machine
from hexaquant.sim.model import QuantizedModel
from ir.onnx_text import random
from sim.nets import net, quantized

TEXT = """(float[N,3,6,6] x) => (float[N,4,6,6] y) {
    a = Conv <pads=[1,1,1,1]> (x, aw, ab)
    r = Relu (a)
    b = Conv (r, bw, bb)
    y = Add (b, r)
}"""


@pytest.fixture
def model() -> QuantizedModel:
    constants = {"aw": random(4, 3, 3, 3, seed=1), "ab": random(4), "bw": random(4, 4, 1, 1, seed=2), "bb": random(4)}
    return quantized(net(TEXT, **constants), "w4a8", data=[{"x": random(12, 3, 6, 6, seed=3)}])


def test_each_side_is_the_network_it_stands_for(model: QuantizedModel) -> None:
    x = torch.from_numpy(random(5, 3, 6, 6, seed=4))
    with torch.no_grad():
        with model.float_mode():
            wanted = model(x)
        for parameter in model.parameters():
            parameter.mul_(0.9)
        machine = Machine(model)
        env = machine.inputs({"x": x})
        most = 0
        for node in machine.nodes:
            machine.floating(node, env)
            machine.quantized(node, env)
            machine.free(node, env)
            most = max(most, len(env.float))
        last = machine.nodes[-1]
        model.set_state("on")
        assert torch.equal(env.float[last], wanted), "the float side has the parameters of the source graph"
        assert torch.equal(env.quant[last], model(x))
    assert set(env.float) == {last} and most < len(machine.nodes)
