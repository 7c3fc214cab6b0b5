"""Networks with large tensors are run, and held, in fewer samples at once."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as oir

from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import normalize
from hexaquant.ir.sample_size import largest_tensor, samples_in_a_run, samples_to_hold


def network(length: int) -> Graph:
    ends = f"(float[N,1,{length}] x) => (float[N,8,{length}] y)"
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> g {ends} {{ y = Conv(x, w) }}')
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((8, 1, 1), np.float32), "w"))
    return normalize(Graph(oir.from_proto(model)))


def test_small_networks_run_and_hold_what_they_are_asked_for() -> None:
    assert largest_tensor(network(1000)) == 8 * 1000
    assert samples_in_a_run(network(1000), 16) == 16 and samples_to_hold(network(1000), 32) == 32


def test_large_tensors_make_fewer_samples_at_once_but_never_none() -> None:
    large = network(2**19)  # 4 million elements
    assert samples_in_a_run(large, 16) == 4 and samples_to_hold(large, 32) == 16
    huge = network(2**23)
    assert samples_in_a_run(huge, 16) == 1 and samples_to_hold(huge, 32) == 2
    assert samples_to_hold(huge, 1) == 1
