"""What a transfer did, and what it could not save."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from itertools import starmap
from typing import Any, Final, Literal, TypeAlias

from pgchroma.errors import ChromaError
from pgchroma.model.plain import count_text
from pgchroma.transfer.source import Loss, Part

__all__ = ("CollectionReport", "Status", "TransferReport", "grouped")

Status: TypeAlias = Literal["complete", "skipped", "added", "unverified", "failed"]
"""A new collection; one that existed and was left alone; records added to one that existed; a new
collection that differs from the source, and therefore keeps its temporary name; one whose transfer
ended with an error."""

MAX_SHOWN_IDS: Final = 5
MAX_SHOWN_GROUPS: Final = 30


@dataclass(slots=True)
class CollectionReport:
    """What became of one collection.

    Attributes:
        source: Its name in the source, with tenant and database.
        target: Its name in the target, or the file it was written to.
        read: The number of records of the source.
        written: The number of records that this and earlier runs have stored.
        resumed: How many of these an interrupted run had stored.
        existing: How many records a collection that existed already had.
        embedded: How many missing embeddings were computed.
        differing: The parts in which target and source differ.
        verified: The parts that were compared.
        distances: How many distances were compared with those that the target returns.
        wrong_distances: How many of them differ.
        losses: What could not be kept, or may be wrong.
        seconds: How long reading and writing took.
        verification_seconds: How long comparing took.
        error: Why the transfer failed.
    """

    source: str
    target: str
    status: Status = "complete"
    read: int = 0
    written: int = 0
    resumed: int = 0
    existing: int = 0
    embedded: int = 0
    verified: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()
    distances: int = 0
    wrong_distances: int = 0
    losses: list[Loss] = field(default_factory=list)
    seconds: float = 0.0
    verification_seconds: float = 0.0
    error: str | None = None

    @property
    def is_faithful(self) -> bool:
        """Whether everything in the source is in the target, unchanged."""
        is_whole = not (self.losses or self.differing or self.wrong_distances)
        return is_whole and self.status != "failed"

    def clear(self) -> None:
        """Forget everything but the names."""
        new = CollectionReport(self.source, self.target)
        for each in fields(self):
            setattr(self, each.name, getattr(new, each.name))

    def fail(self, error: BaseException) -> None:
        """Note the error that ended the transfer."""
        self.status = "failed"
        self.error = error.message() if isinstance(error, ChromaError) else _described(error)

    def to_json(self) -> dict[str, Any]:
        """Return the report with its losses grouped; `losses_json` returns all of them."""
        return {
            "source": self.source,
            "target": self.target,
            "status": self.status,
            "faithful": self.is_faithful,
            "read": self.read,
            "written": self.written,
            "resumed": self.resumed,
            "existing": self.existing,
            "embedded": self.embedded,
            "verified": list(self.verified),
            "differing": list(self.differing),
            "distances": self.distances,
            "wrong_distances": self.wrong_distances,
            "losses": [
                {"part": part, "reason": reason, "count": len(losses), "suspect": suspect,
                 "ids": [loss.id for loss in losses[:MAX_SHOWN_IDS] if loss.id is not None]}
                for (part, reason, suspect), losses in grouped(self.losses).items()
            ],
            "seconds": round(self.seconds, 3),
            "verification_seconds": round(self.verification_seconds, 3),
            "error": self.error,
        }  # fmt: skip

    def lines(self) -> Iterator[str]:
        """Yield the report in sentences, the first of which has the names."""
        yield f"{self.target}: {self._summary()}"
        if self.differing:
            yield f"  differs from the source in: {', '.join(self.differing)}"
        if self.wrong_distances:
            yield (
                f"  {self.wrong_distances} of {self.distances} distances differ from the exact ones"
            )
        groups = list(grouped(self.losses).items())
        for (part, reason, is_suspect), losses in groups[:MAX_SHOWN_GROUPS]:
            is_general = losses[0].id is None and len(losses) == 1
            where = part if is_general else f"{part}, {_times(losses)}"
            kind = _kind(part, losses, is_suspect=is_suspect)
            yield f"  {kind}: {where}: {reason}{_shown_ids(losses)}"
        if len(groups) > MAX_SHOWN_GROUPS:
            yield f"  and {len(groups) - MAX_SHOWN_GROUPS:,} more kinds, which --report lists"

    def _summary(self) -> str:
        if self.status == "skipped":
            return "exists already, skipped"
        parts = [f"{self.written:,} of {self.read:,} records in {self.seconds:.1f} s"]
        if self.resumed:
            parts.append(f"{self.resumed:,} of them by an earlier run")
        if self.status == "added":
            parts.append(f"added to {self.existing:,} existing records")
        if self.embedded:
            parts.append(f"{self.embedded:,} embeddings computed")
        if self.verified:
            distances = f", {self.distances} distances" if self.distances else ""
            parts.append(f"verified: {', '.join(self.verified)}{distances}")
        return "; ".join(parts)


@dataclass(slots=True)
class TransferReport:
    """What became of all collections, and what the source warned of."""

    source: str
    target: str
    collections: list[CollectionReport] = field(default_factory=list)
    warnings: Sequence[str] = ()

    @property
    def is_faithful(self) -> bool:
        """Whether everything was saved."""
        return all(each.is_faithful for each in self.collections)

    def summary(self) -> str:
        """Return in a sentence how much could not be saved; empty if everything was."""
        affected = [each for each in self.collections if not each.is_faithful]
        if not affected:
            return ""
        parts = [f"{len(affected)} of {len(self.collections)} collections are not as in the source"]
        for kind, is_suspect in (("not saved", False), ("may be wrong", True)):
            counts: Counter[Part] = Counter()
            for each in affected:
                losses = [loss for loss in each.losses if loss.is_suspect == is_suspect]
                named = {(loss.part, loss.id) for loss in losses if loss.id is not None}
                counts.update(part for part, _ in named)
                if not is_suspect:
                    # A line of a file without an id is a record, too.
                    counts.update(
                        loss.part for loss in losses if loss.id is None and loss.part == "record"
                    )
            if counts:
                parts.append(f"{kind}: {', '.join(starmap(_counted, counts.most_common()))}")
        return "; ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Return the report with grouped losses."""
        return {
            "source": self.source,
            "target": self.target,
            "faithful": self.is_faithful,
            "warnings": list(self.warnings),
            "collections": [each.to_json() for each in self.collections],
        }

    def losses_json(self) -> dict[str, Any]:
        """Return the report with every loss."""
        full = self.to_json()
        for report, written in zip(self.collections, full["collections"], strict=True):
            written["losses"] = [
                {"part": loss.part, "id": loss.id, "reason": loss.reason,
                 "suspect": loss.is_suspect}
                for loss in report.losses
            ]  # fmt: skip
        return full


