"""What a file or an artifact folder holds, as one JSON document, and that document as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hexaquant.cli.console import bytes_text, table
from hexaquant.cli.reports import Drawing, report_drawings
from hexaquant.core.errors import InputError

Document = dict[str, Any]


def describe(path: Path, model: Path | None = None) -> Document:
    """The document of ``path``, by what it is. ``model``: ONNX file that encodings must belong to.

    Raises InputError for anything else, for what is damaged, and for encodings of another model.
    """
    if model is not None:
        _require_encodings(path, model)
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise InputError(f"there is no file or folder {path}; check the path")
    readers: dict[str, Callable[[Path], Document]] = {
        ".onnx": _onnx,
        ".encodings": _encodings,
        ".json": _encodings,
        ".dlc": _dlc,
        ".bin": _binary,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path} is no {', '.join(readers)} or artifact folder; give one of those")
    document = reader(path)
    return {"kind": document.pop("kind"), "path": str(path), "bytes": path.stat().st_size, **document}


def _require_encodings(path: Path, model: Path) -> None:
    """Raise EncodingError when ``path`` is not an encodings file of ``model``."""
    from hexaquant.io.encodings_file import read_encodings
    from hexaquant.ir.graph import Graph
    from hexaquant.ir.load import read_model

    read_encodings(path).check_against(Graph(read_model(model), model.name))


def _folder(path: Path) -> Document:
    import json

    from hexaquant.folder.artifacts import Folder

    folder = Folder.open(path)
    out = folder.path
    manifest = folder.manifest
    changed = []
    for name in manifest.files:
        try:
            folder.verify([name])
        except InputError:
            changed.append(name)
    report = out / "verify.json"
    return {
        "kind": "artifact folder",
        "path": str(path),
        "target": manifest.target,
        "scheme": manifest.scheme,
        "versions": manifest.versions,
        "files": {
            name: record.model_dump() | {"intact": name not in changed} for name, record in manifest.files.items()
        },
        "verify": json.loads(report.read_text())
        if "verify.json" in manifest.files and "verify.json" not in changed
        else None,
    }


def _onnx(path: Path) -> Document:
    from hexaquant.ir.graph import Graph, shape_of
    from hexaquant.ir.load import read_model

    model = read_model(path)
    graph = Graph(model, path.name)

    def ports(values: Sequence[Any]) -> list[Document]:
        return [{"name": v.name, "dtype": str(v.dtype), "shape": list(shape_of(v) or ())} for v in values]

    constants = [
        {"name": name, "dtype": str(v.dtype), "shape": list(shape_of(v) or ()), "bytes": int(v.const_value.nbytes)}
        for name, v in graph.initializers.items()
        if v.const_value is not None
    ]
    return {
        "kind": "ONNX model",
        "opset": model.opset_imports.get(""),
        "producer": model.producer_name or "",
        "inputs": ports(graph.inputs),
        "outputs": ports(graph.outputs),
        "operators": dict(Counter(node.op_type for node in graph.nodes).most_common()),
        "constants": constants,
        "constant_bytes": sum(c["bytes"] for c in constants),
    }


def _encodings(path: Path) -> Document:
    from hexaquant.io.encodings_file import read_encodings

    file = read_encodings(path)

    def rows(encodings: Mapping[str, Any], role: str) -> list[Document]:
        return [
            {
                "name": name,
                "role": role,
                "grid": str(e.grid),
                "symmetric": e.grid.symmetric,
                "scales": 0 if e.grid.is_float else int(e.step.numel()),
                "min": None if e.grid.is_float else float(e.min.min()),
                "max": None if e.grid.is_float else float(e.max.max()),
                "scale": None if e.grid.is_float or e.step.numel() != 1 else float(e.step),
                "offset": None if e.grid.is_float or e.offset.numel() != 1 else int(e.offset),
            }
            for name, e in encodings.items()
        ]

    tensors = rows(file.activations, "activation") + rows(file.params, "param")
    return {"kind": "encodings", "version": file.version, "producer": file.producer, "encodings": tensors}


def _dlc(path: Path) -> Document:
    from hexaquant.qnn.inspect import inspect_dlc

    content = inspect_dlc(path)
    return {"kind": "DLC", "records": content.records, "graphs": [asdict(graph) for graph in content.graphs]}


def _binary(path: Path) -> Document:
    from hexaquant.folder.manifest import check_integrity
    from hexaquant.htp.soc import target_of_model
    from hexaquant.qnn.inspect import inspect_binary

    recorded = check_integrity(path)
    content = inspect_binary(path)
    target = target_of_model(content.soc_model)
    return {
        "kind": "context binary",
        "target": target.name if target else None,
        "soc_model": content.soc_model,
        "build_id": content.build_id,
        "core_version": content.core_version,
        "backend_version": content.backend_version,
        "sha256_checked": recorded,
        "graphs": [asdict(graph) for graph in content.graphs],
    }


def drawings(document: Document, limit: int) -> tuple[Drawing, ...]:
    """The tables of ``document``, each with at most ``limit`` rows."""
    head = [lambda: _headline(document)]
    kinds: dict[str, Callable[[Document, int], list[Drawing]]] = {
        "artifact folder": _draw_folder,
        "ONNX model": _draw_onnx,
        "encodings": _draw_encodings,
        "DLC": _draw_graphs,
        "context binary": _draw_graphs,
    }
    return (*head, *kinds[document["kind"]](document, limit))


def _headline(document: Document) -> str:
    producer = document.get("producer")
    if isinstance(producer, dict):
        document = document | {"producer": " ".join(str(part) for part in producer.values())}
    keys = ("target", "scheme", "soc_model", "version", "opset", "producer", "build_id")
    told = [f"{key.replace('_', ' ')} {document[key]}" for key in keys if document.get(key) not in (None, "", {})]
    size = [bytes_text(document["bytes"])] if "bytes" in document else []
    return f"{document['path']}: {document['kind']}, " + ", ".join(told + size)


def _draw_folder(document: Document, limit: int) -> list[Drawing]:
    files = [
        [name, bytes_text(f["bytes"]), "" if f["intact"] else "CHANGED OR MISSING"]
        for name, f in document["files"].items()
    ]
    drawn: list[Drawing] = [lambda: _cut("files", ["file", "size", ""], files, limit, (1,))]
    return drawn + (list(report_drawings(document["verify"])[:2]) if document["verify"] else [])


def _draw_onnx(document: Document, limit: int) -> list[Drawing]:
    ports = [
        [kind[:-1], p["name"], p["dtype"], _dims(p["shape"])] for kind in ("inputs", "outputs") for p in document[kind]
    ]
    operators = [[op, count] for op, count in document["operators"].items()]
    constants = [[c["name"], c["dtype"], _dims(c["shape"]), f"{c['bytes']:,}"] for c in document["constants"]]
    total = f"constants, {bytes_text(document['constant_bytes'])}"
    return [
        lambda: _cut("", ["", "name", "dtype", "shape"], ports, limit),
        lambda: _cut("", ["operator", "count"], operators, limit, (1,)),
        lambda: _cut(total, ["name", "dtype", "shape", "bytes"], constants, limit, (3,)),
    ]


def _draw_encodings(document: Document, limit: int) -> list[Drawing]:
    rows = [
        [
            e["name"],
            e["role"],
            e["grid"],
            e["scales"],
            _figure(e["min"]),
            _figure(e["max"]),
            _figure(e["scale"]),
            e["offset"],
        ]
        for e in document["encodings"]
    ]
    columns = ["tensor", "role", "grid", "scales", "min", "max", "scale", "offset"]
    return [lambda: _cut("", columns, rows, limit, (3, 4, 5, 6, 7))]


def _draw_graphs(document: Document, limit: int) -> list[Drawing]:
    drawn: list[Drawing] = []
    for graph in document["graphs"]:
        tensors = [*graph["inputs"], *graph["outputs"], *graph["tensors"]]
        unique = list({tensor["name"]: tensor for tensor in tensors}.values())
        drawn.append(lambda g=graph, t=unique: _tensor_table(g, t, limit))  # type: ignore[misc]
        if graph["ops"]:
            drawn.append(lambda g=graph: _operator_table(g, limit))  # type: ignore[misc]
    return drawn


def _tensor_table(graph: Document, tensors: list[Document], limit: int) -> Any:
    rows = [[t["name"], t["kind"], t["dtype"], _dims(t["shape"]), _quant(t["quant"])] for t in tensors]
    return _cut(f"graph {graph['name']}: tensors", ["tensor", "kind", "dtype", "shape", "encoding"], rows, limit)


def _operator_table(graph: Document, limit: int) -> Any:
    rows = [[op["name"], op["type"], ", ".join(op["inputs"]), ", ".join(op["outputs"])] for op in graph["ops"]]
    return _cut(f"graph {graph['name']}: operators", ["operator", "type", "inputs", "outputs"], rows, limit)


def _quant(quant: Document | None) -> str:
    """ "scale 0.0123, offset -128", or how many scales along which axis."""
    if quant is None:
        return ""
    if len(quant["scales"]) == 1:
        return f"scale {quant['scales'][0]:.6g}, offset {quant['offsets'][0]}"
    return (
        f"{len(quant['scales'])} scales {min(quant['scales']):.3g} .. {max(quant['scales']):.3g}, axis {quant['axis']}"
    )


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _dims(shape: Sequence[int | str | None]) -> str:
    return "x".join("?" if dim is None else str(dim) for dim in shape)


def _cut(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], limit: int, right: Sequence[int] = ()
) -> Any:
    """A table of the first ``limit`` rows that says how many more there are."""
    more = len(rows) - limit
    named = title + (f" (first {limit} of {len(rows)})" if more > 0 else "")
    return table(named.strip(), columns, rows[:limit], right)
