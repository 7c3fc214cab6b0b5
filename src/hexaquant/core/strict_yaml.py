"""YAML as settings need it: bounded while it is read, no key twice, nothing that grows or changes its meaning.

Of YAML 1.1 these are left out: merge keys (a chain of them doubles with every line), integers of base 60 (quadratic to
read) and dates (text here). Numbers such as 1e-3 are numbers, as in YAML 1.2.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

MERGE = "tag:yaml.org,2002:merge"
TIMESTAMP = "tag:yaml.org,2002:timestamp"
NUMBERS = {
    "tag:yaml.org,2002:int": re.compile(r"[-+]?(?:0|[1-9][0-9]*|0x[0-9a-fA-F]+)\Z"),
    "tag:yaml.org,2002:float": re.compile(
        r"(?:[-+]?(?:[0-9]+\.[0-9]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+"
        r"|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN))\Z"
    ),
}


class StrictLoader(yaml.SafeLoader):
    """A SafeLoader of at most ``most`` nodes on ``deepest`` levels; yaml.YAMLError for more, and for a key twice."""

    most = 0
    deepest = 0

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nodes = self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._nodes = self._nodes + 1
        self._depth = self._depth + 1
        if self._nodes > self.most or self._depth > self.deepest:
            raise yaml.YAMLError("it is too large or nested too deeply for a settings file")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == MERGE:
                raise yaml.YAMLError("merge keys ('<<') are not read; write the entries out")
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.YAMLError(f"the key '{key}' stands twice; keep one")
            if isinstance(key, Hashable):
                seen.add(key)
        return super().construct_mapping(node, deep)


StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rows if tag not in (*NUMBERS, TIMESTAMP)]
    for first, rows in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern in NUMBERS.items():
    StrictLoader.add_implicit_resolver(_tag, _pattern, list("-+0123456789."))


def load_yaml(text: str, most: int, deepest: int) -> Any:
    """The document in ``text``; yaml.YAMLError and what its constructors raise."""
    loader = type("Loader", (StrictLoader,), {"most": most, "deepest": deepest})(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()
