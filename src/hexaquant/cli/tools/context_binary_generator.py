"""``qnn-context-binary-generator``: DLCs -> a context binary for each SoC."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from hexaquant.cli.console import bytes_text
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
from hexaquant.cli.tools.shared_flags import NO_CHECK
from hexaquant.core.errors import InputError
from hexaquant.core.text_file import read_json
from hexaquant.htp.soc import Target, find_target, target_of_model

if TYPE_CHECKING:
    from hexaquant.cli.tools.context import GraphSettings
    from hexaquant.qnn.compile import CompileReport


# ``--config_file`` of qnn-context-binary-generator: HTP options in a backend-extensions JSON, or inline.
#
# Either {"backend_extensions": {"shared_library_path": "libQnnHtpNetRunExtensions.so", "config_file_path": F}} with the
# options in F (relative to the current folder or to the config file), or the options themselves:
# {"graphs": [{"graph_names": [..], "vtcm_mb": 8, "O": 3}], "devices": [{"soc_model": 57, "dsp_arch": "v75"}]}.
# ``graphs`` and ``devices`` may be one object, as older files have it. {"context": {"weight_sharing_enabled": true}}
# keeps equal weights of the graphs once. Every other key that decides about a binary is refused by name.

EXTENSION_LIBRARIES = ("libQnnHtpNetRunExtensions.so", "QnnHtpNetRunExtensions.dll")
AT_RUN_TIME = ("cores", "device_id", "pd_session")
"""Keys of a device that say how a phone runs a context, not how it is compiled: they have no effect on a binary."""
CONTEXT_AT_RUN_TIME = ("file_read_memory_budget_in_mb", "group_id", "max_spill_fill_buffer_for_group")
"""The same of a context; so is all of "memory"."""


@dataclass(frozen=True)
class GraphConfig:
    """Options of some graphs; no ``names``: of all. None where the file says nothing."""

    names: tuple[str, ...] = ()
    vtcm_mb: int | None = None
    o_level: int | None = None


@dataclass(frozen=True)
class HtpConfig:
    """HTP options. ``unused``: keys without an effect on a binary."""

    graphs: tuple[GraphConfig, ...] = ()
    targets: tuple[Target, ...] = ()
    unused: tuple[str, ...] = ()
    share_weights: bool = False


def read_config(path: Path) -> HtpConfig:
    """The options in ``path``. Raises InputError naming the file and the key that is wrong or unknown."""
    content = _read(path)
    extension = content.get("backend_extensions")
    if extension is None:
        return _options(content, path)
    _only(content, ("backend_extensions",), path, "the file")
    _only(extension, ("shared_library_path", "config_file_path"), path, "backend_extensions")
    library = str(extension.get("shared_library_path", EXTENSION_LIBRARIES[0]))
    if PurePath(library).name not in EXTENSION_LIBRARIES:
        raise InputError(f"{path}: extension {library} is not here; only the HTP's ({EXTENSION_LIBRARIES[0]}) is known")
    named = extension.get("config_file_path")
    if not isinstance(named, str):
        raise InputError(f"{path}: backend_extensions has no config_file_path; name the file with the HTP options")
    inner = Path(named) if Path(named).is_file() else path.parent / named
    return _options(_read(inner), inner)


def _read(path: Path) -> dict[str, Any]:
    content = read_json(path, "config file")
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold a JSON object with graphs and devices")
    return content


def _options(content: dict[str, Any], path: Path) -> HtpConfig:
    _only(content, ("graphs", "devices", "context", "memory"), path, "the file")
    graphs = tuple(_graph(entry, path) for entry in _entries(content, "graphs", path))
    devices = _entries(content, "devices", path)
    targets = [_target(device, path) for device in devices]
    unused = dict.fromkeys(key for device in devices for key in AT_RUN_TIME if key in device)
    contexts = _entries(content, "context", path)
    unused |= dict.fromkeys(key for context in contexts for key in CONTEXT_AT_RUN_TIME if key in context)
    unused |= dict.fromkeys(key for memory in _entries(content, "memory", path) for key in memory)
    shared = any(_shares_weights(context, path) for context in contexts)
    return HtpConfig(graphs, tuple(target for target in targets if target is not None), tuple(unused), shared)


def _shares_weights(context: dict[str, Any], path: Path) -> bool:
    _only(context, ("weight_sharing_enabled", *CONTEXT_AT_RUN_TIME), path, "context")
    value = context.get("weight_sharing_enabled", False)
    if not isinstance(value, bool):
        raise InputError(f"{path}: weight_sharing_enabled is {value}; give true or false")
    return value


def _entries(content: dict[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    entries = content.get(key, [])
    entries = [entries] if isinstance(entries, dict) else entries
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise InputError(f"{path}: {key} must be a list of objects; correct it")
    return entries


def _graph(graph: dict[str, Any], path: Path) -> GraphConfig:
    _only(graph, ("graph_names", "vtcm_mb", "O", "fp16_relaxed_precision"), path, "graphs")
    if graph.get("fp16_relaxed_precision", 1) not in (1, True):
        raise InputError(f"{path}: fp16_relaxed_precision {graph['fp16_relaxed_precision']} is not here: float tensors "
                         "run in float16 on every target; leave it out")  # fmt: skip
    names = graph.get("graph_names", [])
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list):
        raise InputError(f"{path}: graph_names is {names}; give a list of names")
    vtcm, level = _integer(graph, "vtcm_mb", path, 1, 64), _integer(graph, "O", path, 1, 3)
    return GraphConfig(tuple(str(name) for name in names), vtcm, level)


def _target(device: dict[str, Any], path: Path) -> Target | None:
    """The SoC of a device: by its number, else the one that stands for the architecture."""
    _only(device, ("soc_model", "soc_id", "dsp_arch", *AT_RUN_TIME), path, "devices")
    model = device.get("soc_model", device.get("soc_id"))
    arch = device.get("dsp_arch")
    if model is None:
        return None if arch is None else find_target(str(arch))
    target = target_of_model(model) if isinstance(model, int) else None
    if target is None:
        raise InputError(f"{path}: soc_model {model} is unknown; give Qualcomm's number, e.g. 57 for sm8650")
    if arch is not None and str(arch).lower() != target.arch_name:
        raise InputError(f"{path}: soc_model {model} ({target.name}) is {target.arch_name}, not {arch}; correct one")
    return target


def _integer(values: dict[str, Any], key: str, path: Path, low: int, high: int) -> int | None:
    value = values.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high or value != int(value):
        raise InputError(f"{path}: {key} is {value}; give a whole number from {low} to {high}")
    return int(value)


def _only(values: Any, known: tuple[str, ...], path: Path, where: str) -> None:
    if not isinstance(values, dict):
        raise InputError(f"{path}: {where} must be a JSON object; correct it")
    for key in values:
        if key not in known:
            raise InputError(f"{path}: '{key}' in {where} is not supported here (known: {', '.join(known)}); remove it")


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
            "and devices [{soc_model, dsp_arch}] inline; context {weight_sharing_enabled}.",
        ),
        NO_CHECK,
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
        tell.warn(f"{', '.join(config.unused)} act when a device runs the binary, not here")
    if config.share_weights:
        tell.warn("a binary with shared weights is for a device; Qualcomm's emulator of this release cannot load it")
    settings = _settings(config, graphs)
    reports = []
    for target in targets:
        file = f"{name}.bin" if len(targets) == 1 else f"{name}.{target.name}.bin"
        tell.debug(f"compiling for {target}: {settings}")
        shared = config.share_weights
        check = not options.no_check
        report = make_context(
            graphs, options.output_dir, file, target, settings, level, share_weights=shared, check=check
        )
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
