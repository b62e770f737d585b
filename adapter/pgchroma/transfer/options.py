"""What a user chooses about an import or a copy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from pgchroma.transfer.preparing import Nested

__all__ = ("EXISTING", "Existing", "TransferOptions")

Existing: TypeAlias = Literal["refuse", "skip", "add", "replace"]
"""What happens if the target has a collection of the name: the transfer is refused before it
writes anything; the collection is left alone; records with new ids are added to it; or it is
deleted once the new collection is complete."""

EXISTING: Final[tuple[Existing, ...]] = get_args(Existing)


@dataclass(frozen=True, slots=True)
class TransferOptions:
    """How records are transferred.

    Attributes:
        batch_size: The number of records in one write.
        existing: What happens to collections of the same names.
        nested: What happens to nested objects in metadata.
        is_embedding: Whether missing embeddings are computed from documents.
        embedding_function: The name of the function for that; `None` means the one that the
            collection stores.
    """

    batch_size: int = 1_000
    existing: Existing = "refuse"
    nested: Nested = "report"
    is_embedding: bool = False
    embedding_function: str | None = None

    def digested(self) -> tuple[str, ...]:
        """Return the choices that change records: a transfer continues only one with the same."""
        return self.nested, str(self.is_embedding), self.embedding_function or ""
