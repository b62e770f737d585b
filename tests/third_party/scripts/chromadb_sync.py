"""Chroma's own Python client over HTTP: every method that a single server answers.

python chromadb_sync.py <base-url> [<api-key>]; the key is sent as `Authorization: Bearer`.
"""

from __future__ import annotations

import base64
import time
from typing import Any
from uuid import UUID, uuid4

import chromadb
import httpx
import numpy as np
from chromadb.api.types import Documents, EmbeddingFunction, Embeddings
from chromadb.config import Settings
from chromadb.errors import ChromaError, DuplicateIDError, InvalidArgumentError, NotFoundError
from support import arguments, collection, connect, host_and_port, raises, settings, unique

COLOURS: dict[str, list[Any]] = {
    "ids": ["red", "green", "blue", "grey"],
    "embeddings": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.5, 0.5, 0.5]],
    "documents": ["the colour red", "the colour green", "the colour blue", "No colour at all"],
    "metadatas": [
        {"n": 1, "wave": 700.5, "warm": True},
        {"n": 2, "wave": 546.5, "warm": False},
        {"n": 3, "wave": 435.5, "warm": False},
        {"n": 4, "tone": "neutral"},
    ],
}


class Letters(EmbeddingFunction[Documents]):  # type: ignore[misc]
    """How often a text has a, b and c."""

    def __init__(self) -> None:
        pass

    def __call__(self, input: Documents) -> Embeddings:
        return [np.array([t.count(c) for c in "abc"], dtype=np.float32) for t in input]

    @staticmethod
    def name() -> str:
        return "letters"

    @staticmethod
    def build_from_config(config: dict[str, object]) -> EmbeddingFunction[Documents]:
        return Letters()

    def get_config(self) -> dict[str, object]:
        return {}


class Digits(Letters):
    """Another name for the same."""

    @staticmethod
    def name() -> str:
        return "digits"


def main() -> None:
    url, key = arguments()
    client = connect(url, key)
    the_server_describes_itself(client)
    tenants_and_databases(url, key)
    collections_are_made_and_found(client)
    collections_are_listed(client)
    collections_are_modified(client)
    collections_are_refused(client)
    embeddings_of_any_shape(client)
    embeddings_on_the_wire(client, url, key)
    a_large_batch(client)
    metadata_of_every_type(client)
    lists_in_metadata(client)
    text_in_every_script(client)
    columns_are_chosen(client)
    records_are_paged(client)
    queries_find_the_nearest(client)
    distances_of_every_space(client)
    metadata_filters(client)
    document_filters(client)
    adding_twice_keeps_the_first(client)
    updates_merge_metadata(client)
    upserts_merge_metadata(client)
    records_are_deleted(client)
    records_are_refused(client)
    filters_are_refused(client)
    texts_are_embedded_by_the_client(client)
    if key is not None:
        keys_in_the_other_header(url, key)
    client.close()


def the_server_describes_itself(client: chromadb.ClientAPI) -> None:
    hour = 3_600_000_000_000
    assert abs(client.heartbeat() - time.time_ns()) < hour, "the heartbeat is the time, in ns"
    assert client.get_version(), "a version"
    assert client.get_max_batch_size() > 0, "a batch size that lets the client write"
    assert (client.tenant, client.database) == ("default_tenant", "default_database")
    identity = client.get_user_identity()
    assert identity.tenant == "default_tenant", identity
    assert identity.databases, identity


