"""The page: template, style, scripts and data in one file that a strict Content-Security-Policy locks.

Only the scripts and the style whose hashes the policy names run; names from model files are data wherever they stand.
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from hexaquant.folder.manifest import versions
from hexaquant.report.document import ReportData
from hexaquant.report.headline import score_text
from hexaquant.report.language import figure_texts
from hexaquant.report.plotly_script import PlotlyScript, content_hash, plotly_script, require_installed
from hexaquant.report.sources import Sources

SCRIPTS = ("base", "charts", "graph", "panel", "layers", "live", "main")
CONTENTS = (
    ("summary", "Summary"),
    ("language", "Language"),
    ("network", "Network"),
    ("steps", "Steps"),
    ("error", "Error"),
    ("sensitivity", "Sensitivity"),
    ("histograms", "Histograms"),
    ("tradeoffs", "Trade-offs"),
    ("findings", "Findings"),
    ("coverage", "Coverage"),
    ("reproduce", "Reproduce"),
)
MEANING = {
    "exact": "has our encoding to the last bit",
    "inherited": "the same data, moved, with the same encoding",
    "inserted": "added by the lowering",
    "absorbed": "data movement merged into a neighbour",
    "missing": "did not arrive",
    "changed": "has another encoding than ours",
}
RECIPE = "recipe.yaml"
MANIFEST_SHOWN = 40_000
"""Characters of the manifest that the page repeats; its plan stands in the layers."""


@dataclass(frozen=True)
class Live:
    """The page asks its server for progress; ``version``: of the results it shows."""

    version: str


def render(data: ReportData, live: Live | None = None) -> str:
    """The HTML document. Raises EnvironmentLacksError without the extra [report]."""
    require_installed()
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    plotly = plotly_script()
    style = _file("report.css")
    theme = _file("theme.js")
    script = page_script()
    sources = data.sources
    tensors = data.figures["tensors"].values()
    drawn = [card for card in tensors if "histogram" in card]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_file("report.html.j2")).render(
        data=data,
        head=data.headline,
        sources=sources,
        problems=sources.problems,
        out=shlex.quote(sources.folder.resolve().name),
        contents=[entry for entry in CONTENTS if entry[0] != "language" or data.language is not None],
        manifest=sources.manifest,
        manifest_text=_manifest_text(sources),
        recipe=_recipe(sources),
        commands=commands(sources),
        coverage_counts=_counts(sources),
        has_histograms=bool(drawn),
        has_activations=any(card.get("role") not in ("weight", "bias", "constant") for card in drawn),
        score_text=score_text,
        counted=counted,
        figure_texts=figure_texts,
        infos=[finding for finding in data.findings if finding.severity == "info"],
        hexaquant=versions()["hexaquant"],
        live=live is not None,
        version=live.version if live else "",
        policy=policy(style, (theme, script), plotly, live is not None),
        style=Markup(style),
        theme=Markup(theme),
        script=Markup(script),
        json=Markup(script_json(data.figures)),
        plotly=Markup(plotly.deflated),
        unused_styles=plotly.unused_styles,
    )


def page_script() -> str:
    """The page's own scripts as one, in a scope of its own."""
    return '"use strict";\n(() => {\n' + "\n".join(_file(f"{name}.js") for name in SCRIPTS) + "})();\n"


def policy(style: str, scripts: tuple[str, ...], plotly: PlotlyScript, live: bool) -> str:
    """Nothing is fetched (a live page: from its own server), and nothing runs but what the hashes name.

    plotly makes one empty style element, which it fills through the DOM, and sets style attributes on what it draws.
    """
    allowed = " ".join(f"'{value}'" for value in (*map(content_hash, scripts), plotly.hash))
    styles = f"'{content_hash(style)}' '{content_hash('')}'"
    connect = "'self'" if live else "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src-elem {styles}; style-src-attr 'none'; "
        f"img-src data: blob:; connect-src {connect}; base-uri 'none'; form-action 'none'"
    )


def script_json(value: Any) -> str:
    """JSON that may stand inside a script element whatever its strings are."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    replaced = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
    for character, escape in replaced.items():
        text = text.replace(character, escape)
    return text


def commands(sources: Sources) -> str:
    """The recorded command lines, one per line, as a shell takes them."""
    return "\n".join(shlex.join(["hexaquant", *command.argv]) for command in sources.commands)


def counted(count: int, thing: str) -> str:
    """ "1 sample", "20 samples"."""
    return f"{count:,} {thing}" + ("" if count == 1 else "s")


def _counts(sources: Sources) -> list[tuple[str, int, str]]:
    counts = Counter(row.verdict for row in sources.coverage or ())
    return [(verdict, counts[verdict], MEANING.get(verdict, "")) for verdict in [*MEANING] if counts[verdict]]


def _manifest_text(sources: Sources) -> str:
    if sources.manifest is None:
        return ""
    content = sources.manifest.model_dump()
    content["sections"] = {name: value for name, value in content["sections"].items() if name != "plan"}
    text = json.dumps(content, indent=2, ensure_ascii=False)
    more = len(text) - MANIFEST_SHOWN
    return text if more <= 0 else text[:MANIFEST_SHOWN] + f"\n... {more:,} more characters in manifest.json"


def _recipe(sources: Sources) -> str:
    path = sources.folder / RECIPE
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _file(name: str) -> str:
    return (files("hexaquant.report") / "page" / name).read_text(encoding="utf-8")
