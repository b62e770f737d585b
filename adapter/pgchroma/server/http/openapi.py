"""The OpenAPI document, generated from the routes.

Operation ids, tags and parameter names are Chroma's, so that clients generated from Chroma's
document work with this one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from inspect import cleandoc
from typing import Any, Final

import msgspec

from pgchroma._version import __version__
from pgchroma.model.operations import Heartbeat
from pgchroma.server.http.errors import PLAIN_TEXT_ERRORS
from pgchroma.server.http.examples import example_of
from pgchroma.server.http.handlers import UNIMPLEMENTED
from pgchroma.wire.errors import ErrorBody
from pgchroma.wire.route import PREFIX, Access, Route
from pgchroma.wire.routes import ROUTES, route_of
from pgchroma.wire.system import HealthBody, HeartbeatBody, LimitsBody

__all__ = ("openapi",)

JSON: Final = "application/json"

_DESCRIPTION: Final = (
    "Chroma's REST API on PostgreSQL. `get_collection` finds a collection by its name; all other "
    "operations take its id."
)

_SECURITY_SCHEMES: Final = {
    "Bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
    "ApiKeyAuth": {
        "type": "apiKey", "in": "header", "name": "x-chroma-token", "description": "An API key.",
    },
    "Basic": {"type": "http", "scheme": "basic", "description": "A user's name and password."},
}  # fmt: skip

_ERRORS: Final = {
    400: "The request is invalid.",
    401: "The credential is missing or not valid.",
    403: "The credential does not permit this request.",
    404: "The tenant, the database or the collection does not exist.",
    409: "The name is taken.",
    413: "The body is too large.",
    415: "The body's content type is not JSON.",
    422: "The body does not match the schema.",
    429: "Too many requests. Retry later.",
    500: "Internal error; see the server's log.",
    501: "Not implemented.",
    503: "The database is unavailable. Retry later.",
    504: "The request took too long and was cancelled; it may have taken effect.",
}

_DONE: Final = {200: "The result.", 201: "The records were stored."}

_PROPERTIES: Final = {
    "ids": "The ids of the records. An id is unique in its collection.",
    "where": (
        'A filter on metadata, such as {"year": {"$gt": 2020}}. Operators are $eq, $ne, $gt, $gte, '
        "$lt, $lte, $in, $nin, $contains and $not_contains, combined by $and and $or. A value "
        "without an operator means $eq."
    ),
    "where_document": (
        'A filter on documents, such as {"$contains": "word"}. Operators are $contains, '
        "$not_contains, $regex, $not_regex, and for collections with a full-text index $matches "
        "and $not_matches, combined by $and and $or."
    ),
    "documents": "The texts of the records, in the order of the ids; null for no text.",
    "embeddings": "The vectors of the records, in the order of the ids.",
    "metadatas": "The metadata of the records, in the order of the ids; null for no metadata.",
    "uris": "URIs of the records' data, in the order of the ids; null for no URI.",
    "query_embeddings": "The query vectors, all of the same length.",
    "n_results": "Maximum number of records to return for each query vector.",
    "include": "The fields to return besides the ids.",
}
"""Descriptions of the bodies' properties, by name."""

_PARAMETERS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "tenant": ("The tenant's name.", {"type": "string"}),
    "database": ("The database's name.", {"type": "string", "minLength": 3}),
    "collection": ("The collection's name.", {"type": "string"}),
    "collection_id": (
        "The collection's id, which `create_collection` and `get_collection` return. Swagger UI at "
        "/docs/ fills in the id of the collection that it created or fetched last.",
        {"type": "string", "format": "uuid"},
    ),
    "crn": (
        "The collection's resource name: the tenant's resource name, the database's name and the "
        "collection's name, separated by colons.",
        {"type": "string"},
    ),
    "function_name": ("The function's name.", {"type": "string"}),
    "name": ("The function's name.", {"type": "string"}),
    "generation": (
        "The generation of the pending embeddings, as `start_reembedding` returns it.",
        {},
    ),
    "limit": ("Maximum number of items to return.", {}),
    "after": ("The last position of the page before.", {}),
    "offset": ("Number of items to skip.", {}),
    "read_level": ("Has no effect: every count includes all committed writes.", {}),
}
"""Descriptions of parameters, and the schemas of those in paths."""

_TAGS: Final = {
    "/fork": "Collection",
    "functions/": "Function",
    "{collection_id}/": "Record",
    "/collections": "Collection",
    "/databases": "Database",
    "/tenants": "Tenant",
    "/auth": "Authentication",
}
"""Chroma's tags, by a part of the path; the first match counts."""

_NAMING: Final = (
    "create_tenant",
    "update_tenant",
    "create_database",
    "create_collection",
    "update_collection",
)
"""Operations that set a name, which may be taken."""


@dataclass(frozen=True, slots=True)
class _Described:
    """An operation of the document; `answers` has the responses' types by status."""

    name: str
    method: str
    path: str
    access: Access
    description: str
    answers: dict[int, Any]
    body: Any = None
    query: Any = None
    example: Mapping[str, Any] | None = None
    is_implemented: bool = True

    @classmethod
    def of(cls, route: Route[Any, Any]) -> _Described:
        description = cleandoc(route.operation.__doc__ or "").split("\n\nAttributes:")[0]
        return cls(
            route.name,
            route.method,
            route.path,
            route.access,
            description,
            {route.status: route.response},
            route.body,
            route.query,
            route.example,
        )


