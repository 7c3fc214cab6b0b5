"""What the commands show: human text on stderr, results on stdout, with ``--json`` one JSON document on stdout.

rich is imported when something is drawn, so that ``--help`` stays quick. It honours NO_COLOR.
"""

from __future__ import annotations

import contextlib
import io
import json as json_module
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from hexaquant.core.printable import printable

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

    from hexaquant.cli.fitted import Fitted
    from hexaquant.core.events import Event, Events, Listener

PIPE_WIDTH = 200
"""Columns of tables that go into a file or a pipe: they are as wide as their content, up to this."""


class Console:
    """One command's output. ``json``: results are the JSON document, text goes to stderr all the same.

    ``arguments``: the command line, without the program's name.

    stdout is remembered here and ``sys.stdout`` points to stderr while a command runs (cli/app.py): what a user's
    function or a library prints cannot spoil the results.
    """

    def __init__(
        self,
        *,
        json: bool = False,
        out: TextIO | None = None,
        err: TextIO | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self.json = json
        self.arguments = tuple(arguments)
        self.out: TextIO = out or sys.stdout or io.StringIO()  # Python has none where the descriptor is closed
        self.err: TextIO = err or sys.stderr or io.StringIO()
        self._answered = False
        self.doubts: list[str] = []

    def say(self, text: str) -> None:
        """A line for the human."""
        print(printable(text), file=self.err, flush=True)

    def warn(self, text: str) -> None:
        self._rich(self.err).print(
            f"warning: {printable(text)}", style="yellow", markup=False, highlight=False, soft_wrap=True
        )

    def alarm(self, text: str) -> None:
        """A line that must not be overlooked, in red."""
        self._rich(self.err).print(printable(text), style="bold red", markup=False, highlight=False, soft_wrap=True)

    def result(self, document: Mapping[str, Any], *drawings: Callable[[], Fitted | str]) -> None:
        """The command's result: ``document`` as JSON with ``--json``, otherwise ``drawings`` one after the other."""
        self._answered = True
        if self.json:
            print(json_module.dumps(document, indent=2, allow_nan=False, default=str), file=self.out, flush=True)
            return
        rich = self._rich(self.out)
        for draw in drawings:
            drawn = draw()
            if isinstance(drawn, str):
                rich.print(printable(drawn), markup=False, highlight=False, soft_wrap=True)
            else:
                rich.print(drawn)
        self.out.flush()

    def fail(self, sentence: str, code: int) -> None:
        """The sentence of an error; with ``--json`` also the document, unless the result is printed already."""
        print(printable(sentence), file=self.err, flush=True)
        if self.json and not self._answered:
            self._answered = True
            message = sentence.removeprefix("error: ")
            print(json_module.dumps({"error": message, "exit_code": code}), file=self.out, flush=True)

    @contextmanager
    def events(self, folder: Path | None = None) -> Iterator[Events]:
        """An event stream that is shown as progress bars on a terminal and as a line a task elsewhere.

        ``folder``: the artifact folder that the job works on, held meanwhile (folder/claim.py). What it does can be
        watched there, and its manifest says afterwards that this command was run.
        """
        from hexaquant.cli.progress import Lines, bars
        from hexaquant.core.events import Events

        with contextlib.ExitStack() as stack:
            if folder is not None and os.environ.get("RANK", "0") == "0":
                from hexaquant.folder.claim import claim

                stack.enter_context(claim(folder))
            shown = stack.enter_context(bars(self._rich(self.err))) if self.err.isatty() else Lines(self.err)
            watched = [] if folder is None else [stack.enter_context(self._recorded(folder))]
            yield Events(shown, self._doubted, *watched)

    def _doubted(self, event: Event) -> None:
        """Remembers warnings that data or figures make no sense, for --strict."""
        if event.kind == "warning" and event.data.get("doubt"):
            self.doubts.append(event.text)

    @contextmanager
    def _recorded(self, folder: Path) -> Iterator[Listener]:
        """Keeps the folder's progress file while the job runs; of several processes the first one does."""
        from hexaquant.core.progress_file import PROGRESS, ProgressFile

        if os.environ.get("RANK", "0") != "0":
            yield lambda event: None
            return
        progress = ProgressFile(folder / PROGRESS, self.arguments)
        try:
            yield progress
            from hexaquant.folder.manifest import record_command

            record_command(folder, self.arguments)
        except BaseException:
            progress.finish(failed=True)
            _leave_nothing_alone(folder / PROGRESS)
            raise
        progress.finish()

    def _rich(self, stream: TextIO) -> RichConsole:
        from rich.console import Console as RichConsole

        width = None if stream.isatty() else PIPE_WIDTH
        return RichConsole(file=stream, width=width, highlight=False)


def _leave_nothing_alone(progress: Path) -> None:
    """Remove the progress file of a job that failed before its folder held anything else."""
    state, folder = progress.parent, progress.parents[1]
    if state.is_dir() and list(state.iterdir()) == [progress] and list(folder.iterdir()) == [state]:
        progress.unlink()
        state.rmdir()


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[int] = ()) -> Fitted:
    """A table that fits the terminal; ``right``: indices of columns of numbers. Cells are shown without markup."""
    from hexaquant.cli.fitted import Fitted

    cells = tuple(tuple("" if cell is None else printable(str(cell)) for cell in row) for row in rows)
    return Fitted(printable(title), tuple(columns), cells, frozenset(right))


def bytes_text(count: int | None) -> str:
    """ "69,632 B (68.0 KiB)"."""
    if count is None:
        return ""
    size = float(count)
    unit = "B"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{count:,} B" if unit == "B" else f"{count:,} B ({size:.1f} {unit})"


def number(value: float | None, digits: int = 1, unit: str = "") -> str:
    """A figure of a report; a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}{unit}"
