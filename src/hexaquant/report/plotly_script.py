"""plotly.js as the page carries it: deflated and in base64, a third of its size; the page inflates it by itself."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import re
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from hexaquant.core.errors import EnvironmentLacksError

PACKAGES = ("plotly", "jinja2")
INSTALL = "pip install 'hexaquant[report]'"
_STYLE_ID = re.compile(r'getElementById\("([0-9a-f]{64})"\)')


@dataclass(frozen=True)
class PlotlyScript:
    """``deflated``: zlib format, base64; ``hash``: of the plain text, as a Content-Security-Policy spells it.

    ``unused_styles``: ids of style elements for maps. plotly leaves out one whose id the page has already.
    """

    deflated: str
    hash: str
    unused_styles: tuple[str, ...]


def is_installed() -> bool:
    """True when the packages of the extra [report] are there."""
    return all(importlib.util.find_spec(name) is not None for name in PACKAGES)


def require_installed() -> None:
    """Raise EnvironmentLacksError saying what to install."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise EnvironmentLacksError(f"the report needs {' and '.join(missing)}: {INSTALL}")


@lru_cache(maxsize=1)
def plotly_script() -> PlotlyScript:
    """The script of the installed package. Raises EnvironmentLacksError when there is none."""
    require_installed()
    spec = importlib.util.find_spec("plotly")
    assert spec is not None and spec.origin is not None
    path = Path(spec.origin).parent / "package_data" / "plotly.min.js"
    if not path.is_file():
        raise EnvironmentLacksError(f"{path} is missing: {INSTALL} --force-reinstall")
    text = path.read_text(encoding="utf-8")
    deflated = base64.b64encode(zlib.compress(text.encode(), 9)).decode()
    return PlotlyScript(deflated, content_hash(text), tuple(dict.fromkeys(_STYLE_ID.findall(text))))


def content_hash(text: str) -> str:
    """ "sha256-..." of a script or style, by which a Content-Security-Policy allows it and nothing else."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
