"""Broken files, one for each symptom that docs/troubleshooting.md shows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx

from docs.workshop import INPUT, samples

ACOS = """<ir_version: 10, opset_import: ["" : 21]>
refused (float[N,3,16,16] input) => (float[N,3,16,16] y) { c = Sigmoid (input)  y = Acos (c) }"""

OPEN = """<ir_version: 10, opset_import: ["" : 21]>
open (float[N,3,H,W] input) => (float[N,3,H,W] y) { y = Sigmoid (input) }"""


def spoil(folder: Path) -> None:
    """Add the broken files to a copy of the workshop."""
    _networks(folder)
    _data(folder)
    _encodings(folder)
    (folder / "typo.yaml").write_text('"conv9*": w8a16\n')
    shutil.copytree(folder / "out", folder / "damaged")
    with (folder / "damaged" / "model.sm8650.bin").open("ab") as file:
        file.write(b"x")


def _networks(folder: Path) -> None:
    (folder / "half.onnx").write_bytes((folder / "net.onnx").read_bytes()[:5000])
    refused = onnx.parser.parse_model(ACOS)
    refused.graph.node[1].name = "angle"
    onnx.save(refused, folder / "acos.onnx")
    onnx.save(onnx.parser.parse_model(OPEN), folder / "open.onnx")


def _data(folder: Path) -> None:
    x = samples(4, 0)
    np.savez(folder / "wrong_name.npz", image=x)
    np.savez(folder / "wrong_shape.npz", **{INPUT: x.transpose(0, 2, 3, 1)})
    np.savez(folder / "nan.npz", **{INPUT: np.full_like(x, np.nan)})
    np.savez(folder / "nolabels.npz", **{INPUT: x})
    (folder / "list_without_file.txt").write_text("gone.raw\n")


def _encodings(folder: Path) -> None:
    content = json.loads((folder / "net.encodings").read_text())
    partial = content | {"activation_encodings": content["activation_encodings"][:3]}
    (folder / "partial.encodings").write_text(json.dumps(partial))
    for entry in content["activation_encodings"] + content["param_encodings"]:
        entry["name"] = f"m.{entry['name']}"
    (folder / "foreign.encodings").write_text(json.dumps(content))
