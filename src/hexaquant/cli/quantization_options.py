"""The options that say how a network is quantized, for every command that takes a network and makes a folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hexaquant.cli import options as o

if TYPE_CHECKING:
    from hexaquant.api.deploy import Settings


@dataclass(frozen=True)
class Quantization:
    """Target, widths, steps and the user's overrides; ``shape``: NAME=DIMS texts of inputs;
    ``state``: INPUT=OUTPUT texts of recurrent states."""

    target: o.TargetOption = "sm8650"
    scheme: o.SchemeOption = "w8a8"
    recipe: o.RecipeOption = "fast"
    overrides: o.OverridesOption = None
    shape: o.ShapeOption = None
    state: o.StateOption = None

    @property
    def shapes(self) -> dict[str, list[int | str]] | None:
        """Raises InputError for a text of another form."""
        return o.parse_shapes(self.shape)

    @property
    def states(self) -> dict[str, str]:
        """Raises InputError for a text of another form."""
        return o.parse_states(self.state)

    def settings(self, encodings_version: str = "1.0.0") -> Settings:
        """Checked before any work is done: raises InputError or TargetError for a name that does not exist."""
        from hexaquant.api.deploy import Settings

        settings = Settings(self.target, self.scheme, self.recipe, self.overrides, encodings_version)
        settings.check()
        return settings
