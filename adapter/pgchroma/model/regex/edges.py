"""The characters that a part of a pattern can start and end with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from pgchroma.model.regex.charset import CharSet
from pgchroma.model.regex.syntax import (
    Alternation,
    Anchor,
    Chars,
    Concat,
    Group,
    Node,
    Repeat,
    WordAnchor,
)

__all__ = ("Edges",)

_MAX_RANGES: Final = 2_000
"""Alternatives that start with more ranges than this are treated as starting with any character."""

Edge: TypeAlias = CharSet | None


class Edges:
    """The characters that the nodes of a tree can start and end with, computed once.

    An edge is a set of characters, or `None` if the node may be empty or the edge is unknown.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, bool], Edge] = {}

    def neighbours(self, parts: Sequence[Node]) -> tuple[Sequence[Edge], Sequence[Edge]]:
        """Return, for each part, the edges of the nearest parts before and after with characters.

        Only the neighbours of word anchors are computed.
        """
        if not any(isinstance(part, WordAnchor) for part in parts):
            nothing = (None,) * len(parts)
            return nothing, nothing
        backwards = self._passed(reversed(parts), last=False)
        return self._passed(parts, last=True), backwards[::-1]

    def _passed(self, parts: Iterable[Node], *, last: bool) -> list[Edge]:
        edges: list[Edge] = []
        nearest: Node | None = None
        for part in parts:
            is_asked = nearest is not None and isinstance(part, WordAnchor)
            edges.append(self._edge(nearest, last=last) if is_asked and nearest else None)
            if not isinstance(part, Anchor | WordAnchor):
                nearest = part
        return edges

    def _edge(self, node: Node, *, last: bool) -> Edge:
        key = id(node), last
        if key not in self._known:
            self._known[key] = self._find(node, last=last)
        return self._known[key]

    def _find(self, node: Node, *, last: bool) -> Edge:
        match node:
            case Chars(chars):
                return chars
            case Group(body):
                return self._edge(body, last=last)
            case Repeat(body, minimum) if minimum > 0:
                return self._edge(body, last=last)
            case Concat(parts):
                return self._first(reversed(parts) if last else parts, last=last)
            case Alternation(branches):
                return self._common(branches, last=last)
            case _:
                return None

    def _first(self, nodes: Iterable[Node], *, last: bool) -> Edge:
        for node in nodes:
            if not isinstance(node, Anchor | WordAnchor):
                return self._edge(node, last=last)
        return None

    def _common(self, branches: Sequence[Node], *, last: bool) -> Edge:
        ranges: set[tuple[int, int]] = set()
        for branch in branches:
            edge = self._edge(branch, last=last)
            if edge is None:
                return None
            ranges.update(edge.ranges)
            if len(ranges) > _MAX_RANGES:
                return None
        return CharSet.of(*ranges)
