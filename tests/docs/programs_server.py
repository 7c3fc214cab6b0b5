"""A process that has imported the package and forks a child for each command.

    python -m docs.programs_server SOCKET

A command line costs seconds of imports otherwise, and the pages hold a hundred. The child has the caller's arguments,
folder, environment and streams (file descriptors come over the socket), so that shells, pipes and exit codes are real.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import sys
import traceback
from collections.abc import Callable
from importlib import import_module

WARM = (
    "torch", "numpy", "onnx", "onnx_ir", "onnxscript", "torch.export", "yaml", "pydantic", "rich.table",
    "hexaquant.cli.app", "hexaquant.api.deploy", "hexaquant.api.auto", "hexaquant.api.mixed", "hexaquant.api.qat",
    "hexaquant.api.convert", "hexaquant.qnn.runtime", "hexaquant.frontends.torch_module",
)  # fmt: skip
MESSAGE = 1 << 20


def serve(path: str) -> None:
    """Answer callers until the one who started this process closes its stdin."""
    for name in WARM:
        import_module(name)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(16)
        print("ready", flush=True)
        while sys.stdin not in select.select([server, sys.stdin], [], [])[0]:
            caller, _ = server.accept()
            if os.fork() == 0:
                server.close()
                _child(caller)
            caller.close()
            _reap()


def _reap() -> None:
    """Wait for children that ended, so that their time counts as this process's."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _child(caller: socket.socket) -> None:
    """Run one command with the caller's streams, answer with its exit code and leave."""
    message, streams, _, _ = socket.recv_fds(caller, MESSAGE, 3)
    call = json.loads(message)
    for wanted, received in enumerate(streams):
        os.dup2(received, wanted)
        os.close(received)
    os.chdir(call["folder"])
    os.environ.clear()
    os.environ.update(call["environment"])
    code = 70
    try:
        code = _main(call["program"])(call["arguments"])
    except SystemExit as leave:
        code = leave.code if isinstance(leave.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        caller.sendall(str(code).encode())
        os._exit(code)


def _main(program: str) -> Callable[[list[str]], int]:
    module, function = program.split(":")
    return getattr(import_module(module), function)  # type: ignore[no-any-return]


if __name__ == "__main__":
    serve(sys.argv[1])
