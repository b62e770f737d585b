"""The application: its screens and the keys that work on all of them."""

from __future__ import annotations

from typing import ClassVar

from textual.app import App
from textual.binding import Binding, BindingType

from pgchroma.cli.browser.collections_screen import CollectionsScreen
from pgchroma.cli.browser.help_screen import HelpScreen
from pgchroma.cli.browser.reading import Reader
from pgchroma.cli.browser.records_screen import RecordsScreen

__all__ = ("Browser",)


class Browser(App[None]):
    """Shows the collections of a database, or one of them at the start."""

    TITLE = "pgchroma"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    ErrorLine { color: $error; padding: 0 1; display: none; }
    ErrorLine.shown { display: block; }
    #state { color: $text-muted; padding: 0 1; height: 1; }
    #filters { height: 3; }
    #filters Input { width: 1fr; }
    #records { width: 3fr; }
    #detail { width: 2fr; padding: 0 1; border-left: solid $primary; }
    HelpScreen { align: center middle; }
    HelpScreen > Static { width: 66; height: auto; padding: 0 2; border: round $primary; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark", "help", "Help"),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(self, reader: Reader, address: str, collection: str | None = None) -> None:
        """Make the application.

        Args:
            reader: What it reads from.
            address: Where the data is, without a password.
            collection: The collection to open at once.
        """
        super().__init__()
        self._reader = reader
        self._collection = collection
        self.sub_title = f"{reader.database} in {address}"

    def on_mount(self) -> None:
        """Show the first screen."""
        self.push_screen(CollectionsScreen(self._reader))
        if self._collection is not None:
            self.push_screen(RecordsScreen(self._reader, self._collection))

    def action_help(self) -> None:
        """Show the keys."""
        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen())
