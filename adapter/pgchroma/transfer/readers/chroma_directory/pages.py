"""Read the rows of a damaged SQLite file from its pages, without SQLite.

A file is a sequence of pages of equal size. A table is a tree of pages: interior pages (first byte
5) name others, and leaf pages (13) have the rows. Indexes are trees of pages with the bytes 2 and
10. Pages that cannot be read are counted and left out.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, TypeAlias

__all__ = ("Pages", "Row", "Value")

Value: TypeAlias = int | float | bytes | None
Row: TypeAlias = Sequence[Value]
"""The values of a row. Text comes as bytes."""

_TABLE_INTERIOR, _TABLE_LEAF, _INDEX_INTERIOR, _INDEX_LEAF = 5, 13, 2, 10
_HEADER_BYTES: Final = 100
_USUAL_SIZE: Final = 4096
_MAX_DEPTH: Final = 20
_INTEGER_SIZES: Final = (0, 1, 2, 3, 4, 6, 8)
_FLOAT, _ZERO, _ONE, _FIRST_BLOB = 7, 8, 9, 12


class Pages:
    """The pages of a file.

    Attributes:
        count: How many pages the file has.
        lost: How many pages and rows of tables could not be read until now.
        lost_of_indexes: How many pages and entries of indexes could not be read until now.
        visited: The pages of tables that have been read.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._bytes = os.fstat(self._file).st_size
        header = os.pread(self._file, _HEADER_BYTES, 0).ljust(_HEADER_BYTES, b"\0")
        self.size = _page_size(header, self._bytes)
        self.count = self._bytes // self.size
        self.lost = self.lost_of_indexes = 0
        self.visited: set[int] = set()
        self._visited_of_indexes: set[int] = set()
        self._declared = _number(header, 28)
        self._free = self._read_free(_number(header, 32))

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    @property
    def is_cut(self) -> bool:
        """Whether the file has fewer pages than its header says."""
        return self.count < self._declared

    def table(self, root: int) -> Iterator[tuple[int, Row]]:
        """Yield the rows of the table at a page, each with its rowid."""
        yield from self._walk(root, 0)

    def unvisited_leaves(self) -> Iterator[tuple[int, bool]]:
        """Yield the leaf pages of tables that were not visited and are not free.

        Each comes with whether an interior page names it. Those that are named come first: others
        may be remains of pages that were rewritten.
        """
        named: set[int] = set()
        leaves = []
        for number in range(1, self.count + 1):
            if number in self._free:
                continue
            kind = self._page(number)[:1]
            if kind == bytes([_TABLE_INTERIOR]):
                named.update(self._children(number))
            elif kind == bytes([_TABLE_LEAF]) and number not in self.visited:
                leaves.append(number)
        yield from ((number, True) for number in leaves if number in named)
        yield from ((number, False) for number in leaves if number not in named)

    def leaf(self, number: int) -> Iterator[tuple[int, Row]]:
        """Yield the rows of a leaf page, each with its rowid."""
        self.visited.add(number)
        page, start = self._page(number), _start(number)
        for cell in self._cells(page, start + 8, start):
            try:
                length, at = _varint(page, cell)
                rowid, at = _varint(page, at)
                payload = self._payload(page, at, length, self.size - 35)
                yield rowid, _record(payload)
            except (IndexError, struct.error, ValueError):
                self.lost += 1

    def index(self, root: int, depth: int = 0) -> Iterator[Row]:
        """Yield the entries of the index at a page."""
        page = self._page(root)
        kind = page[_start(root)] if len(page) == self.size else 0
        is_usable = kind in (_INDEX_INTERIOR, _INDEX_LEAF) and depth <= _MAX_DEPTH
        if not is_usable or root in self._visited_of_indexes:
            self.lost_of_indexes += 1
            return
        self._visited_of_indexes.add(root)
        is_interior = kind == _INDEX_INTERIOR
        for cell in self._cells(page, 12 if is_interior else 8, 0):
            if is_interior:
                yield from self.index(_number(page, cell), depth + 1)
            try:
                length, at = _varint(page, cell + 4 * is_interior)
                most = (self.size - 12) * 64 // 255 - 23
                yield _record(self._payload(page, at, length, most))
            except (IndexError, struct.error, ValueError):
                self.lost_of_indexes += 1
        if is_interior:
            yield from self.index(_number(page, 8), depth + 1)

    def _read_free(self, trunk: int) -> set[int]:
        """Return the pages of the freelist: they have rows that were deleted."""
        free: set[int] = set()
        while 0 < trunk <= self.count and trunk not in free:
            page = self._page(trunk)
            count = min(_number(page, 4), self.size // 4 - 2)
            free.add(trunk)
            free.update(struct.unpack(f">{count}I", page[8 : 8 + 4 * count]))
            trunk = _number(page, 0)
        return free

    def _walk(self, number: int, depth: int) -> Iterator[tuple[int, Row]]:
        page, start = self._page(number), _start(number)
        kind = page[start] if len(page) == self.size else 0
        if number in self.visited or depth > _MAX_DEPTH:
            self.lost += 1
        elif kind == _TABLE_LEAF:
            yield from self.leaf(number)
        elif kind == _TABLE_INTERIOR:
            self.visited.add(number)
            for child in self._children(number):
                yield from self._walk(child, depth + 1)
        else:
            self.lost += 1

    def _children(self, number: int) -> list[int]:
        page, start = self._page(number), _start(number)
        if len(page) < self.size:
            return []
        children = [_number(page, cell) for cell in self._cells(page, start + 12, start)]
        return [*children, _number(page, start + 8)]

    def _cells(self, page: bytes, pointers: int, start: int) -> list[int]:
        """Return the places of a page's cells."""
        if len(page) < self.size:
            return []
        (count,) = struct.unpack(">H", page[start + 3 : start + 5])
        count = min(count, (self.size - pointers) // 2)
        places = struct.unpack(f">{count}H", page[pointers : pointers + 2 * count])
        return [place for place in places if place + 4 <= self.size]

    def _payload(self, page: bytes, at: int, length: int, most: int) -> bytes:
        """Return the content of a cell and of its overflow pages.

        Args:
            page: The page of the cell.
            at: Where the content begins.
            length: How many bytes it has.
            most: How many of them may stand on the page itself.
        """
        if length <= most:
            return _whole(page[at : at + length], length)
        if length > self._bytes:
            raise ValueError("a row is longer than the file")
        least = (self.size - 12) * 32 // 255 - 23
        here = least + (length - least) % (self.size - 4)
        here = least if here > most else here
        parts, missing = [page[at : at + here]], length - here
        following = _number(page, at + here)
        while missing > 0 and following:
            overflow = self._page(following)
            parts.append(overflow[4 : 4 + missing])
            if len(overflow) < self.size:
                break
            missing -= len(parts[-1])
            following = _number(overflow, 0)
        return _whole(b"".join(parts), length)

    def _page(self, number: int) -> bytes:
        if not 0 < number <= self.count:
            return b""
        return os.pread(self._file, self.size, (number - 1) * self.size)


def _page_size(header: bytes, file_bytes: int) -> int:
    size = int.from_bytes(header[16:18], "big")
    if size == 1:
        return 65536
    if header[:6] == b"SQLite" and _is_page_size(size):
        return size
    pages = _number(header, 28)
    guess = file_bytes // pages if pages else 0
    return guess if _is_page_size(guess) else _USUAL_SIZE


def _is_page_size(size: int) -> bool:
    return 512 <= size <= 65536 and size & (size - 1) == 0  # noqa: PLR2004  (SQLite's limits)


def _start(number: int) -> int:
    """Return where a page begins: the first one has the header of the file before it."""
    return _HEADER_BYTES if number == 1 else 0


def _number(page: bytes, at: int) -> int:
    return int.from_bytes(page[at : at + 4], "big")


def _whole(data: bytes, length: int) -> bytes:
    if len(data) < length:
        raise ValueError("a row is cut off")
    return data


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return an integer of variable length and the place after it."""
    value = 0
    for place in range(at, at + 8):
        byte = data[place]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:  # noqa: PLR2004
            return value, place + 1
    value = value << 8 | data[at + 8]
    return value - (1 << 64) if value >> 63 else value, at + 9


def _record(data: bytes) -> list[Value]:
    end, at = _varint(data, 0)
    types = []
    while at < end:
        type_, at = _varint(data, at)
        types.append(type_)
    values: list[Value] = []
    for type_ in types:
        value, at = _value(data, at, type_)
        values.append(value)
    return values


def _value(data: bytes, at: int, type_: int) -> tuple[Value, int]:
    if type_ == 0:
        return None, at
    if type_ in (_ZERO, _ONE):
        return type_ - _ZERO, at
    if type_ < 0 or _ONE < type_ < _FIRST_BLOB:
        raise ValueError("a value has a type that does not exist")
    size = (type_ - _FIRST_BLOB) // 2 if type_ >= _FIRST_BLOB else 8
    size = _INTEGER_SIZES[type_] if type_ < _FLOAT else size
    content = _whole(data[at : at + size], size)
    if type_ >= _FIRST_BLOB:
        return content, at + size
    if type_ == _FLOAT:
        return struct.unpack(">d", content)[0], at + size
    return int.from_bytes(content, "big", signed=True), at + size
