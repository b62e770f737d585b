"""The default embedding functions: all-MiniLM-L6-v2 on onnxruntime, with Chroma's numbers."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pgchroma.embeddings.minilm.archive import FOLDER, Archive
from pgchroma.embeddings.minilm.encoder import MAX_TOKENS, EncoderRequest, shared_encoder
from pgchroma.embeddings.minilm.weights import PATH_VARIABLE, Weights, find_weights
from pgchroma.embeddings.protocol import Documents, EmbeddingFunction, Embeddings, Space
from pgchroma.extras import check_installed

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("URL_VARIABLE", "DefaultEmbeddingFunction", "ONNXMiniLM_L6_V2")

URL_VARIABLE = "PGCHROMA_MODEL_URL"
"""The environment variable with a mirror of Chroma's archive. The checksum is always checked."""


def _home() -> Path:
    # In a container, a user may have no home directory, and the import must still work.
    try:
        return Path.home()
    except RuntimeError:
        return Path.cwd()


class ONNXMiniLM_L6_V2(EmbeddingFunction[Documents]):  # noqa: N801
    """all-MiniLM-L6-v2 in float32: embeds the first 256 tokens of English texts in 384 dimensions.

    The first call loads the model, and downloads it if necessary. All instances of the process
    share it. As in Chroma, subclasses can override the class attributes to change the address or
    the directory of the download.
    """

    MODEL_NAME: ClassVar[str] = "all-MiniLM-L6-v2"
    DOWNLOAD_PATH: ClassVar[Path] = _home() / ".cache" / "chroma" / "onnx_models" / MODEL_NAME
    EXTRACTED_FOLDER_NAME: ClassVar[str] = FOLDER
    MODEL_DOWNLOAD_URL: ClassVar[str] = (
        "https://chroma-onnx-models.s3.amazonaws.com/all-MiniLM-L6-v2/onnx.tar.gz"
    )
    _MODEL_SHA256: ClassVar[str] = (
        "913d7300ceae3b2dbc2c50d1de4baacab4be7b9380491c27fab7418616a16ec3"
    )

    def __init__(
        self,
        preferred_providers: Sequence[str] | None = None,
        *,
        model_path: str | Path | None = None,
    ) -> None:
        """Choose how to run the model, and where its files are.

        Args:
            preferred_providers: onnxruntime's execution providers in the order of preference. The
                default is all that are available.
            model_path: A directory with ``tokenizer.json`` and ``model.onnx`` or
                ``model.safetensors``. The default is the environment variable
                ``PGCHROMA_MODEL_PATH``. Collections do not store it, because it differs between
                machines.

        Raises:
            ValueError: The providers are not a list of different names, or onnxruntime or
                tokenizers is not installed.
        """
        self.validate_config({"preferred_providers": preferred_providers})
        check_installed(*DefaultEmbeddingFunction.PACKAGES, extra="onnx")
        self._preferred_providers = preferred_providers
        self._model_path = model_path

    def __call__(self, input: Documents) -> Embeddings:
        """Embed texts; one float32 array of length 1 and shape [384] each, in their order.

        Raises:
            ValueError: The input is not a list of strings, or the model cannot be loaded.
        """
        _check_texts(input)
        return list(shared_encoder(self._request()).encode(input))

    def _request(self) -> EncoderRequest:
        path = self._model_path or os.environ.get(PATH_VARIABLE)
        providers = self._preferred_providers
        return EncoderRequest(
            configured=Path(path).expanduser() if path else None,
            archive=Archive(
                url=os.environ.get(URL_VARIABLE) or self.MODEL_DOWNLOAD_URL,
                sha256=self._MODEL_SHA256,
                directory=Path(self.DOWNLOAD_PATH),
            ),
            providers=tuple(providers) if providers else None,
        )

    def cache_identity(self) -> str:
        """Return the hash of the model's files, which are not part of the configuration.

        Raises:
            ValueError: The model cannot be found.
        """
        request = self._request()
        return _digest_of(find_weights(request.configured, request.archive))

    def _download_model_if_not_exists(self) -> None:
        # Container images are often built with a call of this method, although it is private.
        request = self._request()
        find_weights(request.configured, request.archive)

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "onnx_mini_lm_l6_v2"

    def default_space(self) -> Space:
        """Return the distance of new collections. The vectors have length 1."""
        return "cosine"

    def max_tokens(self) -> int:
        """The tokens of a text that count."""
        return MAX_TOKENS

    def get_config(self) -> dict[str, Any]:
        """Return the preferred providers."""
        return {"preferred_providers": self._preferred_providers}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> ONNXMiniLM_L6_V2:
        """Build the function from the settings that ``get_config`` returned."""
        return ONNXMiniLM_L6_V2(preferred_providers=config.get("preferred_providers"))

    @staticmethod
    def validate_config(config: dict[str, Any]) -> None:
        """Check the only setting.

        Raises:
            ValueError: A setting is unknown, or the providers are not a list of different names.
        """
        if unknown := config.keys() - {"preferred_providers"}:
            raise ValueError(f"Unknown settings of onnx_mini_lm_l6_v2: {sorted(unknown)}")
        providers = config.get("preferred_providers") or []
        if isinstance(providers, str) or not all(isinstance(name, str) for name in providers):
            raise ValueError("Preferred providers must be a list of strings")
        if len(providers) != len(set(providers)):
            raise ValueError("Preferred providers must be unique")


def _check_texts(documents: object) -> None:
    if not isinstance(documents, list | tuple) or not all(isinstance(d, str) for d in documents):
        raise ValueError(f"Expected documents to be a list of strings, got {documents!r:.100}")


@lru_cache(maxsize=16)
def _digest_of(weights: Weights) -> str:
    # Cached, because the process has loaded these files and will not load others.
    digest = hashlib.sha256()
    for path in (weights.model, weights.tokenizer):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


class DefaultEmbeddingFunction(EmbeddingFunction[Documents]):
    """The embedding function of collections that were created without one: `ONNXMiniLM_L6_V2`.

    As in Chroma, its name and its default distance differ from those of that class.
    """

    PACKAGES: ClassVar[tuple[str, ...]] = ("onnxruntime", "tokenizers")
    """The required modules, which the extra ``onnx`` installs."""

    def __init__(self) -> None:
        # No check of onnxruntime, because every client creates this function, used or not.
        pass

    def __call__(self, input: Documents) -> Embeddings:
        """Embed texts; one float32 array of length 1 and shape [384] each, in their order.

        Raises:
            ValueError: The input is not a list of strings, or the model cannot be loaded.
        """
        return ONNXMiniLM_L6_V2()(input)

    def cache_identity(self) -> str:
        """Return the hash of the model's files, which are not part of the configuration."""
        return ONNXMiniLM_L6_V2().cache_identity()

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "default"

    def max_tokens(self) -> int:
        """The tokens of a text that count."""
        return MAX_TOKENS

    def get_config(self) -> dict[str, Any]:
        """Return no settings."""
        return {}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> DefaultEmbeddingFunction:
        """Build the function. The configuration is empty."""
        return DefaultEmbeddingFunction()
