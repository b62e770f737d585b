"""Texts of the database as the terminal shows them: plain, without control characters, cut."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from rich.text import Text

from pgchroma.cli.browser.reading import Detail, Record
from pgchroma.cli.hints import without_password
from pgchroma.cli.printing import printable
from pgchroma.errors import ChromaError

__all__ = ("cell", "describe", "message_of", "record_cells")

_MAX_CELL: Final = 80
_MAX_DOCUMENT: Final = 4_000
_MAX_METADATA: Final = 4_000
_SHOWN_VALUES: Final = 8
_TAB: Final = 4


def cell(text: str) -> Text:
    """Return one line for a table. Square brackets in it are no markup."""
    # A document may have megabytes, of which the beginning is read.
    line = _one_line(text[:_MAX_CELL])
    return Text(line if len(text) <= _MAX_CELL else f"{line[: _MAX_CELL - 1]}…")


def message_of(error: Exception) -> str:
    """Return an error in one line, without passwords."""
    text = error.message() if isinstance(error, ChromaError) else str(error)
    line = " ".join(text.split()) or type(error).__name__
    return printable(without_password(line))


def record_cells(record: Record) -> tuple[Text, ...]:
    """Return the cells of a record: id, distance, document and metadata."""
    distance = "" if record.distance is None else f"{record.distance:.4f}"
    return (
        cell(record.id),
        cell(distance),
        cell(record.document or ""),
        cell(_inline(record.metadata)),
    )


def describe(detail: Detail) -> Text:
    """Return everything about a record, with headings."""
    text = Text()
    for heading, body in (
        ("id", detail.id),
        ("document", _cut(detail.document or "none", _MAX_DOCUMENT)),
        ("uri", detail.uri),
        ("metadata", _pretty(detail.metadata)),
        ("neighbours", "\n".join(map(_neighbour, detail.neighbours)) or "none"),
        ("embedding", _summary(detail)),
    ):
        if body is not None:
            text.append(f"{heading}\n", style="bold")
            lines = (printable(line.expandtabs(_TAB)) for line in body.splitlines())
            text.append("\n".join(lines) + "\n\n")
    return text


def _one_line(text: str) -> str:
    return printable(" ".join(text.splitlines()).replace("\t", " "))


def _neighbour(record: Record) -> str:
    document = cell(record.document or "").plain
    return f"{record.distance or 0.0:.4f}  {record.id}  {document}".rstrip()


def _summary(detail: Detail) -> str:
    embedding = detail.embedding
    if embedding is None:
        return "none"
    values = ", ".join(f"{value:.4f}" for value in embedding[:_SHOWN_VALUES])
    more = ", …" if len(embedding) > _SHOWN_VALUES else ""
    norm = float(np.linalg.norm(embedding))
    return (
        f"{len(embedding):,} dimensions, norm {norm:.4f}, "
        f"from {embedding.min():.4f} to {embedding.max():.4f}\n[{values}{more}]"
    )


def _inline(metadata: Mapping[str, Any] | None) -> str:
    return "" if not metadata else json.dumps(dict(metadata), ensure_ascii=False, default=str)


def _pretty(metadata: Mapping[str, Any] | None) -> str:
    if not metadata:
        return "none"
    text = json.dumps(dict(metadata), ensure_ascii=False, indent=2, default=str)
    return _cut(text, _MAX_METADATA)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text):,} characters)"
