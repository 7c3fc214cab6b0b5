"""What the converters share of their work: reading the network, the dry run, converting, what to tell about it."""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hexaquant.cli.console import table
from hexaquant.cli.tools.program import Messages
from hexaquant.cli.tools.shared_flags import SourceFlags
from hexaquant.core.errors import InputError, TargetError

if TYPE_CHECKING:
    from pathlib import Path

    from hexaquant.api.convert import Converted, Network
    from hexaquant.api.io_form import Layout
    from hexaquant.cli.tools.io_config import IoConfig
    from hexaquant.folder.check_samples import Batch
    from hexaquant.qnn.lowering_children import LoweringChildren
    from hexaquant.sim.given_encodings import Decision


@contextlib.contextmanager
def early_children(options: argparse.Namespace) -> Iterator[LoweringChildren | None]:
    """The processes of the lowering, which load onnxruntime while this one imports PyTorch; None for a dry run.

    The imports are done when the body begins. They leave no garbage, so the collector does not look for any.
    """
    from hexaquant.qnn.lowering_children import LoweringChildren

    with contextlib.nullcontext() if getattr(options, "dry_run", False) else LoweringChildren() as children:
        gc.disable()
        try:
            importlib.import_module("hexaquant.api.convert")
        finally:
            gc.freeze()
            gc.enable()
        yield children


def read_source(options: argparse.Namespace, flags: SourceFlags, config: IoConfig | None = None) -> Network:
    """The network that the flags describe, its inputs and outputs in the wanted layouts.

    ``flags``: as this program spells them, for messages; ``config``: of --config, before the flags.
    """
    from hexaquant.api.convert import read_network
    from hexaquant.api.io_form import change_layouts, check_datatypes

    shapes = {name: _dims(dims, flags.spelled("shapes")) for name, dims in options.shapes}
    datatypes = dict(options.datatypes)
    outputs = [name for text in options.outputs for name in text.split(",") if name]
    if config is not None:
        shapes = _merged(config.shapes, shapes, flags.spelled("shapes"))
        datatypes = _merged(config.datatypes, datatypes, flags.spelled("datatypes"))
        outputs = outputs or list(config.outputs)
    network = read_network(
        options.input_network,
        options.quantization_overrides,
        shapes=shapes or None,
        symbols={name: _positive(value, flags.spelled("symbols")) for name, value in options.symbols},
        batch=None if options.batch is None else _positive(options.batch, flags.spelled("batch")),
        outputs=outputs,
    )
    check_datatypes(network, datatypes)
    return change_layouts(network, _layouts(options, config))


def _merged(first: dict[str, Any], second: dict[str, Any], name: str) -> dict[str, Any]:
    """Both, which must not contradict."""
    for key in set(first) & set(second):
        if first[key] != second[key]:
            raise InputError(f"{name} {key} {second[key]} contradicts --config ({first[key]}); correct one")
    return first | second


def _layouts(options: argparse.Namespace, config: IoConfig | None) -> dict[str, Layout]:
    """Of inputs and outputs alike. A source layout alone says what the tensor is and changes nothing."""
    from hexaquant.api.io_form import Layout

    source: dict[str, str] = dict(options.source_layouts)
    desired: dict[str, str] = dict(options.desired_layouts)
    if config is not None:
        source = _merged(config.source_layouts, source, "a source layout:")
        desired = _merged(config.desired_layouts, desired, "a desired layout:")
    names = list(dict.fromkeys((*source, *desired)))
    return {name: Layout(desired.get(name, source.get(name, "")), source.get(name, "")) for name in names}


def _dims(text: str, name: str) -> list[int | str]:
    return [_positive(dim, f"{name} {text}") for dim in text.split(",")]


def _positive(text: str, name: str) -> int:
    if not text.strip().isdigit() or int(text) == 0:
        raise InputError(f"{name}: '{text}' is not a positive whole number; give e.g. 1,3,224,224 or 8")
    return int(text)


