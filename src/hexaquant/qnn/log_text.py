"""Reads what onnxruntime and Qualcomm's libraries write to stderr."""

from __future__ import annotations

import re

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_STAMP = re.compile(r"^\s*\d{4}-\d\d-\d\d [\d:.]+ \[[A-Z]:[^\]]*\]\s*")
_UNSUPPORTED_LIST = re.compile(r"Unsupported nodes in QNN EP:(.*)")
_NODE = re.compile(r"\{\s*name:\s*([^,]*),\s*type:\s*([^}\s]*)\s*\}")
_NHWC = re.compile(r"Node '([^']+)' OpType:\s*(\S+) with domain:com\.ms\.internal\.nhwc")
_VALIDATION = re.compile(r"for node [`'\"]?([^`'\" ]+)[`'\"]? of type [`'\"]?(\w+)")
_TOKEN = re.compile(r"_token_\d+$")
_NOISE = ("HTP power config", "File mapped weights", "EPContext encryption", "LIBNATIVE", "Traceback")


def plain_lines(text: str) -> list[str]:
    """The lines without colours, time stamps, empty lines and known noise."""
    lines = (_STAMP.sub("", _COLOUR.sub("", line)).strip() for line in text.splitlines())
    return [line for line in lines if line and not any(noise in line for noise in _NOISE)]


def last_lines(text: str, count: int) -> str:
    """The last ``count`` telling lines, joined."""
    return " | ".join(line[:300] for line in plain_lines(text)[-count:])


def without_token(name: str) -> str:
    """The user's node name: onnxruntime's layout pass appends ``_token_N`` to nodes it moves to NHWC."""
    return _TOKEN.sub("", name)


def unsupported_nodes(text: str) -> list[tuple[str, str]]:
    """(node name, operator) of every node that the execution provider refused, in order, once each."""
    found: dict[tuple[str, str], None] = {}
    for line in plain_lines(text):
        listed = _UNSUPPORTED_LIST.search(line)
        if listed:
            for name, op in _NODE.findall(listed.group(1)):
                found[(without_token(name.strip()), op)] = None
        for name, op in _NHWC.findall(line):
            found[(without_token(name), op)] = None
    return list(found)


def validation_lines(text: str) -> list[str]:
    """Lines in which the backend says why it refused an operator."""
    wanted = ("backendValidateOpConfig", "not support", "unsupported", "incorrect Value", "Failed to", "expected")
    lines = [line for line in plain_lines(text) if any(word.lower() in line.lower() for word in wanted)]
    lines = [line for line in lines if "Unsupported nodes in QNN EP" not in line]
    return list(dict.fromkeys(lines))