def tenants_and_databases(url: str, key: str | None) -> None:
    parts = host_and_port(url)
    where = {"chroma_server_host": parts["host"], "chroma_server_http_port": parts["port"]}
    over_http = {"chroma_api_impl": "chromadb.api.fastapi.FastAPI"}
    admin = chromadb.AdminClient(Settings(**settings(key, **where, **over_http)))
    tenant, first, second = unique("tenant"), unique("a"), unique("b")

    admin.create_tenant(tenant)
    assert admin.get_tenant(tenant)["name"] == tenant
    with raises(ChromaError, "already exists"):
        admin.create_tenant(tenant)
    with raises(NotFoundError, "not found"):
        admin.get_tenant(unique("nobody"))

    assert admin.list_databases(tenant=tenant) == [], "a new tenant has no databases"
    admin.create_database(first, tenant)
    admin.create_database(second, tenant)
    with raises(ChromaError, "already exists"):
        admin.create_database(first, tenant)
    found = admin.get_database(first, tenant)
    assert (found["name"], found["tenant"]) == (first, tenant)
    assert UUID(str(found["id"]))
    assert [d["name"] for d in admin.list_databases(tenant=tenant)] == [first, second]
    assert [d["name"] for d in admin.list_databases(1, 1, tenant)] == [second]

    one, other = connect(url, key, tenant=tenant, database=first), connect(url, key)
    one.create_collection("papers").add(ids="a", embeddings=[1.0])
    assert one.count_collections() == 1
    other.set_database("default_database")
    other.set_tenant(tenant, second)
    assert (other.tenant, other.database) == (tenant, second)
    assert other.list_collections() == [], "databases share no collections"
    with raises(NotFoundError, "does not exist"):
        other.get_collection("papers")
    assert other.create_collection("papers").count() == 0, "nor their names"

    admin.delete_database(first, tenant)
    admin.delete_database(second, tenant)
    with raises(NotFoundError, "not found"):
        admin.get_database(first, tenant)
    with raises(NotFoundError, "not found"):
        admin.delete_database(first, tenant)


def collections_are_made_and_found(client: chromadb.ClientAPI) -> None:
    name = unique("test")
    metadata = {"topic": "ai", "n": 1, "x": 0.5, "done": False}
    made = client.create_collection(name, metadata=metadata)
    assert isinstance(made.id, UUID)
    assert (made.name, made.metadata) == (name, metadata)
    assert (made.tenant, made.database) == ("default_tenant", "default_database")
    assert made.configuration["hnsw"]["space"] == "l2", made.configuration
    assert made.schema is not None, "a collection has a schema"

    for found in (client.get_collection(name), client.get_collection_by_id(made.id)):
        assert (found.id, found.name, found.metadata) == (made.id, name, metadata)
    old = client.get_or_create_collection(name, metadata={"topic": "other"})
    assert (old.id, old.metadata) == (made.id, metadata), "the old one, unchanged"
    with raises(ChromaError, f"Collection [{name}] already exists"):
        client.create_collection(name)

    client.delete_collection(name)
    with raises(NotFoundError, f"Collection [{name}] does not exist"):
        client.get_collection(name)
    new = client.get_or_create_collection(name)
    assert new.id != made.id
    assert new.metadata is None
    client.delete_collection(name)


def collections_are_listed(client: chromadb.ClientAPI) -> None:
    before = client.count_collections()
    with collection(client) as one, collection(client, metadata={"k": 1}) as two:
        assert client.count_collections() == before + 2
        listed = {c.name: c for c in client.list_collections()}
        assert len(listed) == before + 2
        assert listed[one.name].id == one.id
        assert listed[two.name].metadata == {"k": 1}
        pages = [client.list_collections(limit=1, offset=n) for n in range(before + 3)]
        assert [len(page) for page in pages] == [1] * (before + 2) + [0]
        assert {c.name for page in pages for c in page} == set(listed), "every one is on a page"
    assert client.count_collections() == before


def collections_are_modified(client: chromadb.ClientAPI) -> None:
    made = client.create_collection(unique("test"), metadata={"a": 1, "b": 2})
    old, new = made.name, unique("new")
    made.modify(name=new)
    assert made.name == new
    assert client.get_collection(new).id == made.id
    with raises(NotFoundError, "does not exist"):
        client.get_collection(old)
    made.modify(metadata={"b": 3})
    assert client.get_collection(new).metadata == {"b": 3}, "metadata is replaced, not merged"
    made.modify(configuration={"hnsw": {"ef_search": 77}})
    hnsw = client.get_collection(new).configuration["hnsw"]
    assert (hnsw["ef_search"], hnsw["space"]) == (77, "l2"), hnsw
    client.delete_collection(new)
    with raises(NotFoundError, "does not exist"):
        made.modify(name=old)


