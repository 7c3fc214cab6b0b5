"""Numbers and lists of numbers by name out of a FlexBuffers map, the form in which custom operators keep their options.

The format (FlexBuffers' binary encoding): the last byte is the width of the root, the one before its type (the upper 6
bits; the lower 2 are log2 of the width of what it holds). A map is a vector of values, sorted by its keys, with one
byte of type for each behind it; three words before it lie the keys' offset, their width, and the length.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from hexaquant.frontends.tflite.flatbuffer import DamagedFile

INT, UINT, FLOAT, MAP, VECTOR, BOOL = 1, 2, 3, 9, 10, 26
INDIRECT = {6: INT, 7: UINT, 8: FLOAT}
TYPED = {11: INT, 12: UINT, 13: FLOAT}
FORMATS = {INT: "bhiq", UINT: "BHIQ", BOOL: "BHIQ", FLOAT: " efd"}
Found = float | list[float]


def read_map(data: bytes) -> dict[str, Found]:
    """The numbers and lists of numbers of the map that ``data`` is. Raises DamagedFile."""
    if len(data) < 3:
        raise DamagedFile("the options of a custom operator are empty")
    width = data[-1]
    reader = _Reader(data)
    place = len(data) - 2 - width
    if data[-2] >> 2 != MAP or width not in (1, 2, 4, 8):
        raise DamagedFile("the options of a custom operator are no map")
    return reader.mapping(reader.target(place, width), 1 << (data[-2] & 3))


@dataclass(frozen=True)
class _Reader:
    data: bytes

    def number(self, kind: int, place: int, width: int) -> float:
        form = FORMATS[kind][(1, 2, 4, 8).index(width)]
        if form == " " or not 0 <= place <= len(self.data) - width:
            raise DamagedFile(f"an option of a custom operator lies at byte {place} of {len(self.data)}")
        return float(struct.unpack_from(f"<{form}", self.data, place)[0])

    def target(self, place: int, width: int) -> int:
        """Where the offset at ``place`` points to: backwards."""
        return place - int(self.number(UINT, place, width))

    def mapping(self, start: int, width: int) -> dict[str, Found]:
        count = int(self.number(UINT, start - width, width))
        keys_width = int(self.number(UINT, start - 2 * width, width))
        if count > len(self.data) or keys_width not in (1, 2, 4, 8):
            raise DamagedFile("the options of a custom operator are longer than the file")
        keys = self.target(start - 3 * width, width)
        found: dict[str, Found] = {}
        for index in range(count):
            name = self.text(self.target(keys + index * keys_width, keys_width))
            packed = int(self.number(UINT, start + count * width + index, 1))
            value = self.value(start + index * width, width, packed)
            if value is not None:
                found[name] = value
        return found

    def value(self, place: int, width: int, packed: int) -> Found | None:
        """A number, a list of numbers, or None for anything else. ``packed``: type and width of what it points to."""
        kind = packed >> 2
        inner = 1 << (packed & 3)
        if kind in FORMATS:
            return self.number(kind, place, width)
        if kind in INDIRECT:
            return self.number(INDIRECT[kind], self.target(place, width), inner)
        if kind in TYPED or kind == VECTOR:
            return self.numbers(self.target(place, width), inner, TYPED.get(kind))
        return None

    def numbers(self, start: int, width: int, kind: int | None) -> list[float]:
        count = int(self.number(UINT, start - width, width))
        if count > len(self.data):
            raise DamagedFile("the options of a custom operator are longer than the file")
        found = []
        for index in range(count):
            packed = kind << 2 if kind is not None else int(self.number(UINT, start + count * width + index, 1))
            value = self.value(start + index * width, width, packed)
            found.append(value if isinstance(value, float) else 0.0)
        return found

    def text(self, start: int) -> str:
        end = self.data.find(b"\0", max(start, 0))
        return self.data[max(start, 0) : end].decode(errors="replace")
