"""A STAND-IN for Android's ``adb`` with a device: the command line that the real client has, on this PC's own files.

    adb [-s SERIAL] shell COMMAND | push LOCAL REMOTE | pull REMOTE LOCAL

It knows one device, "emulator-5554". STAND_IN_ADB_LOG collects the command lines; STAND_IN_ADB_LOST makes shell end
as the real client does when the cable is pulled.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

SERIAL = "emulator-5554"


def main(words: list[str]) -> int:
    with Path(os.environ["STAND_IN_ADB_LOG"]).open("a") as log:
        log.write(json.dumps(words) + "\n")
    if words[0] == "-s":
        serial, words = words[1], words[2:]
        if serial != SERIAL:
            print(f"adb: device '{serial}' not found", file=sys.stderr)
            return 1
    verb, *rest = words
    if verb == "shell":
        if os.environ.get("STAND_IN_ADB_LOST"):
            print("error: closed", file=sys.stderr)
            return 1
        return subprocess.run(["sh", "-c", " ".join(rest)], check=False).returncode
    source, destination = rest
    if verb not in ("push", "pull") or not Path(source).is_dir() or not source.endswith("/."):
        print(f"adb: error: failed to stat '{source}'", file=sys.stderr)
        return 1
    shutil.copytree(source, destination, dirs_exist_ok=True)
    print(f"{source}: files {verb}ed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
