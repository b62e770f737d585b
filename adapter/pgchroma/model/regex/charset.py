"""Sets of characters as sorted ranges, with the operations of bracketed classes."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Final

from pgchroma.model.regex.unicode_tables import CASE_PAIRS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ("EVERYTHING", "NOTHING", "CharSet", "only")

_LAST: Final = 0x10FFFF
_BEFORE_SURROGATES: Final = 0xD7FF
_AFTER_SURROGATES: Final = 0xE000

# These two have case mappings, but no folding except in Turkish.
_DOTTED_AND_DOTLESS_I: Final = frozenset({0x130, 0x131})

# No letter with a case is beyond the supplementary plane 1.
_LAST_CASED: Final = 0x1FFFF


@dataclass(frozen=True, slots=True)
class CharSet:
    """Code points in sorted ranges, both ends included, that neither touch nor overlap.

    The universe is the characters that PostgreSQL can store: U+0000 and the surrogates are never
    members, not even of a complement.
    """

    ranges: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, *ranges: tuple[int, int]) -> CharSet:
        """Return the set of the characters in `ranges`, which may be unordered and overlap."""
        return cls(tuple(_merged(_representable(ranges))))

    @classmethod
    def parse(cls, text: str) -> CharSet:
        """Parse a set of hexadecimal numbers and ranges, such as `41-5A 5F`."""
        ends = (item.partition("-") for item in text.split())
        return cls.of(*((int(low, 16), int(high or low, 16)) for low, _, high in ends))

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def __contains__(self, code_point: int) -> bool:
        at = bisect_right(self.ranges, (code_point, _LAST))
        return at > 0 and code_point <= self.ranges[at - 1][1]

    def __or__(self, other: CharSet) -> CharSet:
        return CharSet.of(*self.ranges, *other.ranges)

    def __and__(self, other: CharSet) -> CharSet:
        return ~(~self | ~other)

    def __sub__(self, other: CharSet) -> CharSet:
        return self & ~other

    def __xor__(self, other: CharSet) -> CharSet:
        return (self | other) - (self & other)

    def __invert__(self) -> CharSet:
        starts = (0, *(high + 1 for _, high in self.ranges))
        ends = (*(low - 1 for low, _ in self.ranges), _LAST)
        return CharSet.of(*zip(starts, ends, strict=True))

    def size(self) -> int:
        """The number of characters."""
        return sum(high - low + 1 for low, high in self.ranges)

    def single(self) -> int | None:
        """The only member, if there is exactly one."""
        if len(self.ranges) == 1 and self.ranges[0][0] == self.ranges[0][1]:
            return self.ranges[0][0]
        return None

    def is_within(self, other: CharSet) -> bool | None:
        """Whether all members are in the other set (True), none is (False), or some are (None)."""
        found = {other._holds(low, high) for low, high in self.ranges}
        return found.pop() if len(found) == 1 else None

    def folded(self) -> CharSet:
        """Return the set closed under Unicode's simple case folding."""
        orbits = _case_orbits()
        fewer = self._members() if self.size() < len(orbits) else orbits
        letters = (letter for letter in fewer if letter in self and letter in orbits)
        added = (other for letter in letters for other in orbits[letter])
        return self | CharSet.of(*((letter, letter) for letter in added))

    def folded_ascii(self) -> CharSet:
        """Return the set closed under the case of the letters A to Z."""
        upper, lower = (self & CharSet.of(pair) for pair in ((0x41, 0x5A), (0x61, 0x7A)))
        return self | _shifted(upper, 0x20) | _shifted(lower, -0x20)

    def _holds(self, low: int, high: int) -> bool | None:
        at = bisect_right(self.ranges, (high, _LAST))
        if not at or self.ranges[at - 1][1] < low:
            return False
        return True if self.ranges[at - 1][0] <= low and high <= self.ranges[at - 1][1] else None

    def _members(self) -> Iterator[int]:
        return chain.from_iterable(range(low, high + 1) for low, high in self.ranges)


@lru_cache(maxsize=1024)
def only(code_point: int) -> CharSet:
    """The set with one member."""
    return CharSet.of((code_point, code_point))


def _representable(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Remove U+0000 and the surrogates, and ranges that are empty without them."""
    for low, high in ranges:
        below = max(low, 1), min(high, _BEFORE_SURROGATES)
        above = max(low, _AFTER_SURROGATES), high
        yield from (part for part in (below, above) if part[0] <= part[1])


def _merged(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Sort the ranges, and merge those that touch or overlap."""
    current: tuple[int, int] | None = None
    for low, high in sorted(ranges):
        if current is None:
            current = low, high
        elif low <= current[1] + 1:
            current = current[0], max(current[1], high)
        else:
            yield current
            current = low, high
    if current is not None:
        yield current


def _shifted(chars: CharSet, distance: int) -> CharSet:
    return CharSet(tuple((low + distance, high + distance) for low, high in chars.ranges))


@cache
def _case_orbits() -> Mapping[int, tuple[int, ...]]:
    """Map each letter with a case to all letters, itself included, with the same folding."""
    orbits: dict[int, set[int]] = {}
    for one, other in _case_partners():
        joined = orbits.get(one, {one}) | orbits.get(other, {other})
        orbits.update(dict.fromkeys(joined, joined))
    return {letter: tuple(sorted(orbit)) for letter, orbit in orbits.items()}


def _case_partners() -> Iterator[tuple[int, int]]:
    """Yield pairs of letters with the same folding; the pairs of a larger orbit are connected.

    The one-to-one mappings of `str` are those of simple folding, with the exceptions listed here.
    One-to-many mappings, such as `ß` to `SS`, belong to full folding, which Rust does not use.
    """
    for code_point in range(_LAST_CASED + 1):
        letter = chr(code_point)
        if code_point in _DOTTED_AND_DOTLESS_I:
            continue
        for other in (letter.lower(), letter.upper(), letter.casefold()):
            if other != letter and len(other) == 1:
                yield code_point, ord(other)
    for pair in CASE_PAIRS.split():
        one, _, another = pair.partition("-")
        yield int(one, 16), int(another, 16)


NOTHING: Final = CharSet()
EVERYTHING: Final = ~NOTHING
