"""Reads what onnxruntime and Qualcomm's libraries write to stderr."""

from __future__ import annotations

import re
from dataclasses import dataclass

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_STAMP = re.compile(r"^\s*\d{4}-\d\d-\d\d [\d:.]+ \[[A-Z]:[^\]]*\]\s*")
_FAILED_UNIT = re.compile(r"Validation FAILED for \d+ nodes in OrtNodeUnit \((\w+)\)")
_UNIT_NODE = re.compile(r"Operator type: (\w+) Node name: (.*) Node index:")
_REASON = re.compile(r"REASON : (.*)")
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


@dataclass(frozen=True)
class FailedUnit:
    """A group of nodes (an operator with its quantize nodes) that the provider did not take, and why."""

    op: str
    node: str
    reason: str

    def __str__(self) -> str:
        return f"'{self.node}' ({self.op}): {self.reason}"


def failed_units(text: str) -> list[FailedUnit]:
    """Units that failed validation in a log of severity 0, once each."""
    found: dict[FailedUnit, None] = {}
    op = node = ""
    for line in plain_lines(text):
        if "OrtNodeUnit" in line:
            failed = _FAILED_UNIT.search(line)
            op, node = (failed.group(1), "") if failed else ("", "")
        elif op and (member := _UNIT_NODE.search(line)) and member.group(1) == op and not node:
            node = without_token(member.group(2).strip())
        elif op and (reason := _REASON.search(line)):
            found[FailedUnit(op, node, reason.group(1).strip()[:300])] = None
            op = ""
    return list(found)
