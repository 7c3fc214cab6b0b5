"""A griffe extension: docstrings as they stand in the source, made Markdown."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:func|class|meth|mod|data|attr):`~?([^`]+)`")


def markdown(text: str) -> str:
    """Without the roles and double colons of reStructuredText."""
    return re.sub(r"::[ ]*$", ":", _ROLE.sub(r"`\1`", text), flags=re.MULTILINE)


class PlainDocstrings(griffe.Extension):
    """Rewrites every docstring before it is rendered."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)
