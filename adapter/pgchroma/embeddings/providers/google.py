"""Google's embeddings: the Gemini API, the older PaLM API, and Vertex AI.

As in Chroma, queries are embedded with the same task type as documents.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pgchroma.embeddings.calls.batched import Purpose
from pgchroma.embeddings.keys import ApiKey
from pgchroma.embeddings.protocol import Documents
from pgchroma.embeddings.providers.google_credentials import DefaultCredentials
from pgchroma.embeddings.providers.http import VendorEmbeddingFunction, field
from pgchroma.errors import EmbeddingError
from pgchroma.extras import check_installed

__all__ = (
    "GoogleGeminiEmbeddingFunction",
    "GoogleGenaiEmbeddingFunction",
    "GoogleGenerativeAiEmbeddingFunction",
    "GooglePalmEmbeddingFunction",
    "GoogleVertexEmbeddingFunction",
)

_GEMINI_URL = "https://generativelanguage.googleapis.com/v1beta"
_VERTEX_URL = "https://{region}-aiplatform.googleapis.com/v1"

# Parts of URLs can come from stored configurations, and must not redirect requests.
_MODEL = re.compile(r"((models|tunedModels)/)?[A-Za-z0-9][A-Za-z0-9._@-]*")
_REGION = re.compile(r"global|[a-z]+(-[a-z]+)+[0-9]{1,2}")
_PROJECT = re.compile(r"([a-z][a-z0-9.-]*:)?[a-z][a-z0-9-]*[a-z0-9]|[0-9]+")

_DIMENSIONS: Mapping[str, int] = {
    "gemini-embedding-001": 3072,
    "text-embedding-004": 768,
    "text-embedding-005": 768,
    "text-multilingual-embedding-002": 768,
    "textembedding-gecko": 768,
    "models/embedding-001": 768,
    "models/embedding-gecko-001": 768,
    "models/gemini-embedding-001": 3072,
    "models/text-embedding-004": 768,
}


class _GoogleFunction(VendorEmbeddingFunction[Documents]):
    """The base of Google's functions, with a checked model's name and a key in a header."""

    endpoint: ClassVar[str] = _GEMINI_URL
    vendor_env_var: ClassVar[str | None] = "GOOGLE_API_KEY"
    dimensions_of: ClassVar[Mapping[str, int]] = _DIMENSIONS

    model_name: str
    task_type: str | None = None
    dimension: int | None = None

    @property
    def dimensions(self) -> int | None:
        """Return the requested length of the embeddings."""
        return self.dimension

    def get_config(self) -> dict[str, Any]:
        """Return all settings except the key and the model's defaults."""
        config = super().get_config()
        optional = ("task_type", "dimension")
        return {k: v for k, v in config.items() if v is not None or k not in optional}

    def _headers(self) -> dict[str, str]:
        # Google also accepts keys in the URL, but logs and proxies would see them there.
        return {"x-goog-api-key": self._key.get_secret()} if self._key is not None else {}


class GoogleGenerativeAiEmbeddingFunction(_GoogleFunction):
    """Embeds texts with a model of the Gemini API."""

    immutable_settings: ClassVar[tuple[str, ...]] = ("model_name", "task_type", "dimension")

    def __init__(
        self,
        api_key: str | None = None,
        model_name: str = "gemini-embedding-001",
        task_type: str = "RETRIEVAL_DOCUMENT",
        api_key_env_var: str = "GEMINI_API_KEY",
        dimension: int | None = None,
    ) -> None:
        """Choose the model.

        Args:
            api_key: The key. Prefer the environment variable, which reopened collections can use.
            model_name: The model.
            task_type: The purpose of the embeddings, such as ``RETRIEVAL_DOCUMENT``.
            api_key_env_var: The environment variable of the key. ``GOOGLE_API_KEY`` takes
                precedence.
            dimension: The length of the embeddings. The default is the model's.

        Raises:
            ValueError: The key is missing, or the model's name is malformed.
        """
        self._key = ApiKey(api_key, api_key_env_var, self.vendor_env_var)
        self.model_name = _checked("model_name", model_name, _MODEL)
        self.task_type = task_type
        self.dimension = dimension

    def _address(self) -> str:
        return f"{self.endpoint}/{_path_of(self.model_name)}:batchEmbedContents"

    def _body(self, batch: list[Any], purpose: Purpose) -> dict[str, Any]:
        return _gemini_body(self.model_name, batch, self.task_type, self.dimension)

    def _read(self, answer: Any) -> object:
        return _gemini_rows(self.name(), answer)

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "google_generative_ai"


