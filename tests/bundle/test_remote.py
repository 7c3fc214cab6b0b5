"""Runs over ssh (a server of the test's own on loopback; the emulator stands in for the NPU) and adb (a stand-in)."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from bundle import stand_in_adb
from bundle.conftest import tree
from bundle.local_sshd import LocalSshd
from bundle.native import tool
from cli.command import Result, hexaquant
from hexaquant.api.bundle import model_card
from hexaquant.bundle.card import ModelCard
from hexaquant.bundle.remote.adb import Adb
from hexaquant.bundle.remote.session import DeviceOptions, Session
from hexaquant.bundle.remote.transport import Address, joined, parse_address
from hexaquant.core.errors import EnvironmentLacksError, InputError
from hexaquant.qnn.profile import read_profile


@pytest.fixture
def ssh(sshd: LocalSshd, monkeypatch: pytest.MonkeyPatch) -> LocalSshd:
    monkeypatch.setenv("HEXAQUANT_SSH", sshd.client)
    return sshd


@pytest.fixture
def adb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in adb first on PATH; the file that collects its command lines."""
    programs = tmp_path / "programs"
    programs.mkdir()
    script = programs / "adb"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{stand_in_adb.__file__}" "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN_ADB_LOG", str(tmp_path / "adb.log"))
    return tmp_path / "adb.log"


def run_there(device: str, out: Path, inputs: Path, libraries: Path, results: Path, *more: object) -> Result:
    given = ("--input-list", inputs, "-o", results, "--device", device, "--device-libs", libraries)
    return hexaquant("run", out, *given, *more, "--json")


ODD = "a folder; touch 'in it' $(touch there) \"x\""
"""A name that does harm where it is not quoted."""


