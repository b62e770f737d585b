"""The checks of Chroma's client before it sends a request, with its messages and exceptions.

These checks find mistakes of callers in Python. `pgchroma.model` validates all values again when
operations are created.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence, Sized
from contextlib import contextmanager
from typing import Any, TypeVar, get_args

import numpy as np

from pgchroma.embeddings.protocol import normalize_embeddings, validate_embeddings
from pgchroma.errors import DuplicateIDError, MissingExtraError
from pgchroma.model.metadata import fits_int64
from pgchroma.model.plain import brief, plain_scalar, shown
from pgchroma.model.plain_metadata import SCALARS, are_plain_dicts, keys_of, values_of
from pgchroma.model.sparse import is_sparse
from pgchroma.model.types import IncludeColumn

__all__ = (
    "as_list",
    "check_batch_size",
    "check_documents",
    "check_ids",
    "check_images",
    "check_include",
    "check_lengths",
    "check_metadatas",
    "check_n_results",
    "check_page",
    "clean_embeddings",
    "naming_method",
)

T = TypeVar("T")

_SHOWN_DUPLICATES = 10


@contextmanager
def naming_method(name: str) -> Generator[None, None, None]:
    """Append the name of the method to the message of every exception raised inside."""
    try:
        yield
    except MissingExtraError:
        raise  # the message ends with a command
    except Exception as error:
        message = str(error.args[0]) if error.args else str(error)
        error.args = (f"{message} in {name}.", *error.args[1:])
        raise


def as_list(value: T | list[T] | None) -> list[T] | None:
    """Return a list of a single value; lists and None are returned unchanged."""
    return value if value is None or isinstance(value, list) else [value]


def check_ids(ids: Any) -> list[str]:
    """Check that ids are a non-empty list of unique texts, and return them.

    Raises:
        ValueError: The list is empty, or an id is not a text.
        DuplicateIDError: Two ids are equal.
    """
    if not isinstance(ids, list):
        raise ValueError(f"Expected IDs to be a list, got {type(ids).__name__} as IDs")
    if not ids:
        raise ValueError("Expected IDs to be a non-empty list, got 0 IDs")
    plain = [plain_scalar(id) for id in ids]
    for id in plain:
        if not isinstance(id, str):
            raise ValueError(f"Expected ID to be a str, got {brief(id)}")
    if len(set(plain)) != len(plain):
        raise DuplicateIDError(_duplicates_message(plain))
    return plain


def check_metadatas(metadatas: Any, *, is_update: bool = False) -> None:
    """Check a list of metadata dictionaries, each of which may be None."""
    if not isinstance(metadatas, list):
        raise ValueError(f"Expected metadatas to be a list, got {brief(metadatas)}")
    if _are_plain(metadatas):
        return
    for metadata in metadatas:
        _check_metadata(metadata, is_update)


def check_documents(documents: list[Any], *, nullable: bool) -> None:
    """Check a list of documents. None is allowed only if the request has embeddings."""
    for document in documents:
        if document is None and nullable:
            continue
        if not isinstance(document, str):
            raise ValueError(f"Expected document to be a str, got {brief(document)}")


def check_images(images: list[Any]) -> None:
    """Check a list of images: arrays of at least two dimensions."""
    for image in images:
        if not isinstance(image, np.ndarray) or image.ndim < 2:  # noqa: PLR2004
            raise ValueError(f"Expected image to be a numpy array, got {shown(image)}")


def check_include(include: Any, *, disallowed: Sequence[str] = ()) -> list[IncludeColumn]:
    """Check the names of columns to return."""
    if not isinstance(include, list):
        raise ValueError(f"Expected include to be a list, got {brief(include)}")
    allowed = get_args(IncludeColumn)
    plain = [plain_scalar(item) for item in include]
    for item in plain:
        if not isinstance(item, str):
            raise ValueError(f"Expected include item to be a str, got {brief(item)}")
        if item not in allowed:
            expected = ", ".join(allowed)
            raise ValueError(f"Expected include item to be one of {expected}, got {brief(item)}")
        if item in disallowed:
            raise ValueError(f"Include item cannot be one of {', '.join(disallowed)}, got {item}")
    return plain


def check_n_results(n_results: Any) -> int:
    """Check the number of results, and return it."""
    count = plain_scalar(n_results)
    if isinstance(count, bool) or not isinstance(count, int):
        raise ValueError(
            f"Expected requested number of results to be a int, got {brief(n_results)}"
        )
    if count <= 0:
        raise TypeError(f"Number of requested results {brief(count)}, cannot be negative, or zero.")
    if not fits_int64(count):
        raise ValueError(f"Expected at most 2**63 - 1 results, got {brief(count)}")
    return count


def check_page(limit: Any, offset: Any) -> tuple[int | None, int | None]:
    """Check that limit and offset are integers in PostgreSQL's range, and return them."""
    return _check_count("limit", limit), _check_count("offset", offset)