def collections_are_refused(client: chromadb.ClientAPI) -> None:
    for name in ("ab", "a" * 513, "-abc", "a b c", "äöü", "a..b", "1.2.3.4"):
        with raises(InvalidArgumentError, ""):
            client.create_collection(name)
    missing = unique("missing")
    for call in (client.get_collection, client.delete_collection):
        with raises(NotFoundError, f"Collection [{missing}] does not exist"):
            call(missing)
    with raises(NotFoundError, "does not exist"):
        client.get_collection_by_id(uuid4())

    gone = client.create_collection(unique("test"))
    client.delete_collection(gone.name)
    for use in (gone.count, gone.get, lambda: gone.add(ids="a", embeddings=[1.0])):
        with raises(NotFoundError, f"Collection [{gone.id}] does not exist"):
            use()


def embeddings_of_any_shape(client: chromadb.ClientAPI) -> None:
    with collection(client) as c:
        c.add(ids="flat", embeddings=[1.0, 2.0])
        c.add(ids=["int"], embeddings=[[3, 4]])
        c.add(ids=["f32", "f64"], embeddings=np.array([[0.1, 0.2], [5, 6]], dtype=np.float32))
        c.add(ids="row", embeddings=np.array([7, 8], dtype=np.float64))
        c.add(ids=["list"], embeddings=[np.array([9, 10], dtype=np.int32)])
        stored = c.get(include=["embeddings"])["embeddings"]
        assert stored.shape == (6, 2)
        expected = [[1, 2], [3, 4], [0.1, 0.2], [5, 6], [7, 8], [9, 10]]
        assert stored.tolist() == expected, "float32 is written in as few digits as it has"
        found = c.query(query_embeddings=np.array([7.0, 8.0]), n_results=1)
        assert found["ids"] == [["row"]]
        assert client.get_collection(c.name).count() == 6


