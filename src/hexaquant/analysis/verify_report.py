"""The report of a verification: the document of verify.json, which a notebook shows as a table."""

from __future__ import annotations

from typing import Any

from hexaquant.core import html

SIDES = (("fp32", "FP32"), ("sim", "simulation"), ("target", "target"))


class VerifyReport(dict[str, Any]):
    """A plain dictionary with the entries of verify.json."""

    def _repr_html_(self) -> str:
        head = f"{self['scheme']} on {self['target']}, {self['samples']} samples"
        columns = ["", *(label for _, label in SIDES)]
        shown = html.heading(head) + html.paragraph(str(self["data"])) + html.table(columns, self._rows())
        if self["random_data"]:
            shown += html.heading("Calibrated on random noise: these figures say nothing about accuracy.")
        return shown

    def _rows(self) -> list[list[str]]:
        scores, rows = self["metrics"], []
        if scores["target"] is not None:
            flips = self["flips"]
            rows.append([str(self["metric"]), *(f"{scores[key]:.4f}" for key, _ in SIDES)])
            rows.append(["samples worse, better than FP32", "", "", f"{flips['worse']}, {flips['better']}"])
        for output in self["outputs"]:
            name = output["name"]
            sqnr = [_db(output["fp32_vs_sim_sqnr_db"]), _db(output["fp32_vs_target_sqnr_db"])]
            rows.append([f"SQNR of {name} against FP32", "", *sqnr])
            for part in output.get("slices", ()):
                told = _db(part["fp32_vs_sim_sqnr_db"]), _db(part["fp32_vs_target_sqnr_db"])
                rows.append([f"SQNR of {part['name']} in {name} ({part['start']}..{part['stop'] - 1})", "", *told])
            rows.append([f"SQNR of {name} against simulation", "", "", _db(output["sim_vs_target_sqnr_db"])])
        return rows


def _db(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} dB"
