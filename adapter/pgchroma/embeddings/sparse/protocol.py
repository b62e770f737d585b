"""The protocol of sparse embedding functions, and the checks of their results."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

from pgchroma.embeddings.protocol import Embeddable, call_with_retries, check_calls
from pgchroma.model.sparse import SparseVector, SparseVectors

__all__ = ("SparseEmbeddingFunction", "normalize_sparse_vector", "validate_sparse_vectors")

D_contra = TypeVar("D_contra", bound=Embeddable, contravariant=True)


@runtime_checkable
class SparseEmbeddingFunction(Protocol[D_contra]):
    """Turns documents into sparse vectors. Subclass it to use your own model.

    A subclass implements ``__call__``, ``__init__``, ``name``, ``get_config`` and
    ``build_from_config``, and is registered with ``register_sparse_embedding_function``. If
    ``__call__`` does not return sparse vectors, the caller gets a ``ValueError``.
    """

    @abstractmethod
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Set the settings."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        check_calls(cls, SparseEmbeddingFunction, validate_sparse_vectors)

    @abstractmethod
    def __call__(self, input: D_contra) -> SparseVectors:
        """Embed documents to store: one sparse vector each, in their order."""

    def embed_query(self, input: D_contra) -> SparseVectors:
        """Embed queries. Unless overridden, they are embedded like documents."""
        return self(input)

    def embed_with_retries(self, input: D_contra, **retry_kwargs: Any) -> SparseVectors:
        """Call the function until it succeeds.

        Args:
            input: The documents.
            retry_kwargs: Arguments of ``tenacity.retry``. The default is to retry immediately,
                without a limit.
        """
        return cast("SparseVectors", call_with_retries(self.__call__, input, retry_kwargs))

    @staticmethod
    @abstractmethod
    def name() -> str:
        """Return the name of the class in the registry."""

    @abstractmethod
    def get_config(self) -> dict[str, Any]:
        """Return the settings to store: JSON values without secrets."""

    @staticmethod
    @abstractmethod
    def build_from_config(config: dict[str, Any]) -> SparseEmbeddingFunction[D_contra]:
        """Build the function from the settings that ``get_config`` returned."""

    def validate_config_update(
        self, old_config: dict[str, Any], new_config: dict[str, Any]
    ) -> None:
        """Raise an error if a collection must not change from the old settings to the new."""
        return

    @staticmethod
    def validate_config(config: dict[str, Any]) -> None:
        """Raise an error if ``build_from_config`` does not accept the settings."""
        return


def normalize_sparse_vector(
    indices: Sequence[int], values: Sequence[float], labels: Sequence[str] | None = None
) -> SparseVector:
    """Return a sparse vector of dimensions in any order.

    Raises:
        ValueError: The lists differ in length, a dimension occurs twice, or an error of
            `SparseVector`.
    """
    order = sorted(range(len(indices)), key=indices.__getitem__)
    if len(values) != len(indices) or (labels is not None and len(labels) != len(indices)):
        # `SparseVector` raises the error.
        return SparseVector(list(indices), list(values), None if labels is None else list(labels))
    return SparseVector(
        [indices[n] for n in order],
        [values[n] for n in order],
        [labels[n] for n in order] if labels is not None and order else None,
    )


def validate_sparse_vectors(vectors: object) -> SparseVectors:
    """Return sparse vectors if they are a non-empty list of them.

    Raises:
        ValueError: They are not. The message has the position and the type.
    """
    if not isinstance(vectors, list):
        raise ValueError(f"Expected sparse vectors to be a list, got {type(vectors).__name__}")
    if not vectors:
        raise ValueError("Expected sparse vectors to be a non-empty list, got 0 sparse vectors")
    for position, vector in enumerate(vectors):
        if not isinstance(vector, SparseVector):
            raise ValueError(
                f"Expected SparseVector instance at position {position}, got "
                f"{type(vector).__name__}"
            )
    return vectors