def kept_float(names: list[str] | None, network: Network, name: str) -> bool | list[str]:
    """Inputs and outputs that stay float32: none without the flag, all where it names none, else those named."""
    known = [v.name or "" for v in (*network.graph.inputs, *network.graph.outputs)]
    for one in names or ():
        if one not in known:
            raise InputError(f"{name}: there is no input or output '{one}', only {', '.join(known)}")
    return names if names else names is not None


def dry_run(network: Network, options: argparse.Namespace, tell: Messages) -> None:
    """The verdict on every operator; then, where all run, what would become of the encodings. Writes nothing.

    Raises TargetError naming the first operator that is refused, MissingEncodings as a conversion would.
    """
    from hexaquant.api.convert import check_operators
    from hexaquant.htp.soc import find_target
    from hexaquant.sim.given_encodings import complete_encodings

    soc = find_target(options.soc)
    rows = check_operators(network.graph, soc, network.given)
    refused = [row for row in rows if row.verdict.startswith(("refused", "wrong"))]
    document: dict[str, Any] = {"network": str(options.input_network), "operators": [asdict(row) for row in rows]}
    cells = [[row.name, row.op_type, row.verdict] for row in rows]
    title = f"{len(rows)} operators, {len(refused)} refused by {options.soc}"
    drawings: list[Any] = [lambda: table(title, ["operator", "type", "verdict"], cells)]
    if not refused:
        done = complete_encodings(network.graph, network.given, soc, float_fallback=options.float_fallback)
        document |= {"scheme": done.model.plan.scheme.name, "departures": [asdict(d) for d in done.departures()]}
        drawings += departure_drawings(done.departures())
    tell.console.result(document, *drawings)
    if refused:
        first = refused[0]
        named = f"'{first.name}' ({first.op_type}): {first.verdict}"
        raise TargetError(f"{options.soc} refuses {len(refused)} operators, first {named}")


def convert_as_told(
    network: Network,
    path: Path,
    options: argparse.Namespace,
    float_io: bool | list[str],
    children: LoweringChildren | None,
    tell: Messages,
) -> Converted:
    """hq.convert with the program's options; tensors that lack an encoding are named on stderr before the error."""
    from hexaquant.api.convert import convert
    from hexaquant.sim.given_encodings import MissingEncodings

    try:
        return convert(
            network,
            path,
            target=options.soc,
            float_fallback=options.float_fallback,
            float_io=float_io,
            children=children,
            wide_int4=options.wide_int4,
            check=not options.no_check,
            samples=_samples(network, options),
        )
    except MissingEncodings as error:
        for name in error.names:
            tell.warn(f"no encoding: {name}")
        raise


def _samples(network: Network, options: argparse.Namespace) -> Sequence[Batch]:
    """The first samples of --input_list, where the program has it."""
    if getattr(options, "input_list", None) is None or options.no_check:
        return ()
    from hexaquant.folder.check_samples import first_of
    from hexaquant.io.input_list import input_list
    from hexaquant.ir.input_spec import input_specs

    return first_of(input_list(options.input_list, input_specs(network.graph), options.use_native_input_files))


def record_of(done: Converted) -> dict[str, Any]:
    """What every converter prints with --json about the DLC."""
    return {
        "dlc": str(done.dlc),
        "bytes": done.dlc.stat().st_size,
        "target": done.target.name,
        "scheme": done.scheme,
        "coverage": done.coverage.counts(),
        "coverage_file": str(done.coverage_file),
        "departures": [asdict(d) for d in done.departures()],
    }


def departure_drawings(decisions: list[Decision]) -> list[Any]:
    """A table of the encodings that were not simply taken over, or nothing."""
    if not decisions:
        return []
    rows = [[d.tensor, d.outcome, d.detail] for d in decisions]
    return [lambda: table("encodings that were not simply taken over", ["tensor", "outcome", "why"], rows)]
