"""Read which vector belongs to which id from `index_metadata.pickle`, without unpickling it.

A pickle is a program, and Chroma before 1.0 runs it. This reader knows the few opcodes that Chroma
writes and stops at any other, so that nothing in a file can be executed. It reads what precedes the
place where a file is cut or broken, and keeps two numbers for each id instead of the objects.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress, pairwise
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pgchroma.transfer.readers.chroma_directory.sequences import decode_sequence

__all__ = ("LabelMap", "hash_ids", "iterate_labels", "read_label_map")

Numbers: TypeAlias = NDArray[np.int64]

_MEMOIZE: Final = 0x94
_MEMOIZING: Final = (_MEMOIZE, ord("q"), ord("r"))
_LONGEST_NUMBER: Final = 8

_CLASS: Final = ("chromadb.segment.impl.vector.local_persistent_hnsw", "PersistentData")
_BLOCK_BYTES: Final = 1 << 20
_PORTION: Final = 2000
_MAX_FIELDS: Final = 64
_MAX_LABEL: Final = 1 << 40


def hash_ids(ids: Iterable[str]) -> Numbers:
    """Return a 64-bit number for each id, by which it is looked up.

    The numbers differ from process to process, so that ids cannot be chosen to collide.
    """
    return np.fromiter(map(hash, ids), np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class LabelMap:
    """The labels of ids: the numbers under which an index has their vectors.

    Attributes:
        hashes: The ids as `hash_ids` gives them, ascending.
        labels: The label of each.
        max_sequence: How far the index had read the queue, which Chroma up to 0.5.5 stored here.
        problem: What is wrong with the file, as the end of a sentence; `None` if it is whole.
        doubtful: The label that stands next to the place where the file is broken, or 0.
    """

    hashes: Numbers
    labels: Numbers
    max_sequence: int | None = None
    problem: str | None = None
    doubtful: int = 0

    @classmethod
    def of(
        cls,
        hashes: Numbers,
        labels: Numbers,
        max_sequence: int | None = None,
        problem: str | None = None,
        doubtful: int = 0,
    ) -> LabelMap:
        """Return a map; an id or a label that occurs twice is left out."""
        keep = _once(hashes) & _once(labels)
        hashes, labels = hashes[keep], labels[keep]
        order = np.argsort(hashes, kind="stable")
        return cls(hashes[order], labels[order], max_sequence, problem, doubtful)

    def find(self, hashes: Numbers) -> Numbers:
        """Return the labels of ids; 0 for an id without one."""
        if not len(self.hashes):
            return np.zeros(len(hashes), np.int64)
        places = np.searchsorted(self.hashes, hashes)
        places[places == len(self.hashes)] = 0
        found: Numbers = np.where(self.hashes[places] == hashes, self.labels[places], 0)
        return found


def _once(values: Numbers) -> NDArray[np.bool_]:
    """Whether each value occurs no more than once."""
    order = np.argsort(values, kind="stable")
    repeats = np.diff(values[order]) == 0
    once = np.ones(len(values), np.bool_)
    once[order[1:][repeats]] = False
    once[order[:-1][repeats]] = False
    return once


def read_label_map(path: Path) -> LabelMap:
    """Read the map in a file; pairs about which its two halves disagree are left out.

    Raises:
        OSError: The file is missing or cannot be read.
    """
    with path.open("rb") as file:
        machine = _Machine(file)
        problem = machine.run()
    hashes, labels = machine.ids.arrays()
    other_hashes, other_labels = machine.inverse.arrays()
    if problem is None and (machine.ids.has_invalid or machine.inverse.has_invalid):
        problem = "has ids that cannot be read"
    agree = _agreeing(hashes, labels, other_hashes, other_labels, is_complete=problem is None)
    disagreeing = int((~agree).sum())
    if problem is None and disagreeing:
        problem = f"contradicts itself about {disagreeing} ids"
    if problem is not None:
        # Each of the two halves may have what the other lacks. If they contradict each other about
        # an id or a label, neither is believed.
        is_new = ~np.isin(other_labels, labels) & ~np.isin(other_hashes, hashes)
        hashes = np.concatenate([hashes[agree], other_hashes[is_new]])
        labels = np.concatenate([labels[agree], other_labels[is_new]])
    sequence = decode_sequence(machine.fields.get("max_seq_id"))
    return LabelMap.of(hashes, labels, sequence, problem, machine.doubtful)


def iterate_labels(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the ids and labels in a file, in its order, up to the place where it is broken.

    Raises:
        OSError: The file is missing or cannot be read.
    """
    pairs: list[tuple[str, int]] = []
    with path.open("rb") as file:
        machine = _Machine(file, lambda key, label: pairs.append((key, label)))
        for _ in machine.steps():
            yield from pairs
            pairs.clear()
    yield from pairs


