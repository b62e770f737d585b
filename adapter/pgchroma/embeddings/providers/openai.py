"""OpenAI's embeddings, and Azure's of the same models."""

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
    """Embeds at a vendor who speaks OpenAI's protocol; a subclass may ask for more."""

    def _body(self, batch: list[Any], purpose: Purpose) -> dict[str, Any]:
        return {"model": getattr(self, self.model_parameter or "model_name"), "input": batch}

    def _read(self, answer: Any) -> object:
        return read_embeddings(self.name(), answer)


class OpenAIEmbeddingFunction(OpenAIProtocolFunction[Documents]):
    """Embeds texts with a model of OpenAI's, or of a server that speaks its protocol."""

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
        """Choose the model and who runs it.

        Args:
            api_key: The key; better in the environment, where reopened collections find it too.
            model_name: The model.
            organization_id: The organisation that pays.
            api_base: Where the API is; for Azure the resource's endpoint.
            api_type: ``azure``, or None.
            api_version: Azure's version of the API.
            deployment_id: Azure's name of the deployment.
            default_headers: Sent along with every request.
            dimensions: The length of the embeddings, for ``text-embedding-3`` models.
            api_key_env_var: The environment variable that has the key; ``OPENAI_API_KEY`` counts
                first.

        Raises:
            ValueError: There is no key, for Azure something is missing, or `api_base` is no URL.
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
        """Make the function as the registry does it; see `BatchedEmbeddingFunction.create`.

        With ``use_azure`` the deployment is called as the model is, and the resource, the version
        and the key are in ``AZURE_OPENAI_ENDPOINT``, ``OPENAI_API_VERSION`` and
        ``AZURE_OPENAI_API_KEY``, unless they are given.
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
        # In base64 the answer is a quarter as long as in digits.
        body = {**super()._body(batch, purpose), "encoding_format": "base64"}
        if (dimensions := self.requested_dimensions()) is not None:
            body["dimensions"] = dimensions
        return body

    def requested_dimensions(self) -> int | None:
        """The length that is asked for; other models than ``text-embedding-3`` have but one."""
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
        """All the settings but the key, and headers that hold one."""
        return {
            key: without_secrets(value) if key == "default_headers" else value
            for key, value in super().get_config().items()
        }


def read_embeddings(
    name: str, answer: Any, encoded: DTypeLike = "<f4"
) -> list[NDArray[np.float32]]:
    """Read the embeddings of an answer in OpenAI's form, in the order of their ``index``.

    Args:
        name: What messages call the provider.
        answer: The answer's JSON.
        encoded: What numbers are in those embeddings that come in base64.

    Raises:
        EmbeddingError: The answer has another form, or does not say which embedding is whose.
        TypeError: Or what it has is no embeddings.
        ValueError: The same.
    """
    rows = field(name, answer, "data")
    vectors = [_vector(field(name, row, "embedding"), encoded) for row in rows]
    places = [row.get("index", n) for n, row in enumerate(rows)]
    order = sorted(range(len(rows)), key=places.__getitem__)
    if [places[n] for n in order] != list(range(len(rows))):
        raise EmbeddingError(f"{name} answered with wrong indices: {places!r:.500}")
    return [vectors[n] for n in order]


def _vector(value: Any, encoded: DTypeLike) -> NDArray[np.float32]:
    # A server that speaks the protocol may know of digits only.
    if isinstance(value, str):
        return np.frombuffer(base64.b64decode(value), dtype=encoded).astype(np.float32)
    return np.asarray(value, dtype=np.float32)
