"""OpenCLIP models, which embed texts and images in one space."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pgchroma.embeddings.calls.batched import Purpose, refuse_changes
from pgchroma.embeddings.images.pictures import (
    check_texts_and_images,
    load_images,
    pixels_of,
    to_pillow,
)
from pgchroma.embeddings.lancedb.fields import as_inputs
from pgchroma.embeddings.protocol import Embeddable, Embeddings
from pgchroma.embeddings.providers.local import LocalEmbeddingFunction
from pgchroma.extras import check_installed, load_extra

__all__ = ("OpenCLIPEmbeddingFunction",)

_EXTRA = "open-clip"


class OpenCLIPEmbeddingFunction(LocalEmbeddingFunction[Embeddable]):
    """Embeds texts and images, which can be in one list, as vectors of length 1.

    Images are arrays; see `check_texts_and_images`. They are converted to RGB, scaled and cropped
    to a square.
    """

    # A photo of a phone has 36 MB as an array, and the whole batch is in memory.
    batch_size: ClassVar[int] = 64
    max_batch_bytes: ClassVar[int | None] = 256_000_000
    created_names: ClassVar[Mapping[str, str]] = {"pretrained": "checkpoint"}
    dimensions_of: ClassVar[Mapping[str, int]] = {"ViT-B-32": 512, "ViT-B-16": 512, "ViT-L-14": 768}

    def __init__(
        self,
        model_name: str = "ViT-B-32",
        checkpoint: str = "laion2b_s34b_b79k",
        device: str | None = "cpu",
        normalize: bool = True,
    ) -> None:
        """Choose the model and its device.

        Args:
            model_name: The name of an architecture in open_clip.
            checkpoint: The weights: a name in open_clip, or a file.
            device: PyTorch's name for the device, such as ``cpu`` or ``cuda:0``.
            normalize: Whether the embeddings have length 1.

        Raises:
            ValueError: open_clip, torch or Pillow is not installed.
        """
        check_installed("open_clip", "torch", "PIL", extra=_EXTRA)
        self.model_name = model_name
        self.checkpoint = checkpoint
        self.device = device
        self.normalize = normalize

    def model_settings(self) -> Mapping[str, Any]:
        """Return the settings that determine which model is loaded."""
        return self.get_config()

    def load(self) -> Any:
        """Load the model, its preprocessing of images, and its tokenizer."""
        package = load_extra("open_clip", _EXTRA)
        model, _, prepare = package.create_model_and_transforms(
            self.model_name, pretrained=self.checkpoint, device=self.device or "cpu"
        )
        return model.eval(), prepare, package.get_tokenizer(self.model_name)

    def check_inputs(self, inputs: Any) -> None:
        """Raise `ValueError` unless all inputs are texts or images."""
        check_texts_and_images(inputs)

    def embed_with(self, model: Any, batch: list[Any], purpose: Purpose) -> object:
        """Embed the texts and the images of one batch."""
        clip, prepare, tokenize = model
        torch = load_extra("torch", _EXTRA)

        def of_texts(texts: list[Any]) -> Any:
            return clip.encode_text(tokenize(texts).to(self.device), normalize=self.normalize)

        def of_images(images: list[Any]) -> Any:
            pixels = [prepare(to_pillow(image, _EXTRA)) for image in images]
            return clip.encode_image(torch.stack(pixels).to(self.device), normalize=self.normalize)

        texts = [n for n, value in enumerate(batch) if isinstance(value, str)]
        images = [n for n, value in enumerate(batch) if not isinstance(value, str)]
        embeddings: list[NDArray[np.float32] | None] = [None] * len(batch)
        encoders: tuple[tuple[list[int], Callable[[list[Any]], Any]], ...]
        encoders = ((texts, of_texts), (images, of_images))
        with torch.inference_mode():
            for positions, encode in encoders:
                for start in range(0, len(positions), self.model_batch):
                    part = positions[start : start + self.model_batch]
                    vectors = encode([batch[n] for n in part]).float().cpu().numpy()
                    for n, vector in zip(part, vectors, strict=True):
                        embeddings[n] = vector
        return embeddings

    def generate_embeddings(self, texts: Any) -> Embeddings:
        """Embed texts to store: one float32 array each, in their order."""
        return self(as_inputs(texts))

    def compute_source_embeddings(self, texts: Any, *args: Any, **kwargs: Any) -> Embeddings:
        """Embed documents to store: texts, images, images' bytes, and images at URIs.

        A text is a URI if it is a URL, or a path with the suffix of an image.

        Raises:
            ValueError: An input has another type.
            OSError: A file is missing, or is not an image.
            EmbeddingError: A URL did not return an image, or the model failed.
        """
        return self(load_images(as_inputs(texts), _EXTRA, self.options.timeout))

    def compute_query_embeddings(self, query: Any, *args: Any, **kwargs: Any) -> Embeddings:
        """Embed queries: a text, an image, an image's bytes or path, or several.

        A string is always a text here, even if it is a URL. Errors are those of
        `compute_source_embeddings`.
        """
        timeout = self.options.timeout
        inputs: list[Any] = [
            each if isinstance(each, str) else pixels_of(each, _EXTRA, timeout)
            for each in as_inputs(query)
        ]
        return self.embed_query(inputs)

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "open_clip"

    def get_config(self) -> dict[str, Any]:
        """Return all settings. `normalize` is only included if it is false."""
        settings = {
            "model_name": self.model_name,
            "checkpoint": self.checkpoint,
            "device": self.device,
        }
        return settings if self.normalize else {**settings, "normalize": False}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> OpenCLIPEmbeddingFunction:
        """Build the function from the settings that ``get_config`` returned."""
        return OpenCLIPEmbeddingFunction(**config)

    def validate_config_update(
        self, old_config: dict[str, Any], new_config: dict[str, Any]
    ) -> None:
        """Raise `ValueError` if the model or the weights change."""
        refuse_changes(old_config, new_config, "model_name", "checkpoint")
