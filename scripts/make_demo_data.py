"""Builds src/hexaquant/demo/data from the four files of Fashion-MNIST (not needed to run the demo).

    python scripts/make_demo_data.py FOLDER_WITH_THE_IDX_GZ_FILES

Debian carries them in the package dataset-fashion-mnist (/usr/share/datasets/fashion-mnist); their home is
https://github.com/zalandoresearch/fashion-mnist. The test set is kept whole and unchanged. Of the training set the
first 2700 images of each class are kept, their 256 grey levels rounded to multiples of 8 so that they fit.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import lzma
from pathlib import Path

import numpy as np

DATA = Path(__file__).parent.parent / "src/hexaquant/demo/data"
PER_CLASS = 2700
GREY_STEP = 8
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 4, "lp": 0, "pb": 0}]


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array in a gzipped IDX file: magic number (its last byte the rank), big-endian sizes, values."""
    content = gzip.decompress(path.read_bytes())
    rank = content[3]
    shape = np.frombuffer(content, ">u4", count=rank, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def first_of_each_class(labels: np.ndarray, count: int) -> np.ndarray:
    """Indices, ascending, of the first ``count`` samples of each class."""
    return np.sort(np.concatenate([np.flatnonzero(labels == label)[:count] for label in np.unique(labels)]))


def rounded(images: np.ndarray, step: int) -> np.ndarray:
    """Grey levels rounded to multiples of ``step``, at most 255."""
    return np.minimum(np.rint(images / step) * step, 255).astype(np.uint8)


def pack(images: np.ndarray, labels: np.ndarray) -> bytes:
    """Labels in their order, then the images sorted by class: similar images near each other compress better."""
    order = np.argsort(labels, kind="stable")
    content = labels.tobytes() + images[order].tobytes()
    return lzma.compress(content, format=lzma.FORMAT_XZ, filters=FILTERS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    source = parser.parse_args().source
    train_labels = read_idx(source / "train-labels-idx1-ubyte.gz")
    kept = first_of_each_class(train_labels, PER_CLASS)
    train_images = rounded(read_idx(source / "train-images-idx3-ubyte.gz")[kept], GREY_STEP)
    test_images = read_idx(source / "t10k-images-idx3-ubyte.gz")
    test_labels = read_idx(source / "t10k-labels-idx1-ubyte.gz")
    index = {}
    for split, images, labels in (
        ("train", train_images, train_labels[kept]),
        ("test", test_images, test_labels),
    ):
        packed = pack(images, labels)
        name = f"{split}.xz"
        (DATA / name).write_bytes(packed)
        index[split] = {"file": name, "samples": len(labels), "sha256": hashlib.sha256(packed).hexdigest()}
        print(f"{name}: {len(labels)} samples, {len(packed) / 1e6:.2f} MB")
    (DATA / "index.json").write_text(json.dumps(index, indent=2) + "\n")


if __name__ == "__main__":
    main()
