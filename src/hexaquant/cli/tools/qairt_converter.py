"""``qairt-converter``: ONNX, PyTorch, Keras or TensorFlow network, with the encodings it has or is given -> DLC."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hexaquant.cli.console import bytes_text
from hexaquant.cli.tools import shared_flags
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
from hexaquant.cli.tools.shared_flags import SourceFlags, layout_flag
from hexaquant.htp.soc import DEFAULT_TARGET

if TYPE_CHECKING:
    from hexaquant.api.convert import Converted
    from hexaquant.cli.tools.io_config import IoConfig
    from hexaquant.qnn.lowering_children import LoweringChildren

_SOURCE_LAYOUT = "Layout of an {} in the source model. Default by rank: NCDHW, NCHW, NCF, NC, F."
_DESIRED_LAYOUT = "Layout that the {} shall have in the DLC, e.g. x NHWC; a Transpose is inserted."
SOURCE = SourceFlags(
    shapes=("-s", "--source_model_input_shape", "--desired_input_shape"),
    symbols=("--onnx_define_symbol",),
    batch=("--onnx_override_batch",),
    datatypes=("--source_model_input_datatype",),
    outputs=("--out_tensor_node", "--out_tensor_name", "--source_model_output_tensor"),
    layouts=(
        layout_flag("source_layouts", _SOURCE_LAYOUT.format("input"), "--source_model_input_layout"),
        layout_flag("desired_layouts", _DESIRED_LAYOUT.format("input"), "--desired_input_layout"),
        layout_flag("source_layouts", _SOURCE_LAYOUT.format("output"), "--source_model_output_layout"),
        layout_flag("desired_layouts", _DESIRED_LAYOUT.format("output"), "--desired_output_layout"),
    ),
)
PROGRAM = Program(
    name="qairt-converter",
    summary="Convert a network (ONNX .onnx, PyTorch .pt2, Keras .keras and .h5, TensorFlow SavedModel and frozen .pb,\n"
    ".tflite) to a DLC. Encodings come from the file of\n"
    "--quantization_overrides (AIMET 0.6.1, 1.0.0, 2.0.0), before QDQ nodes in the model; a network without any\n"
    "becomes a float DLC, which HTP computes in float16. OUTPUT.coverage.json proves where each encoding arrived;\n"
    "beside a DLC with float tensors OUTPUT.source/ keeps the network for qairt-quantizer.",
    flags=(
        flag("-i", "--input_network", metavar="FILE", type=Path, required=True, help="The network, see above."),
        flag("-o", "--output_path", metavar="DLC", type=Path, help="Default: the network's path with .dlc."),
        flag("-q", "--quantization_overrides", metavar="JSON", type=Path, help="Encodings file."),
        flag(
            "--float_fallback",
            "--enable_float_fallback",
            dest="float_fallback",
            action="store_true",
            help="Run tensors without an encoding in float16. Without it they are an error.",
        ),
        *SOURCE.flags,
        flag("--config", metavar="YAML", type=Path, help="Shapes, layouts and types of inputs and outputs in a file."),
        flag(
            "--dump_config_template", metavar="YAML", type=Path, help="Write such a file for this network, and no DLC."
        ),
        shared_flags.float_bitwidth_flag("--float_bitwidth"),
        flag(
            "--preserve_io_datatype",
            nargs="*",
            metavar="NAME",
            help="These inputs and outputs, without names all, keep the source model's float32. The others are the "
            "encodings' integers.",
        ),
        flag("--export_format", choices=("DLC_DEFAULT",), default="DLC_DEFAULT", help="Only DLC_DEFAULT."),
        shared_flags.TARGET_BACKEND,
        shared_flags.soc_flag(f"{DEFAULT_TARGET} (default), v75, ...", default=DEFAULT_TARGET),
        flag("--dry_run", action="store_true", help="Write nothing; list every operator with the target's verdict."),
        shared_flags.WIDE_INT4,
        shared_flags.NO_CHECK,
        shared_flags.JSON,
        LOG_LEVEL,
    ),
    example="qairt-converter -i net.onnx -q net.encodings -o net.dlc --target_soc_model SM8650",
    refused={
        **shared_flags.CUSTOM_OPERATORS,
        "--debug": "the spelling here is --log_level debug",
        "--desired_input_color_encoding": "colours are converted before the network",
        "--enable_framework_trace": "not needed; the coverage file maps the tensors' names",
        "--float_bias_bitwidth": "biases are int32, or float16 in float operators, as the HTP takes them",
        "--lora_weight_list": "not supported yet",
        "--onnx_skip_simplification": "simplification is part of the import",
        "--onnx_summary": "--dry_run lists the operators",
        "--onnx_validate_models": "hexaquant verify compares the networks",
        "--set_model_version": "DLCs made here hold none",
        "--source_model_prune_unused_inputs": "unused inputs stay",
    },
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    return PROGRAM.run(argv, _convert)


def _convert(options: argparse.Namespace, tell: Messages) -> None:
    shared_flags.check_target_backend(options.target_backend)
    if options.dump_config_template is not None:
        _dump_template(options, tell)
        return
    with early_children(options) as children:
        _lower(options, children, tell)


def _lower(options: argparse.Namespace, children: LoweringChildren | None, tell: Messages) -> None:
    from hexaquant.api.dlc_source import has_float, keep_source
    from hexaquant.cli.tools.io_config import read_io_config

    config = None if options.config is None else read_io_config(options.config)
    network = read_source(options, SOURCE, config)
    keep = kept_float(_preserved(options, config), network, "--preserve_io_datatype")
    if options.dry_run:
        dry_run(network, options, tell)
        return
    path = options.output_path or options.input_network.with_suffix(".dlc")
    done = convert_as_told(network, path, options, keep, children, tell)
    if has_float(done):
        tell.info(f"for qairt-quantizer: {keep_source(network, done, float_io=keep)}")
    _report(done, tell)


def _preserved(options: argparse.Namespace, config: IoConfig | None) -> list[str] | None:
    """Names of --preserve_io_datatype with those that the config wants as float32; without any of both: None."""
    if config is None or not config.floats or options.preserve_io_datatype == []:
        return options.preserve_io_datatype
    return list(dict.fromkeys([*(options.preserve_io_datatype or ()), *config.floats]))


def _dump_template(options: argparse.Namespace, tell: Messages) -> None:
    from hexaquant.cli.tools.io_config import template
    from hexaquant.core.atomic import write_text
    from hexaquant.frontends import load
    from hexaquant.ir.graph import shape_of

    graph = load(options.input_network)
    inputs = {v.name or "": (str(v.dtype.numpy()) if v.dtype else "", list(shape_of(v) or ())) for v in graph.inputs}
    write_text(options.dump_config_template, template(inputs, [v.name or "" for v in graph.outputs]))
    tell.info(f"{options.dump_config_template}: fill in what shall differ, and convert with --config")


def _report(done: Converted, tell: Messages) -> None:
    coverage = done.coverage.summary() or "none (a float network)"
    document = record_of(done)
    floats = done.report.float_tensors
    if floats and done.coverage.rows:
        tell.warn(f"{len(floats)} tensors are float16 inside the DLC: {', '.join(floats[:4])}")
    lines = (
        f"{done.dlc}: {bytes_text(document['bytes'])}, {done.scheme} for {done.target}\n"
        f"encodings in the DLC: {coverage}; proof in {done.coverage_file}"
    )
    tell.console.result(document, *departure_drawings(done.departures()), lambda: lines)
