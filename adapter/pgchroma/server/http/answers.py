"""Answers to requests, however the requests came in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from litestar import Response
from litestar.types import Send

from pgchroma.wire.route import encode_json

__all__ = ("Answer", "json_answer")

JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer.

    Attributes:
        content_type: The media type of the body; empty for none.
        headers: The headers besides those of the body; names are in lower case.
    """

    status: int
    body: bytes
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)

    def to_response(self) -> Response[bytes]:
        """Return the answer as Litestar's response."""
        return Response(
            self.body,
            status_code=self.status,
            headers={"content-type": self.content_type, **self.headers},
        )

    async def send(self, send: Send) -> None:
        """Send the answer as Litestar does."""
        lines = {"content-type": self.content_type, **self.headers}
        headers = [(name.encode(), value.encode("latin-1")) for name, value in lines.items()]
        headers.append((b"content-length", b"%d" % len(self.body)))
        start: Any = {"type": "http.response.start", "status": self.status, "headers": headers}
        body: Any = {"type": "http.response.body", "body": self.body, "more_body": False}
        await send(start)
        await send(body)


def json_answer(content: Any, status: int = 200) -> Answer:
    """Return an answer with JSON."""
    return Answer(status, encode_json(content))
