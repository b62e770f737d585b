"""The loaded model, which turns texts into unit vectors.

Chroma pads every text to 256 tokens. Padding does not change a vector, because a padded position
has no weight in attention or mean. Therefore texts are sorted by length here and padded to the
longest of their batch, and the size of a batch is chosen to fit into the processor's caches.
"""

from __future__ import annotations

import ctypes
import os
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pgchroma.embeddings.minilm.weights import find_weights, load_graph
from pgchroma.extras import load_extra

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import ModuleType

    from numpy.typing import NDArray

    from pgchroma.embeddings.minilm.archive import Archive
    from pgchroma.embeddings.minilm.weights import Weights

__all__ = ("DIMENSION", "MAX_TOKENS", "Encoder", "EncoderRequest", "load_runtime", "shared_encoder")

DIMENSION = 384
"""The length of a vector."""

MAX_TOKENS = 256
"""The number of tokens of a text that are embedded. The rest is cut off."""

# Measured on two cores: 256 tokens a thread keep one layer's activations (6 kB a token) within the
# second-level cache. Batches of 8192 tokens, as Chroma's, are a third slower.
_TOKENS_PER_THREAD = 256

# The model is too small for more threads to help one batch.
_MAX_THREADS = 8

# The number of texts that are tokenised and sorted together, which limits the memory of tokens.
_WINDOW = 4096

# A long text is first tokenised up to here, about twice the length of 256 tokens of English.
_FIRST_CHARACTERS = 2048

# Spaces have no tokens, and a word of more than 100 characters has one token, whatever its length.
_LONG_RUN = re.compile(
    r"([ \t\r\n]{1000}|[A-Za-z0-9]{1000})(?:(?<=\s)[ \t\r\n]+|(?<=\w)[A-Za-z0-9]+)"
)


class Encoder:
    """A tokenizer and an onnxruntime session. Several threads can use it."""

    def __init__(self, weights: Weights, providers: Sequence[str] | None = None) -> None:
        """Load the model, which takes a third of a second.

        Args:
            weights: The files to load.
            providers: The preferred execution providers of onnxruntime. The default is all.

        Raises:
            ValueError: A package or a provider is missing.
        """
        threads = min(_usable_processors(), _MAX_THREADS)
        self._tokens_per_batch = _TOKENS_PER_THREAD * threads
        self._tokenizer = _open_tokenizer(weights.tokenizer)
        self._session = _open_session(load_graph(weights.model), providers, threads)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts of any length, including empty ones.

        Returns:
            An array of shape [texts, 384] in the order of the texts; each row has length 1.
        """
        vectors = np.empty((len(texts), DIMENSION), dtype=np.float32)
        for start in range(0, len(texts), _WINDOW):
            window = [self._tokenize(text) for text in texts[start : start + _WINDOW]]
            lengths = np.array([len(tokens) for tokens in window])
            for batch in _batches(lengths, self._tokens_per_batch):
                vectors[start + batch] = self._run([window[index] for index in batch])
        return vectors

    def _tokenize(self, text: str) -> NDArray[np.int64]:
        # One text at a time: compared with the model, the tokenizer's thread pool saves no
        # measurable time, and after its use every fork prints a warning.
        return np.array(self._encoded(text).ids, dtype=np.int64)

    def _encoded(self, text: str) -> Any:
        """Tokenize the beginning of the text, and more only if that has too few tokens."""
        size = _FIRST_CHARACTERS
        while len(text) > size:
            encoded = self._tokenizer.encode(text[:size])
            if _has_all_tokens(encoded):
                return encoded
            if size == _FIRST_CHARACTERS:
                text = _LONG_RUN.sub(r"\1", text)
            size *= 4
        return self._tokenizer.encode(text)

    def _run(self, batch: Sequence[NDArray[np.int64]]) -> NDArray[np.float32]:
        shape = len(batch), max(map(len, batch))
        ids, mask = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        (hidden,) = self._session.run(
            ["last_hidden_state"],
            {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)},
        )
        return _pool(hidden, mask)


def _has_all_tokens(encoded: Any) -> bool:
    """Whether more text would not change the tokens to embed.

    That is so if another word begins after the last of them. Words are split one after the other,
    and each has its own tokens, so more text changes at most the last word.
    """
    if not encoded.overflowing:
        return False
    *_, last, _end = encoded.word_ids
    following = encoded.overflowing[-1].word_ids
    return any(word is not None and word > last for word in following)


def _batches(lengths: NDArray[np.int_], tokens: int) -> Iterator[NDArray[np.intp]]:
    """Yield the indices of batches of similar lengths with at most this many padded tokens."""
    # The longest texts first, so that onnxruntime's arena grows to its final size at once.
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, tokens // int(lengths[order[start]]))
        yield order[start : start + size]
        start += size


def _pool(hidden: NDArray[np.float32], mask: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the mean of each text's tokens, [batch, 384], scaled to length 1.

    The two small numbers replace a zero, as PyTorch's `clamp` and `normalize` do.
    """
    weights = mask[:, np.newaxis, :].astype(np.float32)
    mean = (weights @ hidden)[:, 0] / np.maximum(weights.sum(axis=2), 1e-9)
    norm = np.linalg.norm(mean, axis=1, keepdims=True)
    norm[norm == 0] = 1e-12
    scaled: NDArray[np.float32] = mean / norm
    return scaled


