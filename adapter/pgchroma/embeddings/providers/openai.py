"""Embeddings of OpenAI, and of Azure with the same models."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pgchroma.embeddings.calls.batched import Purpose
from pgchroma.embeddings.keys import ApiKey, without_secrets
from pgchroma.embeddings.protocol import Documents, Embeddable
from pgchroma.embeddings.providers.http import VendorEmbeddingFunction, check_url, field, in_path
from pgchroma.errors import EmbeddingError

__all__ = ("OpenAIEmbeddingFunction", "OpenAIProtocolFunction", "read_embeddings")

D = TypeVar("D", bound=Embeddable)


class OpenAIProtocolFunction(VendorEmbeddingFunction[D]):
    """Embeds with a vendor that uses OpenAI's protocol. A subclass can send more settings."""

    def _body(self, batch: list[Any], purpose: Purpose) -> dict[str, Any]:
        return {"model": getattr(self, self.model_parameter or "model_name"), "input": batch}

    def _read(self, answer: Any) -> object:
        return read_embeddings(self.name(), answer)


class OpenAIEmbeddingFunction(OpenAIProtocolFunction[Documents]):
    """Embeds texts with an OpenAI model, or with a server that uses OpenAI's protocol."""

    endpoint: ClassVar[str] = "https://api.openai.com/v1"
    batch_size: ClassVar[int] = 512  # 2,048 is the most that OpenAI takes
    vendor_env_var: ClassVar[str | None] = "OPENAI_API_KEY"
    created_names: ClassVar[Mapping[str, str]] = {
        "base_url": "api_base",
        "dim": "dimensions",
        "organization": "organization_id",
    }
    dimensions_of: ClassVar[Mapping[str, int]] = {
        "text-embedding-ada-002": 1536,
        "text-embedding-3-small": 1536,
        "text-embedding-3-large": 3072,
    }

    def __init__(
        self,
        api_key: str | None = None,
        model_name: str = "text-embedding-ada-002",
        organization_id: str | None = None,
        api_base: str | None = None,
        api_type: str | None = None,
        api_version: str | None = None,
        deployment_id: str | None = None,
        default_headers: dict[str, str] | None = None,
        dimensions: int | None = None,
        api_key_env_var: str = "CHROMA_OPENAI_API_KEY",
    ) -> None:
        """Choose the model and the server.

        Args:
            api_key: The key. Prefer the environment variable, which reopened collections can use.
            model_name: The model.
            organization_id: The organisation.
            api_base: The base URL of the API. For Azure, the endpoint of the resource.
            api_type: ``azure`` or `None`.
            api_version: Azure's version of the API.
            deployment_id: Azure's name of the deployment.
            default_headers: Headers of every request.
            dimensions: The length of the embeddings, for ``text-embedding-3`` models.
            api_key_env_var: The environment variable of the key. ``OPENAI_API_KEY`` takes
                precedence.

        Raises:
            ValueError: The key or a setting of Azure is missing, or `api_base` is not a URL.
        """
        self._key: ApiKey = ApiKey(api_key, api_key_env_var, self.vendor_env_var)
        self.model_name = model_name
        self.organization_id = organization_id
        self.api_base = api_base
        self.api_type = api_type
        self.api_version = api_version
        self.deployment_id = deployment_id
        self.default_headers = default_headers
        self.dimensions = dimensions
        if api_type == "azure":
            for name in ("api_version", "deployment_id", "api_base"):
                if getattr(self, name) is None:
                    raise ValueError(f"{name} must be specified for Azure OpenAI")
        if api_base is not None:
            check_url("api_base", api_base)

    @classmethod
    def create(cls, **settings: Any) -> Self:
        """Create a function in LanceDB's way; see `BatchedEmbeddingFunction.create`.

        With ``use_azure``, the deployment has the name of the model, and the defaults of the
        resource, the version and the key are ``AZURE_OPENAI_ENDPOINT``, ``OPENAI_API_VERSION`` and
        ``AZURE_OPENAI_API_KEY`` of the environment.
        """
        if not settings.pop("use_azure", False):
            return super().create(**settings)
        model = settings.get("name", settings.get("model_name", "text-embedding-ada-002"))
        azure = {
            "api_type": "azure",
            "deployment_id": model,
            "api_version": os.environ.get("OPENAI_API_VERSION"),
            "api_key_env_var": "AZURE_OPENAI_API_KEY",
        }
        if not {"base_url", "api_base"} & settings.keys():
            azure["api_base"] = os.environ.get("AZURE_OPENAI_ENDPOINT")
        return super().create(**{**azure, **settings})

    def _body(self, batch: list[Any], purpose: Purpose) -> dict[str, Any]:
        # In base64, the response has a quarter of the length.
        body = {**super()._body(batch, purpose), "encoding_format": "base64"}
        if (dimensions := self.requested_dimensions()) is not None:
            body["dimensions"] = dimensions
        return body

    def requested_dimensions(self) -> int | None:
        """Return the length to request. Only ``text-embedding-3`` models can change it."""
        return self.dimensions if "text-embedding-3" in self.model_name else None

    def _address(self) -> str:
        if self.api_type == "azure":
            deployment = in_path("deployment_id", self.deployment_id)
            version = in_path("api_version", self.api_version)
            return (
                f"{str(self.api_base).rstrip('/')}/openai/deployments/{deployment}"
                f"/embeddings?api-version={version}"
            )
        base = self.api_base or self.endpoint
        return f"{base.rstrip('/')}/embeddings"

    def _headers(self) -> dict[str, str]:
        headers = super()._headers()
        if self.api_type == "azure":
            headers = {"api-key": self._key.get_secret()}
        if self.organization_id is not None:
            headers["OpenAI-Organization"] = self.organization_id
        return {**headers, **(self.default_headers or {})}

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "openai"

    def get_config(self) -> dict[str, Any]:
        """Return all settings except the key, and headers without secrets."""
        return {
            key: without_secrets(value) if key == "default_headers" else value
            for key, value in super().get_config().items()
        }


def read_embeddings(
    name: str, answer: Any, encoded: DTypeLike = "<f4"
) -> list[NDArray[np.float32]]:
    """Return the embeddings of a response in OpenAI's form, in the order of their ``index``.

    Args:
        name: The provider's name in messages.
        answer: The JSON of the response.
        encoded: The type of the numbers of embeddings in base64.

    Raises:
        EmbeddingError: The response has another form, or the indices are wrong.
        TypeError: An embedding has another form.
        ValueError: An embedding has another form.
    """
    rows = field(name, answer, "data")
    vectors = [_vector(field(name, row, "embedding"), encoded) for row in rows]
    indices = [row.get("index", n) for n, row in enumerate(rows)]
    order = sorted(range(len(rows)), key=indices.__getitem__)
    if [indices[n] for n in order] != list(range(len(rows))):
        raise EmbeddingError(f"{name} returned wrong indices: {indices!r:.500}")
    return [vectors[n] for n in order]


def _vector(value: Any, encoded: DTypeLike) -> NDArray[np.float32]:
    # Some servers with this protocol do not support base64.
    if isinstance(value, str):
        return np.frombuffer(base64.b64decode(value), dtype=encoded).astype(np.float32)
    return np.asarray(value, dtype=np.float32)
