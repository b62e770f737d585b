"""The list of the keys."""

from __future__ import annotations

from typing import ClassVar, Final

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import Static

__all__ = ("HelpScreen",)

_KEYS: Final = """\
Everywhere
  ?            this help
  q            quit
  r            read again
  Tab          to the next field or table

Collections
  Enter        open the collection

Records
  arrows       choose a record, which the right side shows
  n, p         next and previous page
  f            filter by metadata, as JSON; Enter applies it
  d            filter by a text in the document
  s or /       search by a text; Enter runs the search
  m            more like this: search by the chosen record
  Escape       leave a field, the search, the collection

Nothing here changes the database. Escape closes this help.
"""


class HelpScreen(ModalScreen[None]):
    """The keys, over the current screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "dismiss", "Close")
    ]

    def compose(self) -> ComposeResult:
        """Make the text."""
        yield Static(Text(_KEYS))
