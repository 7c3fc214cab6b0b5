"""``qairt-converter``: ONNX or PyTorch network, with the encodings it has or is given -> DLC."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hexaquant.cli.console import bytes_text, table
from hexaquant.cli.tools.program import HTP_ONLY, LOG_LEVEL, Messages, Program, flag
from hexaquant.core.errors import InputError, TargetError

if TYPE_CHECKING:
    from hexaquant.api.convert import Converted, Network
    from hexaquant.sim.given_encodings import Decision

_LATER = "not supported yet"
_LAYOUT = "not supported yet; layouts stay those of the source model"
PROGRAM = Program(
    name="qairt-converter",
    summary="Convert an ONNX (.onnx) or PyTorch (.pt2) network to a DLC. Encodings come from the file of\n"
    "--quantization_overrides (AIMET 0.6.1, 1.0.0, 2.0.0), before QDQ nodes in the model; a network without any\n"
    "becomes a float DLC, which HTP computes in float16. OUTPUT.coverage.json proves where each encoding arrived;\n"
    "beside a DLC with float tensors OUTPUT.source/ keeps the network for qairt-quantizer.",
    flags=(
        flag("-i", "--input_network", metavar="FILE", type=Path, required=True, help="The network: .onnx or .pt2."),
        flag("-o", "--output_path", metavar="DLC", type=Path, help="Default: the network's path with .dlc."),
        flag("-q", "--quantization_overrides", metavar="JSON", type=Path, help="Encodings file."),
        flag(
            "--float_fallback",
            "--enable_float_fallback",
            dest="float_fallback",
            action="store_true",
            help="Run tensors without an encoding in float16. Without it they are an error.",
        ),
        flag(
            "-s",
            "--source_model_input_shape",
            dest="shapes",
            nargs=2,
            metavar=("NAME", "DIMS"),
            action="append",
            default=[],
            help="Shape of an input, e.g. x 1,3,224,224; repeat for several.",
        ),
        flag(
            "--onnx_define_symbol",
            dest="symbols",
            nargs=2,
            metavar=("SYMBOL", "VALUE"),
            action="append",
            default=[],
            help="Value of a symbolic dimension; repeat for several. A symbolic batch without one is 1.",
        ),
        flag("--onnx_override_batch", metavar="N", type=int, help="First dimension of every input."),
        flag(
            "--float_bitwidth",
            type=int,
            choices=(16, 32),
            default=32,
            help="Accepted as in the original; HTP computes float tensors in float16 with either.",
        ),
        flag(
            "--preserve_io_datatype",
            nargs="*",
            metavar="NAME",
            help="Inputs and outputs keep the source model's float32. Without it they are the encodings' integers.",
        ),
        flag("--export_format", choices=("DLC_DEFAULT",), default="DLC_DEFAULT", help="Only DLC_DEFAULT."),
        flag("--target_backend", metavar="NAME", default="HTP", help="Only HTP."),
        flag(
            "--target_soc_model",
            "--soc",
            dest="soc",
            metavar="SOC",
            default="sm8650",
            help="sm8650 (default), v75, ...",
        ),
        flag("--dry_run", action="store_true", help="Write nothing; list every operator with the target's verdict."),
        flag("--json", action="store_true", help="Print one JSON document on stdout instead of tables."),
        LOG_LEVEL,
    ),
    example="qairt-converter -i net.onnx -q net.encodings -o net.dlc --target_soc_model SM8650",
    refused={
        "--config": _LATER,
        "--converter_op_package_lib": "custom operators are not here",
        "--debug": "the spelling here is --log_level debug",
        "--desired_input_color_encoding": _LATER,
        "--desired_input_layout": _LAYOUT,
        "--desired_output_layout": _LAYOUT,
        "--dump_config_template": _LATER,
        "--enable_framework_trace": "not supported yet; the coverage file maps the tensors' names",
        "--float_bias_bitwidth": _LATER,
        "--lora_weight_list": _LATER,
        "--onnx_skip_simplification": "simplification is part of the import",
        "--onnx_summary": "not supported yet; --dry_run lists the operators",
        "--onnx_validate_models": "not supported yet; hexaquant verify compares the networks",
        "--op_package_config": "custom operators are not here",
        "-opc": "custom operators are not here",
        "--out_tensor_node": _LATER,
        "--package_name": "custom operators are not here",
        "--set_model_version": _LATER,
        "--source_model_input_datatype": "not supported yet; types stay those of the source model",
        "--source_model_input_layout": _LAYOUT,
        "--source_model_output_layout": _LAYOUT,
        "--source_model_prune_unused_inputs": _LATER,
    },
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    return PROGRAM.run(argv, _convert)


def _convert(options: argparse.Namespace, tell: Messages) -> None:
    if options.target_backend.upper() != "HTP":
        raise InputError(f"--target_backend {options.target_backend} is not here: {HTP_ONLY}; give HTP")
    from hexaquant.api.convert import convert, read_network
    from hexaquant.api.dlc_source import has_float, keep_source
    from hexaquant.sim.given_encodings import MissingEncodings

    network = read_network(
        options.input_network,
        options.quantization_overrides,
        shapes=_shapes(options.shapes) or None,
        symbols=_symbols(options.symbols),
        batch=_batch(options.onnx_override_batch),
    )
    _check_io_names(options.preserve_io_datatype, network)
    try:
        if options.dry_run:
            _dry_run(network, options, tell)
            return
        path = options.output_path or options.input_network.with_suffix(".dlc")
        keep = options.preserve_io_datatype is not None
        done = convert(network, path, target=options.soc, float_fallback=options.float_fallback, float_io=keep)
        if has_float(done):
            tell.info(f"for qairt-quantizer: {keep_source(network, done, float_io=keep)}")
    except MissingEncodings as error:
        for name in error.names:
            tell.warn(f"no encoding: {name}")
        raise
    _report(done, tell)


def _shapes(pairs: list[list[str]]) -> dict[str, list[int | str]]:
    return {name: [_positive(dim, "--source_model_input_shape") for dim in dims.split(",")] for name, dims in pairs}


def _symbols(pairs: list[list[str]]) -> dict[str, int]:
    return {name: _positive(value, "--onnx_define_symbol") for name, value in pairs}


def _batch(value: int | None) -> int | None:
    return None if value is None else _positive(str(value), "--onnx_override_batch")


def _positive(text: str, name: str) -> int:
    if not text.strip().isdigit() or int(text) == 0:
        raise InputError(f"{name}: '{text}' is not a positive whole number; give e.g. 1,3,224,224 or 8")
    return int(text)


def _check_io_names(names: list[str] | None, network: Network) -> None:
    """--preserve_io_datatype takes all inputs and outputs, by name or without names."""
    known = {v.name or "" for v in (*network.graph.inputs, *network.graph.outputs)}
    for name in names or ():
        if name not in known:
            raise InputError(f"--preserve_io_datatype: there is no input or output '{name}', only {', '.join(known)}")
    if names and set(names) != known:
        raise InputError("--preserve_io_datatype for some tensors is not supported yet; give no names: it keeps all")


def _dry_run(network: Network, options: argparse.Namespace, tell: Messages) -> None:
    """The verdicts; then, where every operator runs, what would become of the encodings."""
    from hexaquant.api.convert import check_operators
    from hexaquant.sim.given_encodings import complete_encodings

    rows = check_operators(network.graph, options.soc)
    refused = [row for row in rows if row.verdict != "runs"]
    document: dict[str, Any] = {"network": str(options.input_network), "operators": [asdict(row) for row in rows]}
    cells = [[row.name, row.op_type, row.verdict] for row in rows]
    title = f"{len(rows)} operators, {len(refused)} refused by {options.soc}"
    drawings: list[Any] = [lambda: table(title, ["operator", "type", "verdict"], cells)]
    if not refused:
        done = complete_encodings(network.graph, network.given, options.soc, float_fallback=options.float_fallback)
        document |= {"scheme": done.model.plan.scheme.name, "departures": [asdict(d) for d in done.departures()]}
        drawings += _drawings(done.departures())
    tell.console.result(document, *drawings)
    if refused:
        first = refused[0]
        raise TargetError(f"{options.soc} refuses {len(refused)} operators, first '{first.name}': {first.verdict}")


def _drawings(decisions: list[Decision]) -> list[Any]:
    if not decisions:
        return []
    rows = [[d.tensor, d.outcome, d.detail] for d in decisions]
    return [lambda: table("encodings that were not simply taken over", ["tensor", "outcome", "why"], rows)]


def _report(done: Converted, tell: Messages) -> None:
    coverage = done.coverage.summary() or "none (a float network)"
    document = {
        "dlc": str(done.dlc),
        "bytes": done.dlc.stat().st_size,
        "target": done.target.name,
        "scheme": done.scheme,
        "coverage": done.coverage.counts(),
        "coverage_file": str(done.coverage_file),
        "departures": [asdict(d) for d in done.departures()],
    }
    floats = done.report.float_tensors
    if floats and done.coverage.rows:
        tell.warn(f"{len(floats)} tensors are float16 inside the DLC: {', '.join(floats[:4])}")
    lines = (
        f"{done.dlc}: {bytes_text(done.dlc.stat().st_size)}, {done.scheme} for {done.target}\n"
        f"encodings in the DLC: {coverage}; proof in {done.coverage_file}"
    )
    tell.console.result(document, *_drawings(done.departures()), lambda: lines)
