"""The options that say how a network is quantized, for every command that takes a network and makes a folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hexaquant.cli import options as o
from hexaquant.cli.model import load_model
from hexaquant.core.errors import InputError

if TYPE_CHECKING:
    from hexaquant.api.settings import Settings
    from hexaquant.ir.graph import Graph


@dataclass(frozen=True)
class Quantization:
    """Target, widths, steps and the user's overrides; ``shape``: NAME=DIMS texts of inputs;
    ``state``: INPUT=OUTPUT texts of recurrent states; ``input``: NAME=VALUE texts of inputs that become constants;
    ``split_outputs``: see ir/output_slices.py."""

    target: o.TargetOption = o.DEFAULT_TARGET
    scheme: o.SchemeOption = "w8a8"
    recipe: o.RecipeOption = "fast"
    overrides: o.OverridesOption = None
    shape: o.ShapeOption = None
    state: o.StateOption = None
    input: o.InputOption = None
    split_outputs: o.SplitOption = False

    def network(self, text: str) -> Graph:
        """The graph of MODEL as these options shape it. Raises InputError for what cannot be."""
        from hexaquant.ir.output_slices import split_outputs
        from hexaquant.ir.states import with_states

        graph = with_states(load_model(text, self.shapes, self.fixed), self.states)
        if self.split_outputs and not split_outputs(graph):
            raise InputError(f"--split-outputs: no output of {text} is made by a Concat of its own; leave it out")
        return graph

    @property
    def shapes(self) -> dict[str, list[int | str]] | None:
        """Raises InputError for a text of another form."""
        return o.parse_shapes(self.shape)

    @property
    def fixed(self) -> dict[str, Any]:
        """Raises InputError for a text of another form."""
        return o.parse_inputs(self.input)

    @property
    def states(self) -> dict[str, str]:
        """Raises InputError for a text of another form."""
        return o.parse_states(self.state)

    def settings(self, encodings_version: str = "1.0.0") -> Settings:
        """Checked before any work is done: raises InputError or TargetError for a name that does not exist."""
        from hexaquant.api.settings import resolve

        return resolve(self.target, self.scheme, self.recipe, self.overrides, encodings_version)
