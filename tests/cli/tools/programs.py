"""Runs Qualcomm's programs, as this package has them, in this process."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence

from cli.command import Result
from hexaquant.cli.tools import (
    context_binary_generator,
    context_binary_utility,
    dlc_info,
    net_run,
    onnx_qnn_converter,
    profile_viewer,
    qairt_converter,
    qairt_quantizer,
)

PROGRAMS: dict[str, Callable[[Sequence[str]], int]] = {
    "qairt-converter": qairt_converter.main,
    "qairt-quantizer": qairt_quantizer.main,
    "onnx-qnn-converter": onnx_qnn_converter.main,
    "qnn-onnx-converter": onnx_qnn_converter.alias_main,
    "qnn-context-binary-generator": context_binary_generator.main,
    "qnn-net-run": net_run.main,
    "qnn-profile-viewer": profile_viewer.main,
    "qairt-dlc-info": dlc_info.main,
    "qnn-context-binary-utility": context_binary_utility.main,
}


def program(name: str, *arguments: object) -> Result:
    """``name arguments...``"""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = PROGRAMS[name]([str(argument) for argument in arguments])
    return Result(code, out.getvalue(), err.getvalue())
