"""Every encodings file that AIMET wrote loads, and comes back the same from each version that can hold it."""

import json
from pathlib import Path

import pytest
import torch

from hexaquant.core.grid import Lpbq, PerBlock, PerChannel, PerTensor
from hexaquant.io.encodings_file import VERSIONS, EncodingsFile, read_encodings, what_is_lost, write_encodings
from hexaquant.ir.graph import Graph

FILES = sorted((Path(__file__).parent.parent / "data" / "aimet").glob("*.encodings"))


def rewritten(encodings: EncodingsFile, version: str, path: Path, graph: Graph | None = None) -> EncodingsFile:
    write_encodings(
        path, encodings.all, activations=encodings.activations, params=encodings.params, version=version, graph=graph
    )
    return read_encodings(path)


def differing(a: EncodingsFile, b: EncodingsFile) -> set[str]:
    names = set(a.all) | set(b.all)
    return {n for n in names if n not in a.all or n not in b.all or not a.all[n].same_as(b.all[n])}


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_same_version_rewrites_identically(path: Path, tmp_path: Path) -> None:
    encodings = read_encodings(path)
    again = rewritten(encodings, encodings.version, tmp_path / "again.encodings")
    assert differing(encodings, again) == set()
    assert list(again.activations) == list(encodings.activations)
    assert list(again.params) == list(encodings.params)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_each_version_loses_exactly_what_it_says(path: Path, version: str, net: Graph, tmp_path: Path) -> None:
    encodings = read_encodings(path).resolve(net)
    again = rewritten(encodings, version, tmp_path / "o.encodings", net).resolve(net)
    lost = what_is_lost(encodings.all, version, graph=net, params=encodings.params)
    assert differing(encodings, again) == {message.split("'")[1] for message in lost}


def test_numbers_are_read_on_the_unsigned_grid(samples: Path) -> None:
    for version in VERSIONS:
        encodings = read_encodings(samples / f"onnx_w8a8_{version}.encodings").all
        assert encodings["input"].offset == -125
        assert not encodings["input"].grid.signed
        weight = encodings["conv1.weight"]
        assert weight.grid.signed and weight.grid.symmetric and weight.grid.granularity == PerChannel(0)
        assert weight.offset.tolist() == [-128] * 8
        assert torch.isclose(weight.min[0], torch.tensor(-0.18385690450668335))


def test_forced_signed_activations_have_the_same_range(samples: Path) -> None:
    signed = read_encodings(samples / "onnx_w8a8_2.0.0_force_signed.encodings").all["input"]
    unsigned = read_encodings(samples / "onnx_w8a8_2.0.0_force_unsigned.encodings").all["input"]
    assert signed.grid.signed and not unsigned.grid.signed
    assert signed.offset == unsigned.offset == -126


def test_blocks_are_recognised_in_all_versions(samples: Path, net: Graph) -> None:
    scales = {}
    for version in VERSIONS:
        encoding = read_encodings(samples / f"onnx_bq_{version}.encodings").resolve(net).all["fc2.weight"]
        assert encoding.grid.granularity == PerBlock(1, 16, 0)
        assert encoding.grid.bits == 4
        scales[version] = encoding.scale
    assert scales["0.6.1"].shape == (10, 4)
    assert torch.equal(scales["0.6.1"], scales["1.0.0"]) and torch.equal(scales["1.0.0"], scales["2.0.0"])


def test_lpbq_is_read_from_both_versions(samples: Path, net: Graph) -> None:
    for version in ("1.0.0", "2.0.0"):
        encodings = read_encodings(samples / f"onnx_lpbq_{version}.encodings").resolve(net).all
        encoding = encodings["fc2.weight"]
        assert encoding.grid.granularity == Lpbq(1, 16, 0, 8)
        assert encoding.block_scale is not None and encoding.block_scale[0].tolist() == [15, 16, 16, 16]
        assert encoding.offset.tolist() == [-8] * 10
        assert encodings["conv3.weight"].block_scale.shape == (16, 1)


def test_float_tensors_are_float16(samples: Path) -> None:
    encodings = read_encodings(samples / "onnx_w8fp16_1.0.0.encodings")
    assert encodings.activations["input"].grid.is_float
    assert encodings.params["conv1.weight"].grid.bits == 8


