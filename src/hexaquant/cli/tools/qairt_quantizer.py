"""``qairt-quantizer``: a float DLC of qairt-converter, with calibration data -> quantized DLC."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hexaquant.cli.console import bytes_text
from hexaquant.cli.tools import calibration, shared_flags
from hexaquant.cli.tools.conversion import convert_as_told, early_children, record_of
from hexaquant.cli.tools.program import LOG_LEVEL, Messages, Program, flag
from hexaquant.core.errors import InputError

if TYPE_CHECKING:
    from hexaquant.api.calibrate_missing import Calibrated
    from hexaquant.api.convert import Converted
    from hexaquant.qnn.lowering_children import LoweringChildren


PROGRAM = Program(
    name="qairt-quantizer",
    summary="Quantize a DLC that this package's qairt-converter made without encodings, or with some and\n"
    "--float_fallback. What has no encoding gets one by calibration (recipe 'plain': ranges only, weights unchanged);\n"
    "encodings that came with the network stay. The network is read from INPUT.dlc.source/, which qairt-converter\n"
    "keeps beside such a DLC. OUTPUT.coverage.json proves where each encoding arrived.",
    flags=(
        flag("-i", "--input_dlc", metavar="DLC", type=Path, required=True, help="A DLC with its .source folder."),
        flag("-o", "--output_dlc", metavar="DLC", type=Path, help="Default: INPUT_quantized.dlc."),
        *calibration.CALIBRATION_FLAGS,
        flag(
            "--enable_float_fallback",
            "--float_fallback",
            dest="float_fallback",
            action="store_true",
            help="Run tensors without an encoding in float16. Not together with --input_list.",
        ),
        flag(
            "--ignore_quantization_overrides",
            action="store_true",
            help="Forget the encodings that came with the network: calibrate all, or run all in float16.",
        ),
        shared_flags.float_bitwidth_flag("--float_bitwidth"),
        flag("--preserve_io_datatype", action="store_true", help="Inputs and outputs stay float32."),
        shared_flags.WIDE_INT4,
        shared_flags.TARGET_BACKEND,
        shared_flags.soc_flag("Default: that of the input DLC."),
        shared_flags.NO_CHECK,
        shared_flags.JSON,
        LOG_LEVEL,
    ),
    example="qairt-quantizer --input_dlc net.dlc --output_dlc net_q.dlc --input_list input_list.txt --act_bitwidth 16",
    refused={
        **calibration.CALIBRATION_REFUSED,
        "--apply_algorithms": calibration.CALIBRATION_REFUSED["--algorithms"],
        "--config": "give the flags",
        "--keep_weights_quantized": "weights with an encoding always are",
        "--op_package_lib": shared_flags.CUSTOM,
        "--use_native_output_files": "the quantizer writes no outputs",
    },
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    return PROGRAM.run(argv, _quantize)


def _quantize(options: argparse.Namespace, tell: Messages) -> None:
    _check(options)
    with early_children(options) as children:
        _lower(options, children, tell)


def _lower(options: argparse.Namespace, children: LoweringChildren | None, tell: Messages) -> None:
    from hexaquant.api.dlc_source import read_source

    network, source = read_source(options.input_dlc)
    options.soc = options.soc or source.target
    if options.ignore_quantization_overrides:
        network = replace(network, given={})
    network, calibrated = calibration.calibrate_from_list(network, options, tell)
    path = options.output_dlc or options.input_dlc.with_name(f"{options.input_dlc.stem}_quantized.dlc")
    done = convert_as_told(network, path, options, source.float_io or options.preserve_io_datatype, children, tell)
    if options.dump_encoding_json:
        calibration.dump_encodings(network, path, tell)
    _report(done, calibrated, tell)


def _check(options: argparse.Namespace) -> None:
    shared_flags.check_target_backend(options.target_backend)
    if options.input_list is None and not options.float_fallback:
        raise InputError("there is nothing to quantize with; give --input_list, or --enable_float_fallback")
    if options.input_list is not None and options.float_fallback:
        raise InputError("--input_list and --enable_float_fallback contradict: calibrate the rest or run it float")
    if options.output_dlc is not None and options.output_dlc.resolve() == options.input_dlc.resolve():
        raise InputError("--output_dlc is --input_dlc, which stays as it is; choose another path")
    calibration.check_calibration(options)


def _report(done: Converted, calibrated: Calibrated | None, tell: Messages) -> None:
    document = record_of(done) | calibration.calibration_record(calibrated)
    lines = [f"{done.dlc}: {bytes_text(document['bytes'])}, {done.scheme} for {done.target}"]
    lines += calibration.calibration_lines(calibrated)
    lines.append(f"encodings in the DLC: {done.coverage.summary() or 'none (float)'}; proof in {done.coverage_file}")
    for decision in done.departures():
        tell.info(f"{decision.tensor}: {decision.outcome}: {decision.detail}")
    tell.console.result(document, lambda: "\n".join(lines))
