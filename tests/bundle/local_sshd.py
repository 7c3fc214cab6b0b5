"""An OpenSSH server of the test's own: 127.0.0.1, a free port, keys and configuration in a temporary folder."""

from __future__ import annotations

import getpass
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from bundle.native import tool

SSHD_CONFIG = """Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile {folder}/sshd.pid
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PermitUserEnvironment no
PrintMotd no
SetEnv PATH={path} HOME={folder}
"""
SSH_CONFIG = """Host 127.0.0.1
  IdentityFile {folder}/user_key
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
  StrictHostKeyChecking yes
  LogLevel ERROR
"""


class LocalSshd:
    """``address`` for --device, ``client``: the ssh command that knows its key. Ended by stop()."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, _free_port()
        for name in ("host_key", "user_key"):
            words = [tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(words, check=True)
        path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"  # of the device: its python3 has numpy
        (folder / "sshd_config").write_text(SSHD_CONFIG.format(port=self.port, folder=folder, path=path))
        (folder / "ssh_config").write_text(SSH_CONFIG.format(folder=folder))
        host_key = (folder / "host_key.pub").read_text()
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {host_key}")
        (folder / "user_key.pub").chmod(0o644)
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(parents=True, exist_ok=True)  # sshd refuses to start as root without it
        self.address = f"ssh:{getpass.getuser()}@127.0.0.1:{self.port}"
        self.client = f"ssh -F {folder}/ssh_config"
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        log = (self.folder / "log").open("wb")
        words = [tool("sshd"), "-D", "-e", "-f", str(self.folder / "sshd_config")]
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return process
            assert process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.05)
        raise AssertionError("sshd does not answer: " + (self.folder / "log").read_text())

    def cut(self) -> None:
        """Kill the server's processes of open connections; the server itself goes on."""
        own = self._process.pid
        for child in Path(f"/proc/{own}/task/{own}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)

    def stop(self) -> None:
        """End the server; connections that are open stay (their own processes serve them)."""
        self._process.terminate()
        self._process.wait(10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
