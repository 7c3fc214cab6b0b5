"""``onnx-qnn-converter`` (also ``qnn-onnx-converter``): ONNX -> QNN graph as DLC, ``*_net.json`` and C source."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hexaquant.cli.console import bytes_text
from hexaquant.cli.tools import calibration, shared_flags
from hexaquant.cli.tools.conversion import (
    convert_as_told,
    departure_drawings,
    dry_run,
    early_children,
    kept_float,
    read_source,
    record_of,
)
from hexaquant.cli.tools.program import LOG_LEVEL, Messages, Program, flag
from hexaquant.cli.tools.shared_flags import CUSTOM, SourceFlags, layout_flag
from hexaquant.core.errors import InputError
from hexaquant.htp.soc import DEFAULT_TARGET

if TYPE_CHECKING:
    from hexaquant.api.calibrate_missing import Calibrated
    from hexaquant.api.convert import QnnFiles
    from hexaquant.qnn.lowering_children import LoweringChildren

_LAYOUT = "Layout of an input in the source model, which it keeps."
SOURCE = SourceFlags(
    shapes=("-d", "--input_dim"),
    symbols=("--define_symbol",),
    batch=("-b", "--batch"),
    datatypes=("--input_dtype",),
    outputs=("--out_node", "--out_name"),
    layouts=(layout_flag("source_layouts", _LAYOUT, "-l", "--input_layout"),),
)
PROGRAM = Program(
    name="onnx-qnn-converter",
    summary="Convert an ONNX network to a QNN graph. Encodings come from --quantization_overrides, before QDQ nodes\n"
    "in the model, before calibration with --input_list (recipe 'plain': ranges only, weights unchanged). Without any\n"
    "of them the graph is float, which HTP computes in float16. Written are NAME.dlc (what the other programs take),\n"
    "its proof NAME.dlc.coverage.json, NAME_net.json (tensors with types, encodings; nodes) and qnn_saver/ (the graph\n"
    "as C source, with params.bin). There is no model.cpp: a model library is not needed, the DLC takes its place.",
    flags=(
        flag("-i", "--input_network", metavar="FILE", type=Path, required=True, help="The network, .onnx."),
        flag(
            "-o",
            "--output_path",
            metavar="PATH",
            type=Path,
            help="A folder: files are called model*. A path with"
            " .cpp or .dlc: NAME is its stem. Default: beside the network, under its name.",
        ),
        *SOURCE.flags,
        flag("--quantization_overrides", metavar="JSON", type=Path, help="Encodings file, AIMET 0.6.1, 1.0.0, 2.0.0."),
        *calibration.CALIBRATION_FLAGS,
        flag(
            "--float_fallback",
            action="store_true",
            help="Run tensors without an encoding in float16 rather than stop. Not together with --input_list.",
        ),
        shared_flags.float_bitwidth_flag("--float_bw", "--float_bitwidth"),
        flag(
            "--preserve_io",
            nargs="*",
            action="append",
            metavar="KIND",
            help="layout (holds always), datatype, or datatype NAME ...: these inputs and outputs, without names all, "
            "stay float32 rather than the encodings' integers. Without a KIND: both. May be repeated.",
        ),
        shared_flags.soc_flag(f"Default {DEFAULT_TARGET}.", default=DEFAULT_TARGET),
        flag(
            "--dry_run",
            nargs="?",
            const="info",
            choices=("info", "debug"),
            help="Write nothing; list every operator with the target's verdict.",
        ),
        shared_flags.WIDE_INT4,
        shared_flags.NO_CHECK,
        shared_flags.JSON,
        LOG_LEVEL,
    ),
    example="onnx-qnn-converter -i net.onnx -o out --input_list input_list.txt --use_per_channel_quantization",
    refused={
        **calibration.CALIBRATION_REFUSED,
        **shared_flags.CUSTOM_OPERATORS,
        "--config": "qairt-converter has --config",
        "--custom_io": "qairt-converter has --config",
        "--debug": "the spelling here is --log_level debug",
        "--disable_batchnorm_folding": "folding is part of the import",
        "--dump_io_config_template": "qairt-converter has --dump_config_template",
        "--exclude_named_tensors": "tensors keep their names",
        "--float_bias_bw": "biases are int32, or float16 in float operators, as the HTP takes them",
        "--ignore_encodings": "leave --quantization_overrides out",
        "--input_encoding": "colours are converted before the network",
        "-e": "colours are converted before the network",
        "--keep_disconnected_nodes": "they compute nothing",
        "--keep_quant_nodes": "QDQ nodes become the encodings of their tensors",
        "--no_simplification": "simplification is part of the import",
        "--op_package_lib": CUSTOM,
        "--output_layout": "layouts stay here; qairt-converter has --desired_output_layout",
        "--overwrite_model_prefix": "there is no model.cpp",
        "-p": CUSTOM,
        "--pack_4_bit_weights": "the DLC stores 4-bit weights as Qualcomm's library does",
        "--use_native_dtype": "the spelling here is --use_native_input_files",
        "--use_native_output_files": "the converter writes no outputs",
        "--validation_target": "the target of --target_soc_model validates every operator",
    },
)

ALIAS = replace(PROGRAM, name="qnn-onnx-converter", example=PROGRAM.example.replace(PROGRAM.name, "qnn-onnx-converter"))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    return PROGRAM.run(argv, _convert)


def alias_main(argv: Sequence[str] | None = None) -> int:
    """The same program under its other name."""
    return ALIAS.run(argv, _convert)


def _convert(options: argparse.Namespace, tell: Messages) -> None:
    _check(options)
    with early_children(options) as children:
        _lower(options, children, tell)


def _lower(options: argparse.Namespace, children: LoweringChildren | None, tell: Messages) -> None:
    from hexaquant.api.convert import write_sources
    from hexaquant.cli.tools.program import version_text
    from hexaquant.sim.given_encodings import MissingEncodings

    options.desired_layouts = []
    network = read_source(options, SOURCE)
    float_io = kept_float(_preserved(options.preserve_io), network, "--preserve_io datatype")
    if options.dry_run:
        dry_run(network, options, tell)
        return
    network, calibrated = calibration.calibrate_from_list(network, options, tell)
    path = _dlc_path(options)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        done = convert_as_told(network, path, options, float_io, children, tell)
    except MissingEncodings as error:
        raise InputError(f"{error}, or calibrate them with --input_list") from error
    if options.dump_encoding_json:
        calibration.dump_encodings(network, path, tell)
    files = write_sources(done, float_io=float_io, command=version_text(PROGRAM.name))
    _report(files, calibrated, tell)


def _check(options: argparse.Namespace) -> None:
    """Raise InputError for flags that contradict each other or would have no effect."""
    if options.input_network.suffix.lower() != ".onnx":
        raise InputError(f"{options.input_network} is not an .onnx file; qairt-converter takes other kinds")
    if options.input_list is not None and options.float_fallback:
        raise InputError(
            "--input_list and --float_fallback contradict: calibrate what has no encoding, or run it float"
        )
    if options.input_list is not None and options.dry_run:
        raise InputError("--dry_run calibrates nothing; leave --input_list out")
    calibration.check_calibration(options)


def _preserved(given: list[list[str]] | None) -> list[str] | None:
    """Names whose datatype --preserve_io keeps: an empty list means all, None no tensor."""
    kept: list[str] | None = None
    for words in given or ():
        kind = words[0] if words else "datatype"
        if kind not in ("layout", "datatype"):
            raise InputError(f"--preserve_io {kind}: the kind is layout or datatype; correct it")
        if kind == "layout" and words[1:] != ["datatype"]:
            continue
        names = [word for word in words[1:] if word != "datatype"]
        kept = [] if not names or kept == [] else [*(kept or ()), *names]
    return kept


def _dlc_path(options: argparse.Namespace) -> Path:
    chosen: Path | None = options.output_path
    if chosen is None:
        return Path(options.input_network).with_suffix(".dlc")
    return chosen.with_suffix(".dlc") if chosen.suffix in (".cpp", ".dlc") else chosen / "model.dlc"


def _report(files: QnnFiles, calibrated: Calibrated | None, tell: Messages) -> None:
    done = files.converted
    recording = files.recording
    document: dict[str, Any] = record_of(done) | calibration.calibration_record(calibrated)
    document |= {
        "net_json": str(files.net_json),
        "source": None if recording is None else str(recording.source),
        "parameters": None if recording is None else str(recording.parameters),
    }
    if recording is None:
        tell.warn(f"no C source: {files.reason}")
    tell.console.result(document, *departure_drawings(done.departures()), lambda: _text(files, calibrated))


def _text(files: QnnFiles, calibrated: Calibrated | None) -> str:
    """What was made, and how each file is used."""
    done = files.converted
    dlc = done.dlc
    size = bytes_text(done.dlc.stat().st_size)
    lines = [f"{done.scheme} for {done.target}; encodings in the DLC: {done.coverage.summary() or 'none (float)'}"]
    lines += calibration.calibration_lines(calibrated)
    lines += [
        f"{dlc}: {size}; compile: qnn-context-binary-generator --dlc_path {dlc} --binary_file {dlc.stem}",
        f"    or run: qnn-net-run --dlc_path {dlc} --input_list FILE; list: qairt-dlc-info -i {dlc}",
        f"{done.coverage_file}: where each encoding arrived",
        f"{files.net_json}: the graph to read: tensors, encodings, nodes",
    ]
    if files.recording is not None:
        lines += [
            f"{files.recording.source}: the calls of the QNN API that build the graph; compile it with the QNN SDK's",
            f"    headers and a backend library, and start it beside {files.recording.parameters.name} (the weights)",
        ]
    return "\n".join(lines)
