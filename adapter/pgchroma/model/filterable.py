"""By what a collection's records may be filtered: the part of Chroma's schema that users choose.

Here everything can be filtered by, indexed or not. A schema that says a key has no index is kept,
and a filter by that key is refused as Chroma refuses it: whoever wrote it asked for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self, TypeAlias

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.filters import Comparison, TextMatch

__all__ = ("KINDS", "FilterableKeys", "Kind")

Kind: TypeAlias = Literal["string", "int", "float", "bool"]
KINDS: Final[tuple[Kind, ...]] = ("string", "int", "float", "bool")

_KIND_OF: Final[dict[type, tuple[Kind, str]]] = {
    str: ("string", "Str"),
    int: ("int", "Int"),
    float: ("float", "Float"),
    bool: ("bool", "Bool"),
}
"""An operand's type to its kind and to the word for it in Chroma's messages."""


@dataclass(frozen=True, slots=True)
class FilterableKeys:
    """What may be filtered by.

    Attributes:
        defaults: For kinds of values whether keys have an index; a kind that is missing has.
        keys: The same for single keys, which goes before the defaults.
        documents: Whether documents can be searched.
    """

    defaults: Mapping[Kind, bool] = field(default_factory=dict)
    keys: Mapping[str, Mapping[Kind, bool]] = field(default_factory=dict)
    documents: bool = True

    @classmethod
    def from_json(cls, stored: Mapping[str, Any] | None) -> Self:
        """Read back what `to_json` wrote; None: everything is indexed."""
        return cls() if stored is None else cls(**stored)

    def to_json(self) -> dict[str, Any] | None:
        """Everything, for the catalog; None if everything is indexed."""
        if self == FilterableKeys():
            return None
        return {"defaults": self.defaults, "keys": self.keys, "documents": self.documents}

    def declared_keys(self) -> tuple[str, ...]:
        """Name, sorted, the keys that the schema lists by themselves with an index of some kind.

        Keys that have theirs from the defaults are not listed, nor are ``#document`` and
        ``#embedding``, which are no metadata.
        """
        return tuple(sorted(key for key, kinds in self.keys.items() if any(kinds.values())))

    def check(self, leaf: Comparison | TextMatch) -> None:
        """Refuse a part of a filter that needs an index which is switched off.

        Raises:
            InvalidArgumentError: It does; the message names the key.
        """
        match leaf:
            case TextMatch() if not self.documents:
                raise InvalidArgumentError(
                    "Cannot filter using full-text search because FTS indexing is disabled"
                )
            case Comparison(key, _, operand) if not key.startswith("#"):
                first = operand[0] if isinstance(operand, tuple) else operand
                self._check_key(key, first)
            case _:
                pass

    def _check_key(self, key: str, operand: object) -> None:
        kind, word = _KIND_OF[type(operand)]
        default = self.defaults.get(kind, True)
        if not self.keys.get(key, {}).get(kind, default):
            raise InvalidArgumentError(
                f"Cannot filter using metadata key '{key}' with type '{word}' because indexing "
                "is disabled"
            )
