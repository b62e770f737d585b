"""What a sparse embedding function is, and the checks of what it returns."""

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
    """Turns documents into sparse vectors; subclass it to bring your own model.

    A subclass writes ``__call__``, ``__init__``, ``name``, ``get_config`` and
    ``build_from_config``, and is registered with ``register_sparse_embedding_function``. If
    ``__call__`` returns anything but sparse vectors, a ``ValueError`` reaches the caller instead.
    """

    @abstractmethod
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take the settings."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        check_calls(cls, SparseEmbeddingFunction, validate_sparse_vectors)

    @abstractmethod
    def __call__(self, input: D_contra) -> SparseVectors:
        """Embed documents to be stored; one sparse vector each, in their order."""

    def embed_query(self, input: D_contra) -> SparseVectors:
        """Embed what is searched for; the same as calling the function, unless overridden."""
        return self(input)

    def embed_with_retries(self, input: D_contra, **retry_kwargs: Any) -> SparseVectors:
        """Call the function until it succeeds.

        Args:
            input: What to embed.
            retry_kwargs: When to wait and to stop, as ``tenacity.retry`` takes them; without any,
                it tries at once and for ever.
        """
        return cast("SparseVectors", call_with_retries(self.__call__, input, retry_kwargs))

    @staticmethod
    @abstractmethod
    def name() -> str:
        """The word under which the class is found in the registry."""

    @abstractmethod
    def get_config(self) -> dict[str, Any]:
        """The settings to be stored, JSON values only and never a secret."""

    @staticmethod
    @abstractmethod
    def build_from_config(config: dict[str, Any]) -> SparseEmbeddingFunction[D_contra]:
        """Make the function again from what ``get_config`` gave."""

    def validate_config_update(
        self, old_config: dict[str, Any], new_config: dict[str, Any]
    ) -> None:
        """Raise if a collection with the old settings must not go on with the new ones."""
        return

    @staticmethod
    def validate_config(config: dict[str, Any]) -> None:
        """Raise if these settings are none that ``build_from_config`` understands."""
        return


def normalize_sparse_vector(
    indices: Sequence[int], values: Sequence[float], labels: Sequence[str] | None = None
) -> SparseVector:
    """Make a sparse vector of dimensions in any order.

    Raises:
        ValueError: The lists are of different lengths, a dimension stands there twice, or what
            `SparseVector` raises.
    """
    order = sorted(range(len(indices)), key=indices.__getitem__)
    if len(values) != len(indices) or (labels is not None and len(labels) != len(indices)):
        # Let it be told as of any other vector.
        return SparseVector(list(indices), list(values), None if labels is None else list(labels))
    return SparseVector(
        [indices[n] for n in order],
        [values[n] for n in order],
        [labels[n] for n in order] if labels is not None and order else None,
    )


def validate_sparse_vectors(vectors: object) -> SparseVectors:
    """Give sparse vectors back if they are a list of them that is not empty.

    Raises:
        ValueError: They are not; the message says what stands where.
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
