"""Amazon Bedrock's embeddings, of the models of Amazon and of Cohere."""

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

_KEPT_ARGUMENTS = ("region_name", "profile_name")
"""What is remembered of a session; keys are not."""

_ACCOUNT = frozenset(["region", "profile_name", "assumed_role", "role_session_name"])
"""LanceDB's arguments that say which session is made."""

_INPUT_TYPES = {"source_input_type": "search_document", "query_input_type": "search_query"}

_UNSAFE_ARGUMENTS = frozenset({"use_ssl", "verify", "config"})
"""What a collection does not decide for those who open it: whether the connection is safe."""


class AmazonBedrockEmbeddingFunction(BatchedEmbeddingFunction[Documents]):
    """Embeds texts with a model that Amazon Bedrock runs.

    Of Cohere's models queries are embedded as queries; Amazon's know no difference.
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
    """The settings that are no arguments of the constructor's."""

    def __init__(
        self,
        session: Any = None,
        model_name: str = "amazon.titan-embed-text-v1",
        **kwargs: Any,
    ) -> None:
        """Choose the model and the account that pays.

        Args:
            session: A ``boto3.Session``; None: the environment's. A collection remembers its
                region and profile, never its keys.
            model_name: The model's id, or that of an inference profile.
            kwargs: Further arguments of the session's ``client``, such as ``endpoint_url``.

        Raises:
            ValueError: boto3 is not installed, a further argument is no JSON value, or boto3 can
                make no client of them; the region may be missing.
        """
        check_primitives(kwargs)
        self._session = load_extra("boto3", "bedrock").Session() if session is None else session
        self.model_name = model_name
        self.kwargs = kwargs
        self._client = self._connect()

    @classmethod
    def create(cls, **settings: Any) -> Self:
        """Make the function as the registry does it; see `BatchedEmbeddingFunction.create`.

        ``region``, ``profile_name``, ``assumed_role`` and ``role_session_name`` make the session,
        unless one is given.

        Raises:
            ValueError: ``source_input_type`` or ``query_input_type`` is another than the default.
        """
        for key, sent in _INPUT_TYPES.items():
            if settings.pop(key, sent) != sent:
                raise ValueError(f"{key}: Bedrock's models are asked for {sent} only")
        account = {key: settings.pop(key) for key in _ACCOUNT & settings.keys()}
        if account:
            settings.setdefault("session", _session(**account))
        return super().create(**settings)

    def with_options(self, **options: Any) -> Self:
        """Return a copy that is called otherwise; see `Options`."""
        changed = super().with_options(**options)
        changed._client = changed._connect()
        return changed

    def max_inputs(self, inputs: Sequence[Any]) -> int | None:
        """Amazon's models take one text a call."""
        return None if self._is_of_cohere() else 1

    def embed_batch(self, batch: list[Any], purpose: Purpose) -> object:
        """Embed one batch."""
        if self._is_of_cohere():
            body = {"texts": batch, "input_type": f"search_{purpose}"}
            found = field(self.name(), self._invoke(body), "embeddings")
            # Asked for several types, or for none, newer models name the type.
            return field(self.name(), found, "float") if isinstance(found, dict) else found
        answers = [self._invoke({"inputText": text}) for text in batch]
        return [field(self.name(), answer, "embedding") for answer in answers]

    def _is_of_cohere(self) -> bool:
        # Before the vendor there may be a region, or the path of an inference profile.
        return "cohere." in self.model_name

    def _connect(self) -> Any:
        problems = load_extra("botocore.exceptions", "bedrock")
        settings = load_extra("botocore.config", "bedrock").Config(
            connect_timeout=self.options.timeout,
            read_timeout=self.options.timeout,
            max_pool_connections=self.options.concurrency or self.concurrency,
            # It would wait and retry on its own, beneath the waits and retries that were asked for.
            retries={"total_max_attempts": 1},
        )
        try:
            return self._session.client(
                service_name="bedrock-runtime", config=settings, **self.kwargs
            )
        except problems.BotoCoreError as error:
            raise ValueError(f"boto3 can make no client of Bedrock: {error}") from error

    def _invoke(self, body: dict[str, Any]) -> Any:
        problems = load_extra("botocore.exceptions", "bedrock")
        try:
            answer = self._client.invoke_model(
                body=json.dumps(body),
                modelId=self.model_name,
                accept="application/json",
                contentType="application/json",
            )
            read = answer["body"].read()
        except problems.ClientError as error:
            raise _refusal(self.name(), error.response) from error
        except problems.HTTPClientError as error:
            raise EmbeddingError(
                f"{self.name()} did not answer: {error}", is_transient=True
            ) from error
        except problems.BotoCoreError as error:
            raise EmbeddingError(f"{self.name()} cannot be asked: {error}") from error
        try:
            return json.loads(read)
        except ValueError as error:
            raise EmbeddingError(
                f"{self.name()} answered something that is no JSON: {read!r:.500}"
            ) from error

    def default_space(self) -> Space:
        """Chroma's for these models."""
        return "l2"

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "amazon_bedrock"

    def get_config(self) -> dict[str, Any]:
        """The model, the session's region and profile, and what of the arguments is no secret."""
        found = {key: getattr(self._session, key, None) for key in _KEPT_ARGUMENTS}
        if found["profile_name"] == "default":
            # So boto3 calls it that no profile was chosen, but would not find one of that name.
            del found["profile_name"]
        return {
            "model_name": self.model_name,
            "session_args": {key: value for key, value in found.items() if value},
            "kwargs": _storable(self.kwargs),
        }

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> AmazonBedrockEmbeddingFunction:
        """Build the function from the settings that ``get_config`` returned.

        Keys in a configuration are left out: texts would go to the account of whoever wrote it.
        """
        given = config.get("session_args") or {}
        known = {key: given[key] for key in _KEPT_ARGUMENTS if key in given}
        return AmazonBedrockEmbeddingFunction(
            session=load_extra("boto3", "bedrock").Session(**known),
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
    """Make a session of a region and a profile; of a role that it may take, if one is given."""
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


def _refusal(name: str, response: Mapping[str, Any]) -> EmbeddingError:
    about = response.get("ResponseMetadata", {})
    error = response.get("Error", {})
    status = about.get("HTTPStatusCode")
    asked = about.get("HTTPHeaders", {}).get("retry-after", "")
    return EmbeddingError(
        f"{name} refused with status {status}: {error.get('Code')} {error.get('Message')!r:.500}",
        is_transient=status in TRANSIENT_STATUS,
        retry_after=float(asked) if asked.replace(".", "", 1).isdecimal() else None,
    )
