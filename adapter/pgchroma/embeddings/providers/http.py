"""Embedding functions whose provider is asked over HTTP, and what its answers mean.

httpx is used and not the vendors' packages: retries, rate limits and concurrency are then the same
for all, and nothing has to be installed.
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

_SHOWN = 500
"""Characters of an answer that a message shows."""

_NOTHING = (None, inspect.Parameter.empty)


class HttpEmbeddingFunction(BatchedEmbeddingFunction[D]):
    """Embeds by requests to a provider; a subclass writes `embed_batch` with `post`."""

    concurrency: ClassVar[int] = 8
    max_batch_bytes: ClassVar[int | None] = 1_000_000

    vendor_env_var: ClassVar[str | None] = None
    """The environment variable with the key that the vendor's own programs read."""

    reads_files: ClassVar[bool] = False
    """Whether the name of a model may be that of a directory."""

    def post(self, url: str, body: Any, headers: Mapping[str, str] | None = None) -> Any:
        """Send JSON and return the answer's.

        Raises:
            EmbeddingError: There was no answer, or it was none of success, or no JSON.
        """
        return ask(self.name(), url, body, headers, self.options.timeout)


class VendorEmbeddingFunction(HttpEmbeddingFunction[D]):
    """Embeds a batch by one request: a subclass says where to, what, and how the answer is read.

    What a collection remembers of it are the arguments of its constructor but the key; it has an
    attribute for each of them.
    """

    endpoint: ClassVar[str] = ""
    """Where the vendor is, unless a setting says."""

    response_path: ClassVar[tuple[str, ...]] = ("embeddings",)
    """The path to the embeddings in an answer."""

    immutable_settings: ClassVar[tuple[str, ...]] = ("model_name", "model")
    """The settings that may not change while a collection has embeddings."""

    optional_settings: ClassVar[frozenset[str]] = frozenset()
    """The arguments that Chroma's function does not have: stored only if they are given."""

    _key: ApiKey | None = None

    def embed_batch(self, batch: list[Any], purpose: Purpose) -> object:
        """Embed one batch."""
        answer = self.post(self._address(), self._body(batch, purpose), self._headers())
        try:
            return self._read(answer)
        except (TypeError, ValueError) as error:
            raise EmbeddingError(f"{self.name()} answered no embeddings: {error}") from error

    def _address(self) -> str:
        return self.endpoint

    @abstractmethod
    def _body(self, batch: list[Any], purpose: Purpose) -> dict[str, Any]:
        """Make what is sent."""

    def _headers(self) -> dict[str, str]:
        key = self._key.get_secret() if self._key is not None else ""
        return {"Authorization": f"Bearer {key}"} if key else {}

    def _read(self, answer: Any) -> object:
        """Take the embeddings from an answer; a ValueError or TypeError says that it has none."""
        return field(self.name(), answer, *self.response_path)

    @property
    def api_key_env_var(self) -> str | None:
        """The environment variable that has the key; None if there is no key."""
        return self._key.variable if self._key is not None else None

    def get_config(self) -> dict[str, Any]:
        """Return all settings except the key."""
        return {
            key: strip_userinfo(getattr(self, key))
            for key, parameter in inspect.signature(type(self)).parameters.items()
            if key != "api_key" and not self._is_left_out(key, parameter.default)
        }

    def _is_left_out(self, key: str, default: object) -> bool:
        return key in self.optional_settings and getattr(self, key) == default

    @classmethod
    def build_from_config(cls, config: dict[str, Any]) -> Self:
        """Build the function from the settings that ``get_config`` returned.

        Raises:
            TypeError: A setting is missing, or there is no such setting.
        """
        parameters = inspect.signature(cls).parameters
        settings = {
            key: value
            for key, value in config.items()
            # Null stands for what is taken by default, as in Chroma.
            if value is not None or key not in parameters or parameters[key].default in _NOTHING
        }
        # With a stored key, texts would go to the account of the person who stored it.
        if "api_key" in parameters:
            settings["api_key"] = None
        return cls(**settings)

    def validate_config_update(
        self, old_config: dict[str, Any], new_config: dict[str, Any]
    ) -> None:
        """Refuse other settings where they decide what embeddings mean."""
        refuse_changes(old_config, new_config, *self.immutable_settings)


