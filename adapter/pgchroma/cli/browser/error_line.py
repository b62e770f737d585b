"""The line above a table that shows the last error."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Static

__all__ = ("ErrorLine",)


class ErrorLine(Static):
    """The error of the last reading. Without one, the line takes no space."""

    def __init__(self) -> None:
        super().__init__(id="error")

    def show(self, error: str) -> None:
        """Show an error; an empty one hides the line."""
        self.update(Text(error))
        self.set_class(bool(error), "shown")
