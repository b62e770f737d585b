"""The records of a collection: filters, search, a page of records, and the chosen one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.screen import Screen
from textual.widgets import DataTable, Footer, Header, Input, Static
from textual.worker import get_current_worker

from pgchroma.cli.browser.error_line import ErrorLine
from pgchroma.cli.browser.reading import (
    Filters,
    Page,
    Reader,
    Similar,
    parse_where,
)
from pgchroma.cli.browser.texts import describe, message_of, record_cells
from pgchroma.cli.printing import printable

__all__ = ("RecordsScreen",)

_COLUMNS = ("id", "distance", "document", "metadata")


@dataclass(frozen=True, slots=True)
class _Selection:
    """Which records are wanted, and what they are compared with."""

    filters: Filters = field(default_factory=Filters)
    similar: Similar | None = None


class RecordsScreen(Screen[None]):
    """Pages of a collection, filtered, and ordered by insertion or by distance."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "turn(1)", "Next"),
        Binding("p", "turn(-1)", "Previous"),
        Binding("f", "edit('where')", "Filter"),
        Binding("d", "edit('contains')", "Document"),
        Binding("s,slash", "edit('search')", "Search"),
        Binding("m", "more_like_this", "More like this"),
        Binding("r", "refresh", "Read again", show=False),
        Binding("escape", "leave", "Back"),
    ]

    def __init__(self, reader: Reader, collection: str) -> None:
        super().__init__()
        self._reader = reader
        self._collection = collection
        self._wanted = _Selection()
        # What the page shows; after an error, other than what was wanted.
        self._shown = _Selection()
        self._page = Page((), 0, has_more=False)

    def compose(self) -> ComposeResult:
        """Make the widgets."""
        yield Header()
        with Horizontal(id="filters"):
            yield Input(id="where", placeholder='where: {"year": {"$gte": 2020}}')
            yield Input(id="contains", placeholder="document contains")
            yield Input(id="search", placeholder="similar to this text")
        yield ErrorLine()
        with Horizontal():
            yield DataTable(id="records", cursor_type="row")
            with VerticalScroll(id="detail"):
                yield Static(id="record")
        yield Static(id="state")
        yield Footer()

    def on_mount(self) -> None:
        """Read the first page."""
        table = self.query_one("#records", DataTable)
        table.add_columns(*_COLUMNS)
        table.focus()
        self._load(0)

    def action_refresh(self) -> None:
        """Read the page again."""
        self._load(self._page.offset)

    def action_turn(self, step: int) -> None:
        """Show the next or the previous page, if there is one."""
        if step > 0 and not self._page.has_more:
            return
        offset = max(self._page.offset + step * self._reader.page_size, 0)
        if offset != self._page.offset:
            self._load(offset)

    def action_edit(self, field: str) -> None:
        """Put the cursor into a field."""
        self.query_one(f"#{field}", Input).focus()

    def action_more_like_this(self) -> None:
        """Search by the chosen record."""
        chosen = self._chosen()
        if chosen is not None:
            self.query_one("#search", Input).value = ""
            self._select(replace(self._wanted, similar=Similar(chosen, is_id=True)))

    def action_leave(self) -> None:
        """Leave the field, or else the search, or else the collection."""
        if isinstance(self.focused, Input):
            self.query_one("#records", DataTable).focus()
        elif self._wanted.similar is not None:
            self.query_one("#search", Input).value = ""
            self._select(replace(self._wanted, similar=None))
        else:
            self.dismiss()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Apply the filters, and the search if its field has a text."""
        try:
            where = parse_where(self.query_one("#where", Input).value)
        except ValueError as error:
            self._show_error(str(error))
            return
        text = self.query_one("#search", Input).value
        similar = None if event.input.id == "search" else self._wanted.similar
        if text:
            similar = Similar(text)
        self.query_one("#records", DataTable).focus()
        filters = Filters(where, self.query_one("#contains", Input).value)
        self._select(_Selection(filters, similar))

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Show the chosen record."""
        if event.cursor_row < len(self._page.records):
            self._read_detail(self._page.records[event.cursor_row].id)

    def _select(self, wanted: _Selection) -> None:
        self._wanted = wanted
        self._load(0)

    def _load(self, offset: int) -> None:
        self.query_one("#state", Static).update(Text("reading …"))
        self._read_page(self._wanted, offset)

    @work(thread=True, exclusive=True, exit_on_error=False, group="page")
    def _read_page(self, wanted: _Selection, offset: int) -> None:
        worker = get_current_worker()
        page, error = None, ""
        try:
            page = self._reader.page(self._collection, wanted.filters, wanted.similar, offset)
        except Exception as raised:  # whatever it is, the user sees it
            error = message_of(raised)
        if not worker.is_cancelled:
            self.app.call_from_thread(self._show_page, page, error, wanted)

    @work(thread=True, exclusive=True, exit_on_error=False, group="detail")
    def _read_detail(self, id: str) -> None:
        worker = get_current_worker()
        try:
            shown = describe(self._reader.detail(self._collection, id))
        except Exception as raised:  # whatever it is, the user sees it
            shown = Text(message_of(raised))
        if not worker.is_cancelled:
            self.app.call_from_thread(self._show_detail, shown)

    def _show_detail(self, shown: Text) -> None:
        if self.is_attached:
            self.query_one("#record", Static).update(shown)

    def _show_page(self, page: Page | None, error: str, wanted: _Selection) -> None:
        if not self.is_attached:
            # The user left the collection while it was read.
            return
        if page is None:
            self._wanted = self._shown
            self._show_error(error)
            return
        self._page, self._shown = page, wanted
        self._show_error("")
        table = self.query_one("#records", DataTable)
        table.clear()
        for record in page.records:
            table.add_row(*record_cells(record))
        if not page.records:
            self.workers.cancel_group(self, "detail")
            self.query_one("#record", Static).update(Text("no records"))

    def _show_error(self, error: str) -> None:
        self.query_one(ErrorLine).show(error)
        self.query_one("#state", Static).update(Text(self._state()))

    def _state(self) -> str:
        page = self._page
        last = page.offset + len(page.records)
        shown = f"records {page.offset + 1:,} to {last:,}" if page.records else "no records"
        parts = [printable(self._collection), shown + (", more follow" if page.has_more else "")]
        similar = self._shown.similar
        if similar is not None:
            what = "record" if similar.is_id else "text"
            parts.append(f"nearest to the {what} {printable(similar.value)[:60]!r}")
        return " | ".join(parts)

    def _chosen(self) -> str | None:
        row = self.query_one("#records", DataTable).cursor_row
        return self._page.records[row].id if 0 <= row < len(self._page.records) else None
