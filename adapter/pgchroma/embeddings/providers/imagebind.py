"""ImageBind, which embeds texts, images and sounds in one space."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pgchroma.embeddings.calls.batched import Purpose, refuse_changes
from pgchroma.embeddings.images.pictures import (
    check_texts_and_images,
    has_suffix,
    load_images,
    to_pillow,
)
from pgchroma.embeddings.lancedb.fields import as_inputs
from pgchroma.embeddings.protocol import Embeddable, Embeddings
from pgchroma.embeddings.providers.local import LocalEmbeddingFunction
from pgchroma.extras import check_installed, load_extra

__all__ = ("ImageBindEmbeddingFunction",)

_EXTRA = "imagebind"
_SOUNDS = (".mp3", ".wav", ".flac", ".ogg", ".aac")


class ImageBindEmbeddingFunction(LocalEmbeddingFunction[Embeddable]):
    """Embeds texts, images and sounds, which can be in one list, with ImageBind.

    Images are arrays; see `check_texts_and_images`. `compute_source_embeddings` and
    `compute_query_embeddings` also accept paths, which sounds require. In all other methods, a text
    is a text even if it looks like a path, because the author of a document must not choose the
    files that are read.
    """

    batch_size: ClassVar[int] = 32
    max_batch_bytes: ClassVar[int | None] = 256_000_000
    dimensions_of: ClassVar[Mapping[str, int]] = {"imagebind_huge": 1024}

    def __init__(
        self, model_name: str = "imagebind_huge", device: str = "cpu", normalize: bool = False
    ) -> None:
        """Choose the model and its device.

        Args:
            model_name: The name of a function in ``imagebind.imagebind_model``.
            device: PyTorch's name for the device, such as ``cpu`` or ``cuda:0``.
            normalize: Whether embeddings are scaled to length 1.

        Raises:
            ValueError: imagebind is not installed, or the model is unknown.
        """
        if not model_name.startswith("imagebind_"):
            # The module contains other functions and imports.
            raise ValueError(
                f"model_name: expected a name that begins with imagebind_, such as imagebind_huge, "
                f"got {model_name!r:.100}"
            )
        check_installed("imagebind", extra=_EXTRA)
        self.model_name = model_name
        self.device = device
        self.normalize = normalize

    def model_settings(self) -> Mapping[str, Any]:
        """Return the settings that determine which model is loaded."""
        return {"name": self.model_name, "device": self.device}

    def load(self) -> Any:
        """Load the model."""
        models = load_extra("imagebind", _EXTRA).imagebind_model
        model = getattr(models, self.model_name)(pretrained=True)
        return model.eval().to(self.device)

    def check_inputs(self, inputs: Any) -> None:
        """Raise `ValueError` unless all inputs are texts or images."""
        check_texts_and_images(inputs)

    def embed_with(self, model: Any, batch: list[Any], purpose: Purpose) -> object:
        """Embed the texts, the images and the sounds of one batch."""
        torch = load_extra("torch", _EXTRA)
        kinds: dict[str, list[int]] = {}
        for n, value in enumerate(batch):
            kinds.setdefault(_kind(value), []).append(n)
        embeddings: list[NDArray[np.float32] | None] = [None] * len(batch)
        with torch.inference_mode(), tempfile.TemporaryDirectory(prefix="pgchroma-") as folder:
            for kind, positions in kinds.items():
                inputs = [_as_path(batch[n], Path(folder) / f"{n}.png") for n in positions]
                vectors = self._encode(model, kind, inputs)
                if self.normalize:
                    vectors = torch.nn.functional.normalize(vectors, dim=-1)
                for n, vector in zip(positions, vectors.float().cpu().numpy(), strict=True):
                    embeddings[n] = vector
        return embeddings

    def _encode(self, model: Any, kind: str, inputs: list[str]) -> Any:
        data = load_extra("imagebind.data", _EXTRA)
        modality = load_extra("imagebind", _EXTRA).imagebind_model.ModalityType
        match kind:
            case "image":
                key, tensors = modality.VISION, data.load_and_transform_vision_data
            case "sound":
                key, tensors = modality.AUDIO, data.load_and_transform_audio_data
            case _:
                key, tensors = modality.TEXT, data.load_and_transform_text
        return model({key: tensors(inputs, self.device)})[key]

    def generate_embeddings(self, texts: Any) -> Embeddings:
        """Embed texts to store: one float32 array each, in their order."""
        return self(as_inputs(texts))

    def compute_source_embeddings(self, texts: Any, *args: Any, **kwargs: Any) -> Embeddings:
        """Embed documents to store: texts, images, and the images and sounds at URIs.

        A text is a URI if it is a URL, or a path with the suffix of an image or a sound. The cache
        key of a sound is its path.

        Raises:
            ValueError: An input has another type.
            OSError: An image is missing, or is not an image.
            EmbeddingError: A URL did not return an image, or the model failed.
        """
        return self(self._opened(texts))

    def compute_query_embeddings(self, query: Any, *args: Any, **kwargs: Any) -> Embeddings:
        """Embed queries. Arguments and errors are those of `compute_source_embeddings`."""
        return self.embed_query(self._opened(query))

    def _opened(self, values: Any) -> Any:
        inputs = [_Sound(each) if _is_sound(each) else each for each in as_inputs(values)]
        return load_images(inputs, _EXTRA, self.options.timeout)

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "imagebind"

    def get_config(self) -> dict[str, Any]:
        """Return all settings."""
        return {
            "model_name": self.model_name,
            "device": self.device,
            "normalize": self.normalize,
        }

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> ImageBindEmbeddingFunction:
        """Build the function from the settings that ``get_config`` returned."""
        return ImageBindEmbeddingFunction(**config)

    def validate_config_update(
        self, old_config: dict[str, Any], new_config: dict[str, Any]
    ) -> None:
        """Raise `ValueError` if the model changes."""
        refuse_changes(old_config, new_config, "model_name")


class _Sound(str):
    """The path of a sound file."""

    __slots__ = ()

    def cache_identity(self) -> str:
        """Return the kind of content that the path refers to."""
        return "sound"


def _is_sound(value: object) -> bool:
    return isinstance(value, str | Path) and has_suffix(str(value), _SOUNDS)


def _kind(value: object) -> str:
    if isinstance(value, _Sound):
        return "sound"
    return "text" if isinstance(value, str) else "image"


def _as_path(value: Any, file: Path) -> str:
    # ImageBind reads images from files.
    if isinstance(value, str):
        return value
    to_pillow(value, _EXTRA).save(file)
    return str(file)
