"""The classes of embedding functions by name; a provider's module is loaded when it is used.

There are some thirty, and a program uses one or two.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pgchroma.embeddings.protocol import EmbeddingFunction

__all__ = ("PROVIDERS", "FunctionRegistry", "load_provider")

PROVIDERS: dict[str, tuple[str, str]] = {
    "amazon_bedrock": ("bedrock", "AmazonBedrockEmbeddingFunction"),
    "baseten": ("baseten", "BasetenEmbeddingFunction"),
    "chroma-cloud-qwen": ("chroma_cloud_qwen", "ChromaCloudQwenEmbeddingFunction"),
    "chroma_langchain": ("langchain", "ChromaLangchainEmbeddingFunction"),
    "cloudflare_workers_ai": ("cloudflare_workers_ai", "CloudflareWorkersAIEmbeddingFunction"),
    "cohere": ("cohere", "CohereEmbeddingFunction"),
    "google_gemini": ("google", "GoogleGeminiEmbeddingFunction"),
    "google_genai": ("google", "GoogleGeminiEmbeddingFunction"),
    "google_generative_ai": ("google", "GoogleGenerativeAiEmbeddingFunction"),
    "google_palm": ("google", "GooglePalmEmbeddingFunction"),
    "google_vertex": ("google", "GoogleVertexEmbeddingFunction"),
    "huggingface": ("huggingface", "HuggingFaceEmbeddingFunction"),
    "huggingface_server": ("huggingface", "HuggingFaceEmbeddingServer"),
    "imagebind": ("imagebind", "ImageBindEmbeddingFunction"),
    "instructor": ("instructor", "InstructorEmbeddingFunction"),
    "jina": ("jina", "JinaEmbeddingFunction"),
    "mistral": ("mistral", "MistralEmbeddingFunction"),
    "morph": ("morph", "MorphEmbeddingFunction"),
    "nomic": ("nomic", "NomicEmbeddingFunction"),
    "ollama": ("ollama", "OllamaEmbeddingFunction"),
    "open_clip": ("open_clip", "OpenCLIPEmbeddingFunction"),
    "openai": ("openai", "OpenAIEmbeddingFunction"),
    "perplexity": ("perplexity", "PerplexityEmbeddingFunction"),
    "roboflow": ("roboflow", "RoboflowEmbeddingFunction"),
    "sentence_transformer": ("sentence_transformer", "SentenceTransformerEmbeddingFunction"),
    "text2vec": ("text2vec", "Text2VecEmbeddingFunction"),
    "together_ai": ("together_ai", "TogetherAIEmbeddingFunction"),
    "transformers": ("transformers", "TransformersEmbeddingFunction"),
    "voyageai": ("voyageai", "VoyageAIEmbeddingFunction"),
}
"""Name to module in `pgchroma.embeddings.providers` and class."""


def load_provider(name: str) -> Any:
    """Import the class of a name in `PROVIDERS`."""
    module, function_class = PROVIDERS[name]
    loaded = import_module(f"pgchroma.embeddings.providers.{module}")
    return getattr(loaded, function_class)


class FunctionRegistry(dict[str, "type[EmbeddingFunction[Any]]"]):
    """A dict that has the providers' classes from the beginning, and imports each upon its use."""

    def __init__(self, known: Mapping[str, type[EmbeddingFunction[Any]]]) -> None:
        super().__init__(known)
        self._pending = set(PROVIDERS)

    def __missing__(self, key: str) -> type[EmbeddingFunction[Any]]:
        if key not in self._pending:
            raise KeyError(key)
        self._load(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        return key in self._pending or super().__contains__(key)

    def __len__(self) -> int:
        return super(FunctionRegistry, self._all()).__len__()

    # That this is written out also keeps `dict(known)` from taking what is there without asking.
    def __iter__(self) -> Iterator[str]:
        return super(FunctionRegistry, self._all()).__iter__()

    def __reversed__(self) -> Iterator[str]:
        return super(FunctionRegistry, self._all()).__reversed__()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, FunctionRegistry):
            other._all()
        return super(FunctionRegistry, self._all()).__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None

    def __repr__(self) -> str:
        return super(FunctionRegistry, self._all()).__repr__()

    def __delitem__(self, key: str) -> None:
        self._load(key)
        super().__delitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Return the class of a name, or the default."""
        self._load(key)
        return super().get(key, default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return the class of a name; if there is none, let it be the default."""
        self._load(key)
        return super().setdefault(key, default)

    def pop(self, key: str, *default: Any) -> Any:
        """Remove a name and return its class."""
        self._load(key)
        return super().pop(key, *default)

    def popitem(self) -> tuple[str, type[EmbeddingFunction[Any]]]:
        """Remove the last name and return it with its class."""
        return super(FunctionRegistry, self._all()).popitem()

    def clear(self) -> None:
        """Remove all names."""
        self._pending.clear()
        super().clear()

    def copy(self) -> dict[str, type[EmbeddingFunction[Any]]]:
        """Return a plain dict of all classes."""
        return dict(self)

    def keys(self) -> KeysView[str]:  # type: ignore[override]
        """View the names."""
        return super(FunctionRegistry, self._all()).keys()

    def values(self) -> ValuesView[type[EmbeddingFunction[Any]]]:  # type: ignore[override]
        """View the classes."""
        return super(FunctionRegistry, self._all()).values()

    def items(self) -> ItemsView[str, type[EmbeddingFunction[Any]]]:  # type: ignore[override]
        """View the names with their classes."""
        return super(FunctionRegistry, self._all()).items()

    def _all(self) -> FunctionRegistry:
        for name in sorted(self._pending):
            self._load(name)
        return self

    def _load(self, name: str) -> None:
        if name not in self._pending:
            return
        # What was put under the name meanwhile has taken the provider's place.
        if not super().__contains__(name):
            super().__setitem__(name, load_provider(name))
        self._pending.discard(name)
