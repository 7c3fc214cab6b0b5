"""``qnn-context-binary-generator``: DLC -> context binary for one SoC."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from hexaquant.cli.console import bytes_text
from hexaquant.cli.tools.htp_config import HtpConfig, read_config
from hexaquant.cli.tools.program import (
    BACKEND,
    HTP_ONLY,
    LOG_LEVEL,
    MODEL,
    SOC,
    Messages,
    Program,
    check_backend,
    check_model,
    flag,
)
from hexaquant.core.errors import InputError

PROGRAM = Program(
    name="qnn-context-binary-generator",
    summary="Compile a DLC into a context binary OUTPUT_DIR/BINARY_FILE.bin for one SoC. The file appears whole or "
    "not\nat all; manifest.json beside it records its SHA-256, the SoC, the options and the names of inputs and "
    "outputs.",
    flags=(
        flag("--dlc_path", metavar="DLC", type=Path, required=True, help="The DLC to compile."),
        flag("--binary_file", metavar="NAME", required=True, help="Name of the binary; .bin is added."),
        flag("--output_dir", metavar="DIR", type=Path, default=Path("output"), help="Default: ./output."),
        BACKEND,
        MODEL,
        SOC,
        flag(
            "--config_file",
            metavar="JSON",
            type=Path,
            help="HTP options: a backend_extensions file that names another, or graphs [{graph_names, vtcm_mb, O}] "
            "and devices [{soc_model, dsp_arch}] inline.",
        ),
        LOG_LEVEL,
    ),
    example="qnn-context-binary-generator --backend libQnnHtp.so --dlc_path model.dlc --binary_file model.sm8650 "
    "--soc sm8650",
    refused={
        "--backend_binary": HTP_ONLY,
        "--data_format_config": "tensors keep the formats of the DLC",
        "--enable_intermediate_outputs": "a DLC keeps the outputs it was lowered with",
        "--input_output_tensor_mem_type": "memory is the runtime's affair",
        "--model_prefix": "compiled model libraries cannot be read",
        "--op_packages": "custom operators are not here",
        "--platform_options": "there are none on the emulator",
        "--profiling_level": "profiles are not written",
        "--profiling_option": "profiles are not written",
        "--set_output_tensors": "a DLC keeps the outputs it was lowered with",
        "--verbose": "the spelling here is --log_level verbose",
    },
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    return PROGRAM.run(argv, _generate)


def _generate(options: argparse.Namespace, tell: Messages) -> None:
    check_backend(options.backend)
    check_model(options.model, options.dlc_path)
    name = _file_name(options.binary_file)
    config = HtpConfig() if options.config_file is None else read_config(options.config_file)
    if not options.dlc_path.is_file():
        raise InputError(f"there is no DLC {options.dlc_path}; check the path")
    from hexaquant.cli.tools.context import Settings, choose_target, make_context

    target = choose_target(options.dlc_path, options.soc, config.target)
    if config.unused:
        tell.warn(f"{', '.join(config.unused)} in devices act when a device runs the binary, not here")
    _check_graph_names(options.dlc_path, config)
    settings = Settings(target, config.o_level or 3, config.vtcm_mb)
    tell.debug(f"compiling for {target}, O{settings.o_level}, VTCM {settings.vtcm_mb or 'all'} MB")
    report = make_context(options.dlc_path, options.output_dir, name, settings)
    tell.debug(f"core API {report.info.core_version}, backend API {report.info.backend_version}, {report.sha256}")
    size = bytes_text(report.info.size)
    tell.info(f"{report.path}: context binary for {target}, {size}, {report.seconds:.1f} s")


def _file_name(name: str) -> str:
    if Path(name).name != name or name in ("", ".", ".."):
        raise InputError(f"--binary_file {name} is a path; give a name, and the folder with --output_dir")
    return name if name.endswith(".bin") else f"{name}.bin"


def _check_graph_names(dlc: Path, config: HtpConfig) -> None:
    """Options for a graph that the DLC does not hold would silently have no effect."""
    if not config.graph_names:
        return
    from hexaquant.qnn.inspect import inspect_dlc

    names = [graph.name for graph in inspect_dlc(dlc).graphs]
    unknown = [name for name in config.graph_names if name not in names]
    if unknown:
        raise InputError(f"graph_names has '{unknown[0]}' but {dlc.name} holds {', '.join(names)}; correct the config")
