"""Code blocks of a Markdown page, and what the comments before them say about the test.

A fence with the language python, console, bash or sh is run, in the order of the page. A comment before it can say::

    <!-- test: "--epochs 20" -> "--steps 4" (training takes minutes) -->     run in reduced form
    <!-- test: not run (needs a phone) -->                                   the only other choice; needs hardware

Blocks of other languages (text, yaml, json ...) are not run; a yaml block whose first line is ``# name.yaml`` and a
python block whose first line is ``# name.py`` are written to that file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

RUN = ("python", "console", "bash", "sh")
_FENCE = re.compile(
    r"(?ms)(?P<notes>(?:^[ ]*<!-- test: [^\n]*-->\n\s*)*)^(?P<indent>[ ]*)```(?P<language>[\w+-]*)[^\n]*\n"
    r"(?P<body>.*?)^(?P=indent)```[ ]*$"
)
_NOTE = re.compile(r"<!-- test: (.*?) -->")
_REPLACE = re.compile(r'"([^"]*)" -> "([^"]*)"')
_NOT_RUN = re.compile(r"not run \((needs .+)\)")
_FILE = re.compile(r"# ([\w./-]+\.(?:py|ya?ml|json|txt))\s*$")


@dataclass(frozen=True)
class Snippet:
    """One block. ``not_run``: why, where nothing can run it here. ``file``: the name that its first line gives."""

    page: str
    line: int
    language: str
    text: str
    not_run: str = ""

    @property
    def file(self) -> str:
        found = _FILE.match(self.text.split("\n", 1)[0])
        return found[1] if found and self.language in ("python", "yaml") else ""


def snippets_of(path: Path, name: str) -> list[Snippet]:
    """All blocks of ``path``, with the replacements of their comments made. Raises ValueError for a bad comment."""
    source = path.read_text(encoding="utf-8")
    return [_snippet(found, source, name) for found in _FENCE.finditer(source)]


def _snippet(found: re.Match[str], source: str, name: str) -> Snippet:
    indent = len(found["indent"])
    text = "\n".join(line[indent:] for line in found["body"].splitlines()) + "\n"
    line = source.count("\n", 0, found.start("body")) + 1
    not_run = ""
    for note in _NOTE.findall(found["notes"]):
        pairs, barred = _REPLACE.findall(note), _NOT_RUN.fullmatch(note)
        if barred:
            not_run = barred[1]
        elif not pairs or not note.endswith(")"):
            raise ValueError(f'{name}:{line}: write <!-- test: "this" -> "that" (why) --> or not run (needs ...)')
        for old, new in pairs:
            if old not in text:
                raise ValueError(f"{name}:{line}: the block has no '{old}' to be replaced")
            text = text.replace(old, new)
    return Snippet(name, line, found["language"], text, not_run)


@dataclass(frozen=True)
class Call:
    """A command of a console block and the output that stands under it ("" where none does)."""

    command: str
    expected: str


def calls_of(text: str) -> list[Call]:
    """The commands of a console block: lines after ``$``, continued by a backslash or by ``> ``."""
    calls: list[Call] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            calls.append(Call(line[2:], ""))
        elif not calls:
            raise ValueError(f"a console block starts with '$ command', not with: {line}")
        elif calls[-1].command.endswith("\\") and not calls[-1].expected:
            calls[-1] = Call(f"{calls[-1].command}\n{line}", "")
        else:
            calls[-1] = Call(calls[-1].command, calls[-1].expected + line + "\n")
    return calls


def matches(expected: str, found: str) -> bool:
    """True when ``found`` contains ``expected``; ``...`` stands for anything, runs of spaces are alike."""
    pieces = [re.escape(" ".join(piece.split())) for piece in expected.split("...")]
    return re.search(".*?".join(pieces), " ".join(found.split()), re.DOTALL) is not None
