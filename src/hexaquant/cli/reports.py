"""Tables of a verification: FP32, simulation and target side by side, and the bytes of each artifact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hexaquant.cli.console import bytes_text, number, table

if TYPE_CHECKING:
    from hexaquant.cli.fitted import Fitted

Drawing = Callable[[], "Fitted | str"]


def report_drawings(report: Mapping[str, Any]) -> tuple[Drawing, ...]:
    """What a verification shows when it is not JSON."""
    return lambda: heading(report), lambda: accuracy_table(report), lambda: artifact_table(report["artifacts"])


def heading(report: Mapping[str, Any]) -> str:
    """One line: scheme, target, samples, and where they came from."""
    return f"{report['scheme']} on {report['target']}, {report['samples']} samples: {report['data']}"


def accuracy_table(report: Mapping[str, Any]) -> Fitted:
    """Rows of figures, one column a backend. SQNR in dB, differences in steps of the output (LSB)."""
    rows: list[list[str]] = []
    scores = report["metrics"]
    if scores["target"] is not None:
        rows.append([str(report["metric"]), *(number(scores[b], 4) for b in ("fp32", "sim", "target"))])
    for output in report["outputs"]:
        rows += _output_rows(output, f" ({output['name']})" if len(report["outputs"]) > 1 else "")
        rows += [_slice_row(part) for part in output.get("slices", ())]
    return table("", ["", "FP32", "simulation", "target"], rows, right=(1, 2, 3))


def _output_rows(output: Mapping[str, Any], of: str) -> list[list[str]]:
    sqnr = {key: number(output[f"{key}_sqnr_db"], 1) for key in ("fp32_vs_sim", "fp32_vs_target", "sim_vs_target")}
    rows = [
        [f"SQNR against FP32, dB{of}", "", sqnr["fp32_vs_sim"], sqnr["fp32_vs_target"]],
        [f"SQNR against simulation, dB{of}", "", "", sqnr["sim_vs_target"]],
        [f"largest difference to simulation, LSB{of}", "", "", number(output["sim_vs_target_max_lsb"], 2)],
    ]
    agreement = output["top1_agreement_sim_target"]
    if agreement is not None:
        rows.append([f"top-1 agreement with simulation{of}", "", "", f"{100 * agreement:.2f} %"])
    return rows


def _slice_row(part: Mapping[str, Any]) -> list[str]:
    place = f"  {part['start']}..{part['stop'] - 1} of it ('{part['name']}', up to {part['peak']:g}), dB"
    target = "all zero" if part["all_zero_on_target"] else number(part["fp32_vs_target_sqnr_db"], 1)
    return [place, "", number(part["fp32_vs_sim_sqnr_db"], 1), target]


def artifact_table(artifacts: Mapping[str, Mapping[str, Any]]) -> Fitted:
    """Path and size of each file."""
    rows = [[kind, entry["path"], bytes_text(entry["bytes"])] for kind, entry in artifacts.items()]
    return table("", ["artifact", "file", "size"], rows, right=(2,))
