"""Litestar's handlers: one for each route, and those of paths without an operation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler

from pgchroma.model.operations import Heartbeat
from pgchroma.server.auth.headers import plain_headers
from pgchroma.server.auth.middleware import PUBLIC
from pgchroma.server.http.answers import json_answer
from pgchroma.server.http.dispatch import ANONYMOUS, Dispatcher, Incoming, authorize
from pgchroma.wire.paths import COLLECTION
from pgchroma.wire.route import PREFIX, Access, Route, read_path
from pgchroma.wire.routes import ROUTES, route_of

__all__ = ("UNIMPLEMENTED", "AnyRequest", "Respond", "handler", "handlers")

AnyRequest = Request[Any, Any, Any]
Respond = Callable[[AnyRequest], Awaitable[Response[Any]]]


def handlers(dispatcher: Dispatcher) -> list[HTTPRouteHandler]:
    """Return the handlers of all paths but those of the pages."""
    heartbeat = route_of(Heartbeat())
    return [
        *(_of_route(route, dispatcher) for route in ROUTES),
        handler("GET", PREFIX, "root", _answer(heartbeat, dispatcher), is_public=True),
        handler(
            "GET", f"{PREFIX}/healthcheck", "healthcheck", _healthcheck(dispatcher), is_public=True
        ),
        handler(
            "GET",
            f"{PREFIX}/pre-flight-checks",
            "pre_flight_checks",
            _limits(dispatcher),
            is_public=True,
        ),
        *(_unimplemented(*row) for row in UNIMPLEMENTED),
        handler(_V1_METHODS, "/api/v1/{rest:path}", "v1", _v1_removed, is_public=True),
    ]


def _of_route(route: Route[Any, Any], dispatcher: Dispatcher) -> HTTPRouteHandler:
    is_public = route.access == "public"
    return handler(
        route.method,
        PREFIX + positional(route.path),
        route.name,
        _answer(route, dispatcher),
        status=route.status,
        is_public=is_public,
    )


def _answer(route: Route[Any, Any], dispatcher: Dispatcher) -> Respond:
    async def answer(request: AnyRequest) -> Response[Any]:
        scope: Any = request.scope
        incoming = Incoming(
            scope,
            tuple(request.path_params.values()),
            request.query_params,
            plain_headers(scope["headers"]),
            scope.get("user") or ANONYMOUS,
            request.receive,
        )
        return (await dispatcher.dispatch(route, incoming)).to_response()

    return answer


def _healthcheck(dispatcher: Dispatcher) -> Respond:
    async def answer(_: AnyRequest) -> Response[Any]:
        is_ready = await dispatcher.is_ready()
        body = {"is_executor_ready": is_ready, "is_log_client_ready": is_ready}
        return json_answer(body, 200 if is_ready else 503).to_response()

    return answer


def _limits(dispatcher: Dispatcher) -> Respond:
    limits = dispatcher.limits
    body = {
        "max_batch_size": limits.max_batch_size,
        "supports_base64_encoding": True,
        "max_payload_size_bytes": limits.max_bytes,
    }

    async def answer(_: AnyRequest) -> Response[Any]:
        return json_answer(body).to_response()

    return answer


async def _v1_removed(request: AnyRequest) -> Response[Any]:
    body = {
        "error": "Unimplemented",
        "message": "The v1 API is deprecated. Please use /v2 apis",
    }
    return json_answer(body, 410).to_response()


def _unimplemented(
    method: str, path: str, name: str, access: Access, status: int, message: str
) -> HTTPRouteHandler:
    async def refuse(request: AnyRequest) -> Response[Any]:
        authorize(request.user, access, read_path(path, request.path_params.values()))
        error = "NotFoundError" if status == 404 else "ChromaError"  # noqa: PLR2004
        return json_answer({"error": error, "message": message}, status).to_response()

    return handler(method, PREFIX + positional(path), name, refuse)


def handler(
    method: Any,
    path: str,
    name: str,
    respond: Respond,
    *,
    status: int = 200,
    is_public: bool = False,
) -> HTTPRouteHandler:
    """Return a handler that answers a path with a function; a public one needs no credential."""

    async def handle(request: AnyRequest) -> Response[Any]:
        return await respond(request)

    handle.__name__ = name
    decorate = HTTPRouteHandler(
        path,
        http_method=method,
        status_code=status,
        operation_id=name,
        opt={PUBLIC: is_public},
    )
    return decorate(handle)


def positional(path: str) -> str:
    """Name a path's parameters by their positions.

    Litestar requires equal parameter names for routes that differ only in their method.
    """
    parts = path.split("/")
    return "/".join(
        f"{{p{position}:str}}" if part.startswith("{") else part
        for position, part in enumerate(parts)
    )


_V1_METHODS = ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"]


UNIMPLEMENTED: tuple[tuple[str, str, str, Access, int, str], ...] = (
    (
        "POST", COLLECTION + "/fork", "fork_collection", "write", 501,
        "Collection forking is unsupported for local chroma",
    ),
    (
        "GET", COLLECTION + "/fork_count", "fork_count", "read", 501,
        "Count forks is unsupported for local chroma",
    ),
    (
        "POST", COLLECTION + "/functions/attach", "attach_function", "write", 501,
        "attached functions are not implemented",
    ),
    (
        "GET", COLLECTION + "/functions/{function_name}", "get_attached_function", "read", 404,
        "Attached function not found",
    ),
    (
        "POST", COLLECTION + "/attached_functions/{name}/detach", "detach_function", "write",
        501, "attached functions are not implemented",
    ),
)  # fmt: skip
"""Routes that only Chroma Cloud implements: method, path, name, access, status and message."""
