"""qairt-converter's flags for inputs and outputs: layouts, float or integer, where the network ends, --config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from cli.command import Result
from cli.tools.programs import program

AIMET = Path(__file__).parents[2] / "data" / "aimet"
NET, W8A8 = AIMET / "net_fp32.onnx", AIMET / "onnx_w8a8_1.0.0.encodings"
IMAGE = np.random.default_rng(0).normal(size=(1, 3, 16, 16)).astype(np.float32)


def convert(folder: Path, name: str, *arguments: object) -> Result:
    return program("qairt-converter", "-i", NET, "-q", W8A8, "-o", folder / f"{name}.dlc", *arguments)


def run(folder: Path, name: str, image: np.ndarray, *arguments: object) -> dict[str, np.ndarray]:
    """Float results of the DLC on one raw file."""
    image.tofile(folder / "x.raw")
    (folder / "list.txt").write_text("x.raw\n")
    done = program("qnn-net-run", "--dlc_path", folder / f"{name}.dlc", "--input_list", folder / "list.txt",
                   "--output_dir", folder / f"{name}_out", *arguments)  # fmt: skip
    assert done.code == 0, done.err
    return {f.stem: np.fromfile(f, np.float32) for f in (folder / f"{name}_out" / "Result_0").iterdir()}


def border(folder: Path, name: str) -> dict[str, tuple[str, list[int]]]:
    """Type and shape of the first input and the last output."""
    operators = program("qairt-dlc-info", "-i", folder / f"{name}.dlc", "--json").document["graphs"][0]["operators"]
    found = {
        t["name"]: t for op in operators for t in (*op["inputs"], *op["outputs"]) if t["kind"] in ("input", "output")
    }
    return {key: (t["dtype"], t["shape"]) for key, t in found.items()}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    folder = tmp_path_factory.mktemp("plain")
    assert convert(folder, "plain").code == 0
    return folder, run(folder, "plain", IMAGE)["output"]


def test_an_input_in_another_layout_gives_the_same_results(plain: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    done = convert(tmp_path, "nhwc", "--desired_input_layout", "input", "NHWC", "--preserve_io_datatype", "output")
    assert done.code == 0, done.err
    ends = border(tmp_path, "nhwc")
    assert ends == {"input": ("ufixed8", [1, 16, 16, 3]), "output": ("float32", [1, 10])}
    found = run(tmp_path, "nhwc", np.ascontiguousarray(IMAGE.transpose(0, 2, 3, 1)))["output"]
    assert np.array_equal(found, plain[1])


def test_a_network_may_end_earlier_and_in_another_layout(tmp_path: Path) -> None:
    tensor = "/Add_output_0"
    assert convert(tmp_path, "cut", "--out_tensor_node", tensor).code == 0
    done = convert(tmp_path, "last", "--source_model_output_tensor", tensor, "--desired_output_layout", tensor, "NHWC",
                   "--json")  # fmt: skip
    assert done.code == 0, done.err
    assert not {row["outcome"] for row in done.document["departures"]} & {"float", "own range"}
    shape = border(tmp_path, "cut")["_Add_output_0"][1]
    first, last = (run(tmp_path, name, IMAGE)["_Add_output_0"] for name in ("cut", "last"))
    moved = first.reshape(shape).transpose(0, 2, 3, 1)
    assert np.array_equal(last.reshape(moved.shape), moved) and np.ptp(last) > 0


def test_the_template_converts_as_it_is_and_obeys_what_is_filled_in(
    plain: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    assert convert(tmp_path, "none", "--dump_config_template", tmp_path / "io.yaml").code == 0
    assert not (tmp_path / "none.dlc").exists()
    assert convert(tmp_path, "same", "--config", tmp_path / "io.yaml").code == 0
    assert border(tmp_path, "same") == border(plain[0], "plain")
    content = yaml.safe_load((tmp_path / "io.yaml").read_text())
    content["Input Tensor Configuration"][0]["Desired Model Parameters"] = {"Layout": "NHWC", "Shape": "2,3,16,16"}
    content["Output Tensor Configuration"][0]["Desired Model Parameters"] = {"DataType": "float32"}
    (tmp_path / "io.yaml").write_text(yaml.safe_dump(content))
    done = convert(tmp_path, "filled", "--config", tmp_path / "io.yaml", "-s", "input", "2,3,16,16")
    assert done.code == 0, done.err
    assert border(tmp_path, "filled") == {"input": ("ufixed8", [2, 16, 16, 3]), "output": ("float32", [2, 10])}
    done = convert(tmp_path, "other", "--config", tmp_path / "io.yaml", "-s", "input", "1,3,16,16")
    done.assert_refused(2, "contradicts --config")


@pytest.mark.parametrize(
    "content, words",
    [
        ({"Inputs": []}, "'Inputs' in the file"),
        ({"Input Tensor Configuration": [{"Name": "input", "Layout": "NHWC"}]}, "'Layout' in Input Tensor"),
        ({"Input Tensor Configuration": [{"Desired Model Parameters": {"Layout": "NHWC"}}]}, "no Name"),
        ({"Input Tensor Configuration": [{"Name": "input", "Desired Model Parameters": {"DataType": "int8"}}]}, "int8"),
        ({"Output Tensor Configuration": [{"Name": "output", "Desired Model Parameters": {"Shape": "1"}}]}, "follows"),
        ({"Converted Graph": [{"Input Tensors": "input"}]}, "Input Tensors"),
        (
            {"Output Tensor Configuration": [{"Name": "o", "Desired Model Parameters": {"QuantParams": {"Scale": 1}}}]},
            "QuantParams",
        ),
    ],
)
def test_what_is_wrong_in_the_config_is_said(content: Any, words: str, tmp_path: Path) -> None:
    (tmp_path / "io.yaml").write_text(json.dumps(content))
    convert(tmp_path, "n", "--config", tmp_path / "io.yaml").assert_refused(2, words)
    assert not (tmp_path / "n.dlc").exists()
