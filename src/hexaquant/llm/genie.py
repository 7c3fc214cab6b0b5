"""hq.Genie: Qualcomm's own language-model runtime on a folder that ``hexaquant llm`` wrote."""

from __future__ import annotations

import json
import select
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from hexaquant.core.child_process import scratch_folder
from hexaquant.core.errors import InputError, WorkerError
from hexaquant.core.text_file import read_json
from hexaquant.folder.manifest import check_integrity
from hexaquant.llm.genie_config import CONFIG, Sampler
from hexaquant.llm.record import twin_name
from hexaquant.qnn.libraries import find_libraries
from hexaquant.qnn.log_text import last_lines
from hexaquant.qnn.process import child_seconds, describe_exit, kill_group, start_child

BACKEND_ONLY = ("extensions",)
"""Keys of the backend that only a device has the library for."""


def host_config(folder: Path) -> dict[str, Any]:
    """The folder's genie_config.json as this PC can run it: greedy, the binary's twin, no device options.

    Raises InputError for a folder without one, or whose binary is damaged.
    """
    if not (folder / CONFIG).is_file():
        raise InputError(f"{folder} holds no language model (no {CONFIG}): run hexaquant llm deploy MODEL -o {folder}")
    config: dict[str, Any] = read_json(folder / CONFIG, "Genie configuration")
    try:
        engine = config["dialog"]["engine"]
        binaries = engine["model"]["binary"]["ctx-bins"]
        twins = [twin_name(name) if (folder / twin_name(name)).is_file() else name for name in binaries]
        engine["model"]["binary"]["ctx-bins"] = twins
        for key in BACKEND_ONLY:
            engine["backend"].pop(key, None)
        config["dialog"]["sampler"] = Sampler().document()
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder / CONFIG} is no dialog for the NPU ({error!r}): run hexaquant llm deploy") from None
    for name in twins:
        if not (folder / name).is_file():
            raise InputError(f"{folder} has no {name}: run hexaquant llm compile {folder} first")
        check_integrity(folder / name)
    return config


class Genie:
    """A dialog in a child process: a bad binary kills that, and a call that hangs is ended. A context manager.

    ``config``: instead of the folder's genie_config.json (host_config). ``timeout_s`` bounds the start and the time
    from one piece of an answer to the next. ``log``: Genie's own log level (1 errors ... 4 verbose); the attribute of
    the same name has what it wrote.
    Raises InputError when Genie refuses the folder, WorkerError when it dies or hangs.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        config: dict[str, Any] | None = None,
        timeout_s: float | None = None,
        memory_mb: int = 16_000,
        log: int = 1,
    ) -> None:
        self.folder = Path(folder)
        self.timeout_s = child_seconds() if timeout_s is None else timeout_s
        chosen = host_config(self.folder) if config is None else config
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._scratch = scratch_folder()
        self._child = start_child("hexaquant.llm.genie_child", self._stderr, self._scratch.name)
        self._buffer = b""
        self.cpu_s = 0.0
        self.rss_mb = 0.0
        spec = {
            "library": str(find_libraries().genie),
            "config": json.dumps(chosen),
            "folder": str(self.folder.resolve()),
            "memory_mb": memory_mb,
            "log": log,
        }
        try:
            self._send(spec)
            self.version = self._next("loading")["ready"]
        except BaseException:
            self.close()
            raise

    def tokens(self, prompt: Sequence[int], limit: int) -> Iterator[int]:
        """At most ``limit`` tokens that follow ``prompt``, as they come."""
        if not prompt:
            raise InputError("no tokens were given: a prompt has one at least")
        self._send({"do": "tokens", "tokens": [int(token) for token in prompt], "limit": limit})
        for document in self._stream():
            yield from document["tokens"]

    def text(self, prompt: str, limit: int) -> Iterator[str]:
        """The pieces of text that follow ``prompt``, at most ``limit`` tokens, as they come."""
        self._send({"do": "text", "text": prompt, "limit": limit})
        for document in self._stream():
            yield document["text"]

    def reset(self) -> None:
        """Forget the conversation: the next query starts with an empty cache."""
        self._send({"do": "reset"})
        self._next("resetting")

    @property
    def log(self) -> str:
        """What Genie and the libraries wrote so far."""
        if self._stderr.closed:
            return ""
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace")

    def _stream(self) -> Iterator[dict[str, Any]]:
        while True:
            document = self._next("answering")
            if "done" in document:
                return
            yield document

    def _send(self, document: dict[str, Any]) -> None:
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps(document).encode() + b"\n")
            self._child.stdin.flush()
        except (BrokenPipeError, ValueError):
            raise self._dead("taking a question") from None

    def _next(self, doing: str) -> dict[str, Any]:
        line = self._line(doing)
        document: dict[str, Any] = json.loads(line)
        if "error" in document:
            told = last_lines(self.log, 3)
            raise InputError(f"{self.folder}: Genie: {document['error']}" + (f" ({told})" if told else ""))
        self.cpu_s, self.rss_mb = document.get("cpu_s", self.cpu_s), document.get("rss_mb", self.rss_mb)
        return document

    def _line(self, doing: str) -> bytes:
        assert self._child.stdout is not None
        deadline = time.monotonic() + self.timeout_s
        descriptor = self._child.stdout.fileno()
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                self.close()
                raise WorkerError(f"Genie {doing} {self.folder} took longer than {self.timeout_s:g} s and was ended")
            part = self._child.stdout.read1(1 << 16)  # type: ignore[attr-defined]
            if not part:
                raise self._dead(doing)
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _dead(self, doing: str) -> WorkerError:
        code = self._child.wait()
        told = last_lines(self.log, 3)
        self.close()
        return WorkerError(f"Genie {doing} {self.folder} {describe_exit(code)}" + (f" after: {told}" if told else ""))

    def close(self) -> None:
        """End the process. Safe to call twice."""
        kill_group(self._child)
        self._stderr.close()
        self._scratch.cleanup()

    def __enter__(self) -> Genie:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
