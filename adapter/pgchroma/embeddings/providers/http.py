"""Embedding functions that call a provider over HTTP.

They use httpx instead of the vendors' packages, so that retries, rate limits and concurrency are
the same for all, and nothing has to be installed.
"""

from __future__ import annotations

import inspect
import os
import threading
import weakref
from abc import abstractmethod
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar
from urllib.parse import parse_qsl, quote, urlsplit

import orjson

from pgchroma.embeddings.calls.batched import BatchedEmbeddingFunction, Purpose, refuse_changes
from pgchroma.embeddings.calls.runner import TRANSIENT_STATUS
from pgchroma.embeddings.keys import ApiKey, hide_secrets, is_secret_name, strip_userinfo, userinfo
from pgchroma.embeddings.protocol import Embeddable
from pgchroma.errors import EmbeddingError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import httpx

__all__ = (
    "HttpEmbeddingFunction",
    "VendorEmbeddingFunction",
    "ask",
    "check_url",
    "field",
    "in_path",
)

D = TypeVar("D", bound=Embeddable)

_EXCERPT = 500
"""Characters of a response that a message contains."""

_NO_DEFAULT = (None, inspect.Parameter.empty)


class HttpEmbeddingFunction(BatchedEmbeddingFunction[D]):
    """Embeds with requests to a provider. A subclass implements `embed_batch` with `post`."""

    concurrency: ClassVar[int] = 8
    max_batch_bytes: ClassVar[int | None] = 1_000_000

    vendor_env_var: ClassVar[str | None] = None
    """The environment variable of the key that the vendor's own programs read."""

    reads_files: ClassVar[bool] = False
    """Whether the name of a model can be the name of a directory."""

    def post(self, url: str, body: Any, headers: Mapping[str, str] | None = None) -> Any:
        """Send JSON, and return the JSON of the response.

        Raises:
            EmbeddingError: There was no response, or it was an error or not JSON.
        """
        return ask(self.name(), url, body, headers, self.options.timeout)


class VendorEmbeddingFunction(HttpEmbeddingFunction[D]):
    """Embeds a batch with one request, of which a subclass defines address, body and response.

    A collection stores the arguments of the constructor except the key. The function has an
    attribute for each of them.
    """

    endpoint: ClassVar[str] = ""
    """The vendor's URL, unless a setting has another."""

    response_path: ClassVar[tuple[str, ...]] = ("embeddings",)
    """The path of the embeddings in a response."""

    immutable_settings: ClassVar[tuple[str, ...]] = ("model_name", "model")
    """The settings that cannot change, because they change embeddings."""

    optional_settings: ClassVar[frozenset[str]] = frozenset()
    """Arguments that Chroma's function lacks. They are stored only if they are not defaults."""

    _key: ApiKey | None = None

    def embed_batch(self, batch: list[Any], purpose: Purpose) -> object:
        """Embed one batch."""
        answer = self.post(self._address(), self._body(batch, purpose), self._headers())
        try:
            return self._read(answer)
        except (TypeError, ValueError) as error:
            raise EmbeddingError(f"{self.name()} returned no embeddings: {error}") from error

    def _address(self) -> str:
        return self.endpoint

    @abstractmethod
    def _body(self, batch: list[Any], purpose: Purpose) -> dict[str, Any]:
        """Return the body of a request."""

    def _headers(self) -> dict[str, str]:
        key = self._key.get_secret() if self._key is not None else ""
        return {"Authorization": f"Bearer {key}"} if key else {}

    def _read(self, answer: Any) -> object:
        """Return the embeddings of a response. A `ValueError` or `TypeError` means it has none."""
        return field(self.name(), answer, *self.response_path)

    @property
    def api_key_env_var(self) -> str | None:
        """The environment variable of the key, or `None` if there is no key."""
        return self._key.variable if self._key is not None else None

    def get_config(self) -> dict[str, Any]:
        """Return all settings except the key."""
        return {
            key: strip_userinfo(getattr(self, key))
            for key, parameter in inspect.signature(type(self)).parameters.items()
            if key != "api_key" and not self._is_omitted(key, parameter.default)
        }

    def _is_omitted(self, key: str, default: object) -> bool:
        return key in self.optional_settings and getattr(self, key) == default

    @classmethod
    def build_from_config(cls, config: dict[str, Any]) -> Self:
        """Build the function from the settings that ``get_config`` returned.

        Raises:
            TypeError: A setting is missing or unknown.
        """
        parameters = inspect.signature(cls).parameters
        settings = {
            key: value
            for key, value in config.items()
            # As in Chroma, null means the default.
            if value is not None or key not in parameters or parameters[key].default in _NO_DEFAULT
        }
        # With a stored key, texts would go to another account.
        if "api_key" in parameters:
            settings["api_key"] = None
        return cls(**settings)

    def validate_config_update(
        self, old_config: dict[str, Any], new_config: dict[str, Any]
    ) -> None:
        """Raise `ValueError` if a setting changes that would change embeddings."""
        refuse_changes(old_config, new_config, *self.immutable_settings)


