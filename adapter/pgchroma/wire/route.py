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
"""What clients and proxies take out of a path, and then ask for something else than was meant."""

R = TypeVar("R")
O = TypeVar("O", bound=Operation[Any])  # noqa: E741

PREFIX: Final = "/api/v2"

SMALL: Final = 1 << 20
"""Bytes of a body that describes something, and carries no records."""

MIN_DATABASE_NAME: Final = 3

Access: TypeAlias = Literal["public", "known", "sight", "read", "write", "admin", "operator"]
"""Who may ask: anybody; whoever shows a credential; whoever's scope lies within the tenant or
database that is looked up; whoever has this role over what the path names; an admin of
everything, whatever the path names."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request between JSON and operation.

    Attributes:
        path: The values of the path's parameters, by name, decoded.
        query: The query string's parameters, a struct of the route's type; None: has none.
        body: The body, a struct of the route's type; None: has none.
    """

    path: Mapping[str, str] = field(default_factory=dict)
    query: Any = None
    body: Any = None

    @property
    def scope(self) -> DatabaseRef:
        """The tenant and database the path names."""
        return database_ref(self.path["tenant"], self.path["database"])

    @property
    def collection(self) -> CollectionRef:
        """The collection the path names by its id."""
        return CollectionRef(self.scope, collection_id(self.path["collection_id"]))


@dataclass(frozen=True, slots=True)
class Route(Generic[O, R]):
    """How one operation travels.

    Attributes:
        name: The operation's id in the OpenAPI document, which is Chroma's.
        path: Below ``/api/v2``, with parameters in braces.
        encode: The operation's request; `decode` is its inverse.
        respond: The answer as what `encode_json` takes; `read` is its inverse on parsed JSON.
        response: The shape of the answer, for the OpenAPI document.
        query: The shape of the query string, if it has one.
        body: The shape of the body, if it has one.
        status: The HTTP status of a success.
        is_idempotent: Whether asking again does no harm when it is not known what became of it.
        most_bytes: The length of the longest body; None: the server's settings say.
    """

    operation: type[O]
    name: str
    method: str
    path: str
    access: Access
    encode: Callable[[O], Request]
    decode: Callable[[Request], O]
    respond: Callable[[Request, R], Any]
    read: Callable[[O, Any], R]
    response: Any
    query: Any = None
    body: Any = None
    status: int = 200
    is_idempotent: bool = False
    most_bytes: int | None = SMALL

    def url(self, request: Request) -> str:
        """Write the path, and the query string if there is one.

        Raises:
            NotFoundError: A name in the path is none that anything can have.
        """
        for value in request.path.values():
            if value in _UNNAMEABLE:
                raise NotFoundError(f"[{value}] does not exist")
        path = self.path.format_map({k: quote(v, safe="") for k, v in request.path.items()})
        if request.query is None:
            return PREFIX + path
        given = msgspec.to_builtins(request.query)
        query = "&".join(f"{k}={quote(str(v))}" for k, v in given.items() if v is not None)
        return f"{PREFIX}{path}?{query}" if query else PREFIX + path

    def parse(
        self, path: Mapping[str, str], query: Mapping[str, str], body: bytes | None
    ) -> Request:
        """Read a request that came in.

        Args:
            path: The path's parameters, by name, from `read_path`.
            query: The query string's parameters, decoded.
            body: The body; ignored where the route has none.

        Raises:
            InvalidArgumentError: The body is not JSON, or the query string is malformed.
            MalformedRequestError: The body is JSON of another shape.
        """
        return Request(
            path,
            None if self.query is None else _parse_query(query, self.query),
            None if self.body is None else read_body(body or b"", self.body),
        )


def read_path(template: str, values: Iterable[str]) -> dict[str, str]:
    """Name and decode the values of a path's parameters, which come percent-encoded.

    Raises:
        InvalidArgumentError: One is not UTF-8.
    """
    return dict(zip(_PARAMETER.findall(template), map(_unquote, values), strict=True))


def encode_json(value: Any) -> bytes:
    """Write JSON; numpy arrays of float32 with the fewest digits that read back the same."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY, default=msgspec.structs.asdict)


def database_ref(tenant: str, database: str) -> DatabaseRef:
    """Check the names in a path."""
    if len(database) < MIN_DATABASE_NAME:
        raise InvalidArgumentError("database name must be at least 3 characters")
    return DatabaseRef(check_looked_up(tenant), check_looked_up(database))


def collection_id(text: str, message: str = "Collection ID is not a valid UUIDv4") -> UUID:
    """Read a collection's id.

    Raises:
        InvalidArgumentError: It is none; with the message given.
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
