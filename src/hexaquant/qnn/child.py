"""Entry point of one-shot children: ``python -m hexaquant.qnn.child`` reads one JSON line from stdin.

The line names a job, its spec and the file that takes the result. A job given as argument is imported before the line
comes. Qualcomm's libraries print on stdout, which
therefore is closed to them. The process ends when its stdin closes (its parent is gone).
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from hexaquant.qnn.refusal import Refusal

JOBS = {
    "lower": "hexaquant.qnn.lower_job",
    "compile": "hexaquant.qnn.compile_job",
    "inspect_dlc": "hexaquant.qnn.inspect_job",
    "inspect_binary": "hexaquant.qnn.inspect_job",
    "record_source": "hexaquant.qnn.saver_job",
}
"""Job -> module whose function of the job's name does it."""

DISK_FULL = 74
"""Exit code of a child that could not write: then its result and its messages may not be written either."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def silence_stdout() -> int:
    """Send everything written to stdout to stderr; return a descriptor of the original stdout."""
    sys.stdout.flush()
    original = os.dup(1)
    os.dup2(2, 1)
    return original


def limit_memory(megabytes: int | None) -> None:
    """Bound the address space of this process (no-op on Windows)."""
    if not megabytes:
        return
    try:
        import resource
    except ImportError:
        return
    _, most = resource.getrlimit(resource.RLIMIT_AS)  # what the user's ulimit leaves: it cannot be raised
    limit = megabytes << 20 if most == resource.RLIM_INFINITY else min(megabytes << 20, most)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def exit_with_parent() -> None:
    """End this process as soon as stdin closes, even in the middle of a library call."""

    def wait() -> None:
        while os.read(0, 1):
            continue
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def perform(job: str, spec: dict[str, Any]) -> dict[str, Any]:
    """Run the job; the result document holds either ``result`` or ``error``."""
    function = getattr(importlib.import_module(JOBS[job]), job)
    try:
        return {"result": function(spec)}
    except Refusal as error:
        return {"error": {"kind": error.kind, "message": error.message, "details": error.details}}
    except MemoryError:
        return {"error": {"kind": "worker", "message": f"{job} ran out of its memory limit"}}


def prepare(job: str) -> None:
    """Import what ``job`` needs; a failure is left to the job, which meets and reports it again."""
    with contextlib.suppress(Exception):
        module = importlib.import_module(JOBS[job])
        getattr(module, "prepare", lambda: None)()


def main() -> None:
    silence_stdout()
    for job in sys.argv[1:]:
        prepare(job)
    line = sys.stdin.buffer.readline()
    if not line:
        return  # the parent did not need it
    document = json.loads(line)
    limit_memory(document["memory_mb"])
    exit_with_parent()
    try:
        result = perform(document["job"], document["spec"])
        Path(document["result"]).write_text(json.dumps(result))
        sys.stderr.flush()
    except OSError as error:
        if error.errno in FULL:
            os._exit(DISK_FULL)
        raise
    os._exit(0)  # library destructors crash at times; the result is written


if __name__ == "__main__":
    main()