def embeddings_on_the_wire(client: chromadb.ClientAPI, url: str, key: str | None) -> None:
    """The server says that it reads base64, and reads it as it reads a list."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with (
        httpx.Client(base_url=f"{url}/api/v2", headers=headers) as http,
        collection(client) as c,
    ):
        assert http.get("/pre-flight-checks").json()["supports_base64_encoding"] is True
        records = f"/tenants/{c.tenant}/databases/{c.database}/collections/{c.id}"
        vector = np.array([0.1, -2.5, 3e38], dtype="<f4")
        for name, sent in (
            ("base64", base64.b64encode(vector.tobytes()).decode()),
            ("list", vector.tolist()),
        ):
            answer = http.post(f"{records}/add", json={"ids": [name], "embeddings": [sent]})
            assert (answer.status_code, answer.json()) == (201, {}), answer.text
        stored = c.get(include=["embeddings"])["embeddings"]
        assert stored.tolist() == [[0.1, -2.5, 3e38]] * 2, stored


def a_large_batch(client: chromadb.ClientAPI) -> None:
    count = 3_000
    embeddings = np.random.default_rng(7).normal(size=(count, 16)).astype(np.float32)
    ids = [f"id-{n:04}" for n in range(count)]
    with collection(client) as c:
        c.add(
            ids=ids,
            embeddings=embeddings,
            documents=[f"document number {n}" for n in range(count)],
            metadatas=[{"n": n, "even": n % 2 == 0} for n in range(count)],
        )
        assert c.count() == count
        assert c.get(include=[])["ids"] == ids, "in the order of insertion"
        assert len(c.get(where={"even": True}, include=[])["ids"]) == count // 2
        found = c.query(query_embeddings=embeddings[[5, 1234]], n_results=3)
        assert [row[0] for row in found["ids"]] == ["id-0005", "id-1234"]
        assert found["documents"][1][0] == "document number 1234"
        c.upsert(ids=ids, embeddings=embeddings, metadatas=[{"n": -1}] * count)
        assert c.count() == count
        assert len(c.get(where={"n": -1}, include=[])["ids"]) == count
        assert c.delete(where={"even": False})["deleted"] == count // 2
        assert c.count() == count // 2


def metadata_of_every_type(client: chromadb.ClientAPI) -> None:
    metadata = {
        "int": 1,
        "long": 2**53 + 1,
        "longest": 2**63 - 1,
        "negative": -(2**63),
        "float": 1.0,
        "small": 1e-300,
        "true": True,
        "false": False,
        "text": "x",
        "empty": "",
    }
    with collection(client) as c:
        c.add(ids=["all", "none"], embeddings=[[1.0], [2.0]], metadatas=[metadata, None])
        stored, nothing = c.get()["metadatas"]
        assert stored == metadata
        kinds = {key: type(value) for key, value in stored.items()}
        assert kinds == {key: type(value) for key, value in metadata.items()}
        assert nothing is None, "no metadata is null"
        assert c.query(query_embeddings=[2.0], n_results=1)["metadatas"] == [[None]]


def lists_in_metadata(client: chromadb.ClientAPI) -> None:
    metadata = {
        "ints": [3, 1, 3],
        "floats": [1.5, 2.0],
        "bools": [True, False],
        "texts": ["b", "a"],
    }
    with collection(client) as c:
        c.add(
            ids=["all", "one", "none"],
            embeddings=[[1.0], [2.0], [3.0]],
            metadatas=[metadata, {"ints": [1], "texts": "b"}, None],
        )
        stored = c.get(ids="all")["metadatas"][0]
        assert stored == metadata, "order and duplicates are kept"
        kinds = {key: {type(value) for value in values} for key, values in stored.items()}
        assert kinds == {"ints": {int}, "floats": {float}, "bools": {bool}, "texts": {str}}
        for where, expected in (
            ({"ints": {"$contains": 1}}, "all one"),
            ({"ints": {"$contains": 3}}, "all"),
            ({"floats": {"$contains": 2.0}}, "all"),
            ({"bools": {"$contains": False}}, "all"),
            ({"texts": {"$contains": "b"}}, "all"),
            ({"ints": {"$not_contains": 3}}, "one none"),
        ):
            assert c.get(where=where)["ids"] == expected.split(), where
        c.update(ids="all", metadatas={"ints": [7], "floats": None, "texts": "a"})
        changed = {"ints": [7], "bools": [True, False], "texts": "a"}
        assert c.get(ids="all")["metadatas"] == [changed], "a list is replaced as a whole"
        malformed: dict[str, Any]
        for malformed in ({"k": [1, "a"]}, {"k": []}, {"k": [[1]]}, {"k": [None]}):
            with raises(ValueError, "Expected metadata list value for key 'k'"):
                c.add(ids="x", embeddings=[1.0], metadatas=malformed)
        # Or Chroma would show these lists in the collections that come after.
        c.delete(ids=["all", "one", "none"])


def text_in_every_script(client: chromadb.ClientAPI) -> None:
    text = "naïve — 日本語, עברית, 🦆🏽, \u00e9 is not e\u0301; quotes \" ' and \\ and\ttab\nline"
    with collection(client, metadata={"ключ": "значение 🗝"}) as c:
        assert client.get_collection(c.name).metadata == {"ключ": "значение 🗝"}
        ids = ["🦆", "a/b?c=d&e#f", "with space", "日本"]
        c.add(
            ids=ids,
            embeddings=[[1.0], [2.0], [3.0], [4.0]],
            documents=[text, "b", "c", "d"],
            metadatas=[{"日本": text, "with space": 1}, {"k": "ß"}, {"k": "SS"}, {"k": "🦆"}],
        )
        stored = c.get(ids=ids[:1])
        assert stored["documents"] == [text]
        assert stored["metadatas"] == [{"日本": text, "with space": 1}]
        assert c.get(ids="a/b?c=d&e#f")["documents"] == ["b"]
        assert c.get(where={"日本": text})["ids"] == ["🦆"]
        assert c.get(where={"k": "🦆"})["ids"] == ["日本"]
        assert c.get(where_document={"$contains": "日本語"})["ids"] == ["🦆"]
        assert c.get(where_document={"$contains": "e\u0301; quotes \" ' and \\"})["ids"] == ["🦆"]


def columns_are_chosen(client: chromadb.ClientAPI) -> None:
    with collection(client) as c:
        c.add(**COLOURS, uris=[f"file:///{name}" for name in COLOURS["ids"]])
        plain = c.get()
        assert plain["documents"] == COLOURS["documents"]
        assert plain["metadatas"] == COLOURS["metadatas"]
        assert plain["embeddings"] is None and plain["uris"] is None and plain["data"] is None

        columns = ["documents", "metadatas", "embeddings", "uris"]
        for column in columns:
            got = c.get(include=[column])
            assert got["included"] == [column]
            assert got["ids"] == COLOURS["ids"]
            assert [k for k in columns if got[k] is not None] == [column]
        assert c.get(include=["uris"])["uris"][2] == "file:///blue"
        bare = c.get(include=[])
        assert [k for k in columns if bare[k] is not None] == []

        near = {"query_embeddings": [[0.9, 0.0, 0.0]], "n_results": 2}
        every = [*columns, "distances"]
        for column in every:
            found = c.query(**near, include=[column])
            assert found["ids"] == [["red", "grey"]]
            assert [k for k in every if found[k] is not None] == [column]
        found = c.query(**near, include=every)
        assert found["uris"] == [["file:///red", "file:///grey"]]
        assert found["embeddings"][0].tolist() == [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5]]
        assert found["documents"] == [["the colour red", "No colour at all"]]
        assert found["metadatas"][0][1] == {"n": 4, "tone": "neutral"}


def records_are_paged(client: chromadb.ClientAPI) -> None:
    with collection(client) as c:
        assert c.count() == 0
        assert c.get()["ids"] == []
        ids = [f"{n:02}" for n in range(25)]
        c.add(ids=ids[::-1], embeddings=[[float(n)] for n in range(25)])
        inserted = ids[::-1]
        pages = [c.get(limit=10, offset=n, include=[])["ids"] for n in (0, 10, 20, 30)]
        assert pages == [inserted[:10], inserted[10:20], inserted[20:], []]
        assert c.get(limit=0)["ids"] == []
        assert c.get(offset=24)["ids"] == inserted[24:]
        assert c.get(ids=["03", "20", "nope"])["ids"] == ["20", "03"], "as inserted, if there"
        assert c.peek()["ids"] == inserted[:10]
        assert c.peek(limit=2)["embeddings"].tolist() == [[0.0], [1.0]]


def queries_find_the_nearest(client: chromadb.ClientAPI) -> None:
    with collection(client) as c:
        empty = c.query(query_embeddings=[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        assert empty["ids"] == [[], []], "an empty collection has no nearest"
        c.add(**COLOURS)
        found = c.query(query_embeddings=[[1.0, 0.0, 0.0], [0.0, 0.0, 2.0]], n_results=2)
        assert found["ids"] == [["red", "grey"], ["blue", "grey"]]
        assert np.allclose(found["distances"], [[0.0, 0.75], [1.0, 2.75]])
        assert found["documents"][1] == ["the colour blue", "No colour at all"]
        assert len(c.query(query_embeddings=[1.0, 0.0, 0.0])["ids"][0]) == 4, "fewer than asked"

        some = c.query(query_embeddings=[1.0, 0.0, 0.0], ids=["blue", "grey"])
        assert some["ids"] == [["grey", "blue"]], "among these only"
        cold = c.query(query_embeddings=[1.0, 0.1, 0.0], where={"warm": False})
        assert cold["ids"] == [["green", "blue"]]
        text = {"where_document": {"$contains": "colour"}, "where": {"n": {"$gte": 3}}}
        both = c.query(query_embeddings=[1.0, 0.0, 0.0], **text)
        assert both["ids"] == [["grey", "blue"]]


def distances_of_every_space(client: chromadb.ClientAPI) -> None:
    expected = {
        "l2": (["short", "long"], [2.0, 5.0]),
        "cosine": (["long", "short"], [1 - 3 / np.sqrt(13), 1 - 1 / np.sqrt(2)]),
        "ip": (["long", "short"], [-5.0, -1.0]),
    }
    for space, (ids, distances) in expected.items():
        with collection(client, configuration={"hnsw": {"space": space}}) as c:
            assert client.get_collection(c.name).configuration["hnsw"]["space"] == space
            c.add(ids=["short", "long"], embeddings=[[1.0, 1.0], [3.0, 2.0]])
            found = c.query(query_embeddings=[2.0, 0.0])
            assert found["ids"] == [ids], (space, found)
            assert np.allclose(found["distances"], [distances], atol=1e-5), (space, found)
    with collection(client, metadata={"hnsw:space": "cosine"}) as c:
        c.add(ids=["same", "other"], embeddings=[[5.0, 0.0], [0.0, 1.0]])
        found = c.query(query_embeddings=[1.0, 0.0])
        assert found["ids"] == [["same", "other"]], "the metadata names the space as well"
        assert np.allclose(found["distances"], [[0.0, 1.0]], atol=1e-6)


def metadata_filters(client: chromadb.ClientAPI) -> None:
    cases = [
        ({"n": 1}, "red"),
        ({"n": {"$eq": 2}}, "green"),
        ({"n": {"$ne": 2}}, "red blue grey"),
        ({"n": {"$gt": 2}}, "blue grey"),
        ({"n": {"$gte": 2}}, "green blue grey"),
        ({"n": {"$lt": 2}}, "red"),
        ({"n": {"$lte": 2}}, "red green"),
        ({"wave": {"$gt": 500.0}}, "red green"),
        ({"wave": {"$lte": 546.5}}, "green blue"),
        ({"n": {"$in": [1, 3, 9]}}, "red blue"),
        ({"n": {"$nin": [1, 3]}}, "green grey"),
        ({"tone": {"$in": ["neutral"]}}, "grey"),
        ({"warm": True}, "red"),
        ({"warm": {"$ne": True}}, "green blue grey"),
        ({"tone": {"$ne": "neutral"}}, "red green blue"),
        ({"missing": 1}, ""),
        ({"n": "1"}, ""),
        ({"$and": [{"n": {"$gt": 1}}, {"warm": False}]}, "green blue"),
        ({"$or": [{"n": 1}, {"tone": "neutral"}]}, "red grey"),
        ({"$or": [{"n": 4}, {"$and": [{"warm": False}, {"n": {"$lt": 3}}]}]}, "green grey"),
    ]
    with collection(client) as c:
        c.add(**COLOURS)
        for where, expected in cases:
            got = c.get(where=where, include=[])["ids"]
            assert got == expected.split(), (where, got)
            found = c.query(query_embeddings=[0.0, 0.0, 0.0], where=where, include=[])["ids"][0]
            assert sorted(found) == sorted(expected.split()), (where, found)


def document_filters(client: chromadb.ClientAPI) -> None:
    cases = [
        ({"$contains": "colour"}, "red green blue grey"),
        ({"$contains": "gre"}, "green"),
        ({"$contains": "no colour"}, ""),
        ({"$contains": "%"}, ""),
        ({"$not_contains": "the"}, "grey none"),
        ({"$regex": "^the .* (red|blue)$"}, "red blue"),
        ({"$regex": "(?i)^no"}, "grey"),
        ({"$not_regex": "e{2}n"}, "red blue grey none"),
        ({"$and": [{"$contains": "the"}, {"$not_contains": "red"}]}, "green blue"),
        ({"$or": [{"$contains": "all"}, {"$contains": "red"}]}, "red grey"),
    ]
    with collection(client) as c:
        c.add(**COLOURS)
        c.add(ids="none", embeddings=[9.0, 9.0, 9.0])
        for where, expected in cases:
            got = c.get(where_document=where, include=[])["ids"]
            assert got == expected.split(), (where, got)
            near = c.query(query_embeddings=[0.0, 0.0, 0.0], where_document=where, include=[])
            assert sorted(near["ids"][0]) == sorted(expected.split()), (where, near)
        both = c.get(where={"warm": False}, where_document={"$contains": "blue"})
        assert both["ids"] == ["blue"]


def adding_twice_keeps_the_first(client: chromadb.ClientAPI) -> None:
    with collection(client) as c:
        c.add(ids="a", embeddings=[1.0], documents="first", metadatas={"n": 1})
        c.add(ids=["a", "b"], embeddings=[[2.0], [3.0]], documents=["second", "other"])
        got = c.get(include=["documents", "metadatas", "embeddings"])
        assert got["ids"] == ["a", "b"]
        assert got["documents"] == ["first", "other"]
        assert got["metadatas"] == [{"n": 1}, None]
        assert got["embeddings"].tolist() == [[1.0], [3.0]]


def updates_merge_metadata(client: chromadb.ClientAPI) -> None:
    with collection(client) as c:
        c.add(**COLOURS)
        c.update(ids="red", metadatas={"n": 10, "warm": None, "new": "x"})
        assert c.get(ids="red")["metadatas"] == [{"n": 10, "wave": 700.5, "new": "x"}], (
            "given keys overwrite, null deletes, the others stay"
        )
        assert c.get(ids="red")["documents"] == ["the colour red"]
        c.update(ids=["green", "missing"], documents=["verde", "x"], embeddings=[[0, 2, 0]] * 2)
        green = c.get(ids="green", include=["documents", "embeddings", "metadatas"])
        assert green["documents"] == ["verde"]
        assert green["embeddings"].tolist() == [[0.0, 2.0, 0.0]]
        assert green["metadatas"] == [COLOURS["metadatas"][1]]
        assert c.count() == 4, "what is not there is not updated"
        assert c.get(where_document={"$contains": "green"})["ids"] == []
        assert c.query(query_embeddings=[0.0, 2.0, 0.0], n_results=1)["distances"] == [[0.0]]
        c.update(ids="green", uris="file:///green")
        assert c.get(ids="green", include=["uris"])["uris"] == ["file:///green"]


def upserts_merge_metadata(client: chromadb.ClientAPI) -> None:
    with collection(client) as c:
        c.add(**COLOURS)
        c.upsert(
            ids=["blue", "black"],
            embeddings=[[0.0, 0.0, 2.0], [0.0, 0.0, 0.0]],
            documents=["azul", "negro"],
            metadatas=[{"n": 30, "warm": None}, {"n": 5, "gone": None}],
        )
        got = c.get(ids=["blue", "black"], include=["documents", "embeddings", "metadatas"])
        assert got["documents"] == ["azul", "negro"]
        assert got["embeddings"].tolist() == [[0.0, 0.0, 2.0], [0.0, 0.0, 0.0]]
        assert got["metadatas"] == [{"n": 30, "wave": 435.5}, {"n": 5}]
        c.upsert(ids="blue", embeddings=[0.0, 0.0, 3.0])
        got = c.get(ids="blue")
        assert got["documents"] == ["azul"], "what is not given stays"
        assert got["metadatas"][0]["n"] == 30
        assert c.get(include=[])["ids"] == [*COLOURS["ids"], "black"], "in the old order"


def records_are_deleted(client: chromadb.ClientAPI) -> None:
    with collection(client) as c:
        c.add(**COLOURS)
        assert c.delete(ids=["red"]) == {"deleted": 1}
        assert c.get(ids="red")["ids"] == []
        assert c.delete(ids=["green", "blue"], where={"n": 3}) == {"deleted": 1}
        assert c.get()["ids"] == ["green", "grey"]
        assert c.delete(where_document={"$contains": "No colour"}) == {"deleted": 1}
        assert c.delete(where={"n": 99}) == {"deleted": 0}
        c.add(ids="red", embeddings=[1.0, 0.0, 0.0], metadatas={"warm": False})
        assert c.get()["ids"] == ["green", "red"], "added again, it is the last"
        assert c.delete(where={"warm": False}, limit=1) == {"deleted": 1}
        assert c.get()["ids"] == ["red"], "the first ones go"
        assert c.query(query_embeddings=[0.0, 1.0, 0.0])["ids"] == [["red"]]
        with raises(ValueError, "At least one of ids, where, or where_document must be provided"):
            c.delete()
        with raises(ValueError, "limit can only be specified when a where"):
            c.delete(ids="red", limit=1)


def records_are_refused(client: chromadb.ClientAPI) -> None:
    with collection(client) as c:
        c.add(**COLOURS)
        wrong = "Collection expecting embedding with dimension of 3, got 2"
        with raises(InvalidArgumentError, wrong):
            c.add(ids="x", embeddings=[1.0, 2.0])
        with raises(InvalidArgumentError, wrong):
            c.upsert(ids="x", embeddings=[1.0, 2.0])
        with raises(InvalidArgumentError, wrong):
            c.update(ids="red", embeddings=[1.0, 2.0])
        with raises(InvalidArgumentError, wrong):
            c.query(query_embeddings=[1.0, 2.0])
        with raises(InvalidArgumentError, ""):
            c.add(ids="x", embeddings=[float("nan"), 0.0, 0.0])
        with raises(InvalidArgumentError, "Empty ID"):
            c.add(ids="", embeddings=[1.0, 2.0, 3.0])
        with raises(InvalidArgumentError, ""):
            c.add(ids="x", embeddings=[1.0, 2.0, 3.0], metadatas={"#k": 1})
        with raises(DuplicateIDError, "found duplicates of: x"):
            c.add(ids=["x", "x"], embeddings=[[1.0, 0.0, 0.0]] * 2)
        with raises(ValueError, "Unequal lengths"):
            c.add(ids=["x", "y"], embeddings=[[1.0, 0.0, 0.0]])
        with raises(ValueError, "exceeds maximum batch size"):
            most = client.get_max_batch_size()
            c.add(ids=[str(n) for n in range(most + 1)], embeddings=np.zeros((most + 1, 3)))
        with raises(ChromaError, ""):
            c.add(ids="x", embeddings=[1.0, 0.0, 0.0], metadatas={"k": None})
        assert c.get()["ids"] == COLOURS["ids"], "nothing of it was written"


def filters_are_refused(client: chromadb.ClientAPI) -> None:
    with collection(client) as c:
        c.add(**COLOURS)
        # What the client's own checks let through is for the server to refuse.
        for where in (
            {"k": {"$eq": [1]}},
            {"k": {"$gt": True}},
            {"k": {"$in": [1, True]}},
            {"$eq": 1},
            {"$not": {"$eq": 1}},
            {"k": float("nan")},
            {"k": 2**63},
        ):
            for call in (c.get, c.delete, lambda where: c.query([0.0, 0.0, 0.0], where=where)):
                with raises(InvalidArgumentError, "Invalid where clause"):
                    call(where=where)
        with raises(InvalidArgumentError, "unclosed character class"):
            c.get(where_document={"$regex": "["})
        with raises(ValueError, "Expected where operator to be one of"):
            c.get(where={"k": {"$bogus": 1}})
        with raises(ValueError, "Expected where document operator to be one of"):
            c.get(where_document={"$bogus": "x"})
        assert c.count() == 4


def texts_are_embedded_by_the_client(client: chromadb.ClientAPI) -> None:
    """The collection remembers its function's name; the texts never need the server."""
    with collection(client, embedding_function=Letters()) as c:
        c.add(ids=["a", "b", "c"], documents=["aaa", "bbb", "ccc"])
        assert c.get(include=["embeddings"])["embeddings"].tolist() == (np.eye(3) * 3).tolist()
        found = client.get_collection(c.name, embedding_function=Letters())
        assert found.query(query_texts=["bb", "c"], n_results=1)["ids"] == [["b"], ["c"]]
        found.update(ids="a", documents="ab")
        got = found.get(ids="a", include=["embeddings", "documents"])
        assert (got["documents"], got["embeddings"].tolist()) == (["ab"], [[1.0, 1.0, 0.0]])
        with raises(ValueError, "Embedding function conflict"):
            client.get_collection(c.name, embedding_function=Digits())


def keys_in_the_other_header(url: str, key: str) -> None:
    header = {"chroma_auth_token_transport_header": "X-Chroma-Token"}
    with chromadb.HttpClient(host=url, settings=Settings(**settings(key, **header))) as client:
        assert client.count_collections() >= 0
    bearer = {"Authorization": f"Bearer {key}"}
    with chromadb.HttpClient(url, headers=bearer, settings=Settings(**settings(None))) as client:
        assert client.count_collections() >= 0


if __name__ == "__main__":
    main()
