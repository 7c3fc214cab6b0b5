"""The data inside the package is whole, balanced, and split as the original."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from hexaquant.core.errors import EnvironmentLacksError
from hexaquant.demo import data


def test_the_training_set_has_2700_images_of_each_class() -> None:
    images, labels = data.load_train()
    assert images.shape == (27000, 28, 28) and images.dtype == np.uint8
    assert np.bincount(labels).tolist() == [2700] * 10


def test_the_test_set_is_the_original_in_its_order() -> None:
    images, labels = data.load_test()
    assert images.shape == (10000, 28, 28)
    assert labels[:10].tolist() == [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]
    assert np.bincount(labels).tolist() == [1000] * 10
    assert np.bincount(labels[:500], minlength=10).min() >= 30


def test_images_and_labels_belong_together() -> None:
    images, labels = data.load_train()
    trousers, bags = images[labels == data.CLASSES.index("trouser")], images[labels == data.CLASSES.index("bag")]
    assert trousers[:, :, :6].mean() < 10 < bags[:, :, :6].mean()


def test_no_test_image_is_in_the_training_set() -> None:
    train, _ = data.load_train()
    test, _ = data.load_test()
    rounded = np.minimum(np.rint(test / 8) * 8, 255).astype(np.uint8)
    assert not {image.tobytes() for image in train} & {image.tobytes() for image in rounded}


def test_normalized_images_have_zero_mean_and_unit_deviation() -> None:
    x = data.normalized(data.load_train()[0])
    assert x.shape == (27000, 1, 28, 28) and x.dtype == np.float32
    assert abs(x.mean()) < 0.02 and abs(x.std() - 1) < 0.02


def test_the_package_carries_at_most_ten_megabytes_and_names_the_licence() -> None:
    assert sum(path.stat().st_size for path in data.FOLDER.iterdir()) < 10_000_000
    assert "MIT License" in (data.FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_damaged_data_is_refused_with_the_remedy(tmp_path: Path, damage: str) -> None:
    folder = Path(shutil.copytree(data.FOLDER, tmp_path / "data"))
    path = folder / json.loads((folder / "index.json").read_text(encoding="utf-8"))["test"]["file"]
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(bytes(content) if damage == "flip" else path.read_bytes()[:1000])
    with pytest.raises(EnvironmentLacksError, match=r"test\.xz is missing or damaged; install hexaquant again"):
        data.load_test(folder)
