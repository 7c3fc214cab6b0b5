"""The pages of the Python interface: every public name of the package, by what it is for; texts are the docstrings."""

from __future__ import annotations

GROUPS: dict[str, tuple[str, ...]] = {
    "Import and check": ("load", "lint", "random_data"),
    "Quantize and train": (
        "quantize", "auto", "mixed_precision", "finetune", "correct_on_target", "load_quantized", "export",
    ),
    "Compile, run, verify": (
        "deploy", "compile", "compare_converters", "estimate", "verify", "Runtime", "make_bundle",
    ),
    "Look inside": ("analyze", "debug", "write_report"),
    "The objects": ("QuantizedModel", "Graph", "make_plan", "Grid", "Encoding", "Events"),
    "Errors": ("HexaquantError", "InputError", "TargetError", "WorkerError", "DeadlineError", "OverloadError"),
}  # fmt: skip

MORE: dict[str, dict[str, tuple[str, ...]]] = {
    "The objects": {
        "Plan and target": (
            "hexaquant.sim.plan.QuantPlan", "hexaquant.sim.plan.TensorPlan", "hexaquant.htp.soc.Target",
            "hexaquant.htp.scheme.Scheme",
        ),
        "Grids": (
            "hexaquant.core.grid.PerTensor", "hexaquant.core.grid.PerChannel", "hexaquant.core.grid.PerBlock",
            "hexaquant.core.grid.Lpbq",
        ),
        "Data": ("hexaquant.io.image_folder.ImageSpec", "hexaquant.io.dataset.Dataset"),
    },
    "Errors": {
        "The others": (
            "hexaquant.core.errors.EncodingError", "hexaquant.core.errors.UnsupportedOpError",
            "hexaquant.core.errors.EnvironmentLacksError", "hexaquant.core.errors.ThresholdMissed",
        ),
    },
    "Quantize and train": {
        "A training loop of your own": (
            "hexaquant.qat.learn.learn_encodings", "hexaquant.qat.learn.freeze_encodings",
            "hexaquant.qat.batchnorm.put_norms_back",
        ),
    },
}  # fmt: skip
"""Names beside the public ones that the pages explain: under the group, heading -> dotted names."""


def groups() -> dict[str, list[str]]:
    """Group -> public names; names that GROUPS does not know yet come last, under "More"."""
    import hexaquant

    known = {name for names in GROUPS.values() for name in names}
    public = [name for name in hexaquant.__all__ if name != "__version__"]
    found = {group: [name for name in names if name in public] for group, names in GROUPS.items()}
    rest = [name for name in public if name not in known]
    return {group: names for group, names in (found | {"More": rest}).items() if names}


def interface_pages() -> dict[str, str]:
    """File name -> Markdown."""
    return {f"{_slug(group)}.md": _page(group, names) for group, names in groups().items()}


def recipe_page() -> str:
    """Every step of a recipe with its settings."""
    from hexaquant.ptq.steps import STEPS

    parts = [
        "# Steps of recipes",
        "What a [recipe](../../howto/recipe.md) is made of: the name in YAML, then its settings.",
    ]
    for name, kind in STEPS.items():
        parts += [f"## {name}", _directive(f"{kind.__module__}.{kind.__qualname__}", 3, "settings", members=False)]
    return "\n\n".join(parts) + "\n"


def _slug(group: str) -> str:
    return group.lower().replace(",", "").replace(" ", "-")


def _page(group: str, names: list[str]) -> str:
    parts = [f"# {group}", "`import hexaquant as hq`; names are imported when they are first used."]
    parts += [_directive(f"hexaquant.{name}", 2, f"hq.{name}") for name in names]
    for heading, dotted in MORE.get(group, {}).items():
        parts += [f"## {heading}", *(_directive(name, 3) for name in dotted)]
    return "\n\n".join(parts) + "\n"


def _directive(dotted: str, level: int, heading: str = "", members: bool = True) -> str:
    options = [f"      heading_level: {level}"] + ([f"      heading: {heading}"] if heading else [])
    options += [] if members else ["      members: false"]
    return "\n".join([f"::: {dotted}", "    options:", *options])
