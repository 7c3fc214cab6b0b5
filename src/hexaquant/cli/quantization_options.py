"""The options that say how a network is quantized, for every command that takes a network and makes a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hexaquant.cli import options as o
from hexaquant.cli.model import load_model, written_model
from hexaquant.core.errors import InputError

if TYPE_CHECKING:
    from hexaquant.api.settings import Settings
    from hexaquant.ir.graph import Graph


@dataclass(frozen=True)
class Loading:
    """How MODEL is read. ``shape``: NAME=DIMS texts of inputs; ``state``: INPUT=OUTPUT texts of recurrent states;
    ``input``: NAME=VALUE texts of inputs that become constants."""

    shape: o.ShapeOption = None
    state: o.StateOption = None
    input: o.InputOption = None

    def network(self, text: str) -> Graph:
        """The graph of MODEL as these options shape it. Raises InputError for what cannot be."""
        from hexaquant.ir.states import with_states

        return with_states(load_model(text, self.shapes, self.fixed), self.states)

    def written(self, text: str) -> Graph | Path:
        """As :meth:`network`, but not normalized; a file or folder as its path where no input or state is named."""
        from hexaquant.ir.states import with_states

        found = written_model(text, self.shapes, self.fixed, load_file=bool(self.states))
        return found if isinstance(found, Path) else with_states(found, self.states)

    @property
    def shapes(self) -> dict[str, list[int | str]] | None:
        """Raises InputError for a text of another form."""
        return o.parse_shapes(self.shape)

    @property
    def left_shapes(self) -> dict[str, list[int | str]] | None:
        """Those of the inputs that do not become constants."""
        return {name: dims for name, dims in (self.shapes or {}).items() if name not in self.fixed} or None

    @property
    def fixed(self) -> dict[str, Any]:
        """Raises InputError for a text of another form."""
        return o.parse_inputs(self.input)

    @property
    def states(self) -> dict[str, str]:
        """Raises InputError for a text of another form."""
        return o.parse_states(self.state)


@dataclass(frozen=True)
class Quantization(Loading):
    """Target, widths, steps and the user's overrides; ``split_outputs``: see ir/output_slices.py."""

    target: o.TargetOption = o.DEFAULT_TARGET
    scheme: o.SchemeOption = "w8a8"
    recipe: o.RecipeOption = "fast"
    overrides: o.OverridesOption = None
    split_outputs: o.SplitOption = False

    def network(self, text: str) -> Graph:
        """The graph of MODEL as these options shape it. Raises InputError for what cannot be."""
        from hexaquant.ir.output_slices import split_outputs

        graph = super().network(text)
        if self.split_outputs and not split_outputs(graph):
            raise InputError(f"--split-outputs: no output of {text} is made by a Concat of its own; leave it out")
        return graph

    def settings(self, encodings_version: str = "1.0.0") -> Settings:
        """Checked before any work is done: raises InputError or TargetError for a name that does not exist."""
        from hexaquant.api.settings import resolve

        return resolve(self.target, self.scheme, self.recipe, self.overrides, encodings_version)
