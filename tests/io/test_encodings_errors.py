"""Bad encodings files: one sentence that names the file and the tensor, exit code 2."""

import json
from pathlib import Path
from typing import Any

import pytest

from hexaquant.core.errors import EncodingError, InputError
from hexaquant.io.encodings_file import parse_encodings, read_encodings, write_encodings
from hexaquant.ir.graph import Graph

ENTRY = {
    "name": "x",
    "bw": 8,
    "dtype": "INT",
    "enc_type": "PER_TENSOR",
    "is_sym": False,
    "offset": [-3],
    "scale": [1.0],
}


def v1(**changes: Any) -> dict[str, Any]:
    entry = {k: v for k, v in (ENTRY | changes).items() if v is not None}
    return {"version": "1.0.0", "activation_encodings": [entry], "param_encodings": []}


def test_truncated_json(samples: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.encodings"
    path.write_text((samples / "onnx_w8a8_1.0.0.encodings").read_text()[:5000])
    with pytest.raises(EncodingError, match=r"cut\.encodings is not valid JSON .*truncated"):
        read_encodings(path)


def test_binary_file(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(bytes(range(128, 256)))
    with pytest.raises(EncodingError, match="not valid JSON"):
        read_encodings(tmp_path / "b")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no encodings file"):
        read_encodings(tmp_path / "nothing")


@pytest.mark.parametrize("version", ["2.1.0", "9", 3])
def test_unknown_version(version: Any) -> None:
    with pytest.raises(EncodingError, match=r"has version '.*', not one of 0\.6\.1, 1\.0\.0, 2\.0\.0"):
        parse_encodings({"version": version, "encodings": []})


@pytest.mark.parametrize("document", [[], "x", {"version": "1.0.0", "activation_encodings": []}, {"version": "2.0.0"}])
def test_missing_sections(document: Any) -> None:
    with pytest.raises(EncodingError):
        parse_encodings(document)


@pytest.mark.parametrize("key", ["bw", "scale", "offset"])
def test_missing_key_names_tensor_and_key(key: str) -> None:
    with pytest.raises(EncodingError, match=f"activation 'x' has no '{key}'"):
        parse_encodings(v1(**{key: None}))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"scale": [float("nan")]}, "'x': 'scale' holds NaN or infinity"),
        ({"scale": [1e300]}, "NaN or infinity"),
        ({"scale": [0.0]}, "a scale is zero"),
        ({"scale": [-1.0]}, "a scale is zero, negative"),
        ({"scale": [1e-60]}, "too small for float32"),
        ({"scale": ["a"]}, "not a number"),
        ({"scale": [[1.0], [1.0, 2.0]]}, "regular list"),
        ({"scale": [], "offset": []}, "has 0 scales|is empty"),
        ({"scale": [1.0, 2.0]}, "PER_TENSOR but has 2 scales"),
        ({"scale": [1.0, 2.0], "offset": [0, 0, 0], "enc_type": "PER_CHANNEL"}, "2 scales but 3 offsets"),
        ({"offset": [7]}, "not an integer in -255 .. 0"),
        ({"offset": [-300]}, "not an integer in -255 .. 0"),
        ({"offset": [-1.5]}, "not an integer"),
        ({"bw": 77}, "2 to 32 bits"),
        ({"bw": "8"}, "'bw' is '8'"),
        ({"enc_type": "VECTOR"}, "enc_type 'VECTOR'"),
        ({"enc_type": "PER_BLOCK"}, "no 'block_size'"),
        ({"zero_point_shift": 0.5}, "zero_point_shift"),
        ({"is_sym": "maybe"}, "'is_sym' is 'maybe'"),
        (
            {"enc_type": "LPBQ", "compressed_bw": 4, "block_size": 2, "per_block_int_scale": [17]},
            r"not an integer in 1 \.\. 16",
        ),
        ({"enc_type": "LPBQ", "compressed_bw": 10**9}, "'compressed_bw' is 1000000000, but encodings have 2 to 32"),
        (
            {"enc_type": "LPBQ", "compressed_bw": 16, "block_size": 2, "per_block_int_scale": [1]},
            "16 compressed bits are more than the 8",
        ),
    ],
)
def test_bad_values_name_the_tensor(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(EncodingError, match=message) as caught:
        parse_encodings(v1(**changes), "model.encodings")
    assert "'x'" in str(caught.value) and "model.encodings" in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "entry, message",
    [
        ({"output_dtype": "float8e4m3fn", "y_scale": 1.0}, "float8e4m3fn"),
        ({"output_dtype": "uint8"}, "no 'y_scale'"),
        ({"output_dtype": "int8", "y_scale": [1.0, 2.0]}, "no 'axis'"),
        ({"output_dtype": "uint8", "y_scale": 1.0, "y_zero_point": 999}, "not an integer in -255"),
        ({"output_dtype": "int4", "y_scale": {"x": [[1]]}}, r"2\.1\.0"),
        ({"output_dtype": "int4", "y_scale": [1.0, 1.0], "axis": 0, "block_size": 2}, "do not fit axis 0"),
        (
            {
                "output_dtype": "int4",
                "axis": 1,
                "block_size": 2,
                "per_block_int_scale": [[], []],
                "per_channel_float_scale": [1.0, 1.0],
            },
            "block scales is empty",
        ),
    ],
)
def test_bad_version_2_entries(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(EncodingError, match=message):
        parse_encodings({"version": "2.0.0", "encodings": [{"name": "x"} | entry]})


def test_a_tensor_that_appears_twice() -> None:
    document = v1()
    document["activation_encodings"] *= 2
    with pytest.raises(EncodingError, match="'x' appears twice"):
        parse_encodings(document)


def test_a_hand_written_range_gives_scale_and_offset() -> None:
    entries = {"x": [{"bitwidth": 8, "min": -1.0, "max": 1.55, "is_symmetric": "False"}]}
    encoding = parse_encodings({"version": "0.6.1", "activation_encodings": entries, "param_encodings": {}}).all["x"]
    assert float(encoding.scale) == pytest.approx(0.01) and float(encoding.offset) == -100


def test_a_huge_bit_width_is_refused_before_its_levels_are_computed() -> None:
    entries = {"x": [{"bitwidth": 10**12, "min": -1.0, "max": 1.5, "is_symmetric": "False"}]}
    with pytest.raises(EncodingError, match="'bitwidth' is 1000000000000, but encodings have 2 to 32 bits"):
        parse_encodings({"version": "0.6.1", "activation_encodings": entries, "param_encodings": {}})


def test_encodings_of_another_model_name_the_closest_tensors(samples: Path, net: Graph, tmp_path: Path) -> None:
    document = json.loads((samples / "onnx_w8a8_1.0.0.encodings").read_text())
    for entry in document["param_encodings"]:
        entry["name"] = "backbone." + entry["name"]
    encodings = parse_encodings(document, "other.encodings")
    with pytest.raises(EncodingError, match=r"'backbone\.conv1\.weight' \(closest: 'conv1\.weight'\).*and 3 more"):
        encodings.check_against(net)


def test_a_few_folded_activations_are_no_error(samples: Path, net: Graph) -> None:
    encodings = read_encodings(samples / "torch_legacy.encodings")
    assert encodings.check_against(net) == ["t.1", "55"]
    with pytest.raises(EncodingError, match=r"'t\.1'"):
        encodings.check_against(net, strict=True)


def test_scales_that_do_not_fit_the_tensor(net: Graph) -> None:
    entry = ENTRY | {"name": "conv1.weight", "enc_type": "PER_CHANNEL", "scale": [1.0] * 5, "offset": [0] * 5}
    document = {"version": "1.0.0", "activation_encodings": [], "param_encodings": [entry]}
    with pytest.raises(EncodingError, match=r"'conv1\.weight' has 5 scales.*\(8, 3, 3, 3\).*another model"):
        parse_encodings(document).resolve(net)


def test_writing_refuses_unknown_versions_and_missing_encodings(tmp_path: Path) -> None:
    with pytest.raises(EncodingError, match="version '3' is unknown"):
        write_encodings(tmp_path / "o", {}, activations=[], params=[], version="3")
    with pytest.raises(EncodingError, match="no encoding for 'x'"):
        write_encodings(tmp_path / "o", {}, activations=["x"], params=[])
    assert not list(tmp_path.iterdir())
