"""Image folders: which class a folder is, what pixels of other types mean, and what is odd."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from hexaquant.core.errors import InputError
from hexaquant.frontends import load
from hexaquant.io.data import open_data
from hexaquant.io.dataset import Dataset
from hexaquant.io.image_folder import ImageSpec
from hexaquant.ir.graph import Graph

RAW = {"scale": 1.0, "mean": [0.0], "std": [1.0]}


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    text = '<ir_version: 8, opset_import: ["" : 17]> n (float[N, 3, 4, 4] x) => (float[N, 3, 4, 4] y) {y = Relu(x)}'
    onnx.save(onnx.parser.parse_model(text), path)
    return load(path)


def picture(path: Path, value: int = 7, size: tuple[int, int] = (4, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)


def folders(root: Path, *names: str) -> Path:
    for name in names:
        picture(root / name / "a.png")
    return root


def opened(root: Path, graph: Graph, **spec: object) -> Dataset:
    return open_data(root, graph, ImageSpec.of(RAW | spec))


@pytest.mark.parametrize(
    "names, expected",
    [
        (["0", "2", "10"], {"0": 0, "2": 2, "10": 10}),
        (["3", "7"], {"3": 3, "7": 7}),
        (["007", "12"], {"007": 7, "12": 12}),
        (["cat", "dog"], {"cat": 0, "dog": 1}),
    ],
)
def test_numbers_are_their_classes_and_names_are_sorted(
    names: list[str], expected: dict[str, int], tmp_path: Path, graph: Graph
) -> None:
    data = opened(folders(tmp_path, *names), graph)
    assert data.labels().tolist() == [expected[name] for name in sorted(names)]
    assert all(f"{number} = {name} (1)" in data.note for name, number in expected.items())


def test_hidden_folders_are_passed_over_and_empty_ones_keep_their_place(tmp_path: Path, graph: Graph) -> None:
    folders(tmp_path, "ant", "cow", ".ipynb_checkpoints", "__MACOSX")
    (tmp_path / "bee").mkdir()
    picture(tmp_path / "ant" / ".hidden.png")
    data = opened(tmp_path, graph)
    assert data.count == 2 and data.labels().tolist() == [0, 2]
    assert "1 = bee (0)" in data.note


@pytest.mark.parametrize("classes, expected", [({"ant": 5, "bee": 1}, [5, 1]), (["bee", "x", "ant"], [2, 0])])
def test_a_file_of_classes_decides(classes: object, expected: list[int], tmp_path: Path, graph: Graph) -> None:
    (folders(tmp_path, "ant", "bee") / "classes.json").write_text(json.dumps(classes))
    assert opened(tmp_path, graph).labels().tolist() == expected


@pytest.mark.parametrize(
    "names, files, words",
    [
        (["ant", "bee"], {"stray.png": None}, "stray.png lies beside the folders"),
        (["1", "bee"], {}, "say which class each is"),
        (["1", "01"], {}, "the same class number"),
        (["ant", "bee"], {"classes.json": '{"ant": 0}'}, "no number for the folder 'bee'"),
        (["ant"], {"classes.json": '{"ant": true}'}, "class number"),
        (["ant"], {"classes.json": '{"ant": 0, "ant": 1}'}, "stands twice"),
        (["ant"], {"labels.txt": "ant/a.png\n"}, "not of the form"),
        (["ant"], {"labels.txt": "ant/a.png ²\n"}, "not of the form"),
        (["ant"], {"labels.txt": "ant/a.png 1\nant/a.png 2\n"}, "twice"),
        (["ant"], {"labels.txt": "b.png 1\n"}, "no integer label for 'ant/a.png'"),
    ],
)
def test_what_is_odd_is_one_sentence(
    names: list[str], files: dict[str, str | None], words: str, tmp_path: Path, graph: Graph
) -> None:
    folders(tmp_path, *names)
    for name, text in files.items():
        picture(tmp_path / name) if text is None else (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=words):
        opened(tmp_path, graph)


def test_sixteen_bits_are_scaled(tmp_path: Path, graph: Graph) -> None:
    values = np.array([0, 257, 32896, 65535], np.uint16)
    Image.fromarray(np.tile(values, (4, 1))).save(tmp_path / "a.png")
    Image.fromarray(np.tile(values, (4, 1))).save(tmp_path / "b.tiff")
    for batch in opened(tmp_path, graph):
        assert batch["x"][0, 0, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_pixels_without_a_known_range_are_refused(kind: type, tmp_path: Path, graph: Graph) -> None:
    Image.fromarray(np.full((4, 4), 1, kind)).save(tmp_path / "a.tiff")
    with pytest.raises(InputError, match=r"a\.tiff holds .* no known range"):
        list(opened(tmp_path, graph))


def test_a_resize_below_the_size_is_refused_before_and_by_picture(tmp_path: Path, graph: Graph) -> None:
    picture(tmp_path / "a.png", size=(8, 8))
    with pytest.raises(InputError, match="give at least 4"):
        opened(tmp_path, graph, resize=2)
    with pytest.raises(InputError, match=r"a\.png has 4x4 pixels .* less than the network's 4x6"):
        list(opened(tmp_path, graph, resize=4, size=[4, 6]))


def test_a_picture_of_many_pixels_is_refused_by_its_header(tmp_path: Path, graph: Graph) -> None:
    Image.new("1", (20000, 20000)).save(tmp_path / "bomb.png")
    with pytest.raises(InputError, match=r"bomb\.png"):
        list(opened(tmp_path, graph))
