"""Data: arrays, input lists, folders of images, labels."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from cli.tiny import samples
from hostile.case import QUANTIZE, Case, npy, npz, zipped

X = samples(4)
RAW = X.tobytes()


def quantize(data: str) -> tuple[str, ...]:
    return (*QUANTIZE[:3], data, *QUANTIZE[4:])


def photo(path: Path) -> None:
    Image.new("RGB", (8, 8), (9, 9, 9)).save(path)


def picture(mode: str, size: tuple[int, int] = (8, 8)) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, "TIFF" if mode in "FI" else "PNG")
    return stream.getvalue()


def bomb(path: Path) -> None:
    """4 GB of zeros in some MB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive, archive.open("x.npy", "w", force_zip64=True) as member:
        head = io.BytesIO()
        np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": (1 << 22, 3, 8, 8)})
        member.write(head.getvalue())
        for _ in range(24):
            member.write(bytes(64 << 20))


def claims(shape: tuple[int, ...]) -> bytes:
    """An .npy whose header says ``shape`` and that holds 64 bytes."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return head.getvalue() + bytes(64)


def file_case(what: str, name: str, content: object, words: str = "") -> Case:
    return Case(f"{name}: {what}", {name: content}, quantize(name), words=words)  # type: ignore[dict-item]


NPZ = {
    "no arrays": npz(),
    "an unknown name": npz(image=X),
    "samples of another shape": npz(x=X[:, :, :7]),
    "no samples": npz(x=X[:0]),
    "uint8": npz(x=X.astype(np.uint8)),
    "int64": npz(x=X.astype(np.int64)),
    "booleans": npz(x=X > 0),
    "text": npz(x=np.array(["a", "b"])),
    "complex numbers": npz(x=X.astype(np.complex64)),
    "NaN": npz(x=np.full_like(X, np.nan)),
    "infinity": npz(x=np.full_like(X, np.inf)),
    "float64 beyond float32": npz(x=X.astype(np.float64) * 1e300),
    "dates": npz(x=np.array(["2020-01-01"], "datetime64[D]")),
    "labels of another number": npz(x=X, labels=np.arange(3)),
    "a member that is no array": zipped(x__npy=b"hello", **{"x.npy": b"hello"}),
    "a pickled member": npz(x=np.array([{"a": 1}], object)),
    "a header of code": zipped(**{"x.npy": b"\x93NUMPY\x01\0\x40\0" + b"__import__('os').system('touch owned')".ljust(63) + b"\n"}),
    "a header that claims 2^50": zipped(**{"x.npy": claims((1 << 30, 1 << 20))}),
    "cut short": npz(x=X)[:500],
    "nothing": b"",
    "zeros": bytes(4096),
    "a ZIP's beginning": b"PK\x03\x04 not a zip",
}
NPY = {
    "another shape": npy(X[:, :2]),
    "an object": npy(np.array([None], object)),
    "a header that claims 2^50": claims((1 << 30, 1 << 20)),
    "a negative shape": claims((-4, 3, 8, 8)),
    "cut short": npy(X)[:90],
    "text": b"1,2,3",
    "nothing": b"",
}
LISTS = {
    "a missing file": "ghost.raw\n",
    "an unknown input": "z:=a.raw\n",
    "an input twice": "x:=a.raw x:=a.raw\n",
    "two files for one input": "a.raw a.raw\n",
    "a file of other size": "short.raw\n",
    "an empty file": "empty.raw\n",
    "a folder": "folder\n",
    "a file outside": "../../../../etc/passwd\n",
    "a device": "/dev/null\n",
    "comments alone": "# nothing\n% here\n",
    "nothing": "",
    "a zero byte": "a\0.raw\n",
    "no UTF-8": "\udcff.raw\n",
    "a name of 5,000 letters": "a" * 5000 + ".raw\n",
    "a million words": "a.raw " * 200_000 + "\n",
}
FOLDERS: dict[str, tuple[dict[str, object], str]] = {
    "no images": ({"photos/readme.md": "hello"}, "no images"),
    "an image that is text": ({"photos/a.png": "hello"}, "a.png"),
    "an image cut short": ({"photos/a.png": picture("RGB")[:40]}, "a.png"),
    "an empty image": ({"photos/a.png": b""}, "a.png"),
    "an image of 400 megapixels": ({"photos/a.png": lambda path: Image.new("1", (20_000, 20_000)).save(path)}, "a.png"),
    "an image of floats": ({"photos/a.tiff": picture("F")}, "no known range"),
    "an image of 32-bit integers": ({"photos/a.tiff": picture("I")}, "no known range"),
    "a picture beside classes": ({"photos/cat/a.png": photo, "photos/b.png": photo}, "beside the folders"),
    "numbers and names": ({"photos/1/a.png": photo, "photos/cat/b.png": photo}, "which class each"),
    "a class twice": ({"photos/1/a.png": photo, "photos/01/b.png": photo}, "same class"),
    "labels without a number": ({"photos/a.png": photo, "photos/labels.txt": "a.png"}, "file label"),
    "labels of words": ({"photos/a.png": photo, "photos/labels.txt": "a.png cat"}, "file label"),
    "labels of superscripts": ({"photos/a.png": photo, "photos/labels.txt": "a.png ²"}, "file label"),
    "labels of -1": ({"photos/a.png": photo, "photos/labels.txt": "a.png -1"}, "file label"),
    "labels of 10^30": ({"photos/a.png": photo, "photos/labels.txt": "a.png 1" + "0" * 30}, "file label"),
    "labels for another file": ({"photos/a.png": photo, "photos/labels.txt": "b.png 1"}, "a.png"),
    "labels that say two": ({"photos/a.png": photo, "photos/labels.txt": "a.png 1\na.png 2"}, "twice"),
    "labels that are no text": ({"photos/a.png": photo, "photos/labels.txt": b"\xff\xfe"}, "labels.txt"),
    "classes that are no JSON": ({"photos/cat/a.png": photo, "photos/classes.json": "{"}, "classes.json"),
    "classes of floats": ({"photos/cat/a.png": photo, "photos/classes.json": '{"cat": 0.5}'}, "classes.json"),
    "classes without one": ({"photos/cat/a.png": photo, "photos/classes.json": '{"dog": 0}'}, "cat"),
    "classes that say two": ({"photos/cat/a.png": photo, "photos/classes.json": '{"cat": 0, "cat": 1}'}, "twice"),
}


def cases() -> list[Case]:
    found = [file_case(what, "data.npz", content) for what, content in NPZ.items()]
    found += [file_case("4 GB of zeros", "data.npz", bomb, "unpacks")]
    found += [file_case(what, "a.npy", content) for what, content in NPY.items()]
    beside = {"a.raw": RAW[:768], "short.raw": RAW[:700], "empty.raw": b"", "folder/a": b""}
    found += [Case(f"input list: {what}", {"list.txt": text, **beside}, quantize("list.txt")) for what, text in LISTS.items()]
    found += [Case(f"image folder: {what}", files, quantize("photos"), words=words) for what, (files, words) in FOLDERS.items()]  # type: ignore[arg-type]
    return found
