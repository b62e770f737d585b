"""Handle a request: authorize the caller, decode the operation, execute it, encode the answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from uuid import UUID

from litestar.types import HTTPScope, Receive

from pgchroma.backends._async.base import AsyncBackend
from pgchroma.errors import (
    ChromaError,
    InvalidArgumentError,
)
from pgchroma.model.credentials import Caller, Role, Target
from pgchroma.model.entities import Limits
from pgchroma.model.operations import (
    GetIdentity,
    Heartbeat,
    ModifyCollection,
    Operation,
)
from pgchroma.server.auth.authenticator import Authenticator, identity
from pgchroma.server.auth.headers import address_of
from pgchroma.server.http.answers import Answer, json_answer
from pgchroma.server.http.decoding import Codec
from pgchroma.server.http.errors import (
    PayloadTooLargeError,
    UnsupportedMediaTypeError,
    is_json,
)
from pgchroma.server.limits import RequestLimiter
from pgchroma.server.settings import ServerSettings
from pgchroma.wire.route import Access, Route, read_path

__all__ = ("ANONYMOUS", "Dispatcher", "Incoming", "authorize", "target_of")

R = TypeVar("R")

RECHECK_AFTER = 1.0
"""Seconds that a body may take to arrive before the credential is checked again."""

ANONYMOUS = Caller("", "read")


@dataclass(slots=True)
class Incoming:
    """A request to a known path.

    Attributes:
        values: The percent-encoded values of the path's parameters.
        query: The parameters of the query string.
        headers: The headers, from `plain_headers`.
        caller: The caller, if the path is not public.
        receive: Receives the body.
    """

    scope: HTTPScope
    values: Sequence[str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    caller: Caller
    receive: Receive


class Dispatcher:
    """Handles requests on a backend, within the limits of the settings."""

    def __init__(
        self,
        backend: AsyncBackend,
        authenticator: Authenticator,
        limiter: RequestLimiter,
        settings: ServerSettings,
    ) -> None:
        self.limits = Limits(settings.max_batch_size, settings.max_payload_size_bytes)
        self._backend = backend
        self._limiter = limiter
        self._authenticator = authenticator
        self._settings = settings
        self._codec = Codec()

    async def dispatch(self, route: Route[Any, Any], incoming: Incoming) -> Answer:
        """Handle a request of a route.

        Raises:
            ChromaError: The request is not allowed, malformed, or failed.
        """
        path = read_path(route.path, incoming.values)
        caller = incoming.caller
        if route.access != "public":
            # Before the body is read: a caller without permission should not cost the upload.
            authorize(caller, route.access, path)
        started = time.monotonic()
        body = await self._body(route, incoming) if route.body is not None else None
        parsed, operation = await self._codec.decode(route, path, incoming.query, body)
        self._check_size(operation)
        if route.access != "public" and time.monotonic() - started > RECHECK_AFTER:
            caller = await self._recheck(incoming, route.access, path)
        if isinstance(operation, ModifyCollection) and operation.name is not None:
            # Whether a name is free reveals other collections, which a key for one collection
            # may not see.
            caller.require("write", Target(path["tenant"], path["database"]))
        if isinstance(operation, GetIdentity):
            return json_answer(route.encode_response(parsed, identity(caller)))
        if isinstance(operation, Heartbeat):
            # It tells that the server is there; whether the database is, `is_ready` tells.
            return json_answer(route.encode_response(parsed, time.time_ns()))
        result = await self._execute(operation)
        if operation.invalidates_credentials:
            self._authenticator.forget()
        return await self._codec.encode(route, parsed, result)

    async def _recheck(self, incoming: Incoming, access: Access, path: Mapping[str, str]) -> Caller:
        # A body may take long to arrive: the credential may have been revoked since.
        address = address_of(incoming.scope)
        caller = await self._authenticator.authenticate(incoming.headers, address)
        authorize(caller, access, path)
        return caller

    async def is_ready(self) -> bool:
        """Whether the database answers."""
        try:
            await self._execute(Heartbeat())
        except ChromaError:
            return False
        return True

    async def _execute(self, operation: Operation[R]) -> R:
        async with self._limiter.slot():
            return await self._backend.execute(operation)

    async def _body(self, route: Route[Any, Any], incoming: Incoming) -> bytes:
        kind = incoming.headers.get("content-type")
        if kind is not None and not is_json(kind):
            raise UnsupportedMediaTypeError(
                "Expected request with `Content-Type: application/json`"
            )
        limit = self._settings.max_payload_size_bytes
        if route.max_bytes is not None:
            limit = min(limit, route.max_bytes)
        try:
            async with asyncio.timeout(self._settings.body_timeout):
                return await _read(incoming, limit)
        except TimeoutError as error:
            raise InvalidArgumentError(
                f"the body did not arrive within {self._settings.body_timeout:g} seconds"
            ) from error

    def _check_size(self, operation: Operation[Any]) -> None:
        settings = self._settings
        count, n_results = operation.records_sent(), operation.results_requested()
        if count > settings.max_batch_size:
            raise InvalidArgumentError(
                f"Batch size {count} exceeds maximum batch size {settings.max_batch_size}"
            )
        if settings.max_n_results is not None and n_results > settings.max_n_results:
            raise InvalidArgumentError(
                f"n_results {n_results} exceeds the maximum of {settings.max_n_results}"
            )


def authorize(caller: Caller, access: Access, path: Mapping[str, str]) -> None:
    """Check that a caller has the permission that a route requires.

    Raises:
        AuthorizationError: It does not.
    """
    if access == "operator":
        caller.require("admin", Target())
    elif access != "authenticated":
        role = cast("Role", "read" if access == "lookup" else access)
        caller.require(role, target_of(path, is_lookup=access == "lookup"))


def target_of(path: Mapping[str, str], *, is_lookup: bool = False) -> Target:
    """Return the target that the parameters of a path name."""
    return Target(
        path.get("tenant"),
        path.get("database"),
        _uuid(path.get("collection_id")),
        path.get("collection"),
        is_lookup=is_lookup,
    )


def _uuid(text: str | None) -> UUID | None:
    if text is None:
        return None
    try:
        return UUID(text)
    except ValueError:
        # No collection has this id; decoding the request raises the error.
        return UUID(int=0)


async def _read(incoming: Incoming, limit: int) -> bytes:
    declared = incoming.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise PayloadTooLargeError(_TOO_LARGE)
    chunks = []
    size = 0
    while True:
        message: Any = await incoming.receive()
        if message["type"] == "http.disconnect":
            # The client disconnected, or sent a malformed chunk.
            raise InvalidArgumentError("the body is incomplete")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise PayloadTooLargeError(_TOO_LARGE)
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)


_TOO_LARGE = "Failed to buffer the request body: length limit exceeded"