@cache
def openapi() -> dict[str, Any]:
    """Return the document."""
    schemas = _Schemas()
    paths: dict[str, dict[str, Any]] = {}
    for operation in _operations():
        item = paths.setdefault(PREFIX + _chromas_path(operation.path), {})
        item[operation.method.lower()] = _operation(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pgchroma",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "This server."}],
        "paths": paths,
        "components": {"schemas": schemas.found, "securitySchemes": _SECURITY_SCHEMES},
    }


class _Schemas:
    """JSON Schemas of types; those with a name are collected."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}

    def __call__(self, shape: Any) -> dict[str, Any]:
        (schema,), found = msgspec.json.schema_components(
            (shape,), ref_template="#/components/schemas/{name}"
        )
        for each in found.values():
            if "description" in each:
                # A docstring, which only later versions of msgspec dedent.
                each["description"] = cleandoc(each["description"])
            for name, described in each.get("properties", {}).items():
                if name in _PROPERTIES:
                    described.setdefault("description", _PROPERTIES[name])
        self.found.update(found)
        return schema


def _operations() -> Iterator[_Described]:
    heartbeat = _Described.of(route_of(Heartbeat()))
    yield _Described("root", "GET", "", "public", heartbeat.description, {200: HeartbeatBody})
    for route in ROUTES:
        yield _Described.of(route)
    yield _Described(
        "healthcheck", "GET", "/healthcheck", "public", "Whether the server can handle requests.",
        {200: HealthBody, 503: HealthBody},
    )  # fmt: skip
    yield _Described(
        "pre_flight_checks", "GET", "/pre-flight-checks", "public",
        "The limits of a request.", {200: LimitsBody},
    )  # fmt: skip
    for method, path, name, access, status, message in UNIMPLEMENTED:
        described = f"Not implemented: answers {status}, `{message}`."
        yield _Described(
            name, method, path, access, described, {status: ErrorBody}, is_implemented=False
        )


def _operation(operation: _Described, schemas: _Schemas) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.name.replace("_", " ").capitalize(),
        "description": operation.description,
        "tags": [_tag(operation.path)],
        "parameters": [*_path_parameters(operation), *_query_parameters(operation)],
        "responses": _responses(operation, schemas),
        "security": []
        if operation.access == "public"
        else [{name: []} for name in _SECURITY_SCHEMES],
    }
    if operation.body is not None:
        content: dict[str, Any] = {"schema": schemas(operation.body)}
        if operation.example is not None:
            content["example"] = operation.example
        described["requestBody"] = {"required": True, "content": {JSON: content}}
    return described


def _chromas_path(path: str) -> str:
    if path.endswith("/tenants/{tenant}"):
        return path.replace("{tenant}", "{tenant_name}")
    return path.replace("{collection}", "{collection_id}")


def _tag(path: str) -> str:
    return next((tag for part, tag in _TAGS.items() if part in path), "System")


def _path_parameters(operation: _Described) -> Iterator[dict[str, Any]]:
    path = operation.path
    for part, chromas in zip(path.split("/"), _chromas_path(path).split("/"), strict=True):
        if part.startswith("{"):
            description, schema = _PARAMETERS[part[1:-1]]
            yield {
                "name": chromas[1:-1],
                "in": "path",
                "required": True,
                "description": description,
                "schema": schema,
                **_example(operation, part[1:-1]),
            }


def _query_parameters(operation: _Described) -> Iterator[dict[str, Any]]:
    if operation.query is None:
        return
    _, found = msgspec.json.schema_components((operation.query,))
    described = found[operation.query.__name__]
    for name, schema in described["properties"].items():
        yield {
            "name": name,
            "in": "query",
            "required": name in described.get("required", ()),
            "description": _PARAMETERS[name][0],
            # A query string has no null.
            "schema": schema["anyOf"][0] if "anyOf" in schema else schema,
            **_example(operation, name),
        }


def _example(operation: _Described, parameter: str) -> dict[str, Any]:
    example = example_of(operation.name, parameter)
    return {} if example is None else {"example": example}


def _responses(operation: _Described, schemas: _Schemas) -> dict[str, Any]:
    responses = {}
    for status in _statuses(operation):
        is_plain = status == 413 and operation.name in PLAIN_TEXT_ERRORS  # noqa: PLR2004
        schema = (
            {"type": "string"} if is_plain else schemas(operation.answers.get(status, ErrorBody))
        )
        responses[str(status)] = {
            "description": _ERRORS.get(status) or _DONE[status],
            "content": {"text/plain" if is_plain else JSON: {"schema": schema}},
        }
    return responses


def _statuses(operation: _Described) -> list[int]:
    """Return the statuses of an operation's responses."""
    statuses = {*operation.answers, 429, 500}
    if operation.access != "public":
        statuses |= {401, 403}
    if "{" in operation.path:
        statuses |= {400, 404}
    if operation.is_implemented:
        statuses |= {503, 504}
    if operation.body is not None:
        statuses |= {400, 413, 415, 422}
    if operation.name in _NAMING:
        statuses.add(409)
    if operation.path.endswith(("/add", "/update", "/upsert")):
        # Sparse vectors.
        statuses.add(501)
    return sorted(statuses)