class GooglePalmEmbeddingFunction(_GoogleFunction):
    """Embeds texts with a model of the PaLM API, which the Gemini API has replaced."""

    def __init__(
        self,
        api_key: str | None = None,
        model_name: str = "models/embedding-gecko-001",
        api_key_env_var: str = "CHROMA_GOOGLE_PALM_API_KEY",
    ) -> None:
        """Choose the model.

        Args:
            api_key: The key. Prefer the environment variable, which reopened collections can use.
            model_name: The model.
            api_key_env_var: The environment variable of the key. ``GOOGLE_API_KEY`` takes
                precedence.

        Raises:
            ValueError: The key is missing, or the model's name is malformed.
        """
        self._key = ApiKey(api_key, api_key_env_var, self.vendor_env_var)
        self.model_name = _checked("model_name", model_name, _MODEL)

    def _address(self) -> str:
        return f"{self.endpoint}/{_path_of(self.model_name)}:batchEmbedText"

    def _body(self, batch: list[Any], purpose: Purpose) -> dict[str, Any]:
        return {"texts": batch}

    def _read(self, answer: Any) -> object:
        rows = field(self.name(), answer, "embeddings")
        return [field(self.name(), row, "value") for row in rows]

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "google_palm"


class GoogleVertexEmbeddingFunction(_GoogleFunction):
    """Embeds texts with a model of Vertex AI.

    If ``GOOGLE_APPLICATION_CREDENTIALS`` is set, tokens are fetched with these credentials.
    Otherwise the key is sent as the token.
    """

    endpoint: ClassVar[str] = _VERTEX_URL
    batch_size: ClassVar[int] = 5  # what the oldest models take
    immutable_settings: ClassVar[tuple[str, ...]] = ("model_name", "project_id", "region")

    def __init__(
        self,
        api_key: str | None = None,
        model_name: str = "textembedding-gecko",
        project_id: str = "cloud-large-language-models",
        region: str = "us-central1",
        api_key_env_var: str = "CHROMA_GOOGLE_VERTEX_API_KEY",
    ) -> None:
        """Choose the model and the project.

        Args:
            api_key: An access token. Prefer the environment variable, which reopened collections
                can use.
            model_name: The model.
            project_id: The project.
            region: The region of the model, such as ``us-central1``.
            api_key_env_var: The environment variable of the token. ``GOOGLE_API_KEY`` takes
                precedence. As in Chroma it has to be set even if credentials are found otherwise.

        Raises:
            ValueError: The key is missing, a setting is malformed, or the packages that fetch
                tokens are missing.
        """
        self._key: ApiKey = ApiKey(api_key, api_key_env_var, self.vendor_env_var)
        self.model_name = _checked("model_name", model_name, _MODEL)
        self.project_id = _checked("project_id", project_id, _PROJECT)
        self.region = _checked("region", region, _REGION)
        self._credentials = (
            _default_credentials() if os.environ.get("GOOGLE_APPLICATION_CREDENTIALS") else None
        )

    def max_inputs(self, inputs: Sequence[Any]) -> int | None:
        """Return 1 for models that accept one text in a call."""
        return _most_on_vertex(self.model_name)

    def _address(self) -> str:
        return _vertex_address(self.endpoint, self.project_id, self.region, self.model_name)

    def _body(self, batch: list[Any], purpose: Purpose) -> dict[str, Any]:
        return _vertex_body(batch)

    def _headers(self) -> dict[str, str]:
        token = self._credentials.token() if self._credentials else self._key.get_secret()
        return {"Authorization": f"Bearer {token}"}

    def _read(self, answer: Any) -> object:
        return _vertex_rows(self.name(), answer)

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "google_vertex"


