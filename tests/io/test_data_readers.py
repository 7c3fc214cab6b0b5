"""All kinds of data become checked batches by input name; bad items are named."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as oir
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from hexaquant.core.errors import InputError
from hexaquant.io.data import open_data
from hexaquant.io.dataset import Dataset
from hexaquant.io.image_folder import ImageSpec, read_image
from hexaquant.io.input_lines import read_input_lines
from hexaquant.io.input_list import input_list
from hexaquant.ir.graph import Graph
from hexaquant.ir.input_spec import input_specs


def graph(inputs: str = "float[N,3] x") -> Graph:
    return Graph(oir.from_onnx_text(f'<ir_version: 10, opset_import: ["": 21]> g ({inputs}) => (float[N] o) {{ }}'))


ONE, TWO = graph(), graph("float[N,3] x, int64[N] ids")
X = np.arange(21, dtype=np.float32).reshape(7, 3)


def collected(dataset: Dataset, name: str = "x") -> np.ndarray:
    return np.concatenate([b[name] for b in dataset.batches()])


def test_arrays_tuples_dicts_and_loaders_give_the_same_samples() -> None:
    labels = torch.arange(7)
    loader = DataLoader(TensorDataset(torch.from_numpy(X), labels), batch_size=3)
    for data in (X, list(X), [X], [(X,)], [{"x": X}], [(X, labels)], loader, (x for x in X), torch.from_numpy(X)):
        assert np.array_equal(collected(open_data(data, ONE)), X)
    assert open_data(loader, ONE).samples == 7
    assert np.array_equal(open_data(loader, ONE).labels(), np.arange(7))
    assert open_data([X], ONE).labels() is None


def test_two_inputs_by_position_and_by_name() -> None:
    ids = np.arange(7)
    for data in ([(X, ids)], [(X, ids, ids)], [{"ids": ids.astype(np.int32), "x": X}], {"x": X, "ids": ids}):
        batch = next(open_data(data, TWO).batches())
        assert np.array_equal(batch["x"], X) and np.array_equal(batch["ids"], ids) and batch["ids"].dtype == np.int64


def test_data_can_be_read_twice_even_from_a_generator() -> None:
    dataset = open_data((x for x in X), ONE)
    assert np.array_equal(collected(dataset), collected(dataset))


def test_batches_are_resized_across_item_boundaries() -> None:
    sizes = [len(b["x"]) for b in open_data([X[:2], X[2:6], X[6:]], ONE).batches(3)]
    assert sizes == [3, 3, 1]
    assert np.array_equal(collected(open_data([X[:2], X[2:]], ONE)), X)


def test_a_fixed_batch_is_obeyed_and_leftovers_are_an_error() -> None:
    fixed = graph("float[2,3] x")
    assert [len(b["x"]) for b in open_data(X[:6], fixed).batches()] == [2, 2, 2]
    with pytest.raises(InputError, match="the last 1 of the samples do not fill the model's batch of 2"):
        list(open_data(X, fixed).batches())


def test_a_constant_second_input_is_fed_whole() -> None:
    mixed = graph("float[N,3] x, float[1,4] mask")
    mask = np.ones((1, 4), np.float32)
    batches = list(open_data([(X[:4], mask), (X[4:], mask)], mixed).batches(5))
    assert [b["x"].shape[0] for b in batches] == [5, 2]
    assert all(b["mask"].shape == (1, 4) for b in batches)


def test_split_is_disjoint_complete_and_stable() -> None:
    x = np.arange(60, dtype=np.float32).reshape(20, 3)
    rest, held = open_data(x, ONE).split()
    assert rest.samples == 16 and held.samples == 4
    assert np.array_equal(collected(held), x[1::5])
    other_rest, other_held = open_data([x[:3], x[3:]], ONE).split()
    assert np.array_equal(collected(other_held), collected(held))
    assert np.array_equal(collected(other_rest), np.delete(x, np.s_[1::5], 0))
    with pytest.raises(InputError, match="split already"):
        rest.split()
    with pytest.raises(InputError, match="too small to hold out"):
        list(open_data(x[:1], ONE).split()[1].batches())


def test_content_hash_depends_on_content_not_on_batching() -> None:
    first = open_data(X, ONE).content_hash()
    assert first == open_data([X[:2], X[2:]], ONE).content_hash()
    changed = X.copy()
    changed[3, 1] = np.nextafter(changed[3, 1], 9)
    assert first != open_data(changed, ONE).content_hash()
    assert first != open_data([(X, np.arange(7))], ONE).content_hash()


def with_nan() -> np.ndarray:
    x = X.copy()
    x[1, 1] = np.nan
    return x


@pytest.mark.parametrize(
    "data, model, message",
    [
        ([X, with_nan()], ONE, "item 1 of the data: input 'x' holds NaN or infinity"),
        ([X[:, :2]], ONE, "item 0 of the data: input 'x' has shape 7x2 but the model wants Nx3"),
        ([X.astype(np.int32)], ONE, "'x' is int32 but the model wants float32"),
        ([(X, np.full(7, 2**40))], graph("float[N,3] x, int32[N] ids"), "'ids' is int64 but the model wants int32"),
        ([{"xs": X}], ONE, r"'xs', which is no input of the model \(did you mean 'x'\?\)"),
        ([{"x": X, "idz": X}], TWO, r"'idz', which is no input of the model \(did you mean 'ids'\?\)"),
        ([{"x": X}], TWO, "lacks input 'ids'"),
        ([(X, X, X, X)], TWO, "has 4 values but the model has 2 inputs"),
        ([(X, np.arange(3))], TWO, "'ids' has 3 samples, others have 7"),
        ([(X, np.arange(3))], ONE, "3 labels for 7 samples"),
        ([X[:0]], ONE, "is empty, it has no samples"),
        ([], ONE, "the data is empty; give at least one sample"),
        (3, ONE, "type int cannot be iterated"),
    ],
)
def test_bad_items_are_named(data, model: Graph, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        list(open_data(data, model).batches())
    assert caught.value.exit_code == 2


def test_npz_with_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=X, labels=np.arange(7))
    dataset = open_data(tmp_path / "d.npz", ONE)
    assert dataset.samples == 7 and np.array_equal(dataset.labels(), np.arange(7))
    np.savez(tmp_path / "e.npz", X, np.arange(7))
    assert np.array_equal(collected(open_data(tmp_path / "e.npz", TWO), "ids"), np.arange(7))


def test_npz_errors(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", xx=X)
    with pytest.raises(InputError, match=r"d\.npz has 'xx', which is no input of the model"):
        open_data(tmp_path / "d.npz", ONE)
    np.savez(tmp_path / "e.npz", x=X, y=np.arange(3))
    with pytest.raises(InputError, match="3 labels for 7 samples"):
        open_data(tmp_path / "e.npz", ONE)
    (tmp_path / "t.npz").write_bytes((tmp_path / "d.npz").read_bytes()[:100])
    with pytest.raises(InputError, match=r"t\.npz is not a readable"):
        open_data(tmp_path / "t.npz", ONE)
    with pytest.raises(InputError, match="no data file or folder"):
        open_data(str(tmp_path / "no.npz"), ONE)
    (tmp_path / "a.csv").write_text("1")
    with pytest.raises(InputError, match="convert it"):
        open_data(tmp_path / "a.csv", ONE)


def test_npy_is_the_only_input(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    assert np.array_equal(collected(open_data(tmp_path / "x.npy", ONE)), X)
    with pytest.raises(InputError, match="one array but the model has 2 inputs"):
        open_data(tmp_path / "x.npy", TWO)


def test_input_list_of_raw_files(tmp_path: Path) -> None:
    for i, row in enumerate(X):
        row.tofile(tmp_path / f"x{i}.raw")
        np.array([i], np.float32).tofile(tmp_path / f"i{i}.raw")
    X.tofile(tmp_path / "all.raw")
    lines = [f"ids:=i{i}.raw x:=x{i}.raw" for i in range(7)]
    (tmp_path / "list.txt").write_text("#out\n" + "\n".join(lines) + "\n\n")
    dataset = open_data(tmp_path / "list.txt", TWO)
    assert np.array_equal(collected(dataset), X) and np.array_equal(collected(dataset, "ids"), np.arange(7))
    (tmp_path / "one.txt").write_text(f"{tmp_path / 'all.raw'}\n")
    assert np.array_equal(collected(open_data(tmp_path / "one.txt", ONE)), X)
    np.arange(7).tofile(tmp_path / "native.raw")
    (tmp_path / "native.txt").write_text("native.raw")
    ids = input_list(tmp_path / "native.txt", input_specs(graph("int64[N] ids")), native=True)
    assert np.array_equal(collected(ids, "ids"), np.arange(7))


def test_named_and_bare_files_of_one_line(tmp_path: Path) -> None:
    """A bare word is for the input at its place, whatever the others are called."""
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode())
    path = tmp_path / "list.txt"
    path.write_text("% y z\nx:=a b\na m:=b\nm:=b x:=a\n")
    listed = read_input_lines(path, ["x", "m"])
    assert listed.outputs == ("y", "z")
    assert [{n: f.name for n, f in line.files.items()} for line in listed.lines] == [{"x": "a", "m": "b"}] * 3
    path.write_text("m:=a b")
    with pytest.raises(InputError, match="line 1 gives input 'm' twice"):
        read_input_lines(path, ["x", "m"])


def test_input_list_errors(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    for line, message in [
        ("x:=none.raw", "line 1: there is no file none.raw"),
        ("y:=list.txt", "'y', which is no input"),
        ("list.txt list.txt", "line 1 has 2 files but the model has 1 inputs"),
        ("list.txt", "has 8 bytes, not a multiple of the 12"),
        ("x:=list.txt x:=list.txt", "line 1 gives input 'x' twice"),
    ]:
        path.write_text(line)
        with pytest.raises(InputError, match=message):
            list(open_data(path, ONE).batches())


def test_module_and_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_calib_data.py").write_text(
        "import numpy as np\ndef loader():\n    return (np.full((2, 3), i, np.float32) for i in range(3))\nnumber = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    path_before = list(sys.path)
    assert collected(open_data("my_calib_data:loader", ONE)).shape == (6, 3)
    assert sys.path == path_before
    for text, message in [
        ("my_calib_data:missing", "has no 'missing'"),
        ("my_calib_data:number", "gave a int, not an iterable"),
        ("no_such_module_x:f", "cannot import 'no_such_module_x'"),
    ]:
        with pytest.raises(InputError, match=message):
            open_data(text, ONE)


@pytest.fixture
def images(tmp_path: Path) -> Iterator[Path]:
    for index, name in enumerate(["b", "a"]):
        (tmp_path / name).mkdir()
        for i in range(3):
            pixels = np.zeros((8 + index, 12, 3), np.uint8)
            pixels[..., index] = 50 * (i + 1)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    yield tmp_path


def test_image_folder_with_classes(images: Path) -> None:
    spec = ImageSpec.of({"mean": [0.5, 0.25, 0.0], "std": 0.5})
    dataset = open_data(images, graph("float[N,3,4,6] x"), spec)
    assert dataset.samples == 6
    assert np.array_equal(dataset.labels(), [0, 0, 0, 1, 1, 1])
    first = collected(dataset)[0]
    assert first.shape == (3, 4, 6)
    assert np.allclose(first[1], (50 / 255 - 0.25) / 0.5) and np.allclose(first[0], -1)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"std": None}, "'std' is None; give a number"),
        ({"mean": ["0.4.1"]}, r"'mean' is \('0.4.1',\); give a number"),
        ({"mean": []}, r"'mean' is \(\)"),
        ({"scale": "much"}, "'scale' is 'much'"),
        ({"size": [2224]}, r"'size' is \(2224,\); give the height and the width"),
        ({"size": 0}, r"'size' is \(0, 0\)"),
        ({"size": 10**12}, "'size' is"),
        ({"resize": 0.5}, "'resize' is 0.5"),
    ],
)
def test_preprocessing_that_makes_no_sense(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ImageSpec.of(values)


def test_image_layout_follows_the_input_and_colours_can_be_swapped(images: Path) -> None:
    batch = next(open_data(images, graph("float[N,4,6,3] x"), ImageSpec(scale=1, color="BGR")).batches())
    assert batch["x"].shape == (1, 4, 6, 3)
    assert np.allclose(batch["x"][0, ..., 1], 50) and np.allclose(batch["x"][0, ..., ::2], 0)
    grey = next(open_data(images, graph("float[N,1,4,6] x"), ImageSpec(color="GRAY")).batches())
    assert grey["x"].shape == (1, 1, 4, 6)


def test_resize_keeps_the_aspect_ratio_and_crops_the_centre(tmp_path: Path) -> None:
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 255
    Image.fromarray(pixels).save(tmp_path / "i.png")
    spec = ImageSpec(resize=10, interpolation="nearest")
    assert np.all(read_image(tmp_path / "i.png", spec, (10, 10), "NCHW") == 1.0)
    squeezed = read_image(tmp_path / "i.png", ImageSpec(interpolation="nearest"), (10, 10), "NHWC")
    assert squeezed[..., 0].mean() == pytest.approx(1 / 3, abs=0.1)


def test_labels_file(images: Path) -> None:
    (images / "labels.txt").write_text("\n".join(f"{n}/{i}.png {7 + i}" for n in "ab" for i in range(3)))
    assert np.array_equal(open_data(images, graph("float[N,3,4,6] x")).labels(), [7, 8, 9, 7, 8, 9])
    (images / "labels.txt").write_text("a/0.png 3")
    with pytest.raises(InputError, match=r"no integer label for 'a/1\.png'"):
        open_data(images, graph("float[N,3,4,6] x"))


def test_image_errors(images: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(InputError, match="holds no images"):
        open_data(tmp_path_factory.mktemp("empty"), graph("float[N,3,4,6] x"))
    with pytest.raises(InputError, match="dynamic size"):
        open_data(images, graph("float[N,3,H,W] x"))
    with pytest.raises(InputError, match="not have exactly one image input"):
        open_data(images, ONE)
    (images / "a" / "0.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"0\.png is not a readable image"):
        list(open_data(images, graph("float[N,3,4,6] x")).batches())
    with pytest.raises(InputError, match="'mean' has 2 numbers but images have 3 channels; give one or 3"):
        read_image(images / "a" / "1.png", ImageSpec(mean=(0.5, 0.5)), (4, 6), "NCHW")
    for values, message in [
        ({"sizes": 3}, "no key 'sizes'"),
        ({"color": "X"}, "'color' is 'X'"),
        ({"std": 0}, "'std'"),
    ]:
        with pytest.raises(InputError, match=message):
            ImageSpec.of(values)
