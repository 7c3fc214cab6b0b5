"""qairt-quantizer after qairt-converter: calibrate a float DLC, or what some encodings left out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cli.tiny import save_listed
from cli.tools.programs import program

AIMET = Path(__file__).parents[2] / "data" / "aimet"
NET, W8A8 = AIMET / "net_fp32.onnx", AIMET / "onnx_w8a8_1.0.0.encodings"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny.onnx, its float DLC net.dlc, 4 samples and list.txt."""
    folder = tmp_path_factory.mktemp("quantizer")
    save_listed(folder, "")
    done = program("qairt-converter", "-i", folder / "tiny.onnx", "-o", folder / "net.dlc", "--soc", "sm8550")
    assert done.code == 0 and "net.dlc.source" in done.err, done.err
    return folder


def test_a_float_dlc_becomes_the_same_as_a_direct_conversion(tiny: Path, tmp_path: Path) -> None:
    """Converter + quantizer give the encodings that onnx-qnn-converter gives, on the SoC of the converter."""
    tail = ("--input_list", tiny / "list.txt", "--use_per_channel_quantization", "--json")
    done = program("qairt-quantizer", "-i", tiny / "net.dlc", "-o", tmp_path / "q.dlc", "--act_bitwidth", 16, *tail)
    assert done.code == 0, done.err
    assert (done.document["scheme"], done.document["target"]) == ("w8a16", "sm8550")
    direct = program("onnx-qnn-converter", "-i", tiny / "tiny.onnx", "-o", tmp_path / "d.dlc", "--act_bw", 16,
                     "--soc", "sm8550", *tail)  # fmt: skip
    files = (tmp_path / "q.dlc.coverage.json", tmp_path / "d.dlc.coverage.json")
    ours, theirs = (json.loads(file.read_text())["rows"] for file in files)
    assert direct.code == 0 and len(ours) > 4 and ours == theirs


def test_encodings_that_came_with_the_network_stay(tmp_path: Path) -> None:
    document = json.loads(W8A8.read_text())
    kept = [entry for entry in document["activation_encodings"] if entry["name"] != "/Add_output_0"]
    (tmp_path / "part.encodings").write_text(json.dumps(document | {"activation_encodings": kept}))
    np.random.default_rng(0).normal(size=(1, 3, 16, 16)).astype(np.float32).tofile(tmp_path / "x.raw")
    (tmp_path / "list.txt").write_text("x.raw\n")
    part = program("qairt-converter", "-i", NET, "-q", tmp_path / "part.encodings", "-o", tmp_path / "part.dlc",
                   "--float_fallback")  # fmt: skip
    full = program("qairt-converter", "-i", NET, "-q", W8A8, "-o", tmp_path / "full.dlc")
    assert part.code == 0 and full.code == 0 and not (tmp_path / "full.dlc.source").exists()
    done = program("qairt-quantizer", "-i", tmp_path / "part.dlc", "--input_list", tmp_path / "list.txt", "--json")
    assert done.code == 0, done.err
    assert done.document["calibrated"] == ["/Add_output_0"]
    before, after = (
        {row["tensor"]: row["has"] for row in json.loads((tmp_path / f"{name}.dlc.coverage.json").read_text())["rows"]}
        for name in ("full", "part_quantized")
    )
    assert {name for name in before if before[name] != after[name]} == {"/Add_output_0", "/pool/MaxPool_output_0"}


def test_given_encodings_can_be_forgotten_and_all_be_written_out(tmp_path: Path) -> None:
    np.random.default_rng(0).normal(size=(1, 3, 16, 16)).astype(np.float32).tofile(tmp_path / "x.raw")
    (tmp_path / "list.txt").write_text("x.raw\n")
    document = json.loads(W8A8.read_text())
    kept = [entry for entry in document["activation_encodings"] if entry["name"] != "/Add_output_0"]
    (tmp_path / "part.encodings").write_text(json.dumps(document | {"activation_encodings": kept}))
    part = program("qairt-converter", "-i", NET, "-q", tmp_path / "part.encodings", "-o", tmp_path / "part.dlc",
                   "--float_fallback")  # fmt: skip
    assert part.code == 0, part.err
    done = program("qairt-quantizer", "-i", tmp_path / "part.dlc", "-o", tmp_path / "q.dlc", "--input_list",
                   tmp_path / "list.txt", "--ignore_quantization_overrides", "--dump_encoding_json",
                   "--use_per_channel_quantization", "--use_per_row_quantization", "--json")  # fmt: skip
    assert done.code == 0, done.err
    assert {"/Add_output_0", "/relu1/Relu_output_0", "fc.weight"} <= set(done.document["calibrated"])
    again = program("qairt-converter", "-i", NET, "-q", tmp_path / "q.encodings", "-o", tmp_path / "again.dlc")
    assert again.code == 0, again.err
    first, second = (json.loads((tmp_path / f"{n}.dlc.coverage.json").read_text())["rows"] for n in ("q", "again"))
    assert {(r["tensor"], r["has"]) for r in first} == {(r["tensor"], r["has"]) for r in second}


