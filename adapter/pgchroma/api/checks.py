"""Chroma's functions that check the arguments of a collection's methods, under its names."""

from __future__ import annotations

from inspect import signature
from typing import Any

import numpy as np

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
validate_ids = check_ids
validate_n_results = check_n_results


def validate_where(where: Any) -> None:
    """Check a metadata filter.

    Raises:
        ValueError: It is malformed.
    """
    check_where(where)


def validate_where_document(where_document: Any) -> None:
    """Check a document filter.

    Raises:
        ValueError: It is malformed.
    """
    check_where_document(where_document)


def validate_metadata(metadata: Any) -> Any:
    """Check a record's metadata, and return it.

    Raises:
        ValueError: It is not a dictionary, it is empty, or a value cannot be stored.
        TypeError: A key is not a string.
    """
    check_metadatas([metadata])
    return metadata


def validate_update_metadata(metadata: Any) -> Any:
    """Check the metadata of an update, and return it; see `validate_metadata`."""
    check_metadatas([metadata], is_update=True)
    return metadata


def validate_metadatas(metadatas: Any) -> Any:
    """Check a list of metadata, and return it; see `validate_metadata`."""
    check_metadatas(metadatas)
    return metadatas


def validate_include(include: Any, dissalowed: Any = None) -> None:
    """Check the names of columns.

    Args:
        include: The names.
        dissalowed: Names that must not be among them; the parameter is spelled as in Chroma.

    Raises:
        ValueError: A name is unknown or not allowed.
    """
    check_include(include, disallowed=dissalowed or ())


def validate_documents(documents: Any, nullable: bool = False) -> None:
    """Check a list of documents.

    Raises:
        ValueError: One is not a string; None is allowed if they are `nullable`.
    """
    if not isinstance(documents, list):
        raise ValueError(f"Expected documents to be a list, got {type(documents).__name__}")
    check_documents(documents, nullable=nullable)


def validate_images(images: Any) -> None:
    """Check a list of images.

    Raises:
        ValueError: One is not an array of at least two dimensions.
    """
    if not isinstance(images, list):
        raise ValueError(f"Expected images to be a list, got {type(images).__name__}")
    check_images(images)


def validate_batch(batch: tuple[Any, ...], limits: dict[str, Any]) -> None:
    """Check that a batch, whose first column is the ids, is not larger than one call may write.

    Raises:
        ValueError: It is.
    """
    check_batch_size(batch[0], limits["max_batch_size"])


def validate_embedding_function(embedding_function: Any) -> None:
    """Check that a function is called with one argument, `input`.

    Raises:
        ValueError: It is called otherwise.
    """
    parameters = list(signature(type(embedding_function).__call__).parameters)
    if parameters != ["self", "input"]:
        raise ValueError(
            f"Expected EmbeddingFunction.__call__ to have the following signature: (self, input), "
            f"got ({', '.join(parameters)})"
        )


def validate_sparse_embedding_function(sparse_vector_function: Any) -> None:
    """Check that a sparse function is called with one argument, `input`.

    Raises:
        ValueError: It is called otherwise.
    """
    validate_embedding_function(sparse_vector_function)


def is_document(target: Any) -> bool:
    """Whether the target is a text."""
    return isinstance(target, str)


def is_image(target: Any) -> bool:
    """Whether the target is an array of at least two dimensions."""
    return isinstance(target, np.ndarray) and target.ndim >= 2  # noqa: PLR2004


def convert_np_embeddings_to_list(embeddings: Any) -> list[list[float]]:
    """Return arrays as lists."""
    return [embedding.tolist() for embedding in embeddings]


def convert_list_embeddings_to_np(embeddings: Any) -> list[Any]:
    """Return lists as arrays."""
    return [np.array(embedding) for embedding in embeddings]