def test_int32_biases_are_read_and_are_the_product_of_scales(samples: Path) -> None:
    encodings = read_encodings(samples / "onnx_w8a8_2.0.0.encodings").all
    bias, weight, x = (encodings[n] for n in ("conv1.bias", "conv1.weight", "input"))
    assert bias.grid.bits == 32 and bias.grid.signed
    assert torch.allclose(bias.scale, weight.scale * x.scale, rtol=1e-6)


def test_resolve_tells_parameters_from_activations(samples: Path, net: Graph) -> None:
    encodings = read_encodings(samples / "onnx_w8a8_2.0.0_force_signed.encodings").resolve(net)
    assert set(encodings.params) == {n for n in net.initializers if n in encodings.all}
    assert "input" in encodings.activations


def test_legacy_module_names_become_tensor_names(samples: Path, net: Graph) -> None:
    legacy = read_encodings(samples / "torch_legacy_torch.encodings")
    assert "conv1.input[0]" in legacy.activations
    for node in net.nodes:
        node.name = (node.name or "").strip("/").split("/")[0]
    resolved = legacy.resolve(net)
    assert resolved.activations["input"].offset == -125
    assert resolved.activations["/dw/Conv_output_0"].offset == -152


def test_written_file_has_aimets_keys_and_our_name(samples: Path, tmp_path: Path) -> None:
    encodings = read_encodings(samples / "torch_w8a8_1.0.0.encodings")
    rewritten(encodings, "1.0.0", tmp_path / "o.encodings")
    ours = json.loads((tmp_path / "o.encodings").read_text())
    theirs = json.loads((samples / "torch_w8a8_1.0.0.encodings").read_text())
    assert ours["activation_encodings"] == theirs["activation_encodings"]
    assert ours["param_encodings"] == theirs["param_encodings"]
    assert set(ours) == set(theirs)
    assert ours["producer"]["package"] == "hexaquant"


@pytest.mark.parametrize("name", ["torch_w8a8_2.0.0", "torch_lpbq_2.0.0"])
def test_version_2_entries_equal_aimets(name: str, samples: Path, net: Graph, tmp_path: Path) -> None:
    encodings = read_encodings(samples / f"{name}.encodings")
    rewritten(encodings, "2.0.0", tmp_path / "o.encodings", net)
    ours = json.loads((tmp_path / "o.encodings").read_text())["encodings"]
    theirs = json.loads((samples / f"{name}.encodings").read_text())["encodings"]
    key = {entry["name"]: entry for entry in theirs}
    assert {entry["name"]: entry for entry in ours} == key


def test_version_061_entries_equal_aimets_but_for_the_rounding_of_min_and_max(samples: Path, tmp_path: Path) -> None:
    encodings = read_encodings(samples / "torch_w8a8_0.6.1.encodings")
    rewritten(encodings, "0.6.1", tmp_path / "o.encodings")
    ours = json.loads((tmp_path / "o.encodings").read_text())
    theirs = json.loads((samples / "torch_w8a8_0.6.1.encodings").read_text())
    for section in ("activation_encodings", "param_encodings"):
        assert list(ours[section]) == list(theirs[section])
        for name, entries in theirs[section].items():
            for mine, his in zip(ours[section][name], entries, strict=True):
                assert {k: v for k, v in mine.items() if k not in ("min", "max")} == {
                    k: v for k, v in his.items() if k not in ("min", "max")
                }
                assert mine["min"] == pytest.approx(his["min"], rel=1e-6)
                assert mine["max"] == pytest.approx(his["max"], rel=1e-6)


def test_int32_biases_are_written_to_version_1_only_on_request(samples: Path, net: Graph, tmp_path: Path) -> None:
    encodings = read_encodings(samples / "onnx_w8a8_2.0.0.encodings").resolve(net)
    for biases in (False, True):
        lost = write_encodings(
            tmp_path / "o",
            encodings.all,
            activations=encodings.activations,
            params=encodings.params,
            graph=net,
            biases=biases,
        )
        again = read_encodings(tmp_path / "o").resolve(net)
        assert ("conv1.bias" in again.params) is biases
        assert len(lost) == (0 if biases else 6)
        if biases:
            assert again.params["conv1.bias"].same_as(encodings.params["conv1.bias"])


def test_single_scale_entries_are_per_tensor(samples: Path) -> None:
    for version in VERSIONS:
        encodings = read_encodings(samples / f"onnx_w8a8_{version}.encodings").all
        assert encodings["output"].grid.granularity == PerTensor()
        assert encodings["output"].scale.shape == ()
