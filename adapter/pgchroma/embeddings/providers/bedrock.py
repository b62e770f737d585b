"""Embeddings of Amazon Bedrock, with the models of Amazon and Cohere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from pgchroma.embeddings.calls.batched import (
    BatchedEmbeddingFunction,
    Purpose,
    check_primitives,
    refuse_changes,
)
from pgchroma.embeddings.calls.runner import TRANSIENT_STATUS
from pgchroma.embeddings.keys import strip_userinfo, without_secrets
from pgchroma.embeddings.protocol import Documents, Space
from pgchroma.embeddings.providers.http import field
from pgchroma.errors import EmbeddingError
from pgchroma.extras import load_extra

__all__ = ("AmazonBedrockEmbeddingFunction",)

_STORED_ARGUMENTS = ("region_name", "profile_name")
"""The arguments of a session that a collection stores. It does not store keys."""

_SESSION_ARGUMENTS = frozenset(["region", "profile_name", "assumed_role", "role_session_name"])
"""LanceDB's arguments for the session."""

_INPUT_TYPES = {"source_input_type": "search_document", "query_input_type": "search_query"}

_UNSAFE_ARGUMENTS = frozenset({"use_ssl", "verify", "config"})
"""Arguments that a collection does not store, because they can make the connection unsafe."""


class AmazonBedrockEmbeddingFunction(BatchedEmbeddingFunction[Documents]):
    """Embeds texts with a model on Amazon Bedrock.

    Cohere's models embed queries differently from documents. Amazon's do not.
    """

    batch_size: ClassVar[int] = 96
    concurrency: ClassVar[int] = 8
    dimensions_of: ClassVar[Mapping[str, int]] = {
        "amazon.titan-embed-text-v1": 1536,
        "amazon.titan-embed-text-v2:0": 1024,
        "cohere.embed-english-v3": 1024,
        "cohere.embed-multilingual-v3": 1024,
    }
    reads_files: ClassVar[bool] = False
    stored_arguments: ClassVar[tuple[str, ...]] = ("session_args",)
    """Stored settings that are not arguments of the constructor."""

    def __init__(
        self,
        session: Any = None,
        model_name: str = "amazon.titan-embed-text-v1",
        **kwargs: Any,
    ) -> None:
        """Choose the model and the account.

        Args:
            session: A ``boto3.Session``. The default is that of the environment. A collection
                stores its region and profile, never its keys.
            model_name: The id of the model or of an inference profile.
            kwargs: More arguments of the session's ``client``, such as ``endpoint_url``.

        Raises:
            ValueError: boto3 is not installed, another argument is not a JSON value, or boto3
                cannot create a client, for example because the region is missing.
        """
        check_primitives(kwargs)
        self._session = load_extra("boto3", "bedrock").Session() if session is None else session
        self.model_name = model_name
        self.kwargs = kwargs
        self._client = self._connect()

    @classmethod
    def create(cls, **settings: Any) -> Self:
        """Create a function in LanceDB's way; see `BatchedEmbeddingFunction.create`.

        ``region``, ``profile_name``, ``assumed_role`` and ``role_session_name`` set the session,
        unless there is a ``session``.

        Raises:
            ValueError: ``source_input_type`` or ``query_input_type`` is not the default.
        """
        for key, sent in _INPUT_TYPES.items():
            if settings.pop(key, sent) != sent:
                raise ValueError(f"{key}: expected {sent} for Bedrock's models")
        arguments = {key: settings.pop(key) for key in _SESSION_ARGUMENTS & settings.keys()}
        if arguments:
            settings.setdefault("session", _session(**arguments))
        return super().create(**settings)

    def with_options(self, **options: Any) -> Self:
        """Return a copy with other options; see `Options`."""
        changed = super().with_options(**options)
        changed._client = changed._connect()
        return changed

    def max_inputs(self, inputs: Sequence[Any]) -> int | None:
        """Return 1 for Amazon's models, which accept one text in a call."""
        return None if self._is_of_cohere() else 1

    def embed_batch(self, batch: list[Any], purpose: Purpose) -> object:
        """Embed one batch."""
        if self._is_of_cohere():
            body = {"texts": batch, "input_type": f"search_{purpose}"}
            rows = field(self.name(), self._invoke(body), "embeddings")
            # Newer models return the embeddings by type unless the request has exactly one type.
            return field(self.name(), rows, "float") if isinstance(rows, dict) else rows
        answers = [self._invoke({"inputText": text}) for text in batch]
        return [field(self.name(), answer, "embedding") for answer in answers]

    def _is_of_cohere(self) -> bool:
        # The vendor can follow a region, or the path of an inference profile.
        return "cohere." in self.model_name

    def _connect(self) -> Any:
        exceptions = load_extra("botocore.exceptions", "bedrock")
        settings = load_extra("botocore.config", "bedrock").Config(
            connect_timeout=self.options.timeout,
            read_timeout=self.options.timeout,
            max_pool_connections=self.options.concurrency or self.concurrency,
            # No retries of botocore's in addition to those of the options.
            retries={"total_max_attempts": 1},
        )
        try:
            return self._session.client(
                service_name="bedrock-runtime", config=settings, **self.kwargs
            )
        except exceptions.BotoCoreError as error:
            raise ValueError(f"boto3 cannot create a client for Bedrock: {error}") from error

    def _invoke(self, body: dict[str, Any]) -> Any:
        exceptions = load_extra("botocore.exceptions", "bedrock")
        try:
            answer = self._client.invoke_model(
                body=json.dumps(body),
                modelId=self.model_name,
                accept="application/json",
                contentType="application/json",
            )
            content = answer["body"].read()
        except exceptions.ClientError as error:
            raise _client_error(self.name(), error.response) from error
        except exceptions.HTTPClientError as error:
            raise EmbeddingError(
                f"{self.name()} did not answer: {error}", is_transient=True
            ) from error
        except exceptions.BotoCoreError as error:
            raise EmbeddingError(f"{self.name()} cannot be called: {error}") from error
        try:
            return json.loads(content)
        except ValueError as error:
            raise EmbeddingError(
                f"{self.name()} returned a response that is not JSON: {content!r:.500}"
            ) from error

    def default_space(self) -> Space:
        """Return the distance of new collections, which is Chroma's for these models."""
        return "l2"

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "amazon_bedrock"

    def get_config(self) -> dict[str, Any]:
        """Return the model, the session's region and profile, and the arguments without secrets."""
        session = {key: getattr(self._session, key, None) for key in _STORED_ARGUMENTS}
        if session["profile_name"] == "default":
            # boto3's name for no profile. It would not find a profile of that name.
            del session["profile_name"]
        return {
            "model_name": self.model_name,
            "session_args": {key: value for key, value in session.items() if value},
            "kwargs": _storable(self.kwargs),
        }

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> AmazonBedrockEmbeddingFunction:
        """Build the function from the settings that ``get_config`` returned.

        Keys in a configuration are ignored. With them, texts would go to another account.
        """
        stored = config.get("session_args") or {}
        arguments = {key: stored[key] for key in _STORED_ARGUMENTS if key in stored}
        return AmazonBedrockEmbeddingFunction(
            session=load_extra("boto3", "bedrock").Session(**arguments),
            model_name=config["model_name"],
            **_storable(config.get("kwargs") or {}),
        )

    def validate_config_update(
        self, old_config: dict[str, Any], new_config: dict[str, Any]
    ) -> None:
        """Raise `ValueError` if the model changes."""
        refuse_changes(old_config, new_config, "model_name")


