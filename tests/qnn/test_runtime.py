"""Runtime and pool on the real emulator: inputs, batches, damage, death, order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hexaquant.core.errors import InputError, WorkerError
from hexaquant.core.events import Event, Events
from hexaquant.folder.manifest import sha256_of
from hexaquant.qnn.pool import Pool
from hexaquant.qnn.runtime import Runtime
from hexaquant.qnn.runtime_process import RuntimeProcess
from qnn.compiled import SOC, Compiled
from qnn.qdq_models import reference


def image(batch: int = 1, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (batch, 8, 12, 12)).astype(np.float32)


@pytest.fixture(scope="module")
def runtime(conv_u8: Compiled) -> Iterator[Runtime]:
    with Runtime(conv_u8.compiled.path, soc=SOC) as opened:
        yield opened


def test_specs_tell_names_shapes_and_encodings(runtime: Runtime) -> None:
    (x,), (y,) = runtime.inputs, runtime.outputs
    assert (x.name, x.shape, x.dtype, x.offset) == ("x", (1, 8, 12, 12), np.uint8, -128)
    assert (y.name, y.shape, y.offset) == ("y", (1, 16, 12, 12), 0)


def test_larger_batches_are_run_item_by_item(runtime: Runtime) -> None:
    batch = image(3)
    joined = runtime.run({"x": batch})["y"]
    single = np.concatenate([runtime.run(batch[i : i + 1])["y"] for i in range(3)])
    np.testing.assert_array_equal(joined, single)


def test_native_io_gives_the_stored_integers(conv_u8: Compiled, runtime: Runtime) -> None:
    spec = runtime.inputs[0]
    stored = np.clip(np.rint(image() / np.float32(spec.scale)) - spec.offset, 0, 255).astype(np.uint8)
    with Runtime(conv_u8.compiled.path, float_io=False) as native:
        got = native.run({"x": stored})["y"]
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got * np.float32(runtime.outputs[0].scale), runtime.run(image())["y"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"z": np.zeros((1, 8, 12, 12))}, r"no input 'z': it takes 'x' uint8\[1, 8, 12, 12\]"),
        ({}, "input 'x' is missing"),
        ({"x": np.zeros((1, 3, 12, 12))}, r"shape \[1, 3, 12, 12\], the graph takes \[1, 8, 12, 12\]"),
        ({"x": np.zeros((0, 8, 12, 12))}, r"shape \[0, 8, 12, 12\]"),
        ({"x": np.full((1, 8, 12, 12), "a")}, "dtype <U1, the graph takes numbers"),
        ({"x": np.full((1, 8, 12, 12), np.nan)}, "NaN or infinite"),
    ],
)
def test_wrong_inputs_name_what_the_graph_takes(runtime: Runtime, given: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(InputError, match=message):
        runtime.run(given)


def test_binary_of_another_soc_is_refused(conv_u8: Compiled) -> None:
    with pytest.raises(InputError, match="compiled for SoC model 57, not 69"):
        Runtime(conv_u8.compiled.path, soc=69)


def test_flipped_weight_byte_is_found_through_the_manifest(conv_u8: Compiled, tmp_path: Path) -> None:
    damaged = tmp_path / "conv.bin"
    data = bytearray(conv_u8.compiled.path.read_bytes())
    data[len(data) * 2 // 3] ^= 0xFF
    damaged.write_bytes(bytes(data))
    (tmp_path / "manifest.json").write_text(json.dumps({"files": {"conv.bin": conv_u8.compiled.sha256}}))
    with pytest.raises(InputError, match="SHA-256"):
        Runtime(damaged)
    (tmp_path / "manifest.json").write_text(json.dumps({"files": {"conv.bin": {"sha256": sha256_of(damaged)}}}))
    Runtime(damaged).close()


def test_truncated_and_missing_binaries(conv_u8: Compiled, tmp_path: Path) -> None:
    short = tmp_path / "short.bin"
    short.write_bytes(conv_u8.compiled.path.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"short\.bin"):
        Runtime(short)
    with pytest.raises(InputError, match="does not exist"):
        Runtime(tmp_path / "none.bin")


def test_run_that_takes_too_long_is_ended(conv_u8: Compiled) -> None:
    with RuntimeProcess(conv_u8.compiled.path) as runtime:
        pid, runtime.timeout_s = runtime.pid, 0.0
        with pytest.raises(WorkerError, match="took longer than 0 s"):
            runtime.run(image())
        assert not _alive(pid)
        with pytest.raises(WorkerError, match="closed"):
            runtime.run(image())


def test_killed_worker_is_an_error_that_names_the_signal(conv_u8: Compiled) -> None:
    with RuntimeProcess(conv_u8.compiled.path) as runtime:
        os.kill(runtime.pid, signal.SIGKILL)
        with pytest.raises(WorkerError, match="SIGKILL"):
            runtime.run(image())


def test_map_keeps_order_and_reports_progress(conv_u8: Compiled) -> None:
    items = [{"x": image(seed=seed)} for seed in range(5)]
    seen: list[Event] = []
    with Runtime(conv_u8.compiled.path, workers=2) as runtime:
        got = list(Events(seen.append).track(runtime.map(items), "execute", len(items)))
    for item, outputs in zip(items, got, strict=True):
        wanted = reference(conv_u8.onnx, item)["y"]
        assert np.abs(outputs["y"] - wanted).max() <= 1.01 * 2 / 255
    assert [event.done for event in seen if event.kind == "progress"] == [1, 2, 3, 4, 5]
    assert seen[0].total == 5


def test_pool_replaces_a_dead_worker_and_repeats_its_item(conv_u8: Compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    original, deaths = RuntimeProcess.run, []

    def die_once(self: RuntimeProcess, inputs: object) -> dict[str, np.ndarray]:
        if not deaths:
            deaths.append(self.pid)
            os.kill(self.pid, signal.SIGKILL)
        return original(self, inputs)  # type: ignore[arg-type]

    monkeypatch.setattr(RuntimeProcess, "run", die_once)
    with Pool(conv_u8.compiled.path, workers=1) as pool:
        got = list(pool.map([image(), image()]))
    np.testing.assert_array_equal(got[0]["y"], got[1]["y"])
    assert len(deaths) == 1


def test_pool_reports_the_item_that_fails_twice(conv_u8: Compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    original = RuntimeProcess.run

    def die(self: RuntimeProcess, inputs: object) -> dict[str, np.ndarray]:
        os.kill(self.pid, signal.SIGKILL)
        return original(self, inputs)  # type: ignore[arg-type]

    monkeypatch.setattr(RuntimeProcess, "run", die)
    twice = r"item 0: .*SIGKILL.*\(tried 2 times\)"
    with Pool(conv_u8.compiled.path, workers=1) as pool, pytest.raises(WorkerError, match=twice):
        list(pool.map([image()]))


def test_pool_takes_items_lazily_and_ends_its_processes(conv_u8: Compiled) -> None:
    taken: list[int] = []

    def items() -> Iterator[np.ndarray]:
        for index in range(1000):
            taken.append(index)
            yield image()

    before = _children()
    with Pool(conv_u8.compiled.path, workers=1) as pool:
        assert list(pool.map([])) == [] and _children() == before
        next(pool.map(items()))
        assert len(taken) <= 3
        assert len(_children() - before) == 1
    assert _children() == before


def test_workers_end_when_their_parent_is_killed(conv_u8: Compiled) -> None:
    code = (
        "import sys, time\nfrom hexaquant.qnn.runtime import Runtime\n"
        "r = Runtime(sys.argv[1]); print(r.pids[0], flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(conv_u8.compiled.path)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while _alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(worker)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def _children() -> set[int]:
    """Processes of this test run that execute workers."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
                status = (entry / "status").read_text()
            except OSError:
                continue
            if b"hexaquant.qnn.worker" in command and f"PPid:\t{os.getpid()}\n" in status:
                found.add(int(entry.name))
    return found
