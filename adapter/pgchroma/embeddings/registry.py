"""Dense embedding functions by name, and what a collection stores of its function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar, overload
from warnings import warn

from pgchroma.embeddings.function_registry import FunctionRegistry
from pgchroma.embeddings.lancedb.adapters import ChromaAdapter, chroma_function
from pgchroma.embeddings.minilm.function import DefaultEmbeddingFunction, ONNXMiniLM_L6_V2
from pgchroma.embeddings.protocol import EmbeddingFunction

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = (
    "PROVIDERS",
    "config_to_embedding_function",
    "embedding_function_to_config",
    "known_embedding_functions",
    "register_embedding_function",
)

Class = TypeVar("Class", bound="type[EmbeddingFunction[Any]]")

PROVIDERS: Final[dict[str, tuple[str, str]]] = {
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

known_embedding_functions: FunctionRegistry[EmbeddingFunction[Any]] = FunctionRegistry(
    "embedding function",
    EmbeddingFunction,
    "pgchroma.embeddings.providers",
    PROVIDERS,
    {"default": DefaultEmbeddingFunction, "onnx_mini_lm_l6_v2": ONNXMiniLM_L6_V2},
    not_found=(
        "Embedding function {name} not found. "
        "Add @register_embedding_function decorator to the class definition."
    ),
)
"""Name to class; `register_embedding_function` adds to it."""


@overload
def register_embedding_function(ef_class: Class) -> Class: ...


@overload
def register_embedding_function(ef_class: None = None) -> Callable[[Class], Class]: ...


def register_embedding_function(ef_class: Any = None) -> Any:
    """Register a class under its ``name()``, so that collections made with it can be reopened.

    Use it as a decorator, with or without brackets, or as a function. A class replaces an earlier
    class of the same name.

    Raises:
        ValueError: The class has no name.
    """
    register = known_embedding_functions.register
    return register if ef_class is None else register(ef_class)


def config_to_embedding_function(
    config: dict[str, Any], *, is_trusted: bool = False
) -> EmbeddingFunction[Any]:
    """Build an embedding function from what a collection stores of it.

    Args:
        config: The function's ``name`` in the registry, and its ``config`` if it has settings.
        is_trusted: Whether to apply addresses, variables of keys and remote code in the
            configuration. Everyone who can write to the collection can choose them.

    Raises:
        ValueError: The name is missing or unknown, the configuration is not trusted and requires
            trust, or the function cannot be built, for example because its package or its API key
            is missing.
    """
    return known_embedding_functions.from_config(config, is_trusted=is_trusted)


@overload
def embedding_function_to_config(embedding_function: None) -> None: ...


@overload
def embedding_function_to_config(embedding_function: EmbeddingFunction[Any]) -> dict[str, Any]: ...


def embedding_function_to_config(
    embedding_function: EmbeddingFunction[Any] | None,
) -> dict[str, Any] | None:
    """Return what a collection stores of an embedding function, and register the function's class.

    A function of LanceDB's kind is stored under the name that it was registered with.

    Returns:
        ``{"type": "known", "name": …, "config": …}``, or ``{"type": "legacy"}`` with a
        `DeprecationWarning` for a function that cannot be stored, or `None` for no function.
    """
    if embedding_function is None:
        return None
    try:
        return _known_config(chroma_function(embedding_function)) or {"type": "legacy"}
    except Exception as error:
        warn(f"legacy embedding function config: {error}", DeprecationWarning, stacklevel=2)
        return {"type": "legacy"}


def _known_config(function: EmbeddingFunction[Any]) -> dict[str, Any] | None:
    if function.is_legacy():
        return None
    function_class: Any = type(function)
    if isinstance(function, ChromaAdapter):
        function_class = function.function_class
    return known_embedding_functions.to_config(function, function_class)
