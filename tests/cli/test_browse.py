"""``pgchroma browse``, driven by keys as Textual's pilot sends them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from threading import Event
from typing import Any

import numpy as np
import pytest

import pgchroma
from pgchroma.cli import main
from tests.commands import runner

pytest.importorskip("textual", reason="the extra browse is not installed")

from textual.app import App
from textual.pilot import Pilot
from textual.widgets import DataTable, Input, Static

from pgchroma.cli.browser.app import Browser
from pgchroma.cli.browser.help_screen import HelpScreen
from pgchroma.cli.browser.reading import (
    Detail,
    Filters,
    Page,
    Reader,
    Similar,
    parse_where,
)
from pgchroma.cli.browser.records_screen import RecordsScreen
from pgchroma.cli.browser.texts import cell, describe
from pgchroma.model.operations import CreateCollection

RECORDS, PAGE = 24, 10
SIZE = (120, 20)
"""The terminal's columns and rows; drawing takes most of the time."""

QUIET = pgchroma.Settings(pgchroma_compaction=False)


class Letters(pgchroma.EmbeddingFunction[Any]):
    """Counts letters, so that texts with the same letters are near each other."""

    def __init__(self) -> None:
        pass

    def __call__(self, input: Any) -> Any:
        return [
            np.array([text.lower().count(letter) for letter in "abcdefgh"], dtype=np.float32) + 0.1
            for text in input
        ]

    @staticmethod
    def name() -> str:
        return "tests-letters"

    def get_config(self) -> dict[str, Any]:
        return {}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> Letters:
        return Letters()


@pytest.fixture(scope="module", autouse=True)
def _registered() -> None:
    pgchroma.register_embedding_function(Letters)


@pytest.fixture(scope="module")
def filled(module_url: str) -> str:
    with pgchroma.PostgresClient(module_url, QUIET) as client:
        papers = client.create_collection("papers", embedding_function=Letters())
        numbers = range(RECORDS)
        papers.add(
            ids=[f"id-{n:03}" for n in numbers],
            documents=[("bead " * (n % 7) + f"paper {n}") for n in numbers],
            metadatas=[{"year": 1900 + n, "[bold]": "\x1b[31m"} for n in numbers],
        )
        plain = client.create_collection("plain", embedding_function=None)
        plain.add(ids=["one"], embeddings=[[1.0, 0.0]])
        client.create_collection("untrusted", embedding_function=None)
    return module_url


@pytest.fixture
def reader(filled: str) -> Iterator[Reader]:
    with pgchroma.PostgresClient(filled, QUIET) as client:
        yield Reader(client, PAGE)


def _table(app: App[None], id: str = "records") -> DataTable[Any]:
    return app.screen.query_one(f"#{id}", DataTable)


def _ids(app: App[None]) -> list[str]:
    table = _table(app)
    return [str(table.get_row_at(row)[0]) for row in range(table.row_count)]


def _text(app: App[None], id: str) -> str:
    widget = app.screen.query_one(f"#{id}", Static)
    # The attribute has another name before Textual 6.
    return str(getattr(widget, "content", None) or getattr(widget, "renderable", ""))


async def _settle(pilot: Pilot[None]) -> None:
    """Wait until no thread reads any more, and what it read is shown."""
    for _ in range(2):
        await pilot.app.workers.wait_for_complete()
        await pilot.pause()


async def _press(pilot: Pilot[None], *keys: str) -> None:
    await pilot.press(*keys)
    await _settle(pilot)


async def _type(pilot: Pilot[None], key: str, text: str) -> None:
    """Go to a field by its key, replace its content and confirm."""
    await pilot.press(key)
    field = pilot.app.focused
    assert isinstance(field, Input)
    field.value = text
    await _press(pilot, "enter")


async def test_from_the_collections_to_a_record_and_its_neighbours(reader: Reader) -> None:
    app = Browser(reader, "somewhere")
    async with app.run_test(size=SIZE) as pilot:
        await _settle(pilot)
        table = _table(app, "collections")
        rows = [[str(value) for value in table.get_row_at(row)] for row in range(table.row_count)]
        assert rows == [
            ["papers", "24", "8", "l2", "tests-letters"],
            ["plain", "1", "2", "l2", ""],
            ["untrusted", "0", "", "l2", ""],
        ]
        await _press(pilot, "enter")
        assert _ids(app) == [f"id-{n:03}" for n in range(PAGE)]
        await _press(pilot, "down", "down")
        shown = _text(app, "record")
        assert "id-002" in shown
        assert '"year": 1902' in shown
        assert "8 dimensions, norm " in shown
        assert "neighbours\n0.0000  id-" in shown
        assert "\x1b" not in shown
        await _press(pilot, "escape")
        assert _table(app, "collections").row_count == 3


