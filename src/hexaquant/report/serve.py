"""The live view: the report of a folder that a job is working on, served to this machine only.

``GET /`` is the page as the folder is now, ``GET /progress.json`` what the job does and the version of the results.
The server listens on 127.0.0.1 and refuses other host names, so that no web page can read it through the browser.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any

from hexaquant.core.errors import InputError
from hexaquant.core.progress_file import PROGRESS
from hexaquant.folder.manifest import NAME
from hexaquant.report.document import report_data
from hexaquant.report.plotly_script import require_installed
from hexaquant.report.render import Live, render
from hexaquant.report.sources import FILES, read_sources

HOST = "127.0.0.1"
SILENT = 30.0
"""Seconds after which a job that says nothing is shown as one that does not report any more."""


@dataclass
class LiveFolder:
    """What the server answers with; the page is made again when the files it shows changed."""

    folder: Path
    _version: str = ""
    _page: bytes = b""
    _lock: Lock = field(default_factory=Lock)

    def version(self) -> str:
        """Changes when a file that the page shows changes."""
        names = [NAME, "model.onnx", "model.qdq.onnx", *FILES.values()]
        stamps = [(name, _stamp(self.folder / name)) for name in names]
        return hashlib.sha256(json.dumps(stamps).encode()).hexdigest()[:16]

    def page(self) -> bytes:
        """The HTML as of now."""
        with self._lock:
            version = self.version()
            if version != self._version:
                self._page = render(report_data(read_sources(self.folder)), Live(version)).encode()
                self._version = version
            return self._page

    def progress(self) -> bytes:
        """``{"version", "progress"}``; progress is None before a job ran."""
        return json.dumps({"version": self.version(), "progress": self._progress()}).encode()

    def _progress(self) -> dict[str, Any] | None:
        try:
            progress = json.loads((self.folder / PROGRESS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(progress, dict):
            return None
        running = progress.get("state") == "running"
        late = time.time() - float(progress.get("updated", 0)) > SILENT
        return progress | {"stale": running and late and not _is_alive(progress.get("pid"))}


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _is_alive(pid: Any) -> bool:
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def make_server(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    """A server for ``folder`` on 127.0.0.1; ``port`` 0 takes a free one. Start it with ``serve_forever``.

    Raises InputError when the port is taken, EnvironmentLacksError without the extra [report].
    """
    require_installed()
    content = LiveFolder(folder)
    handler = type("Handler", (_Handler,), {"content": content})
    try:
        return ThreadingHTTPServer((HOST, port), handler)
    except (OSError, OverflowError) as error:
        raise InputError(f"cannot listen on {HOST}:{port} ({error}); choose another --port") from None


class _Handler(BaseHTTPRequestHandler):
    """Answers the two paths; everything else does not exist."""

    content: LiveFolder

    def do_GET(self) -> None:
        if self.headers.get("Host", "").rpartition(":")[0] not in (HOST, "localhost"):
            self.send_error(HTTPStatus.FORBIDDEN, "this server answers 127.0.0.1 only")
        elif self.path == "/":
            self._answer(self.content.page(), "text/html; charset=utf-8")
        elif self.path == "/progress.json":
            self._answer(self.content.progress(), "application/json")
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(HTTPStatus.OK)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged."""
