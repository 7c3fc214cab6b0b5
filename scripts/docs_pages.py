"""Writes the site's sources into build/docs: the guides, and pages made from the code, so that they cannot drift.

    python scripts/docs_pages.py && mkdocs build --strict -f build/mkdocs.yml    # or: zensical build -f ...

Site generators find plain files there and need no hook: build/mkdocs.yml is mkdocs.yml with the whole navigation.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from docs_site.commands import command_page, commands
from docs_site.interface import interface_pages, recipe_page
from docs_site.programs import flag_table, program_page, programs

ROOT = Path(__file__).parents[1]
COMMANDS, PROGRAMS, PYTHON = "reference/commands", "reference/programs", "reference/python"
_FLAGS = re.compile(r"<!-- flags: (\S+) -->")


def generated_pages() -> dict[str, str]:
    """Path under docs/ -> Markdown, in the order of the navigation."""
    pages = {f"{COMMANDS}/{name}.md": command_page(name, command) for name, command in commands().items()}
    pages |= {f"{PROGRAMS}/{name}.md": program_page(program) for name, program in programs().items()}
    pages |= {f"{PYTHON}/{name}": text for name, text in interface_pages().items()}
    return pages | {f"{PYTHON}/recipe-steps.md": recipe_page()}


def write_sources(build: Path) -> Path:
    """Write ``build``/docs and ``build``/mkdocs.yml, whose site goes to ``build``/site; the path of the latter."""
    docs = build / "docs"
    shutil.rmtree(docs, ignore_errors=True)
    shutil.copytree(ROOT / "docs", docs)
    pages = generated_pages()
    for name, text in pages.items():
        (docs / name).parent.mkdir(parents=True, exist_ok=True)
        (docs / name).write_text(text, encoding="utf-8")
    for guide in docs.rglob("*.md"):
        text = guide.read_text(encoding="utf-8")
        guide.write_text(_FLAGS.sub(lambda found: flag_table(programs()[found[1]]), text), encoding="utf-8")
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    config |= {"docs_dir": "docs", "site_dir": "site", "nav": navigation(config["nav"], list(pages))}
    _make_absolute(config)
    file = build / "mkdocs.yml"
    file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return file


def _make_absolute(config: dict[str, Any]) -> None:
    """Paths that are relative to the checkout, since the configuration stands in another folder."""
    python = next(p["mkdocstrings"] for p in config["plugins"] if isinstance(p, dict))["handlers"]["python"]
    python["paths"] = [str(ROOT / path) for path in python["paths"]]
    python["options"]["extensions"] = [str(ROOT / path) for path in python["options"]["extensions"]]
    for extension in config["markdown_extensions"]:
        if isinstance(extension, dict) and "pymdownx.snippets" in extension:
            extension["pymdownx.snippets"]["base_path"] = [str(ROOT / "docs")]


def navigation(entries: list[Any], pages: list[str]) -> list[Any]:
    """Made pages in place of COMMANDS, PROGRAMS and PYTHON, guides that are not named in place of MORE."""
    folders = {"COMMANDS": COMMANDS, "PROGRAMS": PROGRAMS, "PYTHON": PYTHON}
    filled = {word: [page for page in pages if page.startswith(folder + "/")] for word, folder in folders.items()}
    named = set(_named(entries))
    guides = sorted(path.name for path in (ROOT / "docs").glob("*.md"))
    return list(_fill(entries, filled | {"MORE": [guide for guide in guides if guide not in named]}))


def _named(entry: Any) -> Iterator[str]:
    """Every page that the navigation names."""
    if isinstance(entry, str):
        yield entry
    for below in entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else ():
        yield from _named(below)


def _fill(entry: Any, filled: dict[str, list[str]]) -> Any:
    """``entry`` with the lists in place of their words; in a list they take the place of the word alone."""
    if isinstance(entry, str):
        return filled.get(entry, entry)
    if isinstance(entry, dict):
        return {title: _fill(below, filled) for title, below in entry.items()}
    spread = [_fill(one, filled) for one in entry]
    return [page for one in spread for page in (one if isinstance(one, list) else [one])]


if __name__ == "__main__":
    print(write_sources(ROOT / "build"))
