"""A route: one operation's request and response, both ways."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar
from urllib.parse import quote, unquote
from uuid import UUID

import msgspec
import orjson

from pgchroma.errors import InvalidArgumentError, NotFoundError
from pgchroma.model.entities import DatabaseRef
from pgchroma.model.names import check_looked_up
from pgchroma.model.operations import CollectionRef, Operation
from pgchroma.wire.reading import read_body

__all__ = ("PREFIX", "Access", "Request", "Route", "encode_json", "read_path")

_PARAMETER: Final = re.compile(r"\{(\w+)\}")

_UNNAMEABLE: Final = ("", ".", "..")
"""Parts that clients and proxies remove from a path, so that it names something else."""

R = TypeVar("R")
O = TypeVar("O", bound=Operation[Any])  # noqa: E741

PREFIX: Final = "/api/v2"

SMALL_BODY_BYTES: Final = 1 << 20
"""The longest body of a request that carries no records."""

MIN_DATABASE_NAME: Final = 3

Access: TypeAlias = Literal[
    "public", "authenticated", "lookup", "read", "write", "admin", "operator"
]
"""What a route requires: nothing; a valid credential; a credential whose scope contains the tenant
or database that is looked up, or lies within it; this role on what the path names; the role admin
on everything, whatever the path names."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request between JSON and operation.

    Attributes:
        path: The decoded values of the path's parameters, by name.
        query: The parameters of the query string, a struct of the route's type. `None` means there
            is no query string.
        body: The body, a struct of the route's type. `None` means there is no body.
    """

    path: Mapping[str, str] = field(default_factory=dict)
    query: Any = None
    body: Any = None

    @property
    def scope(self) -> DatabaseRef:
        """The tenant and database that the path names."""
        return database_ref(self.path["tenant"], self.path["database"])

    @property
    def collection(self) -> CollectionRef:
        """The collection that the path names by its id."""
        return CollectionRef(self.scope, collection_id(self.path["collection_id"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Route(Generic[O, R]):
    """How an operation and its answer are sent over HTTP.

    Attributes:
        operation: The operation's class.
        name: The operation's id in the OpenAPI document. It is Chroma's.
        method: The HTTP method.
        path: The path below ``/api/v2``, with parameters in braces.
        access: What a caller needs to use the route.
        encode_request: Makes a request of an operation. `decode_request` is its inverse.
        encode_response: Makes a value that `encode_json` accepts of an answer. `decode_response` is
            its inverse, on parsed JSON.
        response: The shape of the answer, for the OpenAPI document.
        query: The shape of the query string, if there is one.
        body: The shape of the body, if there is one.
        example: An example of the body for the OpenAPI document. The examples of all routes fit
            together: each works once the one that creates its collection was sent.
        status: The HTTP status of a success.
        is_idempotent: Whether a client may send the request again if it does not know the outcome.
        max_bytes: The length of the longest body. `None` means that the server's settings limit it.
    """

    operation: type[O]
    name: str
    method: str
    path: str
    access: Access
    encode_request: Callable[[O], Request]
    decode_request: Callable[[Request], O]
    encode_response: Callable[[Request, R], Any]
    decode_response: Callable[[O, Any], R]
    response: Any
    query: Any = None
    body: Any = None
    example: Mapping[str, Any] | None = None
    status: int = 200
    is_idempotent: bool = False
    max_bytes: int | None = SMALL_BODY_BYTES

    def url(self, request: Request) -> str:
        """Return the path, with the query string if there is one.

        Raises:
            NotFoundError: The path contains a name that nothing can have.
        """
        for value in request.path.values():
            if value in _UNNAMEABLE:
                raise NotFoundError(f"[{value}] does not exist")
        path = self.path.format_map({k: quote(v, safe="") for k, v in request.path.items()})
        if request.query is None:
            return PREFIX + path
        parameters = msgspec.to_builtins(request.query)
        query = "&".join(f"{k}={quote(str(v))}" for k, v in parameters.items() if v is not None)
        return f"{PREFIX}{path}?{query}" if query else PREFIX + path

    def parse(
        self, path: Mapping[str, str], query: Mapping[str, str], body: bytes | None
    ) -> Request:
        """Parse an incoming request.

        Args:
            path: The path's parameters, by name, from `read_path`.
            query: The decoded parameters of the query string.
            body: The body. It is ignored if the route has none.

        Raises:
            InvalidArgumentError: The body is not JSON, or the query string is malformed.
            MalformedRequestError: The body is JSON, but has another shape.
        """
        return Request(
            path,
            None if self.query is None else _parse_query(query, self.query),
            None if self.body is None else read_body(body or b"", self.body),
        )


def read_path(template: str, values: Iterable[str]) -> dict[str, str]:
    """Return the decoded parameters of a path, by name.

    Args:
        template: A route's path, with parameters in braces.
        values: The percent-encoded values of its parameters.

    Raises:
        InvalidArgumentError: A value is not UTF-8.
    """
    return dict(zip(_PARAMETER.findall(template), map(_unquote, values), strict=True))


def encode_json(value: Any) -> bytes:
    """Return a value as JSON.

    An array of float32 is written with the fewest digits that are read back as the same numbers.
    """
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY, default=msgspec.structs.asdict)


def database_ref(tenant: str, database: str) -> DatabaseRef:
    """Return the database that a path names.

    Raises:
        InvalidArgumentError: A name is one that nothing can have.
    """
    if len(database) < MIN_DATABASE_NAME:
        raise InvalidArgumentError("database name must be at least 3 characters")
    return DatabaseRef(check_looked_up(tenant), check_looked_up(database))


def collection_id(text: str, message: str = "Collection ID is not a valid UUIDv4") -> UUID:
    """Return a collection's id.

    Args:
        text: The id.
        message: The message of the error.

    Raises:
        InvalidArgumentError: The text is not a UUID.
    """
    try:
        return UUID(text)
    except ValueError as error:
        raise InvalidArgumentError(message) from error


def _unquote(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(f"the path is not UTF-8: {text[:200]}") from error


def _parse_query(query: Mapping[str, str], shape: Any) -> Any:
    try:
        return msgspec.convert(dict(query), shape, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidArgumentError(f"Failed to deserialize query string: {error}") from error