def test_ssh_gives_the_same_bytes_pushes_what_changed_and_cleans_up(
    ssh: LocalSshd, out: Path, inputs: Path, libraries: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    there = tmp_path / "device" / ODD
    keep = ("--device-folder", there, "--keep")
    first = run_there(ssh.address, out, inputs, libraries, tmp_path / "1", *keep)
    assert first.code == 0, first.err
    assert tree(tmp_path / "1") == expected and first.document["device"] == ssh.address
    assert "3 of 3 files pushed" in first.err
    (model,) = there.iterdir()
    assert sorted(p.name for p in model.iterdir()) == ["hexaquant_run", "model.bin", "model.txt"]
    (model / "model.bin").write_bytes(b"rotten")
    again = run_there(ssh.address, out, inputs, libraries, tmp_path / "2", *keep)
    assert again.code == 0 and "1 of 3 files pushed" in again.err
    assert tree(tmp_path / "2") == expected
    gone = tmp_path / "gone"
    level = ("--profiling-level", "basic", "--runner", "python", "--device-folder", gone)
    python = run_there(ssh.address, out, inputs, libraries, tmp_path / "3", *level)
    assert python.code == 0, python.err
    profile = read_profile(Path(python.document["profile"]))
    assert [stage.kind for stage in profile.stages] == ["init", "execute", "execute", "execute"]
    Path(python.document["profile"]).unlink()
    assert tree(tmp_path / "3") == expected and not list(gone.iterdir())
    assert not [p for p in Path.cwd().iterdir() if p.name in ("there", "in it")]


def test_verify_measures_on_the_device(ssh: LocalSshd, out: Path, libraries: Path, tmp_path: Path) -> None:
    data = ("--data", out.parent / "data.npz", "--device", ssh.address, "--device-libs", libraries)
    done = hexaquant("verify", out, *data, "--device-folder", tmp_path / "there", "--json")
    assert done.code == 0, done.err
    local = hexaquant("verify", out, "--data", out.parent / "data.npz", "--workers", 1, "--json")
    assert done.document["device"] == ssh.address and local.document["device"] is None
    for key in ("samples", "metrics", "outputs"):
        assert done.document[key] == local.document[key]


def test_libraries_of_the_user_are_pushed_along(ssh: LocalSshd, out: Path, stand_in: Path, tmp_path: Path) -> None:
    """With the stand-in libraries, which are small; their model gives 255 - x of four numbers."""
    (tmp_path / "x.raw").write_bytes(bytes(range(192)))
    (tmp_path / "list.txt").write_text(f"{tmp_path}/x.raw\n")
    given = ("--input-list", tmp_path / "list.txt", "-o", tmp_path / "r", "--device", ssh.address, "--native")
    there = ("--device-folder", tmp_path / "there")
    done = hexaquant("run", out, *given, *there, "--libs", stand_in)
    assert done.code == 0, done.err
    assert (tmp_path / "r/Result_0/y.raw").read_bytes() == bytes([255, 254, 253, 252])
    assert "5 of 5 files pushed" in done.err and not list((tmp_path / "there").iterdir())
    (tmp_path / "empty").mkdir()
    hexaquant("run", out, *given, *there, "--libs", tmp_path / "empty").assert_refused(2, "libQnnHtp.so")


def test_what_the_device_lacks_is_said(ssh: LocalSshd, out: Path, inputs: Path, tmp_path: Path) -> None:
    given = ("--device-folder", tmp_path / "there")
    done = run_there(ssh.address, out, inputs, tmp_path / "no libraries", tmp_path / "r", *given)
    done.assert_refused(4, ssh.address, "libQnnSystem.so", "does not load")
    assert not list((tmp_path / "there").iterdir()) and not (tmp_path / "r").exists()


def test_an_unreachable_device_ends_with_4(ssh: LocalSshd, out: Path, inputs: Path, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"ssh:nobody@127.0.0.1:{unused.getsockname()[1]}"
        done = run_there(address, out, inputs, tmp_path, tmp_path / "r")
    done.assert_refused(4, address, "no connection")


def test_a_connection_lost_during_the_run_ends_with_4(ssh: LocalSshd, out: Path, tmp_path: Path) -> None:
    """The server's process of the connection is killed while the model runs there."""
    session = Session(_card(out), parse_address(ssh.address), DeviceOptions(folder=str(tmp_path / "there")))

    def cut() -> None:
        while not (tmp_path / "there/started").exists():
            time.sleep(0.05)
        ssh.cut()

    thread = threading.Thread(target=cut)
    with pytest.raises(EnvironmentLacksError, match="lost") as caught, session:
        thread.start()
        session._command = ["sh", "-c", "touch ../started; sleep 20"]
        session.run([{"x": np.zeros((1, 3, 8, 8), np.uint8)}])
    thread.join()
    assert caught.value.exit_code == 4
    assert [p.name for p in (tmp_path / "there").iterdir()] == ["started"]


def test_a_device_that_hangs_is_given_up(ssh: LocalSshd, out: Path, tmp_path: Path) -> None:
    options = DeviceOptions(folder=str(tmp_path / "there"), timeout_s=5)
    session = Session(_card(out), parse_address(ssh.address), options)
    with pytest.raises(EnvironmentLacksError, match="within 5 s"), session:
        session._command = ["sh", "-c", "sleep 20"]
        session.run([{"x": np.zeros((1, 3, 8, 8), np.uint8)}])


def test_adb_gives_the_same_bytes(
    adb: Path, out: Path, inputs: Path, libraries: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    there = tmp_path / ODD
    device = f"adb:{stand_in_adb.SERIAL}"
    binary = out / "model.sm8650.bin"
    done = run_there(device, binary, inputs, libraries, tmp_path / "r", "--device-folder", there)
    assert done.code == 0, done.err
    assert tree(tmp_path / "r") == expected and not list(there.iterdir())
    lines = [json.loads(line) for line in adb.read_text().splitlines()]
    assert all(line[:2] == ["-s", stand_in_adb.SERIAL] for line in lines)
    assert {line[2] for line in lines} == {"shell", "push", "pull"}
    assert not [p for p in Path.cwd().iterdir() if p.name in ("there", "in it")]


def test_adb_without_the_device_ends_with_4(
    adb: Path, out: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_there("adb:other", out, inputs, tmp_path, tmp_path / "r").assert_refused(4, "adb:other", "not found")
    monkeypatch.setenv("STAND_IN_ADB_LOST", "1")
    run_there("adb", out, inputs, tmp_path, tmp_path / "r").assert_refused(4, "adb", "lost", "closed")


def test_the_real_adb_client_takes_the_same_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """No device is attached: the real client understands the command line and says so in the form that is known."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(unused.getsockname()[1]))
    try:
        with pytest.raises(EnvironmentLacksError, match=r"no connection to adb:nosuch.*not found"):
            Adb(Address("adb", "nosuch"), 60).shell(joined(["true"]))
    finally:
        subprocess.run([tool("adb"), "kill-server"], capture_output=True, check=False)


@pytest.mark.parametrize(
    "text",
    ["ssh", "ssh:", "ssh:-oProxyCommand=touch x", "ssh:root@-host", "ssh:a b", "ssh:host:99999", "ssh:host;touch x",
     "adb:-H", "adb:a b", "adb:", "telnet:x", "ssh:$(touch x)", "ssh:host\n"],
)  # fmt: skip
def test_addresses_that_are_no_plain_devices_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not understood"):
        parse_address(text)


def test_addresses() -> None:
    assert parse_address("ssh:root@board.local:2222") == Address("ssh", "root@board.local", 2222)
    assert parse_address("ssh:board") == Address("ssh", "board")
    assert parse_address("ssh:me@[::1]:22") == Address("ssh", "me@::1", 22)
    assert (
        parse_address("adb") == Address("adb", "") and parse_address("adb:192.168.0.7:5555").host == "192.168.0.7:5555"
    )


def test_options_without_a_device_are_refused(out: Path, inputs: Path, tmp_path: Path) -> None:
    done = hexaquant("run", out, "--input-list", inputs, "-o", tmp_path / "r", "--keep")
    done.assert_refused(2, "--keep needs --device")
    both = ("--libs", tmp_path, "--device-libs", "/x", "--device", "adb")
    hexaquant("run", out, "--input-list", inputs, "-o", tmp_path / "r", *both).assert_refused(2, "exclude each other")


def _card(out: Path) -> ModelCard:
    return model_card(out)
