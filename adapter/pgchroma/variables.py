"""Environment variables with the prefix ``PGCHROMA_``: an unknown name is an error.

Otherwise a misspelt name would silently leave a default in place, such as a limit that is off.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

__all__ = (
    "PREFIX",
    "SERVER_SETTINGS",
    "WITHOUT_EFFECT",
    "check_variables",
    "did_you_mean",
    "environment",
)

PREFIX: Final = "PGCHROMA_"

SERVER_SETTINGS: Final = frozenset(
    {
        "admin_address",
        "admin_key",
        "admin_port",
        "allow_reset",
        "allowed_hosts",
        "answer_timeout",
        "auth",
        "auth_cache_seconds",
        "auto_index",
        "body_timeout",
        "circuit_breaker",
        "circuit_breaker__requests",
        "compaction",
        "compaction_url",
        "cors_allow_origins",
        "default_knn_index",
        "drain_timeout",
        "index_memory",
        "listen_address",
        "log_format",
        "log_level",
        "log_requests",
        "max_batch_size",
        "max_n_results",
        "max_payload_size_bytes",
        "memory_index",
        "memory_index_bytes",
        "memory_index_path",
        "migrations",
        "open_telemetry",
        "open_telemetry__endpoint",
        "open_telemetry__service_name",
        "persist_path",
        "pool_size",
        "pool_timeout",
        "port",
        "prepared_statements",
        "query_connections",
        "rate_limit",
        "regex_timeout",
        "request_timeout",
        "role_per_tenant",
        "segment_bytes",
        "ssl_certificate",
        "ssl_key",
        "url",
        "workers",
    }
)
"""The server's settings, whose variables have the same prefix as a client's."""

_OTHERS: Final = frozenset(
    {
        "admin_key_file",
        "api_key",
        "api_key_file",
        "compaction_url_file",
        "from_api_key",
        "from_api_key_file",
        "model_path",
        "model_url",
        "path",
        "profile",
        "python",
        "test_no_skips",
        "test_postgres",
        "url_file",
    }
)
_KNOWN: Final = {f"{PREFIX}{name.upper()}" for name in SERVER_SETTINGS | _OTHERS}

WITHOUT_EFFECT: Final = frozenset(
    {
        "chroma_auth_token_transport_header",
        "chroma_client_auth_credentials_file",
        "chroma_client_auth_credentials_provider",
        "chroma_client_auth_protocol_adapter",
        "chroma_client_auth_token_transport_header",
        "chroma_collection_assignment_policy_impl",
        "chroma_memberlist_provider_impl",
        "chroma_memory_limit_bytes",
        "chroma_otel_collection_endpoint",
        "chroma_otel_collection_headers",
        "chroma_otel_granularity",
        "chroma_otel_service_name",
        "chroma_product_telemetry_impl",
        "chroma_query_replication_factor",
        "chroma_query_request_timeout_seconds",
        "chroma_quota_enforcer_impl",
        "chroma_quota_provider_impl",
        "chroma_rate_limit_enforcer_impl",
        "chroma_rate_limiting_provider_impl",
        "chroma_segment_cache_policy",
        "chroma_segment_directory_impl",
        "chroma_segment_directory_routing_mode",
        "chroma_server_auth_configuration_file",
        "chroma_server_auth_configuration_provider",
        "chroma_server_auth_credentials",
        "chroma_server_auth_credentials_file",
        "chroma_server_auth_credentials_provider",
        "chroma_server_auth_ignore_paths",
        "chroma_server_auth_provider",
        "chroma_server_auth_token_transport_header",
        "chroma_server_authn_credentials",
        "chroma_server_authn_credentials_file",
        "chroma_server_authn_provider",
        "chroma_server_authz_config",
        "chroma_server_authz_config_file",
        "chroma_server_authz_provider",
        "chroma_server_cors_allow_origins",
        "chroma_server_nofile",
        "chroma_server_thread_pool_size",
        "chroma_sysdb_request_timeout_seconds",
        "chroma_logservice_request_timeout_seconds",
        "chroma_telemetry_impl",
        "chroma_async_rate_limit_enforcer_impl",
    }
)
"""Chroma's settings, of this version and older ones, that have no effect here."""

_FLAGS: Final = {"HOST": "listen_address", "NO_AUTH": "auth", "PATH": "persist_path"}
"""Flags whose names differ from their settings."""

_SERVICE_LINK: Final = re.compile(
    r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)"
)
_SERVICE_ADDRESS: Final = re.compile(r"(tcp|udp|sctp)://")


def environment() -> dict[str, str]:
    """Return the process's variables by name in upper case.

    Variables that Kubernetes sets for a service called ``pgchroma``, such as ``PGCHROMA_PORT``, are
    omitted.
    """
    return {name.upper(): value for name, value in os.environ.items() if not _is_link(name, value)}


def check_variables(names: Iterable[str], settings: Iterable[str]) -> None:
    """Raise if a variable has pgchroma's prefix and an unknown name.

    Args:
        names: The names of variables; those with other prefixes are ignored.
        settings: Settings whose names, in upper case, are known in addition to the server's.

    Raises:
        ValueError: A name is unknown; the message suggests a similar one.
    """
    ours = [name.upper() for name in names if name.upper().startswith(PREFIX)]
    if not ours:
        return
    known = _KNOWN | {name.upper() for name in settings}
    unknown = sorted(set(ours) - known)
    if unknown:
        found = "; ".join(f"{name}{did_you_mean(name, known)}" for name in unknown)
        raise ValueError(f"unknown variable in the environment: {found}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the suggestion for the message about an unknown name; empty if none is similar."""
    if name.upper().removeprefix(PREFIX) in _FLAGS:
        setting = _FLAGS[name.upper().removeprefix(PREFIX)]
        return f" (did you mean {setting if name.islower() else PREFIX + setting.upper()}?)"
    resembling = get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f" (did you mean {resembling[0]}?)" if resembling else ""


def _is_link(name: str, value: str) -> bool:
    if _SERVICE_LINK.fullmatch(name):
        return True
    return name.endswith("_PORT") and _SERVICE_ADDRESS.match(value) is not None
