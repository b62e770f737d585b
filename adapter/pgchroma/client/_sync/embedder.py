# Generated from _async/embedder.py by tools/unasync.py; edit that and run `make fmt`.
"""How a collection embeds: with which function, and with which loader of data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pgchroma.client._sync.concurrency import in_thread
from pgchroma.client.functions import Function, resolve
from pgchroma.embeddings.protocol import (
    DataLoader,
    Embeddings,
    Loadable,
    normalize_embeddings,
    validate_embeddings,
)

__all__ = ("Embedder",)


class Embedder:
    """Embeds with a collection's function, and loads with its data loader.

    A collection and its table share one, so that both change to another function together.

    Attributes:
        data_loader: Loads the data at URIs, if the user passed a loader.
        is_trusting: Whether to apply addresses and remote code that a stored configuration names.
    """

    def __init__(
        self,
        given: Function | None,
        data_loader: DataLoader[Loadable] | None = None,
        persisted: Mapping[str, Any] | None = None,
        *,
        is_trusting: bool = False,
    ) -> None:
        """Make an embedder.

        Args:
            given: The function that the user passed.
            data_loader: Loads the data at URIs.
            persisted: The configuration of the function that the collection stores.
            is_trusting: Whether to apply addresses and remote code that this configuration names.
        """
        self.data_loader = data_loader
        self._given = given
        self._persisted = persisted
        self.is_trusting = is_trusting

    @property
    def has_given(self) -> bool:
        """Whether the user passed a function."""
        return self._given is not None

    def function(self) -> Function:
        """Return the function to embed with.

        Raises:
            ValueError: There is no function, or the stored one cannot be built here.
        """
        return resolve(self._given, self._persisted, is_trusted=self.is_trusting)

    def with_function(self, given: Function | None) -> Embedder:
        """Return an embedder with this loader and another function; None keeps the function."""
        return Embedder(
            self._given if given is None else given,
            self.data_loader,
            self._persisted,
            is_trusting=self.is_trusting,
        )

    def change(self, given: Function | None, persisted: Mapping[str, Any] | None) -> None:
        """Embed with another function from now on.

        Args:
            given: The function that the user passed; None keeps the one passed before.
            persisted: The configuration of the function that the collection stores now.
        """
        self._given = self._given if given is None else given
        self._persisted = persisted

    def embed(self, inputs: Sequence[Any]) -> Any:
        """Embed inputs to be stored; return what the function returns."""
        return in_thread(self.function(), inputs)

    def embed_queries(self, inputs: Sequence[Any]) -> Embeddings:
        """Embed queries."""
        function = self.function()
        # A plain callable has no embed_query, and a subclass's is not checked as its call is.
        embedded = in_thread(getattr(function, "embed_query", function), inputs)
        return validate_embeddings(normalize_embeddings(embedded))

    def load(self, uris: Sequence[str | None]) -> Loadable:
        """Load the data at URIs.

        Raises:
            ValueError: The collection has no data loader.
        """
        return in_thread(self.loader(), uris)

    def loader(self) -> DataLoader[Loadable]:
        """Return the data loader.

        Raises:
            ValueError: The collection has no data loader.
        """
        if self.data_loader is None:
            raise ValueError("You must set a data loader on the collection if loading from URIs.")
        return self.data_loader