def _session(
    region: str | None = None,
    profile_name: str | None = None,
    assumed_role: str | None = None,
    role_session_name: str = "pgchroma-embeddings",
) -> Any:
    """Return a session of a region and a profile, or of a role that the session assumes."""
    make = load_extra("boto3", "bedrock").Session
    session = make(region_name=region, profile_name=profile_name)
    if assumed_role is None:
        return session
    role = session.client("sts").assume_role(
        RoleArn=assumed_role, RoleSessionName=role_session_name
    )
    keys = role["Credentials"]
    return make(
        region_name=region,
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )


def _storable(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    kept = without_secrets(kwargs) or {}
    safe = kept.keys() - _UNSAFE_ARGUMENTS
    return {key: strip_userinfo(value) for key, value in kept.items() if key in safe}


def _client_error(name: str, response: Mapping[str, Any]) -> EmbeddingError:
    metadata = response.get("ResponseMetadata", {})
    error = response.get("Error", {})
    status = metadata.get("HTTPStatusCode")
    retry_after = metadata.get("HTTPHeaders", {}).get("retry-after", "")
    return EmbeddingError(
        f"{name} returned status {status}: {error.get('Code')} {error.get('Message')!r:.500}",
        is_transient=status in TRANSIENT_STATUS,
        retry_after=float(retry_after) if retry_after.replace(".", "", 1).isdecimal() else None,
    )