def check_url(setting: str, value: object) -> str:
    """Give a URL back if it is one that can be asked.

    Raises:
        ValueError: It is none of HTTP's; the message names the setting, and no password.
    """
    try:
        parts = urlsplit(str(value))
        is_right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_right = False
    if not isinstance(value, str) or not is_right:
        raise ValueError(
            f"{setting} must be a URL that begins with http:// or https://, got "
            f"{strip_userinfo(value)!r:.200}"
        )
    for name, _ in parse_qsl(urlsplit(value).query):
        if is_secret_name(name):
            raise ValueError(
                f"{setting} has {name} in its query, where logs would show it: give the key as "
                "api_key, or as user and password before the host"
            )
    return value


def in_path(setting: str, value: object) -> str:
    """Quote a value to stand between two slashes of a URL.

    Raises:
        ValueError: The value is no text, or would change the path; the message names the setting.
    """
    if not isinstance(value, str) or value in ("", ".", ".."):
        raise ValueError(f"{setting} cannot stand in a URL: {value!r:.200}")
    return quote(value, safe="@:")


def ask(name: str, url: str, body: Any, headers: Mapping[str, str] | None, timeout: float) -> Any:
    """Send JSON to a provider and return the JSON of its answer.

    Args:
        name: What messages call the provider.
        url: Where to; a user and a password in it go along as a header, since URLs are logged.
        body: What is sent.
        headers: What goes along; they hold the key and are shown nowhere.
        timeout: Seconds it may take.

    Raises:
        EmbeddingError: There was no answer, or it was none of success, or no JSON.
        ValueError: What would be sent is no JSON, as a text with half a surrogate pair.
    """
    import httpx  # noqa: PLC0415

    try:
        content = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:
        raise ValueError(f"{name} cannot be asked about this: {error}") from error
    login = userinfo(url)
    hide = partial(hide_secrets, headers=headers, others=login or ())
    try:
        response = _clients.get().post(
            strip_userinfo(url),
            content=content,
            headers={"Content-Type": "application/json", **(headers or {})},
            timeout=timeout,
            auth=login or httpx.USE_CLIENT_DEFAULT,
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
        raise EmbeddingError(f"{name} has no URL that can be asked: {error}") from error
    if not response.is_success:
        raise EmbeddingError(
            f"{name} refused with status {response.status_code}: {_shown(response, hide)}",
            is_transient=response.status_code in TRANSIENT_STATUS,
            retry_after=_retry_after(response),
        )
    try:
        return orjson.loads(response.content)
    except ValueError as error:
        raise EmbeddingError(
            f"{name} answered something that is no JSON: {_shown(response, hide)}"
        ) from error


def field(name: str, answer: Any, *path: str | int) -> Any:
    """Take what an answer has at a path, such as ``"data", 0, "embedding"``.

    Raises:
        EmbeddingError: It has nothing there; the message shows the answer.
    """
    found = answer
    for key in path:
        try:
            found = found[key]
        except (KeyError, IndexError, TypeError) as error:
            raise EmbeddingError(
                f"{name} answered without {'.'.join(map(str, path))}: {answer!r:.{_SHOWN}}"
            ) from error
    return found


def _shown(response: httpx.Response, hide: Callable[[str], str]) -> str:
    # Some answers to a wrong key repeat it.
    return hide(response.text)[:_SHOWN]


def _retry_after(response: httpx.Response) -> float | None:
    """Read the seconds to wait: a number, or the time until a date (RFC 9110, 10.2.3)."""
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
    # One without a zone, or with the unknown one of -0000, is naive.
    until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
    return max((until - datetime.now(UTC)).total_seconds(), 0.0)


class _Clients:
    """One client for all functions of this process, so that connections are kept."""

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
        """Begin anew in a forked child, which may not talk over its parent's connections."""
        self._lock = threading.Lock()
        self._client = None


_clients = _Clients()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_clients.forget)
