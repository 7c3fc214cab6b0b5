"""Runs one job of this package in a child process, with limits, and turns its end into a result or an error.

The parent half; :mod:`hexaquant.qnn.child` is the other. Qualcomm's libraries are only ever loaded in
children: they print on stdout, and bad models make them crash or hang.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hexaquant.core.child_process import child_command, child_environment, scratch_folder
from hexaquant.core.errors import EnvironmentLacksError, HexaquantError, InputError, TargetError, WorkerError
from hexaquant.qnn.child import DISK_FULL
from hexaquant.qnn.log_text import last_lines

ERROR_KINDS: dict[str, type[HexaquantError]] = {
    "input": InputError,
    "target": TargetError,
    "environment": EnvironmentLacksError,
    "worker": WorkerError,
}


SCANT_BYTES = 1 << 20
"""Free bytes of the disk of temporary files below which a child's unexplained death is laid to it."""
NO_MEMORY = ("std::bad_alloc", "MemoryError", "Cannot allocate memory", "failed to map segment from shared object")
"""What a child without memory says last: Python, C++, the system, the loader of libraries."""
SECONDS = "HEXAQUANT_CHILD_SECONDS"
"""Environment variable: after how many seconds a child that does not answer is ended (default 600)."""


def child_seconds() -> float:
    """The time limit of children that nobody gave one. Raises InputError when the variable holds no number."""
    text = os.environ.get(SECONDS, "600")
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise InputError(f"{SECONDS} is '{text}'; give a number of seconds, e.g. 600")
    return seconds


@dataclass(frozen=True)
class Limits:
    """What one child may use. ``memory_mb`` bounds its address space."""

    seconds: float = field(default_factory=child_seconds)
    memory_mb: int = 16_000


@dataclass(frozen=True)
class Outcome:
    """``result``: what the job returned; ``stderr``: everything it and the libraries wrote."""

    result: dict[str, Any]
    stderr: str


class JobFailed(Exception):
    """A job ended without a result. ``kind`` is a key of ERROR_KINDS."""

    def __init__(self, kind: str, message: str, stderr: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.stderr = stderr
        self.details = details or {}

    def as_error(self, subject: str) -> HexaquantError:
        """The typed error for the user; ``subject`` names the file or model at hand."""
        return ERROR_KINDS[self.kind](f"{subject}: {self.message}")


class Child:
    """One process for one job, as a context manager: nothing of it is left behind.

    It may be started ahead of its job (``ready``): then it imports what the job needs while the parent prepares it.
    """

    def __init__(self, ready: str = "") -> None:
        self._folder = scratch_folder()
        self._result, self._stderr = (Path(self._folder.name) / name for name in ("result.json", "stderr"))
        with self._stderr.open("wb") as stderr_file:
            words = filter(None, [ready])
            self._process = start_child("hexaquant.qnn.child", stderr_file, self._folder.name, *words)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        kill_group(self._process)
        self._folder.cleanup()

    def run(self, job: str, spec: dict[str, Any], limits: Limits | None = None) -> Outcome:
        """As run_job, in this process, once."""
        limits = limits or Limits()
        document = {"job": job, "spec": spec, "result": str(self._result), "memory_mb": limits.memory_mb}
        try:
            _send(self._process, json.dumps(document).encode() + b"\n")
            code = self._process.wait(limits.seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            kill_group(self._process)
        return _outcome(job, code, self._result, self._stderr.read_text(errors="replace"), limits)


def run_job(job: str, spec: dict[str, Any], limits: Limits | None = None) -> Outcome:
    """Run ``job`` (a name in child.JOBS) with ``spec`` in a new process and wait for it.

    Raises JobFailed when the job reports a failure, dies by a signal or exceeds its limits.
    """
    with Child() as child:
        return child.run(job, spec, limits)


def start_child(module: str, stderr_file: Any, folder: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start ``python -m module arguments`` in ``folder`` and its own process group, with pipes on stdin and stdout.

    The child ends when its stdin closes, so none outlives its parent; Ctrl-C reaches only the parent.
    """
    settings = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "ORT_DISABLE_TELEMETRY": "1"}
    return subprocess.Popen(
        child_command(module, *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr_file,
        cwd=folder,
        env=child_environment(**settings),
        start_new_session=True,
    )


def kill_group(child: subprocess.Popen[bytes]) -> None:
    """End ``child`` and everything it started, and reap it. Harmless when it has ended."""
    end_group(child)
    close_pipes(child)


def end_group(child: subprocess.Popen[bytes]) -> None:
    """As kill_group, but leave the pipes open: a thread that reads from them sees their end."""
    if child.poll() is None:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except (AttributeError, ProcessLookupError, PermissionError):
            child.kill()
    child.wait()


def close_pipes(child: subprocess.Popen[bytes]) -> None:
    """Close this end of the pipes. No thread may use them any more: the descriptors will be given to others."""
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:
                continue  # unflushed bytes for a child that is gone


def describe_exit(code: int) -> str:
    """ "died of SIGSEGV", "ended with exit code 3"."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"died of {signal.Signals(-code).name}"
    except ValueError:
        return f"died of signal {-code}"


def _send(child: subprocess.Popen[bytes], data: bytes) -> None:
    assert child.stdin is not None
    try:
        child.stdin.write(data)
        child.stdin.flush()
    except BrokenPipeError:
        pass  # it died at start: its exit code tells


def _outcome(job: str, code: int | None, result_path: Path, stderr: str, limits: Limits) -> Outcome:
    if code is None:
        raise JobFailed("worker", f"{job} took longer than its limit of {limits.seconds:g} s and was ended", stderr)
    if code == 0 and result_path.exists():
        document = json.loads(result_path.read_text())
        if "error" not in document:
            return Outcome(document["result"], stderr)
        error = document["error"]
        raise JobFailed(error["kind"], error["message"], stderr, error.get("details"))
    if code == DISK_FULL or shutil.disk_usage(result_path.parent).free < SCANT_BYTES:
        raise JobFailed("environment", "the disk is full; free some space and run again", stderr)
    if any(words in stderr for words in NO_MEMORY):
        raise JobFailed("worker", f"{job} ran out of its memory limit of {limits.memory_mb} MB, or of memory", stderr)
    told = last_lines(stderr, 3)
    raise JobFailed("worker", f"the process for {job} {describe_exit(code)}{f' after: {told}' if told else ''}", stderr)
