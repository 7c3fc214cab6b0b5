"""Calibration from an input list, as qairt-quantizer and onnx-qnn-converter have it: flags, their checks, the work."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hexaquant.cli.tools.program import Messages, flag
from hexaquant.core.errors import InputError

if TYPE_CHECKING:
    from hexaquant.api.calibrate_missing import Calibrated
    from hexaquant.api.convert import Network

_OBSERVERS = {"tf": "min_max", "enhanced": "sqnr"}
_WEIGHTS = {"tf": "min_max", "symmetric": "min_max", "enhanced": "mse", "min-max": "min_max", "mse": "mse"}
SCHEMAS = ("asymmetric", "symmetric", "unsignedsymmetric")
_SCHEMA = "the HTP takes symmetric weights and asymmetric activations (symmetric with 16-bit weights)"
_CALIBRATION: tuple[str, ...] = (
    "act_bw",
    "weight_bw",
    "bias_bw",
    "act_quantizer",
    "percentile_calibration_value",
    "param_quantizer",
)
_CALIBRATION += ("use_per_channel_quantization", "use_native_input_files")
CALIBRATION_REFUSED = {
    "--algorithms": "not supported yet; hexaquant quantize corrects biases",
    "--restrict_quantization_steps": "the HTP takes the full grid of each width",
}
"""Flags of the originals that are refused."""
CALIBRATION_FLAGS = (
    flag(
        "--input_list",
        metavar="FILE",
        type=Path,
        help="Calibrate what has no encoding: a line an inference, "
        "raw files (name:=path where several) in the source model's layout.",
    ),
    flag("--use_native_input_files", action="store_true", help="Raw files hold the input's own type, not float32."),
    flag("--act_bw", "--act_bitwidth", dest="act_bw", type=int, choices=(8, 16), help="Default 8."),
    flag("--weight_bw", "--weights_bitwidth", dest="weight_bw", type=int, choices=(4, 8, 16), help="Default 8."),
    flag("--bias_bw", "--bias_bitwidth", dest="bias_bw", type=int, choices=(32,), help="Only 32."),
    flag(
        "--act_quantizer",
        "--act_quantizer_calibration",
        dest="act_quantizer",
        choices=("tf", "enhanced", "min-max", "sqnr", "entropy", "mse", "percentile"),
        help="Ranges of activations. tf (default) is min-max, enhanced is sqnr.",
    ),
    flag(
        "--percentile_calibration_value",
        type=float,
        metavar="PERCENT",
        help="With --act_quantizer percentile: 90 to 100. Default 99.99.",
    ),
    flag(
        "--param_quantizer",
        "--param_quantizer_calibration",
        dest="param_quantizer",
        choices=tuple(_WEIGHTS),
        help="Ranges of weights, always symmetric. tf (default) is min-max, enhanced is mse.",
    ),
    flag(
        "--use_per_channel_quantization",
        action="store_true",
        default=None,
        help="One scale per channel of a weight (recommended), matrix products included. Default: one per weight, as "
        "in the original.",
    ),
    flag(
        "--use_per_row_quantization",
        action="store_true",
        default=None,
        help="Matrix products too; they are with --use_per_channel_quantization, without which it is refused.",
    ),
    flag("--act_quantizer_schema", choices=SCHEMAS, default="asymmetric", help=f"Only asymmetric: {_SCHEMA}."),
    flag("--param_quantizer_schema", choices=SCHEMAS, default="symmetric", help=f"Only symmetric: {_SCHEMA}."),
    flag("--dump_encoding_json", action="store_true", help="Also write OUTPUT.encodings: all encodings, AIMET 1.0.0."),
)


def check_calibration(options: argparse.Namespace) -> None:
    """Raise InputError for flags that would have no effect and for widths that the target does not combine."""
    for name in _CALIBRATION if options.input_list is None else ():
        if getattr(options, name):
            raise InputError(f"--{name} is for calibration and has no effect without --input_list; give both or none")
    percent = options.percentile_calibration_value
    if percent is not None and (options.act_quantizer != "percentile" or not 90 <= percent <= 100):
        raise InputError("--percentile_calibration_value is for --act_quantizer percentile, from 90 to 100; correct it")
    if options.act_quantizer_schema != "asymmetric" or options.param_quantizer_schema != "symmetric":
        raise InputError(f"--act_quantizer_schema and --param_quantizer_schema: {_SCHEMA}; leave them out")
    if options.use_per_row_quantization and not options.use_per_channel_quantization:
        raise InputError("--use_per_row_quantization alone is not here; give --use_per_channel_quantization too")
    if options.weight_bw == 16 and options.act_bw != 16:
        raise InputError("--weight_bw 16 needs --act_bw 16: the target has no kernels for 16-bit weights otherwise")
    if options.weight_bw == 4 and not options.use_per_channel_quantization:
        raise InputError("--weight_bw 4 needs --use_per_channel_quantization: the target takes no other 4-bit weights")


def calibrate_from_list(
    network: Network, options: argparse.Namespace, tell: Messages
) -> tuple[Network, Calibrated | None]:
    """``network`` with encodings from --input_list for what has none, and what was found; as it is without a list."""
    if options.input_list is None:
        return network, None
    from hexaquant.api.calibrate_missing import calibrate_missing
    from hexaquant.htp.scheme import find_scheme
    from hexaquant.htp.soc import find_target
    from hexaquant.io.input_list import input_list
    from hexaquant.ir.input_spec import input_specs
    from hexaquant.ptq.steps.model_steps import Calibrate

    acts = options.act_quantizer or "tf"
    weights = options.param_quantizer or "tf"
    observer = _OBSERVERS.get(acts, acts.replace("-", "_"))
    if options.percentile_calibration_value is not None:
        observer += f":{options.percentile_calibration_value:g}"
    ranges = Calibrate(observer, _WEIGHTS[weights])
    data = input_list(options.input_list, input_specs(network.graph), options.use_native_input_files)
    if not options.use_per_channel_quantization:
        tell.warn("one scale per weight; --use_per_channel_quantization is more accurate at the same speed")
    calibrated = calibrate_missing(
        network,
        data.batches(),
        target=find_target(options.soc),
        scheme=find_scheme(f"w{options.weight_bw or 8}a{options.act_bw or 8}"),
        ranges=ranges,
        per_channel=bool(options.use_per_channel_quantization),
    )
    return calibrated.network, calibrated


def calibration_record(calibrated: Calibrated | None) -> dict[str, Any]:
    """What --json says about it."""
    if calibrated is None:
        return {"recipe": None, "samples": 0, "calibrated": []}
    return {"recipe": "plain", "samples": calibrated.samples, "calibrated": list(calibrated.names)}


def calibration_lines(calibrated: Calibrated | None) -> list[str]:
    """What the human is told about it: a line, or none."""
    if calibrated is None:
        return []
    return [f"recipe plain: {len(calibrated.names)} tensors calibrated with {calibrated.samples} samples"]


def dump_encodings(network: Network, dlc: Path, tell: Messages) -> None:
    """Write the network's encodings beside ``dlc`` in the form of AIMET 1.0.0."""
    from hexaquant.io.encodings_file import write_encodings

    constants = {v.name or "" for v in network.graph.values() if v.is_initializer()}
    params = [name for name in network.given if name in constants]
    activations = [name for name in network.given if name not in constants]
    path = dlc.with_suffix(".encodings")
    lost = write_encodings(
        path, network.given, activations=activations, params=params, version="1.0.0", graph=network.graph
    )
    tell.info(f"{path}: {len(network.given)} encodings")
    for sentence in lost:
        tell.warn(sentence)