def check_url(setting: str, value: object) -> str:
    """Return a URL that requests can use.

    Raises:
        ValueError: The URL is not one of HTTP, or contains a secret. The message names the setting
            and contains no password.
    """
    try:
        parts = urlsplit(str(value))
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_valid = False
    if not isinstance(value, str) or not is_valid:
        raise ValueError(
            f"{setting} must be a URL that begins with http:// or https://, got "
            f"{strip_userinfo(value)!r:.200}"
        )
    for name, _ in parse_qsl(urlsplit(value).query):
        if is_secret_name(name):
            raise ValueError(
                f"{setting} has {name} in its query, where logs would show it; pass the key as "
                "api_key, or as user and password before the host"
            )
    return value


def in_path(setting: str, value: object) -> str:
    """Return a value quoted as one part of a URL's path.

    Raises:
        ValueError: The value is not a text, or would change the path. The message names the
            setting.
    """
    if not isinstance(value, str) or value in ("", ".", ".."):
        raise ValueError(f"{setting}: expected a part of a URL's path, got {value!r:.200}")
    return quote(value, safe="@:")


def ask(name: str, url: str, body: Any, headers: Mapping[str, str] | None, timeout: float) -> Any:
    """Send JSON to a provider, and return the JSON of its response.

    Args:
        name: The provider's name in messages.
        url: The URL. A user and a password in it are sent as a header, because URLs are logged.
        body: The body.
        headers: Headers of the request, which contain the key. Messages do not contain them.
        timeout: The maximum seconds of the request.

    Raises:
        EmbeddingError: There was no response, or it was an error or not JSON.
        ValueError: JSON cannot express the body, for example a text with half a surrogate pair.
    """
    import httpx  # noqa: PLC0415

    try:
        content = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:
        raise ValueError(f"the request to {name} cannot be written as JSON: {error}") from error
    credentials = userinfo(url)
    hide = partial(hide_secrets, headers=headers, others=credentials or ())
    try:
        response = _clients.get().post(
            strip_userinfo(url),
            content=content,
            headers={"Content-Type": "application/json", **(headers or {})},
            timeout=timeout,
            auth=credentials or httpx.USE_CLIENT_DEFAULT,
        )
    except (httpx.TimeoutException, httpx.TransportError) as error:
        reason = hide(f"{type(error).__name__} {error}".strip())
        raise EmbeddingError(
            f"{name} did not answer: {reason}",
            is_transient=not isinstance(
                error, httpx.UnsupportedProtocol | httpx.LocalProtocolError
            ),
        ) from error
    except httpx.InvalidURL as error:
        raise EmbeddingError(f"{name} has an invalid URL: {error}") from error
    if not response.is_success:
        raise EmbeddingError(
            f"{name} returned status {response.status_code}: {_excerpt(response, hide)}",
            is_transient=response.status_code in TRANSIENT_STATUS,
            retry_after=_retry_after(response),
        )
    try:
        return orjson.loads(response.content)
    except ValueError as error:
        raise EmbeddingError(
            f"{name} returned a response that is not JSON: {_excerpt(response, hide)}"
        ) from error


def field(name: str, answer: Any, *path: str | int) -> Any:
    """Return the value at a path of a response, such as ``"data", 0, "embedding"``.

    Raises:
        EmbeddingError: The response has no such path. The message contains the response.
    """
    value = answer
    for key in path:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError) as error:
            raise EmbeddingError(
                f"{name} returned a response without {'.'.join(map(str, path))}: "
                f"{answer!r:.{_EXCERPT}}"
            ) from error
    return value


def _excerpt(response: httpx.Response, hide: Callable[[str], str]) -> str:
    # Some responses repeat a wrong key.
    return hide(response.text)[:_EXCERPT]


def _retry_after(response: httpx.Response) -> float | None:
    """Return the seconds to wait: a number, or the time until a date (RFC 9110, 10.2.3)."""
    if (millis := response.headers.get("retry-after-ms", "")).isdecimal():
        return float(millis) / 1000
    text = response.headers.get("retry-after")
    if text is None:
        return None
    try:
        return max(float(text), 0.0)
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    # A date without a zone, or with the unknown zone -0000, is naive.
    until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
    return max((until - datetime.now(UTC)).total_seconds(), 0.0)


class _Clients:
    """The client of all functions of this process, so that they reuse connections."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None

    def get(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                import httpx  # noqa: PLC0415

                limits = httpx.Limits(max_connections=100, max_keepalive_connections=20)
                self._client = httpx.Client(limits=limits, follow_redirects=False)
                weakref.finalize(self, self._client.close)
            return self._client

    def forget(self) -> None:
        """Drop the client in a forked child, which must not use its parent's connections."""
        self._lock = threading.Lock()
        self._client = None


_clients = _Clients()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_clients.forget)
