"""Property: what a version can hold survives writing and reading to the last bit; the rest is announced."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx_ir as oir
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hexaquant.core.encoding import Encoding, float_encoding
from hexaquant.core.grid import Grid, Lpbq, PerBlock, PerChannel, PerTensor
from hexaquant.io.encodings_file import VERSIONS, read_encodings, write_encodings
from hexaquant.ir.graph import Graph

CHANNELS, INPUTS = 4, 6
scales = st.floats(2.0**-40, 2.0**40, width=32)


def consumer_graph() -> Graph:
    """Gemm of ``x`` with a float parameter ``w`` of shape (4, 6), transB = 1, and bias ``b``."""
    w = oir.tensor(np.zeros((CHANNELS, INPUTS), np.float32), name="w")
    b = oir.tensor(np.zeros(CHANNELS, np.float32), name="b")
    x = oir.Value(name="x", shape=oir.Shape(("N", INPUTS)), type=oir.TensorType(oir.DataType.FLOAT))
    params = [oir.Value(name=t.name, shape=t.shape, type=oir.TensorType(t.dtype), const_value=t) for t in (w, b)]
    node = oir.node("Gemm", [x, *params], {"transB": 1})
    node.outputs[0].name = "y"
    graph = oir.Graph([x], node.outputs, nodes=[node], initializers=params, opset_imports={"": 21}, name="g")
    return Graph(oir.Model(graph, ir_version=10))


@st.composite
def activations(draw: st.DrawFn) -> Encoding:
    if draw(st.booleans()):
        return float_encoding(16)
    bits = draw(st.sampled_from([4, 8, 16]))
    signed, symmetric = draw(st.booleans()), draw(st.booleans())
    low = -(2 ** (bits - 1)) if symmetric else draw(st.integers(1 - 2**bits, 0))
    scale = torch.tensor(draw(scales))
    return Encoding(Grid(bits, signed, symmetric), scale, torch.tensor(float(low)))


@st.composite
def weights(draw: st.DrawFn) -> Encoding:
    bits = draw(st.sampled_from([4, 8, 16]))
    layout = draw(st.sampled_from([PerTensor(), PerChannel(0), PerBlock(1, 2, 0), PerBlock(1, 6, 0), Lpbq(1, 3, 0, 8)]))
    bits = 4 if isinstance(layout, Lpbq) else bits
    shape = {PerTensor: (), PerChannel: (CHANNELS,), Lpbq: (CHANNELS,)}.get(type(layout))
    shape = (CHANNELS, INPUTS // layout.block_size) if isinstance(layout, PerBlock) else shape
    count = int(np.prod(shape))
    scale = torch.tensor(draw(st.lists(scales, min_size=count, max_size=count))).reshape(shape)
    grid = Grid(bits, True, True, layout)
    blocks = None
    if isinstance(layout, Lpbq):
        blocks = torch.tensor(draw(st.lists(st.integers(1, 16), min_size=8, max_size=8))).float().reshape(CHANNELS, 2)
    return Encoding(grid, scale, torch.full(shape, float(grid.symmetric_offset)), blocks)


@st.composite
def biases(draw: st.DrawFn) -> Encoding:
    scale = torch.tensor(draw(st.lists(scales, min_size=CHANNELS, max_size=CHANNELS)))
    return Encoding(Grid(32, True, True, PerChannel(0)), scale, torch.full((CHANNELS,), -(2.0**31)))


@settings(max_examples=150, deadline=None)
@given(x=activations(), w=weights(), b=biases(), version=st.sampled_from(VERSIONS), with_biases=st.booleans())
def test_round_trip_keeps_all_but_what_it_announces(
    x: Encoding, w: Encoding, b: Encoding, version: str, with_biases: bool
) -> None:
    graph, encodings = consumer_graph(), {"x": x, "w": w, "b": b}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.encodings"
        lost = write_encodings(
            path, encodings, activations=["x"], params=["w", "b"], version=version, graph=graph, biases=with_biases
        )
        again = read_encodings(path).resolve(graph)
    announced = {message.split("'")[1] for message in lost}
    for name, encoding in encodings.items():
        same = name in again.all and again.all[name].same_as(encoding)
        assert same or name in announced
        if name in again.all and not encoding.grid.is_float:
            assert torch.equal(again.all[name].step.flatten(), encoding.step.flatten())
            assert torch.equal(again.all[name].offset.flatten()[:1], encoding.offset.flatten()[:1])
