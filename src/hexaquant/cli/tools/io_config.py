"""``--config IO.yaml`` of qairt-converter: shapes, layouts and types of inputs and outputs, and its template.

The sections are the original's: "Converted Graph" (tensors at which the network ends), "Input Tensor Configuration"
and "Output Tensor Configuration", each entry with "Src Model Parameters" and "Desired Model Parameters". Empty fields
say nothing; what is filled in and not supported is refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hexaquant.core.errors import InputError
from hexaquant.core.text_file import read_yaml

CONVERTED = "Converted Graph"
INPUTS = "Input Tensor Configuration"
OUTPUTS = "Output Tensor Configuration"
SOURCE = "Src Model Parameters"
DESIRED = "Desired Model Parameters"
TYPES = ("DataType", "DType")


@dataclass
class IoConfig:
    """By tensor name. ``floats``: inputs and outputs that stay float32."""

    shapes: dict[str, list[int | str]] = field(default_factory=dict)
    datatypes: dict[str, str] = field(default_factory=dict)
    source_layouts: dict[str, str] = field(default_factory=dict)
    desired_layouts: dict[str, str] = field(default_factory=dict)
    floats: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)


def read_io_config(path: Path) -> IoConfig:
    """The configuration at ``path``. Raises InputError naming the field that is wrong or not supported."""
    content = read_yaml(path, "config file") or {}
    _only(content, (CONVERTED, INPUTS, OUTPUTS), path, "the file")
    found = IoConfig()
    _read_converted(content.get(CONVERTED), found, path)
    for section, is_input in ((INPUTS, True), (OUTPUTS, False)):
        for entry in _list(content.get(section), path, section):
            _read_entry(entry, is_input, found, path, section)
    return found


def _read_converted(entries: Any, found: IoConfig, path: Path) -> None:
    for entry in _list(entries, path, CONVERTED):
        _only(entry, ("Input Tensors", "Output Tensors"), path, CONVERTED)
        if entry.get("Input Tensors"):
            raise InputError(f"{path}: Input Tensors in {CONVERTED} is not supported yet; the network's inputs stay")
        found.outputs += [str(name) for name in _list(entry.get("Output Tensors"), path, "Output Tensors")]


def _read_entry(entry: Any, is_input: bool, found: IoConfig, path: Path, section: str) -> None:
    _only(entry, ("Name", SOURCE, DESIRED), path, section)
    name = entry.get("Name")
    if name is None:
        if any(_filled(entry.get(part)) for part in (SOURCE, DESIRED)):
            raise InputError(f"{path}: an entry of {section} has no Name; give the tensor's")
        return
    source = entry.get(SOURCE) or {}
    desired = entry.get(DESIRED) or {}
    _only(source, (*TYPES, "Layout"), path, f"{SOURCE} of {name}")
    _only(desired, (*TYPES, "Layout", "Shape", "Color Conversion", "QuantParams"), path, f"{DESIRED} of {name}")
    for key in ("Color Conversion", "QuantParams"):
        if _filled(desired.get(key)):
            raise InputError(f"{path}: {key} of {name} is not supported here; do it in the network or its encodings")
    _put(found.source_layouts, name, source.get("Layout"))
    _put(found.desired_layouts, name, desired.get("Layout"))
    if is_input:
        _put(found.datatypes, name, _type(source))
    if desired.get("Shape") is not None:
        if not is_input:
            raise InputError(f"{path}: the Shape of output {name} follows from the inputs; remove it")
        found.shapes[str(name)] = _shape(desired["Shape"], name, path)
    _read_type(_type(desired), str(name), found, path)


def _read_type(wanted: str | None, name: str, found: IoConfig, path: Path) -> None:
    if wanted == "float32":
        found.floats.append(name)
    elif wanted is not None:
        raise InputError(
            f"{path}: {name} can stay float32 or become its encoding's integer (no DataType), not {wanted}"
        )


def _type(part: dict[str, Any]) -> str | None:
    return next((str(part[key]) for key in TYPES if part.get(key) is not None), None)


def _put(where: dict[str, str], name: Any, value: Any) -> None:
    if value is not None:
        where[str(name)] = str(value)


def _shape(value: Any, name: Any, path: Path) -> list[int | str]:
    words = value if isinstance(value, list) else str(value).strip("()[]").split(",")
    if not all(str(word).strip().isdigit() and int(word) for word in words):
        raise InputError(f"{path}: the Shape of {name} is {value}; give positive whole numbers, e.g. 1,3,224,224")
    return [int(word) for word in words]


def _filled(value: Any) -> bool:
    """True when anything below ``value`` says something."""
    return any(map(_filled, value.values())) if isinstance(value, dict) else value is not None


def _list(value: Any, path: Path, where: str) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, str):
        return [word.strip() for word in value.split(",")]
    if not isinstance(value, list):
        raise InputError(f"{path}: {where} must be a list; --dump_config_template shows the form")
    return value


def _only(values: Any, known: tuple[str, ...], path: Path, where: str) -> None:
    if not isinstance(values, dict):
        raise InputError(f"{path}: {where} must be a mapping; --dump_config_template shows the form")
    for key in values:
        if key not in known:
            raise InputError(f"{path}: '{key}' in {where} is not supported here (known: {', '.join(known)}); remove it")


def template(inputs: dict[str, tuple[str, list[Any]]], outputs: list[str]) -> str:
    """The file to fill in for a network: its inputs (name -> type and shape) and outputs."""
    lines = [f"{CONVERTED}:", "  - Output Tensors:  # names, where the network shall end elsewhere", "", f"{INPUTS}:"]
    for name, (dtype, shape) in inputs.items():
        lines += [f"  - Name: {_quoted(name)}", f"    {SOURCE}:", f"      DataType: {dtype}", "      Layout:"]
        lines += [f"    {DESIRED}:", "      DataType:  # float32, or empty: the encoding's integer", "      Layout:"]
        fixed = all(isinstance(dim, int) for dim in shape)
        lines += [f"      Shape: {shape}" if fixed else f"      Shape:  # in the source model {shape}", ""]
    lines += [f"{OUTPUTS}:"]
    for name in outputs:
        lines += [f"  - Name: {_quoted(name)}", f"    {SOURCE}:", "      Layout:", f"    {DESIRED}:"]
        lines += ["      DataType:  # float32, or empty: the encoding's integer", "      Layout:", ""]
    return "\n".join(lines)


def _quoted(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"
