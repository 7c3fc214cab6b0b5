"""The live view: on this machine only, it shows a running job and takes over its results."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from hexaquant.core.events import Events
from hexaquant.core.progress_file import PROGRESS, ProgressFile
from hexaquant.report.serve import HOST, make_server
from report.pages import chain, opened, quantized


@contextmanager
def served(folder: Path) -> Iterator[int]:
    """The port at which ``folder`` is shown."""
    with make_server(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def ask(port: int, path: str, host: str | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    connection.request("GET", path, headers={"Host": host or f"{HOST}:{port}"})
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_a_running_job_is_shown_and_its_results_appear(browser: Browser, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    progress = ProgressFile(folder / PROGRESS, ["quantize", "net.onnx"])
    events = Events(progress)
    steps = events.track(range(4), "calibrate")
    next(steps)
    with served(folder) as port, opened(browser, f"http://{HOST}:{port}/") as shown:
        shown.page.wait_for_selector(".task progress")
        assert "quantize net.onnx: running" in shown.page.locator("#live-state").inner_text()
        assert "0 of 4" in shown.page.locator(".task").inner_text()
        assert "nothing is quantized here yet" in shown.page.locator(".hero").inner_text()
        quantized(chain(2), folder)
        shown.page.wait_for_selector(".node", timeout=120_000)
        for _ in steps:
            continue
        progress.finish()
        expect(shown.page.locator("#live-state")).to_contain_text("done", timeout=60_000)
        assert shown.messages == []
        assert {url.split("/")[2] for url in shown.requests if url.startswith("http")} == {f"{HOST}:{port}"}


def test_only_this_machine_is_answered_and_only_the_two_paths(tmp_path: Path) -> None:
    with served(tmp_path) as port:
        assert ask(port, "/progress.json")[0] == 200
        assert ask(port, "/progress.json", "evil.example:80")[0] == 403
        assert ask(port, "/../../etc/passwd")[0] == 404 and ask(port, "/manifest.json")[0] == 404


def test_a_job_that_died_is_said_to_be_silent(tmp_path: Path) -> None:
    progress = ProgressFile(tmp_path / PROGRESS)
    Events(progress).note("calibrate", "begun")
    path = tmp_path / PROGRESS
    stopped = json.loads(path.read_text()) | {"updated": time.time() - 60, "pid": 2**22 + 1}
    path.write_text(json.dumps(stopped))
    with served(tmp_path) as port:
        assert json.loads(ask(port, "/progress.json")[1])["progress"]["stale"] is True


def test_progress_is_written_at_most_once_a_second_and_when_the_job_ends(tmp_path: Path) -> None:
    progress = ProgressFile(tmp_path / "progress.json")
    events = Events(progress)
    for _ in events.track(range(500), "calibrate"):
        continue
    assert json.loads((tmp_path / "progress.json").read_text())["tasks"][0]["done"] == 0
    events.warn("calibrate", "a warning")
    progress.finish()
    document = json.loads((tmp_path / "progress.json").read_text())
    assert document["state"] == "done" and document["notes"] == [{"kind": "warning", "text": "a warning"}]
    assert document["tasks"][0] | {"seconds": 0} == {
        "task": "calibrate", "figures": {}, "done": 500, "total": 500, "seconds": 0, "running": False,
    }  # fmt: skip


def test_a_job_that_fails_before_it_starts_leaves_nothing(tmp_path: Path) -> None:
    ProgressFile(tmp_path / "out" / PROGRESS).finish(failed=True)
    assert not (tmp_path / "out").exists()


def test_a_taken_port_is_one_sentence(tmp_path: Path) -> None:
    from hexaquant.core.errors import InputError

    with served(tmp_path) as port, pytest.raises(InputError, match=f"{port}"):
        make_server(tmp_path, port)
