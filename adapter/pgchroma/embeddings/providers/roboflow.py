"""Roboflow's CLIP: texts and images in one space."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, ClassVar

from pgchroma.embeddings.calls.batched import Purpose
from pgchroma.embeddings.images.pictures import check_texts_and_images, to_pillow
from pgchroma.embeddings.keys import ApiKey, strip_userinfo
from pgchroma.embeddings.protocol import Embeddable, Image
from pgchroma.embeddings.providers.http import HttpEmbeddingFunction, check_url, field
from pgchroma.errors import EmbeddingError
from pgchroma.extras import check_installed

__all__ = ("RoboflowEmbeddingFunction",)


class RoboflowEmbeddingFunction(HttpEmbeddingFunction[Embeddable]):
    """Embeds texts and images with the CLIP of a Roboflow inference server.

    One call may have both. Images are arrays, [height, width] or [height, width, channels], of
    values from 0 to 255; they are sent as JPEG without their transparency.
    """

    batch_size: ClassVar[int] = 8  # a server takes no more unless it was told to
    model_parameter: ClassVar[str | None] = None
    vendor_env_var: ClassVar[str | None] = "ROBOFLOW_API_KEY"

    def __init__(
        self,
        api_key: str | None = None,
        api_url: str = "https://infer.roboflow.com",
        api_key_env_var: str = "CHROMA_ROBOFLOW_API_KEY",
    ) -> None:
        """Choose the server.

        Args:
            api_key: The key; better in the environment, where reopened collections find it too.
            api_url: Where the server is.
            api_key_env_var: The environment variable that has the key; ``ROBOFLOW_API_KEY`` counts
                first.

        Raises:
            ValueError: There is no key, `api_url` is no URL, or Pillow is not installed.
        """
        self._key = ApiKey(api_key, api_key_env_var, self.vendor_env_var)
        check_installed("PIL", extra="images")
        self.api_url = check_url("api_url", api_url)

    def check_inputs(self, inputs: Sequence[Any]) -> None:
        """Raise ValueError unless all inputs are texts or images; the message says which is not."""
        check_texts_and_images(inputs)

    def embed_batch(self, batch: list[Any], purpose: Purpose) -> object:
        """Embed one batch, by a request for its texts and one for its images."""
        texts = [n for n, value in enumerate(batch) if isinstance(value, str)]
        images = [n for n, value in enumerate(batch) if not isinstance(value, str)]
        made: dict[int, Any] = {}
        if texts:
            found = self._ask("embed_text", "text", [batch[n] for n in texts])
            made.update(self._matched(texts, found))
        if images:
            sent = [{"type": "base64", "value": _as_jpeg(batch[n])} for n in images]
            made.update(self._matched(images, self._ask("embed_image", "image", sent)))
        return [made[n] for n in range(len(batch))]

    def _matched(self, positions: list[int], found: Any) -> dict[int, Any]:
        # Which of the inputs would lack one is not to be guessed.
        if not isinstance(found, list) or len(found) != len(positions):
            count = len(found) if isinstance(found, list) else "no"
            raise EmbeddingError(
                f"{self.name()} returned {count} embeddings for {len(positions)} inputs"
            )
        return dict(zip(positions, found, strict=True))

    def _ask(self, route: str, kind: str, values: list[Any]) -> Any:
        # The key in the URL, as Roboflow's examples have it, would stand in logs.
        key = self._key.get_secret()
        url = f"{self.api_url.rstrip('/')}/clip/{route}"
        try:
            answer = self.post(url, {"api_key": key, kind: values})
            return field(self.name(), answer, "embeddings")
        except EmbeddingError as error:
            # The server's answers may repeat what was sent.
            raise EmbeddingError(
                str(error).replace(key, "***"),
                is_transient=error.is_transient,
                retry_after=error.retry_after,
            ) from None

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "roboflow"

    def get_config(self) -> dict[str, Any]:
        """Return all settings except the key."""
        return {"api_key_env_var": self._key.variable, "api_url": strip_userinfo(self.api_url)}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> RoboflowEmbeddingFunction:
        """Build the function from the settings that ``get_config`` returned."""
        # With a stored key, images would go to the account of the person who stored it.
        return RoboflowEmbeddingFunction(**{**config, "api_key": None})

    def validate_config_update(
        self, old_config: Mapping[str, Any], new_config: Mapping[str, Any]
    ) -> None:
        """Allow another server: all have the same model."""


def _as_jpeg(image: Image) -> str:
    written = BytesIO()
    to_pillow(image, "images").convert("RGB").save(written, format="JPEG")
    return base64.b64encode(written.getvalue()).decode()
