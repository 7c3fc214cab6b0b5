"""What the shims on the PATH of a documentation test run: hands a command to docs.programs_server."""

import json
import os
import socket
import sys
from pathlib import Path


def call(path: str, program: str, arguments: list[str]) -> int:
    """Exit code of ``program`` ("module:function") run by the server at the socket ``path`` with our streams."""
    message = {"program": program, "arguments": arguments, "folder": str(Path.cwd()), "environment": dict(os.environ)}
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        socket.send_fds(server, [json.dumps(message).encode()], [0, 1, 2])
        answer = server.recv(16)
    return int(answer or b"70")


if __name__ == "__main__":
    sys.exit(call(sys.argv[1], sys.argv[2], sys.argv[3:]))
