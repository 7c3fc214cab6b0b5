"""Qualcomm's Genie in a child process: ``python -m hexaquant.llm.genie_child``, JSON lines in, JSON lines out.

The first line names the library, the configuration (JSON text), the folder that its paths start from, a memory limit
and whether to log; every further line asks something. Prototypes after the reference of the Genie C API
(docs.qualcomm.com, bundle 80-63442-10), in the version that the library itself states.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import sys
from ctypes import CFUNCTYPE, POINTER, byref, c_char_p, c_int32, c_uint32, c_void_p
from typing import Any

from hexaquant.qnn.child import limit_memory, silence_stdout

TextCallback = CFUNCTYPE(None, c_char_p, c_uint32, c_void_p)
TokenCallback = CFUNCTYPE(None, POINTER(c_uint32), c_uint32, c_uint32, c_void_p)
COMPLETE = 0
"""Sentence code of a whole query (the others split one in parts)."""
STATUS = {-1: "the library gives no reason", -7: "the configuration is not JSON",
          -8: "the configuration does not follow Genie's schema"}  # fmt: skip
ABORT = 1
"""Action of GenieDialog_signal that ends the query in progress."""


class GenieError(RuntimeError):
    """A function of the library returned something else than 0."""


class Dialog:
    """One loaded dialog. ``answer``: sends one JSON line."""

    def __init__(self, spec: dict[str, Any], answer: Any) -> None:
        self._answer = answer
        self._library = ctypes.CDLL(spec["library"])
        os.chdir(spec["folder"])
        self.version = ".".join(
            str(getattr(self._library, f"Genie_getApi{part}Version")()) for part in ("Major", "Minor", "Patch")
        )
        config = c_void_p()
        self._dialog = c_void_p()
        self._call("GenieDialogConfig_createFromJson", c_char_p(spec["config"].encode()), byref(config))
        if spec.get("log"):
            log = c_void_p()
            self._call("GenieLog_create", None, None, c_int32(int(spec["log"])), byref(log))
            self._call("GenieDialogConfig_bindLogger", config, log)
        self._call("GenieDialog_create", config, byref(self._dialog))

    def _call(self, name: str, *arguments: Any) -> None:
        function = getattr(self._library, name)
        function.restype = c_int32
        status = function(*arguments)
        if status:
            raise GenieError(f"{name} failed with {status}: {STATUS.get(status, 'see the log')}")

    def text(self, text: str, limit: int) -> int:
        """Ask ``text``; pieces of the answer go out as they come. Returns their number."""
        count = 0

        def heard(piece: bytes | None, code: int, _: Any) -> None:
            nonlocal count
            if piece:
                count += 1
                self._answer({"text": piece.decode(errors="replace")})

        self._limit(limit)
        self._call("GenieDialog_query", self._dialog, c_char_p(text.encode()), c_uint32(COMPLETE), TextCallback(heard),
                   None)  # fmt: skip
        return count

    def tokens(self, tokens: list[int], limit: int) -> int:
        """As text, with tokens."""
        count = 0

        def heard(found: Any, length: int, code: int, _: Any) -> None:
            nonlocal count
            if length:
                count += length
                self._answer({"tokens": [int(found[index]) for index in range(length)]})

        self._limit(limit)
        array = (c_uint32 * len(tokens))(*tokens)
        self._call("GenieDialog_tokenQuery", self._dialog, array, c_uint32(len(tokens)), c_uint32(COMPLETE),
                   TokenCallback(heard), None)  # fmt: skip
        return count

    def _limit(self, tokens: int) -> None:
        self._call("GenieDialog_setMaxNumTokens", self._dialog, c_uint32(tokens))

    def reset(self) -> None:
        """Forget the conversation."""
        self._call("GenieDialog_reset", self._dialog)


def _usage() -> dict[str, float]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"cpu_s": used.ru_utime + used.ru_stime, "rss_mb": used.ru_maxrss / 1024}


def main() -> None:
    output = os.fdopen(silence_stdout(), "wb", buffering=0)

    def answer(document: dict[str, Any]) -> None:
        output.write(json.dumps(document).encode() + b"\n")

    spec = json.loads(sys.stdin.buffer.readline())
    limit_memory(spec["memory_mb"])
    try:
        dialog = Dialog(spec, answer)
    except (GenieError, OSError) as error:
        answer({"error": str(error)})
        os._exit(0)
    answer({"ready": dialog.version, **_usage()})
    for line in sys.stdin.buffer:
        request = json.loads(line)
        try:
            count = 0
            if request["do"] == "reset":
                dialog.reset()
            elif request["do"] == "text":
                count = dialog.text(request["text"], request["limit"])
            else:
                count = dialog.tokens(request["tokens"], request["limit"])
            answer({"done": count, **_usage()})
        except GenieError as error:
            answer({"error": str(error)})
    sys.stderr.flush()
    os._exit(0)  # library destructors crash at times


if __name__ == "__main__":
    main()
