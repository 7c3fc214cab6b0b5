"""Command lines: paths, options and folders that are not what they should be; and files of every kind of model."""

from __future__ import annotations

from hostile.case import QUANTIZE, Case, zipped

GARBAGE = {"nothing": b"", "text": b"this is text", "zeros": bytes(2048), "every byte": bytes(range(256)) * 8, "a ZIP of nothing": zipped()}
MODELS = ("m.onnx", "m.pt2", "m.keras", "m.h5", "m.tflite")
KERAS = {
    "a Lambda of code": b'{"class_name": "Lambda", "config": {"name": "evil", "function": {"class_name": "__lambda__", "config": {"code": "4wEAAAA="}}}}',
    "10,000 levels": b"[" * 10_000 + b"]" * 10_000,
    "a class of os": b'{"module": "os", "class_name": "system", "config": {}}',
}


def with_option(*words: str) -> tuple[str, ...]:
    return (*QUANTIZE, *words)


OPTIONS = {
    "a shape of nothing": (("--shape", "x="), ""),
    "a shape of words": (("--shape", "x=a,b"), "a"),
    "a shape of 10^30": (("--shape", "x=1,3,8," + "9" * 30), ""),
    "a shape of -1": (("--shape", "x=1,3,-1,8"), ""),
    "a shape of an unknown input": (("--shape", "z=1"), "z"),
    "a scheme of words": (("--scheme", "small"), "small"),
    "a target of words": (("--target", "phone"), "phone"),
    "a target with escape codes": (("--target", "\x1b[31mred"), ""),
    "a recipe of words": (("--recipe", "slow"), "slow"),
    "overrides that are a folder": (("--overrides", "."), ""),
    "overrides that are a device": (("--overrides", "/dev/zero"), "device"),
    "an unknown option": (("--magic",), "magic"),
    "an encodings version of words": (("--encodings-version", "new"), "new"),
}
PLACES = {
    "a folder of photos as OUT": ({"photos/a.png": b"x"}, "photos", "not an artifact folder"),
    "the working folder as OUT": ({}, ".", "not an artifact folder"),
    "a file as OUT": ({"file": b"x"}, "file", "file"),
    "a file above OUT": ({"file": b"x"}, "file/out", "file"),
    "/proc as OUT": ({}, "/proc/out", "/proc"),
    "/dev/null as OUT": ({}, "/dev/null", "/dev/null"),
    "a damaged manifest in OUT": ({"out/manifest.json": b"{"}, "out", "manifest.json"),
    "a manifest of lists in OUT": ({"out/manifest.json": b"[]"}, "out", "manifest.json"),
    "a manifest of another format in OUT": ({"out/manifest.json": b'{"format": 99}'}, "out", "99"),
}
SECRET = b'{"format": 1, "files": {"../../secret": "' + b"0" * 64 + b'"}}'
FUNCTIONS = {
    "a module that is missing": ("ghost:build", "ghost"),
    "a file that is missing": ("ghost.py:build", "ghost.py"),
    "a function that is missing": ("mine.py:ghost", "ghost"),
    "a function that raises": ("mine.py:fails", "KeyError"),
    "a function that exits": ("mine.py:leaves", ""),
    "a function that returns a number": ("mine.py:number", "int"),
    "a file of no Python": ("broken.py:build", "broken.py"),
}
CODE = {"mine.py": "import sys\ndef fails():\n    raise KeyError('w')\ndef leaves():\n    sys.exit(0)\ndef number():\n    return 3\n", "broken.py": "def ("}


def cases() -> list[Case]:
    found = [Case(f"{name} of {what}", {name: content}, ("lint", name)) for name in MODELS for what, content in GARBAGE.items()]
    found += [Case(f"m.keras with {what}", {"m.keras": zipped(**{"config.json": text, "metadata.json": b"{}", "model.weights.h5": b""})}, ("lint", "m.keras")) for what, text in KERAS.items()]
    found += [Case(f"quantize with {what}", {}, with_option(*words), words=said) for what, (words, said) in OPTIONS.items()]
    found += [Case(what, files, (*QUANTIZE[:-1], place), words=words) for what, (files, place, words) in PLACES.items() if "manifest" not in what]  # type: ignore[arg-type]
    found += [Case(f"info of {what}", files, ("info", place), words=words) for what, (files, place, words) in PLACES.items() if "manifest" in what]  # type: ignore[arg-type]
    found += [Case(f"model: {what}", CODE, ("lint", text), words=words) for what, (text, words) in FUNCTIONS.items()]
    found += [Case(f"model: {what}", {}, ("lint", text)) for what, text in {"a zero byte": "a\0.onnx", "half a pair": "\ud800.onnx", "a folder": ".", "a device": "/dev/zero", "an unknown ending": "net.docx", "nothing": "", "a name of 5,000 letters": "a" * 5000 + ".onnx", "escape codes": "\x1b[2J.onnx"}.items()]
    found += [Case(f"verify of {what}", files, ("verify", "out", "--data", "data.npz")) for what, files in {"nothing": {}, "a folder of files": {"out/a.txt": b"x"}, "a manifest that names ../../secret": {"out/manifest.json": SECRET}}.items()]  # type: ignore[misc]
    found += [Case(f"run of {what}", {"m.bin": content}, ("run", "m.bin", "--input", "x=a.npy", "-o", "results")) for what, content in {"nothing": b"", "zeros": bytes(4096), "text": b"binary"}.items()]
    return found


