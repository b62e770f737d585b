"""Chroma's functions that check the arguments of a collection's methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgchroma.client.arguments.checks import (
    as_list,
    check_batch_size,
    check_documents,
    check_ids,
    check_images,
    check_include,
    check_metadatas,
    check_n_results,
)
from pgchroma.client.arguments.where import check_where, check_where_document
from pgchroma.embeddings.protocol import EmbeddingFunction
from pgchroma.embeddings.sparse.protocol import SparseEmbeddingFunction
from pgchroma.model.types import (
    Document,
    Documents,
    IDs,
    Images,
    Include,
    Metadata,
    Metadatas,
    PyVector,
    UpdateMetadata,
    WhereDocument,
    WhereLike,
)

__all__ = (
    "convert_list_embeddings_to_np",
    "convert_np_embeddings_to_list",
    "is_document",
    "is_image",
    "maybe_cast_one_to_many",
    "validate_batch",
    "validate_documents",
    "validate_embedding_function",
    "validate_ids",
    "validate_images",
    "validate_include",
    "validate_metadata",
    "validate_metadatas",
    "validate_n_results",
    "validate_sparse_embedding_function",
    "validate_update_metadata",
    "validate_where",
    "validate_where_document",
)

maybe_cast_one_to_many = as_list


def validate_ids(ids: IDs) -> IDs:
    """Check a list of ids, and return it.

    Raises:
        ValueError: The list is empty, or an id is not a string.
        DuplicateIDError: An id is there twice.
    """
    return check_ids(ids)


def validate_n_results(n_results: int) -> int:
    """Check a number of results, and return it.

    Raises:
        ValueError: It is not an int.
        TypeError: It is not positive.
    """
    return check_n_results(n_results)


def validate_where(where: WhereLike) -> None:
    """Check a metadata filter.

    Raises:
        ValueError: The filter is malformed.
    """
    check_where(where)


def validate_where_document(where_document: WhereDocument) -> None:
    """Check a document filter.

    Raises:
        ValueError: The filter is malformed.
    """
    check_where_document(where_document)


def validate_metadata(metadata: Metadata) -> Metadata:
    """Check a record's metadata, and return it.

    Raises:
        ValueError: It is not a dictionary, it is empty, or a value cannot be stored.
        TypeError: A key is not a string.
    """
    check_metadatas([metadata])
    return metadata


def validate_update_metadata(metadata: UpdateMetadata) -> UpdateMetadata:
    """Check the metadata of an update, and return it; see `validate_metadata`."""
    check_metadatas([metadata], is_update=True)
    return metadata


def validate_metadatas(metadatas: Metadatas) -> Metadatas:
    """Check a list of metadata, and return it; see `validate_metadata`."""
    check_metadatas(metadatas)
    return metadatas


def validate_include(include: Include, dissalowed: Include | None = None) -> None:
    """Check the names of columns.

    Args:
        include: The names.
        dissalowed: Names that are not allowed. The parameter is spelled as in Chroma.

    Raises:
        ValueError: A name is unknown or not allowed.
    """
    check_include(include, disallowed=dissalowed or ())


def validate_documents(
    documents: Documents | list[Document | None], nullable: bool = False
) -> None:
    """Check a list of documents.

    Raises:
        ValueError: A document is not a string. With `nullable`, None is allowed.
    """
    if not isinstance(documents, list):
        raise ValueError(f"Expected documents to be a list, got {type(documents).__name__}")
    check_documents(documents, nullable=nullable)


def validate_images(images: Images) -> None:
    """Check a list of images.

    Raises:
        ValueError: An image is not an array of at least two dimensions.
    """
    if not isinstance(images, list):
        raise ValueError(f"Expected images to be a list, got {type(images).__name__}")
    check_images(images)


def validate_batch(batch: tuple[IDs, *tuple[Any, ...]], limits: Mapping[str, Any]) -> None:
    """Check that a batch, whose first column is the ids, is not larger than the limit.

    Raises:
        ValueError: The batch is too large.
    """
    check_batch_size(batch[0], limits["max_batch_size"])


def validate_embedding_function(embedding_function: EmbeddingFunction[Any]) -> None:
    """Check that a function has one parameter, `input`.

    Raises:
        ValueError: It has other parameters.
    """
    _check_call(embedding_function)


def validate_sparse_embedding_function(
    sparse_vector_function: SparseEmbeddingFunction[Any],
) -> None:
    """Check that a sparse function has one parameter, `input`.

    Raises:
        ValueError: It has other parameters.
    """
    _check_call(sparse_vector_function)


def is_document(target: Any) -> bool:
    """Whether the target is a string."""
    return isinstance(target, str)


def is_image(target: Any) -> bool:
    """Whether the target is an array of at least two dimensions."""
    return isinstance(target, np.ndarray) and target.ndim >= 2  # noqa: PLR2004


def convert_np_embeddings_to_list(embeddings: Sequence[NDArray[Any]]) -> list[list[float]]:
    """Return arrays as lists."""
    return [embedding.tolist() for embedding in embeddings]


def convert_list_embeddings_to_np(embeddings: Sequence[PyVector]) -> list[NDArray[Any]]:
    """Return lists as arrays."""
    return [np.array(embedding) for embedding in embeddings]


def _check_call(function: object) -> None:
    parameters = list(signature(type(function).__call__).parameters)
    if parameters != ["self", "input"]:
        raise ValueError(
            f"Expected EmbeddingFunction.__call__ to have the following signature: (self, input), "
            f"got ({', '.join(parameters)})"
        )
