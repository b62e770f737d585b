"""Routes of the server as a whole, and the bodies of paths that have no operation."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from pgchroma.model.entities import UserIdentity
from pgchroma.model.operations import GetIdentity, GetVersion, Heartbeat, Reset
from pgchroma.wire.route import Request, Route
from pgchroma.wire.shapes import ignore_response

__all__ = ("SYSTEM_ROUTES", "HealthBody", "HeartbeatBody", "LimitsBody")


class HeartbeatBody(Struct):
    """The time in nanoseconds since 1970."""

    nanoseconds: int = field(name="nanosecond heartbeat")


class HealthBody(Struct):
    """Whether the server can answer requests."""

    is_executor_ready: bool
    is_log_client_ready: bool


class LimitsBody(Struct):
    """The limits of writes."""

    max_batch_size: int
    supports_base64_encoding: bool
    max_payload_size_bytes: int


class IdentityBody(Struct):
    """The caller, its tenant and its databases."""

    user_id: str
    tenant: str | None
    databases: list[str] | None


def _empty_request(operation: Any) -> Request:
    return Request()


SYSTEM_ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        operation=Heartbeat,
        name="heartbeat",
        method="GET",
        path="/heartbeat",
        access="public",
        encode_request=_empty_request,
        decode_request=lambda request: Heartbeat(),
        encode_response=lambda request, time: {"nanosecond heartbeat": time},
        decode_response=lambda operation, body: int(body["nanosecond heartbeat"]),
        response=HeartbeatBody,
        is_idempotent=True,
    ),
    Route(
        operation=GetVersion,
        name="version",
        method="GET",
        path="/version",
        access="public",
        encode_request=_empty_request,
        decode_request=lambda request: GetVersion(),
        encode_response=lambda request, version: version,
        decode_response=lambda operation, body: str(body),
        response=str,
        is_idempotent=True,
    ),
    Route(
        operation=GetIdentity,
        name="get_user_identity",
        method="GET",
        path="/auth/identity",
        access="authenticated",
        encode_request=_empty_request,
        decode_request=lambda request: GetIdentity(),
        encode_response=lambda request, identity: {
            "user_id": identity.user_id,
            "tenant": identity.tenant,
            "databases": identity.databases,
        },
        decode_response=lambda operation, body: UserIdentity(
            body["user_id"], body.get("tenant"), body.get("databases")
        ),
        response=IdentityBody,
        is_idempotent=True,
    ),
    Route(
        operation=Reset,
        name="reset",
        method="POST",
        path="/reset",
        access="admin",
        encode_request=_empty_request,
        decode_request=lambda request: Reset(),
        encode_response=lambda request, answer: True,
        decode_response=ignore_response,
        response=bool,
    ),
)