def _check_count(name: str, count: Any) -> int | None:
    value = plain_scalar(count)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"Expected {name} to be an int, got {shown(count)}")
    if value < 0 or not fits_int64(value):
        raise ValueError(f"Expected {name} to be a non-negative integer, got {shown(value)}")
    return value


def check_lengths(columns: dict[str, Sized | None]) -> None:
    """Check that the columns of a request are not empty and have the same length."""
    given = {name: len(column) for name, column in columns.items() if column is not None}
    if not given:
        raise ValueError(f"At least one of one of {', '.join(columns)} must be provided")
    empty = [name for name, length in given.items() if length == 0]
    if empty:
        raise ValueError(f"Non-empty lists are required for {empty}")
    if len(set(given.values())) > 1:
        lengths = ", ".join(f"{name}: {length}" for name, length in given.items())
        raise ValueError(f"Unequal lengths for fields: {lengths}")


def check_batch_size(ids: Sized, max_size: int) -> None:
    """Check that a write has at most the allowed number of records."""
    if len(ids) > max_size:
        raise ValueError(f"Batch size {len(ids)} exceeds maximum batch size {max_size}")


def clean_embeddings(embeddings: Any) -> Any:
    """Return embeddings as a matrix or a list of vectors; one vector becomes a list of one."""
    if embeddings is None:
        return None
    if isinstance(embeddings, np.ndarray) and _is_matrix(embeddings):
        return embeddings
    return validate_embeddings(normalize_embeddings(embeddings))


def _is_matrix(embeddings: np.ndarray[Any, Any]) -> bool:
    return embeddings.ndim == 2 and embeddings.size > 0 and embeddings.dtype.kind in "fi"  # noqa: PLR2004


def _duplicates_message(ids: list[str]) -> str:
    seen: set[str] = set()
    duplicates = dict.fromkeys(id for id in ids if id in seen or seen.add(id))  # type: ignore[func-returns-value]
    shown = list(duplicates)[:_SHOWN_DUPLICATES]
    if len(duplicates) <= _SHOWN_DUPLICATES:
        return f"Expected IDs to be unique, found duplicates of: {', '.join(shown)}"
    return (
        f"Expected IDs to be unique, found {len(duplicates)} duplicated IDs: {', '.join(shown)}, …"
    )


def _are_plain(metadatas: list[Any]) -> bool:
    """Whether all metadata passes the checks, without finding out what does not."""
    return (
        are_plain_dicts(metadatas)
        and {} not in metadatas
        and "chroma:document" not in keys_of(metadatas)
        and set(map(type, values_of(metadatas))) <= SCALARS | {type(None)}
    )


def _check_metadata(metadata: Any, is_update: bool) -> None:
    if metadata is None:
        return
    if not isinstance(metadata, dict):
        raise ValueError(
            f"Expected metadata to be a dict or None, got {type(metadata).__name__} as metadata"
        )
    if not metadata:
        raise ValueError("Expected metadata to be a non-empty dict, got 0 metadata attributes")
    for key, value in metadata.items():
        _check_metadata_key(plain_scalar(key), is_update)
        _check_metadata_value(key, value)


def _check_metadata_key(key: Any, is_update: bool) -> None:
    if key == "chroma:document":
        raise ValueError("Expected metadata to not contain the reserved key chroma:document")
    if not isinstance(key, str):
        error = ValueError if is_update else TypeError
        raise error(
            f"Expected metadata key to be a str, got {brief(key)} which is a {type(key).__name__}"
        )


def _check_metadata_value(key: str, value: Any) -> None:
    if isinstance(value, list):
        _check_metadata_list(key, value)
    elif value is None or is_sparse(value):
        return
    elif not isinstance(plain_scalar(value), str | int | float):
        raise ValueError(
            "Expected metadata value to be a str, int, float, bool, SparseVector, list, or None, "
            f"got {brief(value)} which is a {type(value).__name__}"
        )


def _check_metadata_list(key: str, values: list[Any]) -> None:
    if not values:
        raise ValueError(f"Expected metadata list value for key '{brief(key)}' to be non-empty")
    kinds = {type(plain_scalar(value)) for value in values}
    if len(kinds) > 1 or not kinds <= {str, int, float, bool}:
        raise ValueError(
            f"Expected metadata list value for key '{brief(key)}' to contain only str, int, "
            "float, or bool and all elements must be the same type, "
            f"got {brief(values)}"
        )