def grouped(losses: Sequence[Loss]) -> dict[tuple[Part, str, bool], list[Loss]]:
    """Return losses by part, reason and whether the part was kept, the largest group first."""
    groups: dict[tuple[Part, str, bool], list[Loss]] = {}
    for loss in losses:
        groups.setdefault((loss.part, loss.reason, loss.is_suspect), []).append(loss)
    return dict(sorted(groups.items(), key=lambda group: -len(group[1])))


def _described(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "it was interrupted"
    return f"{type(error).__name__}: {error}"


def _counted(part: Part, number: int) -> str:
    records = count_text(number, "record")
    return records if part == "record" else f"{part} of {records}"


def _kind(part: Part, losses: Sequence[Loss], *, is_suspect: bool) -> str:
    """Return what became of a part.

    What is damaged is not lost: the records that lack something because of it say so themselves.
    """
    if is_suspect:
        return "may be wrong"
    is_of_records = part not in ("collection", "record")
    return "damaged" if is_of_records and losses[0].id is None else "not saved"


def _times(losses: Sequence[Loss]) -> str:
    return "once" if len(losses) == 1 else f"{len(losses):,} times"


def _shown_ids(losses: Sequence[Loss]) -> str:
    ids = [loss.id for loss in losses if loss.id is not None]
    if not ids:
        return ""
    more = ", …" if len(ids) > MAX_SHOWN_IDS else ""
    return f" ({', '.join(map(repr, ids[:MAX_SHOWN_IDS]))}{more})"
