"""Roboflow's CLIP, which embeds texts and images in one space."""

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

    A call can contain both. Images are arrays, [height, width] or [height, width, channels], with
    values from 0 to 255. They are sent as JPEG without transparency.
    """

    batch_size: ClassVar[int] = 8  # a server's default limit
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
            api_key: The key. Prefer the environment variable, which reopened collections can use.
            api_url: The server's URL.
            api_key_env_var: The environment variable of the key. ``ROBOFLOW_API_KEY`` takes
                precedence.

        Raises:
            ValueError: The key is missing, `api_url` is not a URL, or Pillow is not installed.
        """
        self._key = ApiKey(api_key, api_key_env_var, self.vendor_env_var)
        check_installed("PIL", extra="images")
        self.api_url = check_url("api_url", api_url)

    def check_inputs(self, inputs: Sequence[Any]) -> None:
        """Raise `ValueError` unless all inputs are texts or images."""
        check_texts_and_images(inputs)

    def embed_batch(self, batch: list[Any], purpose: Purpose) -> object:
        """Embed one batch, with a request for its texts and one for its images."""
        texts = [n for n, value in enumerate(batch) if isinstance(value, str)]
        images = [n for n, value in enumerate(batch) if not isinstance(value, str)]
        embeddings: dict[int, Any] = {}
        if texts:
            rows = self._ask("embed_text", "text", [batch[n] for n in texts])
            embeddings.update(self._matched(texts, rows))
        if images:
            values = [{"type": "base64", "value": _as_jpeg(batch[n])} for n in images]
            embeddings.update(self._matched(images, self._ask("embed_image", "image", values)))
        return [embeddings[n] for n in range(len(batch))]

    def _matched(self, positions: list[int], rows: Any) -> dict[int, Any]:
        # With another number, the rows cannot be matched with inputs.
        if not isinstance(rows, list) or len(rows) != len(positions):
            count = len(rows) if isinstance(rows, list) else "no"
            raise EmbeddingError(
                f"{self.name()} returned {count} embeddings for {len(positions)} inputs"
            )
        return dict(zip(positions, rows, strict=True))

    def _ask(self, route: str, kind: str, values: list[Any]) -> Any:
        # Roboflow's examples have the key in the URL, where logs would show it.
        key = self._key.get_secret()
        url = f"{self.api_url.rstrip('/')}/clip/{route}"
        try:
            answer = self.post(url, {"api_key": key, kind: values})
            return field(self.name(), answer, "embeddings")
        except EmbeddingError as error:
            # The server's responses can repeat the request.
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
        # With a stored key, images would go to another account.
        return RoboflowEmbeddingFunction(**{**config, "api_key": None})

    def validate_config_update(
        self, old_config: Mapping[str, Any], new_config: Mapping[str, Any]
    ) -> None:
        """Accept all changes, because all servers have the same model."""


def _as_jpeg(image: Image) -> str:
    buffer = BytesIO()
    to_pillow(image, "images").convert("RGB").save(buffer, format="JPEG")
    return base64.b64encode(buffer.getvalue()).decode()
