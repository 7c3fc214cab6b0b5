"""Refuse a ``.pt2`` archive that could run code while PyTorch loads it.

``torch.export.load`` says of itself that it must not read untrusted files. It runs code from the file in four places:
tensors and example inputs are unpickled without restrictions, objects that are no tensors are unpickled, shape
expressions are evaluated as Python by sympy, and an operator may be any attribute of ``torch`` or ``operator``.
A program of tensors needs none of it. Legal here is an archive in which

1. every member has its own name and is stored as it is (as PyTorch writes them), in the present layout,
2. constants are tensors, and what is pickled loads with ``weights_only=True``,
3. shape expressions consist of numbers, named symbols and the mathematical functions PyTorch writes,
4. operators are registered ones (``torch.ops``), symbolic sizes, or arithmetic of ``operator`` and ``math``.
"""

from __future__ import annotations

import ast
import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hexaquant.core.archive import ARCHIVE_ERRORS
from hexaquant.core.errors import InputError

TENSOR_FILES = ("weight_", "tensor_")
"""How members that hold tensors begin; others hold pickled Python objects."""

OPERATOR = re.compile(
    r"torch\.ops\.[a-z_]\w*\.[A-Za-z_]\w*(\.\w+)?|torch\._?sym_\w+|math\.[a-z]\w*|"
    r"_operator\.(getitem|add|sub|mul|truediv|floordiv|mod|pow|neg|pos|abs|eq|ne|lt|le|gt|ge|and_|or_|not_|lshift|rshift)"
)

FUNCTION = re.compile(
    r"Symbol|Integer|Float|Rational|Add|Mul|Pow|Max|Min|Abs|Mod|PythonMod|FloorDiv|ModularIndexing|Where|CleanDiv|"
    r"CeilDiv|CeilToInt|FloorToInt|TruncToInt|TruncToFloat|RoundToInt|RoundDecimal|ToFloat|Identity|LShift|RShift|"
    r"PowByNatural|FloatPow|FloatTrueDiv|IntTrueDiv|IsNonOverlappingAndDenseIndicator|Eq|Ne|Lt|Le|Gt|Ge|Equality|"
    r"Unequality|StrictLessThan|LessThan|StrictGreaterThan|GreaterThan|And|Or|Not|Xor|Piecewise|ExprCondPair|floor|"
    r"ceiling|sqrt"
)
"""What sympy and PyTorch write shape expressions with."""

ARITHMETIC = (
    ast.Expression,
    ast.BinOp,
    ast.UnaryOp,
    ast.BoolOp,
    ast.Compare,
    ast.Call,
    ast.keyword,
    ast.Name,
    ast.Constant,
    ast.operator,
    ast.unaryop,
    ast.boolop,
    ast.cmpop,
    ast.expr_context,
)
LONGEST_EXPRESSION = 20_000


def check_archive(path: Path) -> None:
    """Raise InputError naming the member of the archive ``path`` that could run code."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive, path)
            for name, member in members.items():
                _check_member(name, archive, member, members, path)
    except ARCHIVE_ERRORS as error:
        raise InputError(f"{path}: not a program saved by torch.export.save ({error})") from None


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """The archive's members by their name below its root folder."""
    infos = [info for info in archive.infolist() if not info.filename.endswith("/")]
    names = [info.filename.partition("/")[2] or info.filename for info in infos]
    if len(set(names)) != len(names) or any(info.compress_type != zipfile.ZIP_STORED for info in infos):
        raise InputError(f"{path}: not as torch.export.save writes it (doubled or compressed members); save it again")
    if not any(name.startswith("models/") for name in names):
        raise InputError(f"{path}: not a program saved by torch.export.save of PyTorch 2.8 or newer; save it again")
    return dict(zip(names, infos))


def _check_member(
    name: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo, members: dict[str, zipfile.ZipInfo], path: Path
) -> None:
    if name.startswith("data/aotinductor/"):
        raise InputError(f"{path}: holds compiled code ({name}); save the program with torch.export.save")
    if name.startswith("models/") and name.endswith(".json"):
        _check_program(json.loads(archive.read(member)), path)
    elif name.startswith(("data/weights/", "data/constants/")) and name.endswith(".json"):
        for pickled in _pickled(json.loads(archive.read(member)), path):
            folder = name.rpartition("/")[0]
            _check_pickle(archive.read(members[f"{folder}/{pickled}"]), pickled, path)
    elif name.endswith(".pt"):
        _check_pickle(archive.read(member), name, path)


def _pickled(config: Any, path: Path) -> Iterator[str]:
    """File names of the tensors that are pickled. Raises InputError for anything that is not a tensor."""
    for key, payload in dict(config["config"]).items():
        file = str(payload["path_name"])
        if not file.startswith(TENSOR_FILES) or "/" in file:
            raise InputError(f"{path}: constant '{key}' is a Python object, which loading would run; keep only tensors")
        if payload["use_pickle"]:
            yield file


def _check_pickle(data: bytes, name: str, path: Path) -> None:
    import torch

    if not data:
        return
    try:
        torch.load(io.BytesIO(data), weights_only=True)
    except Exception:
        raise InputError(
            f"{path}: '{name}' holds Python objects, which loading would run; save the program with tensors as inputs "
            "and constants"
        ) from None


def _check_program(program: Any, path: Path) -> None:
    """Every operator and every shape expression of the serialized program."""
    for key, value in _strings(program):
        if key == "target" and not OPERATOR.fullmatch(value):
            raise InputError(f"{path}: operator '{value[:80]}' is not one of PyTorch's registered operators; refused")
        if key == "expr_str" and not is_arithmetic(value):
            raise InputError(f"{path}: the shape expression '{value[:80]}' is more than arithmetic; refused")


def _strings(document: Any) -> Iterator[tuple[str, str]]:
    """Every string below ``document`` with the key it stands under."""
    pending: list[tuple[str, Any]] = [("", document)]
    while pending:
        key, value = pending.pop()
        if isinstance(value, str):
            yield key, value
        elif isinstance(value, dict):
            pending.extend((str(name), entry) for name, entry in value.items())
        elif isinstance(value, list):
            pending.extend((key, entry) for entry in value)


def is_arithmetic(expression: str) -> bool:
    """True for numbers, symbols and mathematical functions; False for anything else that Python could evaluate."""
    if len(expression) > LONGEST_EXPRESSION:
        return False
    try:
        nodes = list(ast.walk(ast.parse(expression.strip(), mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    named = {id(node.args[0]) for node in nodes if isinstance(node, ast.Call) and _names_a_symbol(node)}
    return all(_is_harmless(node, named) for node in nodes)


def _names_a_symbol(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id == "Symbol" and len(call.args) == 1


def _is_harmless(node: ast.AST, symbol_names: set[int]) -> bool:
    if not isinstance(node, ARITHMETIC):
        return False
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and FUNCTION.fullmatch(node.func.id) is not None
    if isinstance(node, ast.Name):
        return re.fullmatch(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*", node.id) is not None
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return id(node) in symbol_names and node.value.isidentifier()
    return not isinstance(node, ast.Constant) or isinstance(node.value, (bool, int, float))
