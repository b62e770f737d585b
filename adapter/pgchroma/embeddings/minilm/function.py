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
"""The environment variable that names a mirror of Chroma's archive; the checksum stays."""


def _home() -> Path:
    # A user without a home directory, as containers have them, must still be able to import this.
    try:
        return Path.home()
    except RuntimeError:
        return Path.cwd()


class ONNXMiniLM_L6_V2(EmbeddingFunction[Documents]):  # noqa: N801
    """all-MiniLM-L6-v2 in float32: English texts to 384 numbers, the first 256 tokens of each.

    Nothing is loaded, or downloaded, before the first call; the model is then shared by all
    instances of the process. The class attributes may be overridden, as in Chroma, to keep the
    download elsewhere or to fetch it from elsewhere.
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
        """Choose how and from where to run the model.

        Args:
            preferred_providers: onnxruntime's execution providers, the preferred first; all
                available ones if none are given.
            model_path: A directory with ``tokenizer.json`` and ``model.onnx`` or
                ``model.safetensors``; by default the environment variable ``PGCHROMA_MODEL_PATH``.
                It is no part of the configuration a collection stores: another machine has
                other paths.

        Raises:
            ValueError: The providers are no list of different names, or onnxruntime or tokenizers
                is not installed.
        """
        self.validate_config({"preferred_providers": preferred_providers})
        check_installed(*DefaultEmbeddingFunction.PACKAGES, extra="onnx")
        self._preferred_providers = preferred_providers
        self._model_path = model_path

    def __call__(self, input: Documents) -> Embeddings:
        """Embed texts; one float32 array of length 1 and shape [384] each, in their order.

        Raises:
            ValueError: The input is no list of strings, or the model cannot be loaded.
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
        """Tell by which model this embeds, which is no part of its configuration.

        Raises:
            ValueError: The model cannot be found.
        """
        request = self._request()
        return _digest_of(find_weights(request.configured, request.archive))

    def _download_model_if_not_exists(self) -> None:
        # Images are commonly built with a call of this, private though it is in Chroma.
        request = self._request()
        find_weights(request.configured, request.archive)

    @staticmethod
    def name() -> str:
        """The name in the registry."""
        return "onnx_mini_lm_l6_v2"

    def default_space(self) -> Space:
        """The vectors have length 1, so the angle is what tells them apart."""
        return "cosine"

    def max_tokens(self) -> int:
        """The tokens of a text that count."""
        return MAX_TOKENS

    def get_config(self) -> dict[str, Any]:
        """The preferred providers, as they were given."""
        return {"preferred_providers": self._preferred_providers}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> ONNXMiniLM_L6_V2:
        """Make the function again from what ``get_config`` gave."""
        return ONNXMiniLM_L6_V2(preferred_providers=config.get("preferred_providers"))

    @staticmethod
    def validate_config(config: dict[str, Any]) -> None:
        """Check the one setting there is.

        Raises:
            ValueError: There is another setting, or the providers are no list of different names.
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
    # Remembered: for as long as the process runs, it has loaded those files.
    digest = hashlib.sha256()
    for path in (weights.model, weights.tokenizer):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


class DefaultEmbeddingFunction(EmbeddingFunction[Documents]):
    """What a collection embeds with when nothing else is said: `ONNXMiniLM_L6_V2`.

    Its name and its default distance differ from that class's, as they do in Chroma.
    """

    PACKAGES: ClassVar[tuple[str, ...]] = ("onnxruntime", "tokenizers")
    """The modules that embedding needs; the extra ``onnx`` brings them."""

    def __init__(self) -> None:
        # Without a word, even if onnxruntime is missing: each client makes one, used or not.
        pass

    def __call__(self, input: Documents) -> Embeddings:
        """Embed texts; one float32 array of length 1 and shape [384] each, in their order.

        Raises:
            ValueError: The input is no list of strings, or the model cannot be loaded.
        """
        return ONNXMiniLM_L6_V2()(input)

    def cache_identity(self) -> str:
        """Tell by which model this embeds, which is no part of its configuration."""
        return ONNXMiniLM_L6_V2().cache_identity()

    @staticmethod
    def name() -> str:
        """The name in the registry."""
        return "default"

    def max_tokens(self) -> int:
        """The tokens of a text that count."""
        return MAX_TOKENS

    def get_config(self) -> dict[str, Any]:
        """There is nothing to set."""
        return {}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> DefaultEmbeddingFunction:
        """Make the function again; the configuration says nothing."""
        return DefaultEmbeddingFunction()
