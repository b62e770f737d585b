"""The list of collections."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import DataTable, Footer, Header, Static
from textual.worker import get_current_worker

from pgchroma.cli.browser.error_line import ErrorLine
from pgchroma.cli.browser.reading import CollectionRow, Reader
from pgchroma.cli.browser.records_screen import RecordsScreen
from pgchroma.cli.browser.texts import cell, message_of
from pgchroma.model.plain import count_text

__all__ = ("CollectionsScreen",)

_COLUMNS = ("name", "records", "dimension", "space", "embedding function")


class CollectionsScreen(Screen[None]):
    """The collections of the database, by name."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("r", "refresh", "Read again")]

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self._reader = reader
        self._names: list[str] = []

    def compose(self) -> ComposeResult:
        """Make the widgets."""
        yield Header()
        yield ErrorLine()
        yield DataTable(id="collections", cursor_type="row")
        yield Static(id="state")
        yield Footer()

    def on_mount(self) -> None:
        """Read the collections for the first time."""
        table = self.query_one("#collections", DataTable)
        table.add_columns(*_COLUMNS)
        table.focus()
        self.action_refresh()

    def action_refresh(self) -> None:
        """Read the collections."""
        self.query_one("#state", Static).update(Text("reading …"))
        self._read()

    @work(thread=True, exclusive=True, exit_on_error=False, group="collections")
    def _read(self) -> None:
        worker = get_current_worker()
        found, error = None, ""
        try:
            found = self._reader.collections()
        except Exception as raised:  # whatever it is, the user sees it
            error = message_of(raised)
        if not worker.is_cancelled:
            self.app.call_from_thread(self._show, found, error)

    def _show(self, found: list[CollectionRow] | None, error: str) -> None:
        if not self.is_attached:
            return
        self.query_one(ErrorLine).show(error)
        if found is not None:
            self._show_rows(found)
        self.query_one("#state", Static).update(count_text(len(self._names), "collection"))

    def _show_rows(self, found: list[CollectionRow]) -> None:
        table = self.query_one("#collections", DataTable)
        table.clear()
        self._names = [row.name for row in found]
        for row in found:
            dimension = "" if row.dimension is None else f"{row.dimension:,}"
            cells = (row.name, f"{row.records:,}", dimension, row.space, row.function)
            table.add_row(*map(cell, cells))

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Open the collection."""
        self.app.push_screen(RecordsScreen(self._reader, self._names[event.cursor_row]))