class GoogleGeminiEmbeddingFunction(_GoogleFunction):
    """Embeds texts with a Gemini model, on the Gemini API or Vertex AI."""

    vertex_endpoint: ClassVar[str] = _VERTEX_URL
    created_names: ClassVar[Mapping[str, str]] = {
        "dim": "dimension",
        "source_task_type": "task_type",
    }
    optional_settings: ClassVar[frozenset[str]] = frozenset(["query_task_type"])
    vendor_env_var: ClassVar[str | None] = None
    immutable_settings: ClassVar[tuple[str, ...]] = (
        "model_name", "task_type", "dimension", "vertexai", "project", "location",
    )  # fmt: skip

    def __init__(
        self,
        model_name: str = "gemini-embedding-001",
        task_type: str | None = None,
        dimension: int | None = None,
        api_key_env_var: str | None = "GEMINI_API_KEY",
        vertexai: bool | None = None,
        project: str | None = None,
        location: str | None = None,
        query_task_type: str | None = None,
    ) -> None:
        """Choose the model and the API.

        Args:
            model_name: The model.
            task_type: The purpose of the embeddings, such as ``RETRIEVAL_DOCUMENT``.
            dimension: The length of the embeddings. The default is the model's.
            api_key_env_var: The environment variable of the key.
            vertexai: Whether to use Vertex AI, with Google's application default credentials
                instead of a key.
            project: The project on Vertex AI. The default is ``GOOGLE_CLOUD_PROJECT``, or the
                project of the credentials.
            location: The location on Vertex AI. The default is ``GOOGLE_CLOUD_LOCATION``, or
                ``global``.
            query_task_type: The purpose of the embeddings of queries. The default is `task_type`.

        Raises:
            ValueError: The key is missing, a setting is malformed, or the packages that fetch
                tokens are missing.
        """
        self.model_name = _checked("model_name", model_name, _MODEL)
        self.task_type = task_type
        self.query_task_type = query_task_type
        self.dimension = dimension
        self.vertexai = vertexai
        self.project = None if project is None else _checked("project", project, _PROJECT)
        self.location = None if location is None else _checked("location", location, _REGION)
        if api_key_env_var is None and not vertexai:
            raise ValueError("api_key_env_var: required unless vertexai is set")
        self._key = ApiKey(None, api_key_env_var, is_required=not vertexai)
        self._credentials = _default_credentials() if vertexai else None

    def max_inputs(self, inputs: Sequence[Any]) -> int | None:
        """Return 1 for models that accept one text in a call on Vertex AI."""
        return _most_on_vertex(self.model_name) if self.vertexai else None

    def _address(self) -> str:
        if self._credentials is None:
            return f"{self.endpoint}/{_path_of(self.model_name)}:batchEmbedContents"
        project = (
            self.project
            or os.environ.get("GOOGLE_CLOUD_PROJECT")
            or self._credentials.find_project()
        )
        if project is None:
            raise EmbeddingError(f"{self.name()} has no project on Vertex AI; pass project=…")
        location = self.location or os.environ.get("GOOGLE_CLOUD_LOCATION") or "global"
        return _vertex_address(
            self.vertex_endpoint,
            _checked("project", project, _PROJECT),
            _checked("location", location, _REGION),
            self.model_name,
        )

    def _body(self, batch: list[Any], purpose: Purpose) -> dict[str, Any]:
        make = _gemini_body if self._credentials is None else _vertex_task_body
        for_query = self.query_task_type if purpose == "query" else None
        return make(self.model_name, batch, for_query or self.task_type, self.dimension)

    def _headers(self) -> dict[str, str]:
        if self._credentials is None:
            return super()._headers()
        return {"Authorization": f"Bearer {self._credentials.token()}"}

    def _read(self, answer: Any) -> object:
        read = _gemini_rows if self._credentials is None else _vertex_rows
        return read(self.name(), answer)

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "google_gemini"


GoogleGenaiEmbeddingFunction = GoogleGeminiEmbeddingFunction
"""The previous name."""


def _checked(setting: str, value: str, form: re.Pattern[str]) -> str:
    if not isinstance(value, str) or not form.fullmatch(value):
        raise ValueError(f"{setting} is malformed: {value!r:.100}")
    return value


def _default_credentials() -> DefaultCredentials:
    check_installed("requests", extra="vertex")
    return DefaultCredentials()


def _path_of(model: str) -> str:
    return model if "/" in model else f"models/{model}"


def _gemini_body(
    model: str, texts: list[str], task_type: str | None, dimension: int | None
) -> dict[str, Any]:
    settings: dict[str, Any] = {"model": _path_of(model)}
    if task_type is not None:
        # LanceDB's names are in lower case.
        settings["taskType"] = task_type.upper()
    if dimension is not None:
        settings["outputDimensionality"] = dimension
    return {"requests": [{**settings, "content": {"parts": [{"text": text}]}} for text in texts]}


def _gemini_rows(name: str, answer: Any) -> object:
    return [field(name, row, "values") for row in field(name, answer, "embeddings")]


def _most_on_vertex(model: str) -> int | None:
    # On Vertex AI, these models refuse a request of several texts.
    return 1 if model.rpartition("/")[2].startswith("gemini-embedding") else None


def _vertex_address(base: str, project: str, region: str, model: str) -> str:
    # The host of the global location has no region.
    host = base.replace("{region}-", "" if region == "global" else f"{region}-")
    publisher = f"projects/{project}/locations/{region}/publishers/google"
    return f"{host}/{publisher}/models/{model.rpartition('/')[2]}:predict"


def _vertex_body(texts: list[str]) -> dict[str, Any]:
    instances = [{"content": text} for text in texts]
    return {"instances": instances, "parameters": {"autoTruncate": True}}


def _vertex_task_body(
    model: str, texts: list[str], task_type: str | None, dimension: int | None
) -> dict[str, Any]:
    body = _vertex_body(texts)
    if task_type is not None:
        body["instances"] = [{"content": text, "task_type": task_type.upper()} for text in texts]
    if dimension is not None:
        body["parameters"]["outputDimensionality"] = dimension
    return body


def _vertex_rows(name: str, answer: Any) -> object:
    rows = field(name, answer, "predictions")
    return [field(name, row, "embeddings", "values") for row in rows]
