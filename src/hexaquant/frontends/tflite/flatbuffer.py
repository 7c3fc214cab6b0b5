"""A reader of FlatBuffers that trusts nothing: every offset and length is checked against the file.

The format (FlatBuffers' "Internals"): a table begins with the signed distance back to its vtable, whose 16-bit entries
say at what distance from the table each field lies (0: the field has its default). Strings, vectors and tables are
reached by unsigned 32-bit offsets, vectors begin with their length.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

DEEPEST = 4
"""Bytes before the first field number in a vtable: its own size and the table's."""


class DamagedFile(ValueError):
    """An offset or a length that points outside the file."""


@dataclass(frozen=True)
class Table:
    """One table: ``position`` in ``data``. Fields are asked for by their number in the schema."""

    data: bytes
    position: int

    @classmethod
    def root(cls, data: bytes) -> Table:
        """The table that the first offset of a file points to."""
        return cls(data, _number(data, "<I", 0))

    def number(self, field: int, kind: str, default: float) -> float:
        """A scalar; ``kind`` is a format of ``struct`` ("b", "i", "f", "?" ...)."""
        place = self._place(field)
        return default if place is None else _number(self.data, f"<{kind}", place)

    def integer(self, field: int, kind: str = "i", default: int = 0) -> int:
        return int(self.number(field, kind, default))

    def text(self, field: int) -> str:
        """A string; empty where it is absent."""
        start, size = self._vector(field, 1)
        return self.data[start : start + size].decode(errors="replace")

    def numbers(self, field: int, dtype: str) -> np.ndarray | None:
        """A vector of numbers of numpy's ``dtype`` as a view; None where it is absent."""
        if self._place(field) is None:
            return None
        start, size = self._vector(field, np.dtype(dtype).itemsize)
        return np.frombuffer(self.data, np.dtype(dtype).newbyteorder("<"), size, start)

    def table(self, field: int) -> Table | None:
        """A table, or the one behind a union; None where it is absent."""
        place = self._place(field)
        return None if place is None else Table(self.data, place + _number(self.data, "<I", place))

    def tables(self, field: int) -> list[Table]:
        """A vector of tables."""
        start, size = self._vector(field, 4)
        places = range(start, start + 4 * size, 4)
        return [Table(self.data, place + _number(self.data, "<I", place)) for place in places]

    def _place(self, field: int) -> int | None:
        vtable = self.position - _number(self.data, "<i", self.position)
        entry = DEEPEST + 2 * field
        if entry + 2 > _number(self.data, "<H", vtable):
            return None
        distance = _number(self.data, "<H", vtable + entry)
        return self.position + distance if distance else None

    def _vector(self, field: int, size: int) -> tuple[int, int]:
        """Where the elements (of ``size`` bytes) begin, and their number."""
        place = self._place(field)
        if place is None:
            return 0, 0
        start = place + _number(self.data, "<I", place)
        count = _number(self.data, "<I", start)
        if start + 4 + count * size > len(self.data):
            raise DamagedFile(f"a vector of {count} elements at byte {start} ends outside the file")
        return start + 4, count


def _number(data: bytes, kind: str, place: int) -> int:
    if not 0 <= place <= len(data) - struct.calcsize(kind):
        raise DamagedFile(f"an offset points to byte {place} of {len(data)}")
    return struct.unpack_from(kind, data, place)[0]  # type: ignore[no-any-return]
