"""Operators that the target would compute wrongly, slowly or not at all, and that hexaquant writes in another form.

Measured on the emulator (docs of each transform): a Clip whose bounds leave zero outside gives 2 to 14 dB behind an
Add, a 16-bit Max of a Min 9 to 18 dB, Reciprocal of values below 1 10 dB and less, all without a word. LSTM, GRU and
RNN are unrolled. Told so that the user knows why the compiled graph has other operators.
"""

from __future__ import annotations

from collections.abc import Iterator

from hexaquant.analysis.lint.finding import Finding, about
from hexaquant.analysis.lint.subject import Subject

RULE = "rewritten"
REASONS = {
    "Clip": "with zero outside of its bounds it is computed wrongly (2 to 14 dB): it becomes Max and Min",
    "Max": "of a Min with 16 bits it is computed wrongly (9 to 18 dB): both become one Clip",
    "Min": "of a Max with 16 bits it is computed wrongly (9 to 18 dB): both become one Clip",
    "Reciprocal": "of values below 1 it is computed wrongly (10 dB and less): it becomes a division",
    "LSTM": "its encodings cannot be controlled inside: it is unrolled into linear layers and activations",
    "GRU": "its encodings cannot be controlled inside: it is unrolled into linear layers and activations",
    "RNN": "the target has no such operator: it is unrolled into linear layers and activations",
}


def rewritten(subject: Subject) -> Iterator[Finding]:
    """One info an operator."""
    left = {(node.name, node.op_type) for node in subject.prepared.nodes}
    for node in subject.imported.nodes:
        if node.op_type not in REASONS or (node.name, node.op_type) in left:
            continue
        fix = "hexaquant does this for you before planning"
        yield about(subject.imported, node, RULE, "info", f"{node.op_type} is rewritten", REASONS[node.op_type], fix)