def dumped(tiny: Path, out: Path, *arguments: object) -> dict[str, float]:
    """Scales by tensor after a calibration with ``arguments``."""
    tail = ("--input_list", tiny / "list.txt", "--dump_encoding_json", "--use_per_channel_quantization")
    done = program("qairt-quantizer", "-i", tiny / "net.dlc", "-o", out, *tail, *arguments)
    assert done.code == 0, done.err
    found = json.loads(out.with_suffix(".encodings").read_text())
    return {entry["name"]: entry["scale"][0] for entry in found["activation_encodings"] + found["param_encodings"]}


def test_a_percentile_clips_activations_and_leaves_weights(tiny: Path, tmp_path: Path) -> None:
    how = ("--act_quantizer_calibration", "percentile", "--percentile_calibration_value")
    whole, clipped = dumped(tiny, tmp_path / "a.dlc", *how, 100), dumped(tiny, tmp_path / "b.dlc", *how, 90)
    assert clipped["x"] < 0.9 * whole["x"] and clipped["w"] == whole["w"]
    assert whole == dumped(tiny, tmp_path / "c.dlc", "--act_quantizer", "min-max")


def test_4_bit_weights_take_8_bits_on_request(tiny: Path, tmp_path: Path) -> None:
    """The same numbers, of which the library stores twice as many bytes."""
    four, wide = tmp_path / "a.dlc", tmp_path / "b.dlc"
    scales = dumped(tiny, four, "--weight_bw", 4)
    assert scales == dumped(tiny, wide, "--weight_bw", 4, "--int4_weights_as_int8")
    rows = [{r["tensor"]: r for r in json.loads(Path(f"{p}.coverage.json").read_text())["rows"]} for p in (four, wide)]
    assert rows[0]["w"]["has"] != rows[1]["w"]["has"] and rows[0]["x"] == rows[1]["x"]


def test_a_dlc_without_its_source_is_refused(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "alone.dlc").write_bytes((tiny / "net.dlc").read_bytes())
    call = ("qairt-quantizer", "-o", tmp_path / "q.dlc", "--input_list", tiny / "list.txt", "-i")
    program(*call, tmp_path / "alone.dlc").assert_refused(2, "alone.dlc.source", "qairt-converter")
    program(*call, tmp_path / "none.dlc").assert_refused(2, "none.dlc")
    folder = tmp_path / "alone.dlc.source"
    folder.mkdir()
    record = json.loads((tiny / "net.dlc.source" / "source.json").read_text())
    (folder / "source.json").write_text(json.dumps(record | {"sha256": "0"}))
    program(*call, tmp_path / "alone.dlc").assert_refused(2, "convert the network again")
    assert not (tmp_path / "q.dlc").exists()


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], ["--input_list", "--enable_float_fallback"]),
        (["--input_list", "l", "--enable_float_fallback"], ["contradict"]),
        (["--input_list", "l", "--act_quantizer_schema", "symmetric"], ["--act_quantizer_schema", "asymmetric"]),
        (["--input_list", "l", "--use_per_row_quantization"], ["--use_per_channel_quantization"]),
        (["--input_list", "l", "--percentile_calibration_value", "99"], ["--act_quantizer percentile"]),
        (["--input_list", "l", "--act_quantizer", "percentile", "--percentile_calibration_value", "9"], ["90 to 100"]),
        (["--restrict_quantization_steps", "a"], ["full grid"]),
        (["--enable_float_fallback", "--act_bitwidth", "16"], ["--act_bw", "--input_list"]),
        (["--nonsense"], ["--nonsense"]),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], words: list[str], tiny: Path) -> None:
    before = sorted(tiny.iterdir())
    program("qairt-quantizer", "-i", tiny / "net.dlc", *arguments).assert_refused(2, *words)
    assert sorted(tiny.iterdir()) == before
