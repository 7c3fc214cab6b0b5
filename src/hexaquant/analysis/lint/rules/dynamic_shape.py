"""Inputs with free dimensions beside the batch.

The target needs every dimension when a network is compiled; the batch is frozen to 1 (``compile --batch``), others must
be given.
"""

from __future__ import annotations

from collections.abc import Iterator

from hexaquant.analysis.lint.finding import Finding
from hexaquant.analysis.lint.subject import Subject
from hexaquant.ir.graph import Origin, shape_of

RULE = "dynamic-shape"
WHY = "the target compiles for fixed sizes only"


def dynamic_shape(subject: Subject) -> Iterator[Finding]:
    """One error an input."""
    shapes = {value.name or "": shape_of(value) for value in subject.imported.inputs}
    batch = {shape[0] for shape in shapes.values() if shape}
    for name, shape in shapes.items():
        free = [(i, d) for i, d in enumerate(shape or ()) if i and not isinstance(d, int) and d not in batch]
        if shape is not None and not free:
            continue
        text = ", ".join(f"dimension {i} ('{d}')" for i, d in free) + " is free" if free else "its rank is not known"
        dims = ",".join(
            str(d) if isinstance(d, int) else "1" if i == 0 else "..." for i, d in enumerate(shape or ("",))
        )
        fix = f"give the sizes: --shape {name}={dims}"
        yield Finding(RULE, "error", Origin(node=f"input {name}"), "input", text, WHY, fix, name)