def _open_tokenizer(file: Path) -> Any:
    tokenizer = load_extra("tokenizers", "onnx").Tokenizer.from_file(str(file))
    # The file contains settings for padding and truncation to 128 tokens.
    tokenizer.enable_truncation(max_length=MAX_TOKENS)
    tokenizer.no_padding()
    return tokenizer


def _open_session(graph: Path | bytes, preferred: Sequence[str] | None, threads: int) -> Any:
    runtime = load_runtime()
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    # By default, onnxruntime counts the machine's cores, not those that this process may use, and
    # binds a thread to each. An explicit number prevents both.
    options.intra_op_num_threads = threads
    return runtime.InferenceSession(
        graph if isinstance(graph, bytes) else str(graph),
        options,
        providers=_providers(preferred, runtime.get_available_providers()),
    )


def load_runtime() -> ModuleType:
    """Import onnxruntime with its telemetry off, unless the environment already sets the switch.

    Since 1.29, onnxruntime reports the models that a process loads to its makers. A library should
    not do that without the user's consent, and the reporting thread makes a forked child hang at
    exit. onnxruntime reads the switch once, so it has no effect if the program has already imported
    onnxruntime.

    Raises:
        ValueError: onnxruntime is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    return load_extra("onnxruntime", "onnx")


def _providers(preferred: Sequence[str] | None, available: Sequence[str]) -> list[str]:
    if not set(preferred or ()).issubset(available):
        raise ValueError(f"Preferred providers must be subset of available providers: {available}")
    # CoreML runs this model slower than the CPU.
    chosen = [name for name in preferred or available if name != "CoreMLExecutionProvider"]
    return chosen or ["CPUExecutionProvider"]


def _usable_processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class EncoderRequest:
    """Everything that determines which model is loaded, and how."""

    configured: Path | None
    archive: Archive
    providers: tuple[str, ...] | None


class ModelCache:
    """The encoders of this process. Each is loaded once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._encoders: dict[EncoderRequest, Encoder] = {}

    def get(self, request: EncoderRequest) -> Encoder:
        if request not in self._encoders:
            with self._lock:
                if request not in self._encoders:
                    weights = find_weights(request.configured, request.archive)
                    self._encoders[request] = Encoder(weights, request.providers)
        return self._encoders[request]

    def forget(self) -> None:
        """Remove all encoders in a forked child, where the threads of a session do not exist.

        The old encoders are never freed, not even when the child exits, because freeing waits for
        these threads, sometimes forever. The lock is replaced, because another thread may have held
        it.
        """
        self._lock = threading.Lock()
        for encoder in self._encoders.values():
            # A reference without an owner. The interpreter would drop a variable's at exit.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(encoder))
        self._encoders.clear()


_loaded_models = ModelCache()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_loaded_models.forget)


def shared_encoder(request: EncoderRequest) -> Encoder:
    """Return the encoder of this process for a request. The first call loads it.

    Raises:
        ValueError: The weights, a package or a provider cannot be found.
        httpx.HTTPError: The weights could not be downloaded.
    """
    return _loaded_models.get(request)
