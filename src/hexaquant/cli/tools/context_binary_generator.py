"""``qnn-context-binary-generator``: DLCs -> a context binary for each SoC."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hexaquant.cli.console import bytes_text
from hexaquant.cli.tools.htp_config import HtpConfig, read_config
from hexaquant.cli.tools.program import (
    HTP_ONLY,
    LIBRARIES,
    LOG_LEVEL,
    PROFILING_LEVEL,
    PROFILING_REFUSED,
    Messages,
    Program,
    check_libraries,
    flag,
    paths_of,
    profiling_level,
)
from hexaquant.core.errors import InputError

if TYPE_CHECKING:
    from hexaquant.cli.tools.context import GraphSettings
    from hexaquant.htp.soc import Target
    from hexaquant.qnn.compile import CompileReport

PROGRAM = Program(
    name="qnn-context-binary-generator",
    summary="Compile DLCs into a context binary OUTPUT_DIR/BINARY_FILE.bin for one SoC, or into one for each of\n"
    "several SoCs, BINARY_FILE.<soc>.bin. Each DLC is a graph of the binary, called like the file. A file appears\n"
    "whole or not at all; manifest.json beside it records its SHA-256, the SoC, the options and the names of inputs\n"
    "and outputs.",
    flags=(
        flag("--dlc_path", metavar="DLC[,DLC]", required=True, help="The DLC to compile; several: with commas."),
        flag("--binary_file", metavar="NAME", required=True, help="Name of the binary; .bin is added."),
        flag("--output_dir", metavar="DIR", type=Path, default=Path("output"), help="Default: ./output."),
        *LIBRARIES,
        flag(
            "--target_soc_model",
            "--soc",
            "--htp_socs",
            dest="soc",
            metavar="SOC[,SOC]",
            help="SoCs or architectures to compile for (sm8650, SM8650, v75). Default: the one the DLC was made for, "
            "where the manifest.json beside it says so.",
        ),
        flag(
            "--config_file",
            metavar="JSON",
            type=Path,
            help="HTP options: a backend_extensions file that names another, or graphs [{graph_names, vtcm_mb, O}] "
            "and devices [{soc_model, dsp_arch}] inline.",
        ),
        PROFILING_LEVEL,
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
        "--profiling_option": PROFILING_REFUSED,
        "--set_output_tensors": "a DLC keeps the outputs it was lowered with",
        "--verbose": "the spelling here is --log_level verbose",
    },
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    return PROGRAM.run(argv, _generate)


def _generate(options: argparse.Namespace, tell: Messages) -> None:
    dlcs = paths_of(options.dlc_path)
    check_libraries(options)
    name, level = _file_name(options.binary_file), profiling_level(options)
    config = HtpConfig() if options.config_file is None else read_config(options.config_file)
    from hexaquant.cli.tools.context import choose_targets, graph_names, make_context

    graphs = graph_names(dlcs)
    targets = choose_targets(dlcs, options.soc, config.targets)
    if config.unused:
        tell.warn(f"{', '.join(config.unused)} in devices act when a device runs the binary, not here")
    settings = _settings(config, graphs)
    reports = []
    for target in targets:
        file = f"{name}.bin" if len(targets) == 1 else f"{name}.{target.name}.bin"
        tell.debug(f"compiling for {target}: {settings}")
        report = make_context(graphs, options.output_dir, file, target, settings, level)
        reports.append(report)
        tell.debug(f"core API {report.info.core_version}, backend API {report.info.backend_version}, {report.sha256}")
        size = bytes_text(report.info.size)
        tell.info(f"{report.path}: context binary for {target}, {size}, {report.seconds:.1f} s")
    _profiles(options, targets, reports, tell)


def _file_name(name: str) -> str:
    if Path(name).name != name or name in ("", ".", ".."):
        raise InputError(f"--binary_file {name} is a path; give a name, and the folder with --output_dir")
    return name.removesuffix(".bin")


def _settings(config: HtpConfig, graphs: Mapping[str, Path]) -> dict[str, GraphSettings]:
    """The config's options for each graph; options for a graph that is not there would silently have no effect."""
    from hexaquant.cli.tools.context import GraphSettings

    found: dict[str, GraphSettings] = {}
    for entry in config.graphs:
        for name in entry.names or tuple(graphs):
            if name not in graphs:
                raise InputError(f"graph_names has '{name}' but the graphs are {', '.join(graphs)}; correct the config")
            if name in found:
                raise InputError(f"the config has options for graph '{name}' twice; keep one entry")
            found[name] = GraphSettings(entry.o_level or 3, entry.vtcm_mb)
    sizes = {found.get(name, GraphSettings()).vtcm_mb for name in graphs}
    if len(sizes) > 1:  # measured with release 2.7.0: "Couldn't match allocated VTCM pointer" at execution
        raise InputError("the graphs have different vtcm_mb, which compiles and then fails to run; give all the same")
    return found


def _profiles(
    options: argparse.Namespace, targets: Sequence[Target], reports: Sequence[CompileReport], tell: Messages
) -> None:
    """One profile file; several SoCs have one each."""
    from hexaquant.qnn.profile import FILE, Profile, write_profile

    for index, (target, report) in enumerate(zip(targets, reports)):
        if not report.stages:
            return
        path = options.output_dir / FILE.replace("_0", f"_{index}")
        write_profile(path, Profile(PROGRAM.name, options.profiling_level, target.model, report.stages))
        tell.info(f"{path}: profile of compiling for {target.name}; qnn-profile-viewer --input_log {path}")