def _agreeing(
    hashes: Numbers,
    labels: Numbers,
    other_hashes: Numbers,
    other_labels: Numbers,
    *,
    is_complete: bool,
) -> NDArray[np.bool_]:
    """Whether the map from labels to ids has each pair, or lacks its label if it is incomplete."""
    if not len(other_labels):
        return np.ones(len(hashes), np.bool_)
    order = np.argsort(other_labels, kind="stable")
    theirs, ids = other_labels[order], other_hashes[order]
    places = np.minimum(np.searchsorted(theirs, labels), len(theirs) - 1)
    is_known = theirs[places] == labels
    agree: NDArray[np.bool_] = np.where(is_known, ids[places] == hashes, not is_complete)
    return agree


class _Memoized:
    """A string that was read before, and of which only the hash is known."""

    __slots__ = ("_hash",)

    def __init__(self, hash: int) -> None:
        self._hash = hash

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Memoized) and self._hash == hash(other)


class _Pairs:
    """Pairs of an id and a number that a dictionary has, in either direction."""

    def __init__(self, observe: Callable[[str, int], None] | None = None) -> None:
        self.hashes = array("q")
        self.numbers = array("q")
        self.has_invalid = False
        self._observe = observe

    def add(self, id: object, number: Any) -> None:
        """Add a pair if it is one of an id and a label."""
        if isinstance(id, str | _Memoized) and type(number) is int:
            self.extend([id], [number])
        else:
            self.has_invalid = True

    def extend(self, ids: Sequence[str | _Memoized], numbers: Sequence[int]) -> None:
        """Add pairs."""
        if numbers and not 0 < min(numbers) <= max(numbers) < _MAX_LABEL:
            self.has_invalid = True
            valid = [0 < number < _MAX_LABEL for number in numbers]
            ids, numbers = list(compress(ids, valid)), list(compress(numbers, valid))
        # The hash of a string that was read before is its value.
        self.hashes.extend(map(hash, ids))
        self.numbers.extend(numbers)
        if self._observe is not None:
            for id, number in zip(ids, numbers, strict=True):
                if isinstance(id, str):
                    self._observe(id, number)

    def arrays(self) -> tuple[Numbers, Numbers]:
        """Return the ids as `hash_ids` gives them, and the numbers."""
        return np.frombuffer(self.hashes, np.int64), np.frombuffer(self.numbers, np.int64)


class _Unusual(Exception):  # noqa: N818  (it never leaves this module)
    """A pair has another form than the usual one."""


_unpack_length: Final = struct.Struct("<I").unpack_from
_unpack_number: Final = struct.Struct("<i").unpack_from


def _read_ids_first(buffer: bytes, place: int, memo: array[int], pairs: _Pairs) -> int:
    """Read pairs of an id and a label; return the place after them.

    This is a shorter way through what the machine does with each opcode, for a million pairs. It
    leaves the machine whatever is not in a form that Chroma writes.
    """
    last = len(buffer) - _LONGEST_NUMBER
    ids: list[str] = []
    numbers: list[int] = []
    try:
        while True:
            start, end = _text_bounds(buffer, place, last)
            id = str(buffer[start:end], "utf-8")
            is_memoized = buffer[end] == _MEMOIZE
            number, place_after = _read_number(buffer, end + is_memoized)
            if is_memoized:
                memo.append(hash(id))
            ids.append(id)
            numbers.append(number)
            place = place_after
    except (_Unusual, UnicodeDecodeError):
        pass
    pairs.extend(ids, numbers)
    return place


def _read_labels_first(buffer: bytes, place: int, memo: array[int], pairs: _Pairs) -> int:
    """Read pairs of a label and an id or a recalled id; return the place after them."""
    last = len(buffer) - _LONGEST_NUMBER
    ids: list[str | _Memoized] = []
    numbers: list[int] = []
    try:
        while place < last:
            number, end = _read_number(buffer, place)
            if buffer[end] == ord("j"):
                (index,) = _unpack_length(buffer, end + 1)
                if index < _MAX_FIELDS or index >= len(memo):
                    break
                ids.append(_Memoized(memo[index]))
                place = end + 5
            else:
                start, end = _text_bounds(buffer, end, last)
                if buffer[end] in _MEMOIZING:
                    break
                ids.append(str(buffer[start:end], "utf-8"))
                place = end
            numbers.append(number)
    except (_Unusual, UnicodeDecodeError):
        pass
    pairs.extend(ids, numbers)
    return place


def _text_bounds(buffer: bytes, place: int, last: int) -> tuple[int, int]:
    if place >= last:
        raise _Unusual
    if buffer[place] == ord("X"):
        start = place + 5
        end = start + _unpack_length(buffer, place + 1)[0]
    elif buffer[place] == 0x8C:  # noqa: PLR2004
        start = place + 2
        end = start + buffer[place + 1]
    else:
        raise _Unusual
    if end >= last:
        raise _Unusual
    return start, end


