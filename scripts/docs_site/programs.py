"""A page for each program that has a name of Qualcomm's, and the tables of the migration page, from the parsers."""

from __future__ import annotations

import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

from docs_site.text import code, plain, table

ROOT = Path(__file__).parents[2]
OWN = ("--json",)
"""Flags that the originals do not have."""

PARTLY = ("Only ", "Accepted as ")
"""How the help of a flag begins that is taken with fewer values than the original takes, or without effect."""


def programs() -> dict[str, Any]:
    """Name of the program -> its description (cli/tools/program.py); another name of the same one is left out."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    modules = {name: entry.partition(":")[0] for name, entry in scripts.items() if ".cli.tools." in entry}
    found = {name: import_module(module).PROGRAM for name, module in modules.items()}
    return {name: program for name, program in found.items() if program.name == name}


def program_page(program: Any) -> str:
    """The Markdown page of one program: what it does, flags, an example, what is refused."""
    rows = [[_spellings(flag), _meaning(flag)] for flag in program.flags]
    parts = [
        f"# {program.name}",
        plain(program.summary),
        table(["flag", "meaning"], [*rows, ["`--version`", "Print the versions and exit."]]),
        f"## Example\n\n```text\n{program.example}\n```",
    ]
    if program.refused:
        parts.append(
            "## Refused\n\nThe original has these flags; here each is an error with its reason, never ignored."
        )
        parts.append(table(["flag", "reason"], _refused(program)))
    parts.append(f"What changes for a script: [from Qualcomm's SDK](../../migration/qualcomm.md#{program.name}).")
    return "\n\n".join(parts) + "\n"


def flag_table(program: Any) -> str:
    """Every flag of the original that is known here, with a verdict: supported, in part, refused; or only here."""
    rows = [[", ".join(code(n) for n in flag.names), _verdict(flag), _meaning(flag)] for flag in program.flags]
    rows += [[names, "refused", reason] for names, reason in _refused(program)]
    return table(["flag", "here", "what it does, or why not"], rows)


def _verdict(flag: Any) -> str:
    if flag.names[0] in OWN:
        return "only here"
    help_text = flag.settings.get("help", "")
    return "in part" if help_text.startswith(PARTLY) or "the only one here" in help_text else "supported"


def _spellings(flag: Any) -> str:
    value = flag.settings.get("metavar") or "\\|".join(map(str, flag.settings.get("choices", ())))
    value = " ".join(value) if isinstance(value, tuple) else value
    takes = flag.settings.get("action") in (None, "append")
    return ", ".join(code(name) for name in flag.names) + (f" {value}" if takes and value else "")


def _meaning(flag: Any) -> str:
    text = plain(flag.settings.get("help", ""))
    if flag.settings.get("required"):
        return f"{text} **Required.**"
    default = flag.settings.get("default")
    if default in (None, False) or "Default" in text or "default" in text or flag.settings.get("action"):
        return text
    return f"{text} Default: {code(str(default))}."


def _refused(program: Any) -> list[list[str]]:
    """Flags with the same reason share a row."""
    reasons: dict[str, list[str]] = {}
    for name, reason in program.refused.items():
        reasons.setdefault(reason, []).append(code(name))
    return [[", ".join(names), plain(reason)] for reason, names in reasons.items()]
