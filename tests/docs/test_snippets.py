"""Every Python and shell block of the documentation and of the README runs, page by page, in the page's order."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from docs.snippets import RUN, Snippet, calls_of, matches, snippets_of
from docs.workshop import fill_language_model, names

ROOT = Path(__file__).parents[2]
OWN_TEST = {
    "docs/tools.md": "tests/cli/tools/test_documented.py",
    "docs/troubleshooting.md": "tests/docs/test_troubleshooting.py",
}
"""Pages whose blocks another test runs."""

TIMEOUT_S = 300
PAGES = [path.relative_to(ROOT).as_posix() for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))]
RUNNING = [page for page in PAGES if any(s.language in RUN for s in snippets_of(ROOT / page, page))]


@pytest.mark.parametrize("page", [page for page in RUNNING if page not in OWN_TEST])
def test_page_runs(page: str, room: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(room)
    if page == "docs/howto/llm.md":
        fill_language_model(room)
    run_page(page, room, environment)


def run_page(page: str, room: Path, environment: dict[str, str]) -> None:
    """Run the blocks of ``page`` in ``room``, which is the current folder."""
    space: dict[str, Any] = {}
    for snippet in snippets_of(ROOT / page, page):
        if snippet.not_run:
            continue
        if snippet.file:
            (room / snippet.file).write_text(snippet.text)
        elif snippet.language == "python":
            space = space or names()
            exec(compile("\n" * (snippet.line - 1) + snippet.text, page, "exec"), space)
        elif snippet.language in RUN:
            _run(snippet, room, environment)


def _run(snippet: Snippet, room: Path, environment: dict[str, str]) -> None:
    """A shell block succeeds as a whole; in a console block each command does what stands under it."""
    if snippet.language != "console":
        assert _shell(f"set -e\n{snippet.text}", room, environment)[0] == 0, _where(snippet, "failed")
        return
    for call in calls_of(snippet.text):
        code, output = _shell(call.command, room, environment)
        if call.expected:
            assert matches(call.expected, output), _where(snippet, f"{call.command}\nprinted\n{output}")
        refused = "error: " in call.expected
        assert refused or code == 0 or "||" in call.command, _where(
            snippet, f"{call.command}\nended with {code}\n{output}"
        )


def _shell(script: str, room: Path, environment: dict[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        ["bash", "-c", script], cwd=room, env=environment, timeout=TIMEOUT_S, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    print(done.stdout)
    return done.returncode, done.stdout


def _where(snippet: Snippet, what: str) -> str:
    return f"{snippet.page}:{snippet.line}: {what}"


@pytest.mark.parametrize("page", PAGES)
def test_blocks_have_a_language_and_only_hardware_is_a_reason_not_to_run(page: str) -> None:
    """A block without a language would be neither run nor coloured."""
    bare = [snippet.line for snippet in snippets_of(ROOT / page, page) if not snippet.language]
    assert not bare, f"{page}: blocks without a language in lines {bare}; write text where nothing is to be run"
    assert not (ROOT / page).read_text(encoding="utf-8").count("test: skip")
    assert (ROOT / OWN_TEST.get(page, page)).exists()