def _read_number(buffer: bytes, place: int) -> tuple[int, int]:
    opcode = buffer[place]
    if opcode == ord("J"):
        return _unpack_number(buffer, place + 1)[0], place + 5
    if opcode == ord("M"):
        return buffer[place + 1] | buffer[place + 2] << 8, place + 3
    if opcode == ord("K"):
        return buffer[place + 1], place + 2
    raise _Unusual


class _Broken(Exception):  # noqa: N818  (it never leaves this module)
    """The file cannot be read any further; the message is the end of a sentence."""


_MARK: Final = object()
_OBJECT: Final = object()
_CLASS_FOUND: Final = object()
_EMPTY_TUPLE: Final = object()
_UNREADABLE: Final = object()


class _Dictionary:
    """A dictionary, known by the key under which it is stored."""

    def __init__(self, name: str | None) -> None:
        self.name = name


class _Machine:
    """Execute the allowed opcodes of a pickle on a stack of plain values."""

    def __init__(self, file: BinaryIO, observe: Callable[[str, int], None] | None = None) -> None:
        self.ids = _Pairs(observe)
        self.inverse = _Pairs()
        self.fields: dict[str, object] = {}
        self.doubtful = 0
        self._file = file
        self._buffer = b""
        self._place = 0
        self._stack: list[object] = []
        self._marks: list[int] = []
        self._memo = array("q")
        self._names: dict[int, str] = {}
        self._map_start = -1
        self._opcodes: dict[int, Callable[[], None]] = self._make_opcodes()

    def _make_opcodes(self) -> dict[int, Callable[[], None]]:
        push = self._stack.append
        return {
            0x80: lambda: self._skip(1),  # PROTO
            0x95: lambda: self._skip(8),  # FRAME
            ord("}"): self._empty_dictionary,
            ord(")"): lambda: push(_EMPTY_TUPLE),
            ord("("): self._mark,
            ord("u"): self._set_items,
            ord("s"): self._set_item,
            ord("N"): lambda: push(None),
            ord("K"): lambda: push(self._number(1)),
            ord("M"): lambda: push(self._number(2)),
            ord("J"): lambda: push(self._number(4, signed=True)),
            0x8A: self._long,
            ord("X"): lambda: self._string(4),
            0x8C: lambda: self._string(1),
            _MEMOIZE: lambda: self._memoize(len(self._memo)),
            ord("q"): lambda: self._memoize(self._number(1)),
            ord("r"): lambda: self._memoize(self._number(4)),
            ord("h"): lambda: self._recall(self._number(1)),
            ord("j"): lambda: self._recall(self._number(4)),
            0x93: self._find_class,
            0x81: self._new_object,
            ord("b"): self._build,
        }

    def run(self) -> str | None:
        """Execute the pickle; return what is wrong with it."""
        for problem in self.steps():
            if problem is not None:
                return problem
        return None

    def steps(self) -> Iterator[str | None]:
        """Execute the pickle in portions; a text is the last value, and says what is wrong."""
        try:
            while self._execute():
                yield None
        except EOFError:
            self._keep_pending(is_cut=True)
            yield "is cut off"
        except _Broken as error:
            self._keep_pending(is_cut=False)
            yield str(error)

    def _execute(self) -> bool:
        """Execute the next opcodes; whether there are more of them."""
        opcodes, stop = self._opcodes, ord(".")
        for _ in range(_PORTION):
            if self._map_start >= 0:
                self._read_pairs()
            opcode = self._number(1)
            if opcode == stop:
                return False
            operation = opcodes.get(opcode)
            if operation is None:
                raise _Broken(f"has an opcode that Chroma does not write (0x{opcode:02x})")
            operation()
        return True

    def _read_pairs(self) -> None:
        """Store a complete pair of a map, and the pairs after it that have the usual form."""
        depth = len(self._stack) - self._map_start
        if depth == 2 and self._peek() not in _MEMOIZING:  # noqa: PLR2004
            self._store(self._map_start, len(self._stack))
        elif depth:
            return
        self._fill()
        target = self._stack[self._map_start - 1]
        if isinstance(target, _Dictionary) and target.name == "id_to_label":
            self._place = _read_ids_first(self._buffer, self._place, self._memo, self.ids)
        else:
            self._place = _read_labels_first(self._buffer, self._place, self._memo, self.inverse)

    # The bytes

    def _skip(self, length: int) -> None:
        self._take(length)

    def _take(self, length: int) -> bytes:
        # A length that is not true must not make memory of that size be reserved.
        while self._place + length > len(self._buffer):
            if not self._fill(length):
                raise EOFError
        taken = self._buffer[self._place : self._place + length]
        self._place += length
        return taken

    def _peek(self) -> int:
        if self._place == len(self._buffer) and not self._fill():
            return -1
        return self._buffer[self._place]

    def _fill(self, wanted: int = _BLOCK_BYTES // 4) -> bool:
        """Read on unless that many bytes are at hand; whether there were more to read."""
        if len(self._buffer) - self._place >= wanted:
            return True
        block = self._file.read(_BLOCK_BYTES)
        self._buffer = self._buffer[self._place :] + block
        self._place = 0
        return bool(block)

    def _number(self, length: int, *, signed: bool = False) -> int:
        return int.from_bytes(self._take(length), "little", signed=signed)

    def _long(self) -> None:
        self._stack.append(self._number(self._number(1), signed=True))

    def _string(self, length: int) -> None:
        text = self._take(self._number(length))
        try:
            self._stack.append(text.decode("utf-8", "surrogatepass"))
        except UnicodeDecodeError:
            self._stack.append(_UNREADABLE)

    # The memo, which has the hashes of strings, and some strings that may be names of fields

    def _memoize(self, index: int) -> None:
        if not self._stack or index > len(self._memo):
            raise _Broken("memoizes a value that does not exist")
        top = self._stack[-1]
        value = hash(top) if isinstance(top, str) else 0
        if index == len(self._memo):
            self._memo.append(value)
        else:
            self._memo[index] = value
        if isinstance(top, str) and index < _MAX_FIELDS:
            self._names[index] = top

    def _recall(self, index: int) -> None:
        if index >= len(self._memo):
            raise _Broken("recalls a value that does not exist")
        name = self._names.get(index)
        self._stack.append(_Memoized(self._memo[index]) if name is None else name)

    # The objects

    def _mark(self) -> None:
        self._marks.append(len(self._stack))
        below = self._stack[-1] if self._stack else None
        is_map = isinstance(below, _Dictionary) and below.name in ("id_to_label", "label_to_id")
        self._map_start = len(self._stack) if is_map else -1

    def _empty_dictionary(self) -> None:
        name = self._stack[-1] if self._stack else None
        self._stack.append(_Dictionary(name if isinstance(name, str) else None))

    def _set_items(self) -> None:
        if not self._marks:
            raise _Broken("ends a list of items that has no beginning")
        mark = self._marks.pop()
        self._map_start = -1
        self._store(mark, len(self._stack))

    def _set_item(self) -> None:
        self._store(len(self._stack) - 2, len(self._stack))

    def _find_class(self) -> None:
        name, module = self._pop(), self._pop()
        if (module, name) != _CLASS:
            raise _Broken(f"names the class or function {module}.{name}, which was not called")
        self._stack.append(_CLASS_FOUND)

    def _new_object(self) -> None:
        arguments, found = self._pop(), self._pop()
        if found is not _CLASS_FOUND or arguments is not _EMPTY_TUPLE:
            raise _Broken("creates an object that Chroma does not store")
        self._stack.append(_OBJECT)

    def _build(self) -> None:
        state = self._pop()
        if not isinstance(state, _Dictionary) or not self._stack or self._stack[-1] is not _OBJECT:
            raise _Broken("creates an object that Chroma does not store")

    def _pop(self) -> object:
        if not self._stack:
            raise _Broken("uses a value that does not exist")
        return self._stack.pop()

    def _store(self, start: int, end: int) -> None:
        """Put the items from `start` to `end` into the dictionary below them."""
        target = self._stack[start - 1] if start > 0 else None
        if not isinstance(target, _Dictionary) or (end - start) % 2:
            raise _Broken("stores items in something that is not a dictionary")
        items = self._stack[start:end]
        del self._stack[start:]
        self._put(target, items)

    def _put(self, target: _Dictionary, items: list[object]) -> None:
        keys, values = items[::2], items[1::2]
        if target.name == "id_to_label":
            for key, value in zip(keys, values, strict=True):
                self.ids.add(key, value)
        elif target.name == "label_to_id":
            for key, value in zip(keys, values, strict=True):
                self.inverse.add(value, key)
        elif target.name is None:
            pairs = zip(keys, values, strict=True)
            self.fields.update((key, value) for key, value in pairs if isinstance(key, str))

    def _keep_pending(self, *, is_cut: bool) -> None:
        """Store what stands on the stack where the file ends or becomes unreadable."""
        marks = [*self._marks, len(self._stack) + 1]
        target: object = None
        for mark, next_mark in pairwise(marks):
            target = self._stack[mark - 1] if mark else None
            items = self._stack[mark : next_mark - 1]
            if isinstance(target, _Dictionary):
                self._put(target, items[: len(items) // 2 * 2])
        is_map = isinstance(target, _Dictionary) and target.name == "id_to_label"
        if is_map and not is_cut and self.ids.numbers:
            self.doubtful = self.ids.numbers[-1]
