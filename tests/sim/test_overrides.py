"""The user's overrides of a plan: schemes, bits, float layers, blocks; later ones win, wrong ones are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hexaquant.core.errors import InputError
from hexaquant.core.grid import FLOAT16, Grid, Lpbq, PerBlock, PerChannel, PerTensor
from hexaquant.ir.graph import Graph
from ir.onnx_text import random
from sim.nets import conv_net, net, planned


def test_a_scheme_override_changes_one_layer_and_converts_around_it() -> None:
    graph = conv_net()
    plan = planned(graph, "w8a8", {"y": "w8a16"})
    assert (plan["r"].grid, plan["r_as_uint16"].grid, plan["y"].grid) == (Grid(8), Grid(16), Grid(16))
    assert plan["b2"].source == "r_as_uint16"
    assert plan["r_as_uint16"].layer == plan["y"].layer, "told in the user's words"


def test_later_overrides_win() -> None:
    assert planned(conv_net(), "w8a8", {"*": "w8a16", "y": "w8a8"})["y"].grid == Grid(8)


def moving_net() -> Graph:
    """x -> Conv "c" -> Transpose "t" (node /head/turn) -> Reshape "s"; "t" -> Conv "y"; ids -> Reshape "i"."""
    return net(
        """(float[1,3,6,6] x, int64[4] ids) => (float[4,6,9] s, float[1,4,4,4] y, int64[2,2] i) {
            c = Conv (x, w)
            t = Transpose <perm=[0,1,3,2]> (c)
            s = Reshape (t, shape)
            y = Conv (t, w2)
            i = Reshape (ids, square)
        }""",
        w=random(6, 3, 1, 1),
        w2=random(4, 6, 3, 3, seed=1),
        shape=np.array([4, 6, 9]),
        square=np.array([2, 2]),
    )


@pytest.mark.parametrize("glob", ["t", "s", "[st]"])
def test_an_override_of_moved_data_is_for_the_tensor_that_computes_it(glob: str) -> None:
    plan = planned(moving_net(), "w8a8", {glob: {"bits": 16, "observer": "min_max"}})
    assert [plan[name].grid for name in ("c", "t", "s")] == [Grid(16)] * 3
    assert plan["c"].observer == "min_max" and plan["y"].grid == plan["x"].grid == Grid(8)
    assert plan["t_as_uint8"].grid == Grid(8), "the convolution behind it computes in 8 bits as before"


def test_an_override_that_matches_layers_is_for_these_and_not_for_data_moved_into_them() -> None:
    plan = planned(moving_net(), "w8a8", {"[ty]": "w8a16"})
    assert plan["c"].grid == Grid(8) and plan["y"].grid == Grid(16)


def test_later_overrides_win_for_moved_data_too() -> None:
    assert planned(moving_net(), "w8a8", {"t": "w8a16", "*": "w8a8"})["c"].grid == Grid(8)
    assert planned(moving_net(), "w8a8", {"*": "w8a16", "t": "w8a8"})["c"].grid == Grid(8)


@pytest.mark.parametrize("other", ["s", "c"])
def test_overrides_that_want_two_encodings_of_moved_data_are_refused(other: str) -> None:
    with pytest.raises(InputError, match=f"'t' and '{other}' differ, but both are for the data of 'c'"):
        planned(moving_net(), "w8a8", {"t": "w8a16", other: "w8a8"})
    assert planned(moving_net(), "w8a8", {"t": "w8a16", other: "w8a16"})["s"].grid == Grid(16)


def test_an_override_of_moved_integers_is_refused() -> None:
    with pytest.raises(InputError, match="override 'i' is for 'i', which holds integers"):
        planned(moving_net(), "w8a8", {"i": "w8a16"})


def test_bits_of_a_tensor_and_of_a_weight() -> None:
    plan = planned(conv_net(), "w8a8", {"w": {"bits": 4}, "y": {"bits": 16, "symmetric": True}})
    assert plan["w"].grid == Grid(4, True, True, PerChannel(0)) and plan["w2"].grid == Grid(
        8, True, True, PerChannel(0)
    )
    assert plan["y"].grid == Grid(16, False, True)


@pytest.mark.parametrize("word", ["float16", "fp16", {"float": True}])
def test_a_layer_kept_in_float(word: object) -> None:
    plan = planned(conv_net(), "w8a8", {"y": word})
    assert [plan[name].how for name in ("w2", "b2", "y")] == ["float"] * 3
    assert plan["y"].grid == FLOAT16 and plan["y"].reason == "kept in float16"
    assert plan["r"].grid == Grid(8)


def test_granularity_of_a_weight() -> None:
    plan = planned(net_with_blocks(), "w8a8", {"w": {"granularity": "tensor"}})
    assert plan["w"].grid == Grid(8, True, True, PerTensor())
    plan = planned(net_with_blocks(), "w8a8", {"w": {"granularity": "block", "block_size": 16}})
    assert plan["w"].grid == Grid(8, True, True, PerBlock(1, 16, 0))
    plan = planned(net_with_blocks(), "w8a8", {"w": {"granularity": "lpbq", "bits": 4, "block_size": 16}})
    assert plan["w"].grid == Grid(4, True, True, Lpbq(1, 16, 0))


@pytest.mark.parametrize(
    ("op", "shape", "axes"), [("ConvTranspose", (32, 6, 2, 2), (0, 1)), ("Conv", (6, 32, 1, 1), (1, 0))]
)
def test_blocks_run_along_the_input_channels(op: str, shape: tuple[int, ...], axes: tuple[int, int]) -> None:
    graph = net(f"(float[2,32,5,5] x) => (float[2,6,M,M] y) {{ y = {op} (x, w) }}", w=random(*shape))
    plan = planned(graph, "w8a8", {"w": {"granularity": "block"}})
    assert plan["w"].grid == Grid(8, True, True, PerBlock(axes[0], 32, axes[1]))


def net_with_blocks() -> Graph:
    return net("(float[N,32] x) => (float[N,6] y) { y = Gemm <transB=1> (x, w, b) }", w=random(6, 32), b=random(6))


def test_a_block_size_that_does_not_divide_names_the_weight_and_the_remedy() -> None:
    with pytest.raises(
        InputError, match=r"weight 'w' of layer 'y' .*\[6, 32\].*block size 24; override it with another"
    ):
        planned(net_with_blocks(), "w8a8", {"w": {"granularity": "block", "block_size": 24}})


def test_an_override_that_matches_nothing_is_an_error() -> None:
    with pytest.raises(InputError, match=r"override 'con\*' matches no tensor, node or module"):
        planned(conv_net(), "w8a8", {"y": "fp16", "con*": "w8a16"})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("w9a9", "unknown scheme 'w9a9'"),
        ({"bits": 7}, "'bits' should be 4, 8 or 16, not 7"),
        ({"granularity": "row"}, "'granularity' should be"),
        ({"observer": "minmax"}, "unknown observer 'minmax'; choose one of min_max, "),
        ({"bit": 8}, "mapping with keys among"),
    ],
)
def test_a_wrong_override_is_named(value: object, words: str) -> None:
    with pytest.raises(InputError, match=f"override 'y'.*{words}"):
        planned(conv_net(), "w8a8", {"y": value})


def test_overrides_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "o.yaml"
    file.write_text('"y": {bits: 16}\n')
    assert planned(conv_net(), "w8a8", file)["y"].grid == Grid(16)
    with pytest.raises(InputError, match="does not exist"):
        planned(conv_net(), "w8a8", tmp_path / "none.yaml")
