"""What qairt-converter and onnx-qnn-converter share: flags for the source network, reading it, the dry run."""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hexaquant.cli.console import table
from hexaquant.cli.tools.program import Flag, Messages, flag
from hexaquant.core.errors import InputError, TargetError

if TYPE_CHECKING:
    from hexaquant.api.convert import Network
    from hexaquant.api.io_form import Layout
    from hexaquant.cli.tools.io_config import IoConfig
    from hexaquant.qnn.lowering_children import LoweringChildren
    from hexaquant.sim.given_encodings import Decision

CUSTOM = "custom operators are not here"
LATER = "not supported yet"
FLOAT_BITWIDTH_HELP = "Accepted as in the original; HTP computes float tensors in float16 with either."
JSON = flag("--json", action="store_true", help="Print one JSON document on stdout instead of tables.")


def shape_flag(*names: str) -> Flag:
    """NAME DIMS, repeatable, as ``shapes``."""
    return _pairs(names, "shapes", ("NAME", "DIMS"), "Shape of an input, e.g. x 1,3,224,224; repeat for several.")


def symbol_flag(*names: str) -> Flag:
    """SYMBOL VALUE, repeatable, as ``symbols``."""
    text = "Value of a symbolic dimension; repeat for several. A symbolic batch without one is 1."
    return _pairs(names, "symbols", ("SYMBOL", "VALUE"), text)


def batch_flag(*names: str) -> Flag:
    return flag(*names, dest="batch", metavar="N", help="First dimension of every input.")


def datatype_flag(*names: str) -> Flag:
    """NAME TYPE, repeatable, as ``datatypes``."""
    text = "Type of an input in the source model (float32, int64 ...), which is checked; repeat for several."
    return _pairs(names, "datatypes", ("NAME", "TYPE"), text)


def layout_flag(dest: str, text: str, *names: str) -> Flag:
    """NAME LAYOUT, repeatable, as ``dest``."""
    return _pairs(names, dest, ("NAME", "LAYOUT"), text)


def outputs_flag(*names: str) -> Flag:
    """Tensors, repeatable or with commas, as ``outputs``."""
    text = "End the network at these tensors of the .onnx file; repeat, or separate with commas."
    return flag(*names, dest="outputs", metavar="NAME", action="append", default=[], help=text)


def float_bitwidth_flag(*names: str) -> Flag:
    return flag(*names, dest="float_bw", type=int, choices=(16, 32), default=32, help=FLOAT_BITWIDTH_HELP)


def _pairs(names: Sequence[str], dest: str, metavar: tuple[str, str], text: str) -> Flag:
    return flag(*names, dest=dest, nargs=2, metavar=metavar, action="append", default=[], help=text)


WIDE_INT4 = flag(
    "--int4_weights_as_int8",
    dest="wide_int4",
    action="store_true",
    help="Of hexaquant, not of the original: store 4-bit weights of Conv and Gemm as the same numbers in 8 bits. Twice "
    "the room; the target then rounds its sums 16 times finer (depthwise weights are stored so always).",
)


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


def read_source(options: argparse.Namespace, spelled: dict[str, str], config: IoConfig | None = None) -> Network:
    """The network that the flags describe, its inputs and outputs in the wanted layouts.

    ``spelled``: dest -> the flag's name in this program, for messages; ``config``: of --config, before the flags.
    """
    from hexaquant.api.convert import read_network
    from hexaquant.api.io_form import change_layouts, check_datatypes

    shapes = {name: _dims(dims, spelled["shapes"]) for name, dims in options.shapes}
    datatypes = dict(options.datatypes)
    outputs = [name for text in options.outputs for name in text.split(",") if name]
    if config is not None:
        shapes = _merged(config.shapes, shapes, spelled["shapes"])
        datatypes = _merged(config.datatypes, datatypes, spelled["datatypes"])
        outputs = outputs or list(config.outputs)
    network = read_network(
        options.input_network,
        options.quantization_overrides,
        shapes=shapes or None,
        symbols={name: _positive(value, spelled["symbols"]) for name, value in options.symbols},
        batch=None if options.batch is None else _positive(options.batch, spelled["batch"]),
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
    from hexaquant.sim.given_encodings import complete_encodings

    rows = check_operators(network.graph, options.soc, network.given)
    refused = [row for row in rows if row.verdict.startswith(("refused", "wrong"))]
    document: dict[str, Any] = {"network": str(options.input_network), "operators": [asdict(row) for row in rows]}
    cells = [[row.name, row.op_type, row.verdict] for row in rows]
    title = f"{len(rows)} operators, {len(refused)} refused by {options.soc}"
    drawings: list[Any] = [lambda: table(title, ["operator", "type", "verdict"], cells)]
    if not refused:
        done = complete_encodings(network.graph, network.given, options.soc, float_fallback=options.float_fallback)
        document |= {"scheme": done.model.plan.scheme.name, "departures": [asdict(d) for d in done.departures()]}
        drawings += departure_drawings(done.departures())
    tell.console.result(document, *drawings)
    if refused:
        first = refused[0]
        named = f"'{first.name}' ({first.op_type}): {first.verdict}"
        raise TargetError(f"{options.soc} refuses {len(refused)} operators, first {named}")


def departure_drawings(decisions: list[Decision]) -> list[Any]:
    """A table of the encodings that were not simply taken over, or nothing."""
    if not decisions:
        return []
    rows = [[d.tensor, d.outcome, d.detail] for d in decisions]
    return [lambda: table("encodings that were not simply taken over", ["tensor", "outcome", "why"], rows)]
