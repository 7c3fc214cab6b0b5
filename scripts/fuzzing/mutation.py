"""Variations of a file that keep enough of its form to reach deep into a parser: bytes, JSON documents, protobufs."""

from __future__ import annotations

import json
from contextlib import suppress
from copy import deepcopy
from random import Random
from typing import Any

ODD_NUMBERS = (0, -1, 1, 2, 255, 256, 2**31 - 1, 2**31, -(2**31), 2**32, 2**63 - 1, -(2**63), 2**64, 10**400)
ODD_FLOATS = (0.0, -0.0, 1e-45, 1e38, 1e309, -1e309, float("nan"))
ODD_TEXTS = (
    "",
    "x",
    "w",
    "\x00",
    "../../etc/passwd",
    "/etc/passwd",
    "a" * 5000,
    "1.0.0",
    "é\ud800",
    "{}",
    "true",
    "-1",
)
ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    [],
    {},
    [[]],
    [None],
    {"": None},
    *ODD_NUMBERS,
    *ODD_FLOATS,
    *ODD_TEXTS,
)


def vary_bytes(data: bytes, random: Random) -> bytes:
    """``data`` with one to four of: flipped bytes, a piece removed, repeated, moved or overwritten, or cut off."""
    out = bytearray(data)
    for _ in range(random.randint(1, 4)):
        at, size = random.randrange(len(out) + 1), random.choice((1, 1, 2, 4, 8, 64))
        piece = bytes(out[at : at + size])
        match random.randrange(6):
            case 0:
                out[at : at + size] = bytes(byte ^ (1 << random.randrange(8)) for byte in piece)
            case 1:
                del out[at : at + size]
            case 2:
                out[at:at] = piece * random.randint(1, 8)
            case 3:
                out[at : at + size] = random.randbytes(size)
            case 4:
                del out[at:]
            case _:
                out[at : at + size] = random.choice(ODD_TEXTS).encode(errors="replace")[:64]
    return bytes(out)


def vary_json(data: bytes, random: Random) -> bytes:
    """The JSON document ``data`` with one to three entries replaced, removed, doubled or renamed."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return vary_bytes(data, random)
    for _ in range(random.randint(1, 3)):
        document = _vary_document(document, random)
    return json.dumps(document).encode(errors="replace")


def _vary_document(document: Any, random: Random) -> Any:
    places = list(_places(document))
    if not places:
        return deepcopy(random.choice(ODD_VALUES))
    holder, key = random.choice(places)
    match random.randrange(5):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, list):
            holder.insert(key, holder[key])
        case 1:
            holder[str(random.choice(ODD_TEXTS))] = holder.pop(key)
        case 2:
            other, name = random.choice(places)
            holder[key] = other[name] if other is not holder and not _holds(other[name], holder) else 0
        case _:
            holder[key] = deepcopy(random.choice(ODD_VALUES))
    return document


def _places(document: Any) -> list[tuple[Any, Any]]:
    """(container, key or index) of every value below ``document``."""
    found, pending = [], [document]
    while pending:
        value = pending.pop()
        keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        found += [(value, key) for key in keys]
        pending += [value[key] for key in keys]
    return found


def _holds(value: Any, container: Any) -> bool:
    return value is container or any(holder is container for holder, _ in _places(value))


def vary_onnx(data: bytes, random: Random) -> bytes:
    """The ONNX model ``data`` with one to three of its fields cleared, doubled, reordered or set to odd values."""
    import onnx

    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception:
        return vary_bytes(data, random)
    for _ in range(random.randint(1, 3)):
        fields = list(_fields(model))
        if not fields:
            break
        with suppress(ValueError):  # bytes that are no text, an enumeration without such a value
            _vary_field(*random.choice(fields), fields, random)
    return model.SerializeToString() if random.random() < 0.95 else vary_bytes(model.SerializeToString(), random)


def _fields(message: Any) -> list[tuple[Any, Any]]:
    """(message, field descriptor) of every field that is set, at any depth."""
    found, pending = [], [message]
    while pending:
        current = pending.pop()
        for descriptor, value in current.ListFields():
            found.append((current, descriptor))
            if descriptor.type == descriptor.TYPE_MESSAGE:
                pending += list(value) if _is_repeated(value) else [value]
    return found


def _is_repeated(value: Any) -> bool:
    return hasattr(value, "append") or hasattr(value, "add")


def _vary_field(message: Any, descriptor: Any, fields: list[tuple[Any, Any]], random: Random) -> None:
    value = getattr(message, descriptor.name)
    if _is_repeated(value):
        index = random.randrange(len(value))
        match random.randrange(3):
            case 0:
                del value[index]
            case 1:
                value.extend([value[index]])
            case _ if descriptor.type != descriptor.TYPE_MESSAGE:
                value[index] = _odd(descriptor, value[index], fields, random)
            case _:
                value[index].CopyFrom(value[random.randrange(len(value))])
    elif descriptor.type == descriptor.TYPE_MESSAGE or random.random() < 0.2:
        message.ClearField(descriptor.name)
    else:
        setattr(message, descriptor.name, _odd(descriptor, value, fields, random))


def _odd(descriptor: Any, value: Any, fields: list[tuple[Any, Any]], random: Random) -> Any:
    """Another value of the field's type; names are mostly taken from elsewhere in the model."""
    if descriptor.cpp_type == descriptor.CPPTYPE_STRING:
        names = [
            getattr(m, d.name) for m, d in fields if d.name == descriptor.name and not _is_repeated(getattr(m, d.name))
        ]
        texts = [name for name in names if type(name) is type(value)] or [value]
        text = random.choice(texts) if random.random() < 0.6 else random.choice(ODD_TEXTS)
        if isinstance(value, bytes):
            return vary_bytes(value, random) if random.random() < 0.5 or isinstance(text, str) else text
        return text.encode(errors="replace").decode()
    if descriptor.cpp_type in (descriptor.CPPTYPE_FLOAT, descriptor.CPPTYPE_DOUBLE):
        return random.choice(ODD_FLOATS)
    bits = 64 if descriptor.cpp_type in (descriptor.CPPTYPE_INT64, descriptor.CPPTYPE_UINT64) else 32
    signed = descriptor.cpp_type in (descriptor.CPPTYPE_INT64, descriptor.CPPTYPE_INT32, descriptor.CPPTYPE_ENUM)
    number = random.choice((*ODD_NUMBERS[:-1], value + 1, value - 1, value * 2, random.randrange(40))) % 2**bits
    return number - 2**bits if signed and number >= 2 ** (bits - 1) else number
