"""Flags that the converters share, each declared once: how a program spells its source network, types, backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hexaquant.cli.tools.program import HTP_ONLY, Flag, flag
from hexaquant.core.errors import InputError

JSON = flag("--json", action="store_true", help="Print one JSON document on stdout instead of tables.")
WIDE_INT4 = flag(
    "--int4_weights_as_int8",
    dest="wide_int4",
    action="store_true",
    help="Of hexaquant, not of the original: store 4-bit weights of Conv and Gemm as the same numbers in 8 bits. Twice "
    "the room; the target then rounds its sums 16 times finer (depthwise weights are stored so always).",
)
NO_CHECK = flag(
    "--no_check",
    "--no-check",
    dest="no_check",
    action="store_true",
    help="Of hexaquant, not of the original: skip the run of two samples that holds the result against onnxruntime.",
)
TARGET_BACKEND = flag("--target_backend", metavar="NAME", default="HTP", help="Only HTP.")
CUSTOM = "custom operators are not here"
CUSTOM_OPERATORS: Mapping[str, str] = dict.fromkeys(
    ("--converter_op_package_lib", "--op_package_config", "-opc", "--package_name"), CUSTOM
)
"""Flags of both converters that are refused."""


@dataclass(frozen=True)
class SourceFlags:
    """What describes the source network; each field holds a flag's spellings, of which the first that is long is
    named in messages. ``layouts``: flags made with layout_flag, whose number differs."""

    shapes: tuple[str, ...]
    symbols: tuple[str, ...]
    batch: tuple[str, ...]
    datatypes: tuple[str, ...]
    outputs: tuple[str, ...]
    layouts: tuple[Flag, ...]

    @property
    def flags(self) -> tuple[Flag, ...]:
        """NAME DIMS as ``shapes``, SYMBOL VALUE as ``symbols``, NAME TYPE as ``datatypes`` ...: each repeatable."""
        shape = "Shape of an input, e.g. x 1,3,224,224; repeat for several."
        symbol = "Value of a symbolic dimension; repeat for several. A symbolic batch without one is 1."
        datatype = "Type of an input in the source model (float32, int64 ...), which is checked; repeat for several."
        outputs = "End the network at these tensors of the .onnx file; repeat, or separate with commas."
        return (
            _pairs(self.shapes, "shapes", ("NAME", "DIMS"), shape),
            _pairs(self.symbols, "symbols", ("SYMBOL", "VALUE"), symbol),
            flag(*self.batch, dest="batch", metavar="N", help="First dimension of every input."),
            _pairs(self.datatypes, "datatypes", ("NAME", "TYPE"), datatype),
            *self.layouts,
            flag(*self.outputs, dest="outputs", metavar="NAME", action="append", default=[], help=outputs),
        )

    def spelled(self, field: str) -> str:
        """The flag of ``field`` as messages name it: "--input_dim"."""
        return next(name for name in getattr(self, field) if name.startswith("--"))


def layout_flag(dest: str, text: str, *names: str) -> Flag:
    """NAME LAYOUT, repeatable, as ``dest`` ("source_layouts" or "desired_layouts")."""
    return _pairs(names, dest, ("NAME", "LAYOUT"), text)


def _pairs(names: Sequence[str], dest: str, metavar: tuple[str, str], text: str) -> Flag:
    return flag(*names, dest=dest, nargs=2, metavar=metavar, action="append", default=[], help=text)


def float_bitwidth_flag(*names: str) -> Flag:
    """16 or 32, which is the same here."""
    text = "Accepted as in the original; HTP computes float tensors in float16 with either."
    return flag(*names, dest="float_bw", type=int, choices=(16, 32), default=32, help=text)


def soc_flag(text: str, default: str | None = None) -> Flag:
    """The SoC to convert for, as ``soc``."""
    return flag("--target_soc_model", "--soc", dest="soc", metavar="SOC", default=default, help=text)


def check_target_backend(name: str) -> None:
    """Raise InputError for any other backend than the HTP's."""
    if name.upper() != "HTP":
        raise InputError(f"--target_backend {name} is not here: {HTP_ONLY}; give HTP")
