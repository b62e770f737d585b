"""Clients and collections copied and pickled, as other software does with their holders."""

from __future__ import annotations

import asyncio
import base64
import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import create_engine

import pgchroma
from pgchroma import Settings

SECRET = "s3cret-word"

ELSEWHERE = """
import asyncio, base64, pickle, sys
import pgchroma
client, collection, name = pickle.loads(base64.b64decode(sys.stdin.read()))

async def main():
    print(await collection.count(), (await client.get_collection("kept")).id == collection.id)
    await client.close()
    await collection._backend.close()

if isinstance(client, pgchroma.AsyncClientAPI):
    asyncio.run(main())
else:
    print(collection.count(), client.get_collection("kept").id == collection.id)
    client.close()
"""


def elsewhere(client: Any, collection: Any) -> str:
    """Unpickle them in another process, and return its output."""
    pickled = pickle.dumps((client, collection, "name"))
    assert SECRET.encode() not in pickled
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE], input=base64.b64encode(pickled).decode(),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout


def filled(client: pgchroma.ClientAPI) -> pgchroma.Collection:
    collection = client.create_collection("kept", embedding_function=None)
    collection.add(["a", "b"], [[1.0], [2.0]])
    return collection


@pytest.mark.heavy
@pytest.mark.parametrize("place", ["postgres", "server", "directory"])
def test_what_is_pickled_is_opened_again_elsewhere(
    place: str, request: pytest.FixtureRequest, new_path: Callable[[], Path]
) -> None:
    headers = {"X-Chroma-Token": SECRET}
    settings = Settings(chroma_server_headers=headers) if place == "server" else Settings()
    match place:
        case "postgres":
            url = request.getfixturevalue("url")
            client = pgchroma.PostgresClient(f"{url} password={SECRET}", settings)
        case "server":
            client = pgchroma.HttpClient(
                request.getfixturevalue("emptied"), headers=headers, settings=settings
            )
        case _:
            client = pgchroma.PersistentClient(new_path(), settings)
    with client:
        assert elsewhere(client, filled(client)) == "2 True\n"


@pytest.mark.heavy
@pytest.mark.parametrize("place", ["postgres", "server", "directory"])
async def test_asynchronous_ones_are_opened_upon_their_first_use(
    place: str, request: pytest.FixtureRequest, new_path: Callable[[], Path]
) -> None:
    fixture = {"postgres": "url", "server": "emptied"}.get(place)
    where: Any = new_path() if fixture is None else request.getfixturevalue(fixture)
    client = await (
        pgchroma.AsyncPostgresClient(where)
        if place == "postgres"
        else pgchroma.connect_async(where)
    )
    async with client:
        collection = await client.create_collection("kept", embedding_function=None)
        await collection.add(["a", "b"], [[1.0], [2.0]])
        assert copy.deepcopy(client) is client
        printed = await asyncio.to_thread(elsewhere, client, collection)
    assert printed == "2 True\n"


def test_a_copy_is_the_same_handle(client: pgchroma.ClientAPI) -> None:
    collection = filled(client)
    holder = {"client": client, "collections": [collection], "typed": {"k": (collection,)}}
    copied = copy.deepcopy(holder)
    assert copied["client"] is copy.copy(client) is client
    assert copied["collections"][0] is copy.copy(collection) is collection  # type: ignore[index]
    assert collection.count() == 2


def test_collections_unpickled_in_one_process_share_connections(url: str) -> None:
    with pgchroma.PostgresClient(url) as client:
        collection = filled(client)
        one, other = (pickle.loads(pickle.dumps(collection)) for _ in range(2))
        assert one == other == collection
        assert one._backend is other._backend
        assert (one.count(), one.metadata) == (2, None)
        again = pickle.loads(pickle.dumps(one))
        assert again._backend is one._backend
        one._backend.close()


def test_ephemeral_ones_are_found_again_in_their_process() -> None:
    with pgchroma.EphemeralClient() as client:
        collection = filled(client)
        again = pickle.loads(pickle.dumps(client))
        assert again.get_collection("kept").count() == 2
        again.close()
        assert collection.count() == 2
        client.delete_collection("kept")


def test_what_works_on_the_callers_engine_is_copied_but_not_pickled(url: str) -> None:
    parts = conninfo_to_dict(url)
    engine = create_engine("postgresql+psycopg://", connect_args=dict(parts))
    with pgchroma.PostgresClient(engine) as client:
        collection = filled(client)
        assert copy.deepcopy([collection, client]) == [collection, client]
        for thing in (client, collection):
            with pytest.raises(TypeError, match="on a SQLAlchemy engine"):
                pickle.dumps(thing)
    engine.dispose()