async def test_pages_are_read_one_at_a_time(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    page = Reader.page

    def counted(self: Reader, *args: Any) -> Page:
        found = page(self, *args)
        read.append(len(found.records))
        return found

    monkeypatch.setattr(Reader, "page", counted)
    app = Browser(reader, "somewhere", "papers")
    async with app.run_test(size=SIZE) as pilot:
        await _settle(pilot)
        await _press(pilot, "p")
        assert _ids(app)[0] == "id-000"
        await _press(pilot, "n")
        await _press(pilot, "n")
        assert _ids(app) == [f"id-{n:03}" for n in range(20, 24)]
        assert "records 21 to 24" in _text(app, "state")
        await _press(pilot, "n")
        await _press(pilot, "p")
        assert _ids(app)[0] == "id-010"
    assert read == [10, 10, 4, 10]


@pytest.mark.heavy
async def test_filters_are_applied_and_their_errors_shown(reader: Reader) -> None:
    app = Browser(reader, "somewhere", "papers")
    async with app.run_test(size=SIZE) as pilot:
        await _settle(pilot)
        await _type(pilot, "f", '{"year": {"$gte": 1919}}')
        assert _ids(app) == [f"id-{n:03}" for n in range(19, 24)]
        await _type(pilot, "d", "paper 21")
        assert _ids(app) == ["id-021"]
        for wrong, message in (
            ("{", "where: not JSON"),
            ("[]", "where: expected an object"),
            ('{"year": {"$no": 1}}', "$no"),
        ):
            await _type(pilot, "f", wrong)
            error = app.screen.query_one("#error", Static)
            assert message in _text(app, "error")
            assert error.has_class("shown")
            assert _ids(app) == ["id-021"]
        await _type(pilot, "f", "")
        assert not app.screen.query_one("#error", Static).has_class("shown")
        await _type(pilot, "d", "no such words")
        assert _ids(app) == []
        assert "no records" in _text(app, "state")


@pytest.mark.heavy
async def test_similar_records_are_found_by_a_text_and_by_a_record(reader: Reader) -> None:
    app = Browser(reader, "somewhere", "papers")
    async with app.run_test(size=SIZE) as pilot:
        await _settle(pilot)
        await _type(pilot, "s", "bead bead bead bead bead bead paper")
        found = _ids(app)
        assert len(found) == PAGE
        assert {int(id[3:]) % 7 for id in found[:3]} == {6}
        assert str(_table(app).get_row_at(0)[1])
        assert "nearest to the text" in _text(app, "state")
        await _press(pilot, "n")
        assert not set(_ids(app)) & set(found)
        await _press(pilot, "escape")
        assert _ids(app)[0] == "id-000"
        await _press(pilot, "down", "m")
        assert "nearest to the record 'id-001'" in _text(app, "state")
        assert str(_table(app).get_row_at(0)[1]) == "0.0000"
        await _type(pilot, "f", '{"year": 1908}')
        assert _ids(app) == ["id-008"]


async def test_a_search_that_cannot_be_run_is_explained(reader: Reader) -> None:
    app = Browser(reader, "somewhere", "plain")
    async with app.run_test(size=SIZE) as pilot:
        await _settle(pilot)
        await _type(pilot, "slash", "plum cake")
        assert "You must provide an embedding function" in _text(app, "error")
        assert _ids(app) == ["one"]
        assert "nearest" not in _text(app, "state")
        await _press(pilot, "m")
        assert "nearest to the record 'one'" in _text(app, "state")
        assert _ids(app) == ["one"]


@pytest.mark.heavy
async def test_a_stored_function_with_an_address_is_not_trusted(
    filled: str, reader: Reader
) -> None:
    function = {
        "type": "known",
        "name": "ollama",
        "config": {"url": "http://evil.example", "model_name": "m", "timeout": 1},
    }
    with pgchroma.PostgresClient(filled, QUIET) as client:
        client.delete_collection("untrusted")
        backend = client._backend
        scope = client._scope
        backend.execute(CreateCollection(scope, "untrusted", {"embedding_function": function}))
    app = Browser(reader, "somewhere", "untrusted")
    async with app.run_test(size=SIZE) as pilot:
        await _settle(pilot)
        await _type(pilot, "s", "plum cake")
        assert "does not apply by default" in _text(app, "error")


@pytest.mark.heavy
async def test_a_lost_database_is_shown_and_the_screen_goes_on(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: Any) -> Any:
        raise pgchroma.errors.UnavailableError("postgresql://app:sesame@db/app is away")

    app = Browser(reader, "somewhere", "papers")
    async with app.run_test(size=SIZE) as pilot:
        await _settle(pilot)
        with monkeypatch.context() as patch:
            patch.setattr(Reader, "page", lost)
            patch.setattr(Reader, "detail", lost)
            await _press(pilot, "r")
            assert "is away" in _text(app, "error")
            assert "sesame" not in _text(app, "error")
            await _press(pilot, "down")
            assert "is away" in _text(app, "record")
        await _press(pilot, "r")
        assert not app.screen.query_one("#error", Static).has_class("shown")
        await _press(pilot, "escape")
        with monkeypatch.context() as patch:
            patch.setattr(Reader, "collections", lost)
            await _press(pilot, "r")
            assert "is away" in _text(app, "error")
            # What was read before stays, as on the other screen.
            assert _table(app, "collections").row_count == 3
            assert _text(app, "state") == "3 collections"


@pytest.mark.heavy
async def test_keys_work_while_the_database_is_slow(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_released = Event()
    page = Reader.page

    def slow(self: Reader, name: str, filters: Filters, *rest: Any) -> Page:
        if filters.contains == "slow":
            assert is_released.wait(30)
        return page(self, name, filters, *rest)

    monkeypatch.setattr(Reader, "page", slow)
    app = Browser(reader, "somewhere", "papers")
    async with app.run_test(size=SIZE) as pilot:
        await _settle(pilot)
        await pilot.press("d")
        field = app.focused
        assert isinstance(field, Input)
        field.value = "slow"
        await pilot.press("enter")
        await pilot.pause()
        # The reading thread waits; the help opens and closes all the same.
        await pilot.press("question_mark")
        await pilot.pause()
        assert isinstance(app.screen, HelpScreen)
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(app.screen, RecordsScreen)
        await pilot.press("d")
        field.value = "paper 7"
        await pilot.press("enter")
        is_released.set()
        await _settle(pilot)
        # The answer to the earlier filter came later and is not shown.
        assert "id-007" in _ids(app)
        await pilot.press("q")


@pytest.mark.heavy
async def test_a_collection_can_be_left_while_it_is_read(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_released = Event()
    page = Reader.page

    def slow(self: Reader, *given: Any) -> Page:
        assert is_released.wait(30)
        return page(self, *given)

    monkeypatch.setattr(Reader, "page", slow)
    app = Browser(reader, "somewhere", "papers")
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        assert isinstance(app.screen, RecordsScreen)
        await pilot.press("escape")
        await pilot.pause()
        is_released.set()
        await _settle(pilot)
        assert _table(app, "collections").row_count == 3


@pytest.mark.heavy
async def test_it_works_over_http(emptied: str) -> None:
    with pgchroma.HttpClient(emptied) as client:
        papers = client.create_collection("papers", embedding_function=Letters())
        papers.add(ids=["1", "2"], documents=["bead", "hedge"])
        app = Browser(Reader(client, PAGE), emptied)
        async with app.run_test(size=SIZE) as pilot:
            await _settle(pilot)
            assert _table(app, "collections").row_count == 1
            await _press(pilot, "enter")
            assert _ids(app) == ["1", "2"]
            await _type(pilot, "s", "hedge")
            assert _ids(app) == ["2", "1"]
            assert "neighbours\n" in _text(app, "record")


def test_line_ends_and_tabs_of_documents_are_no_control_characters() -> None:
    document = "def f():\r\n\treturn 1\n\x1b[31m"
    shown = describe(Detail("1", document, None, None, None)).plain
    assert "def f():\n    return 1\n\N{REPLACEMENT CHARACTER}[31m" in shown
    assert str(cell(document)) == "def f():  return 1 \N{REPLACEMENT CHARACTER}[31m"
    assert str(cell("\r\n" * 1_000_000)) == " " * 39 + "…"


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_filter_is_none(text: str) -> None:
    assert parse_where(text) is None
    with pytest.raises(ValueError, match=r"not JSON: .* at character 2"):
        parse_where("{'")


def test_a_record_without_an_embedding_cannot_be_compared(filled: str, reader: Reader) -> None:
    with pgchroma.PostgresClient(filled, QUIET) as client:
        client.get_collection("plain").update(ids=["one"], metadatas=[{"a": 1}])
    with pytest.raises(ValueError, match="no embedding"):
        reader.page("plain", Filters(), Similar("nobody", is_id=True))
    assert reader.detail("plain", "one").neighbours == []
    with pytest.raises(pgchroma.errors.NotFoundError):
        reader.detail("plain", "nobody")


def test_the_command_refuses_an_unknown_collection(
    filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = runner().invoke(main, ["browse"], env={"PGCHROMA_URL": filled})
    assert without.exit_code == 1
    assert "browse needs a terminal" in without.stderr
    monkeypatch.setattr(sys.modules["pgchroma.cli.browse"], "_has_terminal", lambda: True)
    refused = runner().invoke(main, ["browse", "nothing"], env={"PGCHROMA_URL": filled})
    assert refused.exit_code == 2
    assert "Collection [nothing] does not exist" in refused.stderr


def test_without_the_extra_the_command_says_what_to_install(
    filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        return None

    monkeypatch.setattr("pgchroma.extras.importlib.util.find_spec", missing)
    refused = runner().invoke(main, ["browse"], env={"PGCHROMA_URL": filled})
    assert refused.exit_code == 1
    assert "pip install 'pgchroma[browse]'" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_the_command_runs_the_application(filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Browser] = []
    monkeypatch.setattr(sys.modules["pgchroma.cli.browse"], "_has_terminal", lambda: True)
    monkeypatch.setattr(Browser, "run", lambda app: started.append(app))  # noqa: PLW0108
    done = runner().invoke(main, ["browse", "papers"], env={"PGCHROMA_URL": filled})
    assert done.exit_code == 0, done.output
    assert "default_tenant/default_database in " in started[0].sub_title
