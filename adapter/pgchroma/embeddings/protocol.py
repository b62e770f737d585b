"""The protocol of embedding functions, and the checks of every vector that they return."""

from __future__ import annotations

from abc import abstractmethod
from typing import (
    TYPE_CHECKING,
    Any,
    Protocol,
    TypeAlias,
    TypeVar,
    cast,
    runtime_checkable,
)
from warnings import warn

import numpy as np

from pgchroma.model.plain import brief
from pgchroma.model.types import (
    Document,
    Documents,
    Embedding,
    Embeddings,
    Image,
    Images,
    Space,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = (
    "DataLoader",
    "Document",
    "Documents",
    "Embeddable",
    "Embedding",
    "EmbeddingFunction",
    "Embeddings",
    "Image",
    "Images",
    "Loadable",
    "Space",
    "normalize_embeddings",
    "validate_embeddings",
)

Embeddable: TypeAlias = Documents | Images
Loadable: TypeAlias = list[Image | None]

D_contra = TypeVar("D_contra", bound=Embeddable, contravariant=True)
L_co = TypeVar("L_co", bound=Loadable, covariant=True)

_PLAIN = frozenset({int, float, list, np.ndarray})
_NUMBERS = frozenset(map(np.dtype, (np.float16, np.float32, np.float64, np.int32, np.int64)))


@runtime_checkable
class EmbeddingFunction(Protocol[D_contra]):
    """Turns documents or images into vectors. Subclass it to use your own model.

    A subclass implements ``__call__``. A collection can store the function, so that you need not
    pass it again, if the subclass also implements ``__init__``, ``name``, ``get_config`` and
    ``build_from_config`` and is registered with ``register_embedding_function``. A function without
    these methods is *legacy*: it works, but warns, and must be passed each time.

    ``__call__`` of a subclass can return a matrix, a list of lists or a list of arrays. The caller
    gets a list of float32 arrays, or a ``ValueError`` if the result has another form.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _warn_missing(type(self), "__init__")

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        check_calls(
            cls, EmbeddingFunction, lambda made: validate_embeddings(normalize_embeddings(made))
        )

    @abstractmethod
    def __call__(self, input: D_contra) -> Embeddings:
        """Embed documents or images to store: one vector each, in their order."""

    def embed_query(self, input: D_contra) -> Embeddings:
        """Embed queries. Unless overridden, they are embedded like documents."""
        return self(input)

    def embed_with_retries(self, input: D_contra, **retry_kwargs: Any) -> Embeddings:
        """Call the function until it succeeds.

        Args:
            input: The documents or images.
            retry_kwargs: Arguments of ``tenacity.retry``. The default is to retry immediately,
                without a limit.
        """
        return cast("Embeddings", call_with_retries(self.__call__, input, retry_kwargs))

    @staticmethod
    def name() -> str:
        """Return the name of the class in the registry, which a collection stores."""
        _warn_missing(EmbeddingFunction, "name()")
        return cast("str", NotImplemented)

    def get_config(self) -> dict[str, Any]:
        """Return the settings that a collection stores: JSON values without secrets."""
        _warn_missing(type(self), "get_config()")
        return cast("dict[str, Any]", NotImplemented)

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> EmbeddingFunction[D_contra]:
        """Build the function from the settings that ``get_config`` returned."""
        _warn_missing(EmbeddingFunction, "build_from_config()")
        return cast("EmbeddingFunction[D_contra]", NotImplemented)

    def default_space(self) -> Space:
        """Return the distance of a new collection that is created without one."""
        return "l2"

    def supported_spaces(self) -> list[Space]:
        """Return the distances that are meaningful for this function's vectors."""
        return ["cosine", "l2", "ip"]

    def validate_config_update(
        self, old_config: dict[str, Any], new_config: dict[str, Any]
    ) -> None:
        """Raise an error if a collection must not change from the old settings to the new."""
        return

    @staticmethod
    def validate_config(config: dict[str, Any]) -> None:
        """Raise an error if ``build_from_config`` does not accept the settings."""
        return

    def is_legacy(self) -> bool:
        """Whether a collection cannot store the function.

        The check builds the function from its own settings, and raises the errors of that.
        """
        if self.name() is NotImplemented:
            return True
        config = self.get_config()
        return config is NotImplemented or self.build_from_config(config) is NotImplemented


class DataLoader(Protocol[L_co]):
    """Loads the content of URIs, in their order."""

    def __call__(self, uris: Sequence[str | None]) -> L_co:
        """Load the content of each URI. A URI can be ``None``."""


def _warn_missing(owner: type, method: str) -> None:
    warn(
        f"The class {owner.__name__} does not implement {method}. "
        "This will be required in a future version.",
        DeprecationWarning,
        stacklevel=3,
    )


def check_calls(subclass: Any, base: Any, check: Callable[[object], object]) -> None:
    """Wrap the ``__call__`` of a subclass so that its result is checked, unless it already is.

    Args:
        subclass: The class.
        base: The protocol, whose own method returns nothing.
        check: Returns the result in the right form, or raises `ValueError`.
    """
    call = subclass.__call__
    if getattr(call, "_is_checked", call is base.__call__):
        return

    # The parameter has the name `input` even if the subclass's has another, so that callers can
    # pass it by name.
    def __call__(self: Any, input: Any) -> object:  # noqa: N807
        return check(call(self, input))

    __call__.__doc__ = call.__doc__
    __call__._is_checked = True  # type: ignore[attr-defined]
    subclass.__call__ = __call__


def call_with_retries(
    call: Callable[..., object], input: Any, retry_kwargs: dict[str, Any]
) -> object:
    """Call an embedding function until it succeeds, with arguments for ``tenacity.retry``."""
    # Imported here, because tenacity imports asyncio, which most programs do not need.
    from tenacity import retry  # noqa: PLC0415

    return retry(**retry_kwargs)(call)(input)


def normalize_embeddings(target: object) -> Embeddings:
    """Return one vector or several in the internal form, a list of float32 arrays.

    A matrix is converted as a whole, and the results are views of its rows. A list of lists of
    equal lengths is converted in the same way. Arrays of float32 are not copied.

    Args:
        target: A list of numbers, a list of such lists, a 1- or 2-dimensional array, or a list of
            arrays. Tuples are accepted as lists, and objects that numpy can convert, such as
            tensors, as arrays.

    Raises:
        ValueError: The target is empty or has another form.
    """
    try:
        return _normalized(_as_array(target))
    except (TypeError, OverflowError) as error:
        # A row that is not a list, or a value that is not a number or too large for a float.
        raise _kind_error(target) from error


def _as_array(target: object) -> object:
    """Convert tensors to arrays and tuples to lists, at both levels."""
    if isinstance(target, tuple):
        target = list(target)
    if isinstance(target, list):
        is_plain = all(type(each) in _PLAIN for each in target)
        return target if is_plain else [_as_row(each) for each in target]
    return _as_row(target)


def _as_row(value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    # numpy's numbers become part of an array with the others.
    if isinstance(value, np.ndarray | np.generic) or not hasattr(value, "__array__"):
        return value
    try:
        return np.asarray(value)
    except Exception as error:
        # A tensor on another device, or one with gradients. Its message has the reason.
        raise ValueError(
            f"Expected embeddings to be numbers, got a {type(value).__name__} that cannot be "
            f"converted to an array: {brief(str(error))}"
        ) from error


def _normalized(target: object) -> Embeddings:
    match target:
        case list([]) | np.ndarray(shape=(0, *_)):
            raise ValueError(
                f"Expected Embeddings to be non-empty list or numpy array, got {brief(target)}"
            )
        case np.ndarray(ndim=1):
            return [_as_float32(target)]
        case np.ndarray(ndim=2):
            return list(_as_float32(target))
        case list([np.ndarray(), *_]):
            return [_as_float32(each) for each in target]
        case list([first, *_]) if _is_number(first):
            return [np.array(target, dtype=np.float32)]
        case list([list([first, *_]), *_]) if _is_number(first):
            return _stack(target)
    raise _kind_error(target)


def _kind_error(target: object) -> ValueError:
    return ValueError(
        "Expected embeddings to be a list of floats or ints, a list of lists, a numpy array, "
        f"or a list of numpy arrays, got {brief(target)}"
    )


def _is_number(value: object) -> bool:
    is_number = isinstance(value, int | float | np.integer | np.floating)
    return is_number and not isinstance(value, bool)


def _as_float32(array: Any) -> Any:
    # Anything else stays unchanged, and the validation raises the error.
    if isinstance(array, np.ndarray) and array.dtype in _NUMBERS:
        return array.astype(np.float32, copy=False)
    return array


def _stack(rows: list[list[float]]) -> Embeddings:
    if len(set(map(len, rows))) == 1:
        return list(np.array(rows, dtype=np.float32))
    return [np.array(row, dtype=np.float32) for row in rows]


def validate_embeddings(embeddings: Embeddings) -> Embeddings:
    """Return embeddings if they are a non-empty list of 1-dimensional arrays of numbers.

    Raises:
        ValueError: They are not. The message has the position and the type.
    """
    if not isinstance(embeddings, list | np.ndarray):
        raise ValueError(f"Expected embeddings to be a list, got {type(embeddings).__name__}")
    if len(embeddings) == 0:
        raise ValueError(
            "Expected embeddings to be a list with at least one item, got 0 embeddings"
        )
    if kinds := {type(each).__name__ for each in embeddings if not isinstance(each, np.ndarray)}:
        raise ValueError(
            f"Expected each embedding in the embeddings to be a numpy array, got {sorted(kinds)}"
        )
    for position, embedding in enumerate(embeddings):
        _validate_embedding(embedding, position)
    return embeddings


def _validate_embedding(embedding: Embedding, position: int) -> None:
    if embedding.ndim != 1:
        raise ValueError(
            f"Expected a 1-dimensional array, got a {embedding.ndim}-dimensional array "
            f"{brief(embedding)}"
        )
    if embedding.size == 0:
        raise ValueError(
            "Expected each embedding in the embeddings to be a 1-dimensional numpy array with at "
            "least 1 int/float value. Got a 1-dimensional numpy array with no values at pos "
            f"{position}"
        )
    if embedding.dtype not in _NUMBERS:
        raise ValueError(
            "Expected each value in the embedding to be a int or float, got an embedding with "
            f"{embedding.dtype} - {brief(embedding)}"
        )
