"""Programs that type checkers must accept: usual code of Chroma's users, and of tables.

`test_typing.py` checks this file; nothing runs it.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, assert_type
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

import pgchroma as chromadb
from pgchroma.api.collection_configuration import CreateCollectionConfiguration
from pgchroma.api.configuration import CollectionConfigurationInterface, HNSWConfigurationInterface
from pgchroma.api.types import (
    DataLoader,
    Documents,
    EmbeddingFunction,
    Embeddings,
    FtsIndexType,
    GetResult,
    Include,
    Loadable,
    Metadata,
    QueryResult,
    Where,
    WhereDocument,
)
from pgchroma.embeddings import TextEmbeddingFunction, get_registry
from pgchroma.execution.expression import GroupBy, K, Knn, MinK, Rrf, Search
from pgchroma.records import Record, VectorOfLength
from pgchroma.utils import embedding_functions


class MyFunction(EmbeddingFunction[Documents]):
    def __init__(self) -> None:
        pass

    def __call__(self, input: Documents) -> Embeddings:
        return [np.zeros(3, dtype=np.float32) for _ in input]


class MyTextFunction(TextEmbeddingFunction):
    size: int = 3

    def generate_embeddings(self, texts: list[str]) -> list[list[float]]:
        return [[0.0] * self.size for _ in texts]

    def ndims(self) -> int:
        return self.size


class MyLoader(DataLoader[Loadable]):
    def __call__(self, uris: Any) -> Loadable:
        return [np.zeros((2, 2), dtype=np.uint8) for _ in uris]


def clients() -> None:
    assert_type(chromadb.Client(), chromadb.ClientAPI)
    assert_type(chromadb.EphemeralClient(), chromadb.ClientAPI)
    assert_type(chromadb.PersistentClient(path="./data"), chromadb.ClientAPI)
    assert_type(chromadb.HttpClient(host="localhost", port=8000), chromadb.ClientAPI)
    assert_type(chromadb.PostgresClient("postgresql://localhost/app"), chromadb.ClientAPI)
    assert_type(chromadb.connect("./data", tenant="acme"), chromadb.ClientAPI)
    assert_type(chromadb.AdminClient(), chromadb.AdminAPI)
    with chromadb.PersistentClient(
        "./data", settings=chromadb.Settings(allow_reset=True)
    ) as client:
        assert_type(client.heartbeat(), int)
        client.reset()
        client.set_tenant("acme", database="main")
        names: list[str] = [collection.name for collection in client.list_collections()]
        print(names)
    chromadb.configure(allow_reset=True)


def collections(client: chromadb.ClientAPI) -> None:
    collection = client.create_collection("docs")
    assert_type(collection, chromadb.Collection)
    assert_type(collection.id, UUID)
    client.create_collection(
        name="docs",
        metadata={"hnsw:space": "cosine", "made": 2026},
        embedding_function=MyFunction(),
        data_loader=MyLoader(),
        get_or_create=True,
    )
    client.create_collection("docs", embedding_function=None)
    client.create_collection(
        "docs", embedding_function=embedding_functions.DefaultEmbeddingFunction()
    )
    client.create_collection("docs", embedding_function=get_registry().get("default").create())
    client.create_collection(
        "docs",
        configuration={
            "hnsw": {"space": "cosine", "ef_construction": 200, "quantization": "halfvec"},
            "embedding_function": MyFunction(),
        },
    )
    configuration = CreateCollectionConfiguration(hnsw={"space": "ip"})
    client.get_or_create_collection("docs", configuration=configuration)
    client.create_collection("copy", configuration=collection.configuration)
    function = collection.configuration["embedding_function"]
    if function is not None:
        print(function(["one"]), function.default_space())
    client.create_collection(
        "old",
        configuration=CollectionConfigurationInterface(HNSWConfigurationInterface(M=32)),
    )
    collection.modify(name="new", metadata={"a": 1}, configuration={"hnsw": {"ef_search": 50}})
    client.get_collection("docs", embedding_function=MyFunction())
    client.get_collection_by_id(collection.id)
    client.delete_collection("docs")


def schemas(client: chromadb.ClientAPI) -> None:
    schema = chromadb.Schema()
    schema.create_index(
        chromadb.VectorIndexConfig(
            space="cosine",
            embedding_function=MyFunction(),
            hnsw=chromadb.HnswIndexConfig(max_neighbors=32),
        )
    )
    schema.create_index(chromadb.StringInvertedIndexConfig(), key="author").delete_index(
        chromadb.FtsIndexConfig(), key="#document"
    )
    string = schema.defaults.string
    if string is not None and string.fts_index is not None:
        index: FtsIndexType = string.fts_index
        assert_type(index.enabled, bool)
    client.create_collection("docs", schema=schema)


def writes(collection: chromadb.Collection) -> None:
    ids = [f"id{number}" for number in range(2)]
    texts = ["first", "second"]
    collection.add(ids="a", documents="one")
    collection.add(ids=ids, documents=texts)
    collection.add(ids=ids, documents=texts, metadatas=[{"a": 1, "b": "x"}, {"c": [1, 2]}])
    collection.add(ids="a", embeddings=[1.0, 2.0], metadatas={"a": True, "b": 1.5, "c": None})
    collection.add(ids="a", embeddings=(1, 2), documents=["one", None], uris="s3://one")
    same = [{"source": "wiki"}, {"source": "web"}]
    collection.upsert(ids=ids, documents=texts, metadatas=same)
    mixed: list[dict[str, str | int]] = [{"source": "wiki", "page": 1}]
    collection.upsert(ids=ids, documents=texts, metadatas=mixed)
    loose: list[dict[str, Any]] = [{}]
    collection.update(ids, metadatas=loose)
    declared: list[Metadata] = [{"tags": ["a", "b"]}, {"tags": None}]
    collection.update(ids=ids, metadatas=declared)

    rows: list[list[float]] = [[0.1, 0.2], [0.3, 0.4]]
    collection.add(ids, rows)
    collection.add(ids, [[1, 2], [3, 4]])
    collection.add(ids, np.zeros((2, 3)))
    collection.add(ids, np.zeros((2, 3), dtype=np.float32))
    collection.add(ids, np.random.default_rng().random((2, 3)).astype(np.float16))
    collection.add(ids, [np.zeros(3), np.ones(3)])
    collection.add(ids, list(np.zeros((2, 3))))
    collection.add(ids, MyFunction()(texts))
    collection.add(ids, embedding_functions.DefaultEmbeddingFunction()(texts))
    collection.add(ids, images=[np.zeros((2, 2, 3), dtype=np.uint8)])


def reads(collection: chromadb.Collection) -> None:
    ids = ["a", "b"]
    assert_type(collection.count(), int)
    assert_type(collection.peek(), GetResult)
    assert_type(collection.get(), GetResult)
    assert_type(collection.query(query_texts="one"), QueryResult)
    got = collection.get(ids="a", include=["documents", "embeddings", "metadatas"])
    assert_type(got["ids"], list[str])
    assert_type(got["embeddings"], NDArray[np.float64] | None)
    collection.upsert(got["ids"], got["embeddings"], got["metadatas"], got["documents"])
    for id, document, metadata in zip(
        got["ids"], got["documents"] or [], got["metadatas"] or [], strict=True
    ):
        print(id, document.upper(), metadata["source"], metadata.get("page"))

    found = collection.query(query_texts=["one", "two"], n_results=3, ids=ids)
    documents, distances = found["documents"], found["distances"]
    assert documents is not None
    assert distances is not None
    print("\n\n".join(documents[0]), min(distances[0]), np.array(found["embeddings"]))
    collection.query(query_embeddings=[[0.1, 0.2]])
    collection.query(query_embeddings=np.zeros((1, 2)))
    collection.query(query_embeddings=MyFunction().embed_query(["one"]))
    collection.query(query_images=[np.zeros((2, 2))], query_uris=None)
    include: Include = ["documents", "distances"]
    collection.query(query_uris=["a.png"], include=include)
    assert_type(collection.delete(ids=ids, limit=None)["deleted"], int)
    print(collection.explain(query_texts="one"), collection.recall().recall)
    print(collection.get_indexing_status().op_indexing_progress)


def filters(collection: chromadb.Collection) -> None:
    names = ["a", "b"]
    collection.get(where={"source": "wiki"})
    collection.get(where={"page": {"$gte": 3}}, limit=5, offset=0)
    collection.get(where={"page": {"$ne": "x"}})
    collection.get(where={"name": {"$in": names}})
    collection.get(where={"page": {"$nin": [1, 2]}})
    collection.get(where={"tags": {"$contains": "x"}})
    collection.query(
        query_texts="one",
        where={
            "$and": [
                {"page": 1},
                {"name": {"$ne": "x"}},
                {"$or": [{"is_new": True}, {"score": {"$lt": 0.5}}]},
            ]
        },
        where_document={"$or": [{"$contains": "x"}, {"$not_contains": "y"}]},
    )
    equal = {"source": "wiki"}
    collection.get(where=equal)
    loose: dict[str, Any] = {}
    collection.get(where=loose)
    where: Where = {}
    where["source"] = "wiki"
    clauses: list[Where] = [{"a": 1}, where]
    collection.delete(where={"$and": clauses})
    where_document: WhereDocument = {"$regex": "a+"}
    collection.get(where=where, where_document=where_document)


def searches(collection: chromadb.Collection) -> None:
    search = Search().where(K("page") > 3).rank(Knn(query="one")).limit(5).select(K.DOCUMENT)
    names = ["a", "b"]
    where = (K("name").is_in(names) & (K("page") != 1)) | K.DOCUMENT.contains("x")
    grouped = GroupBy(keys=K("name"), aggregate=MinK(keys=[K("page"), K.SCORE], k=2))
    nearest = Knn(query=[0.1, 0.2], return_rank=True) * 0.5 + Knn(query=np.zeros(2)).exp()
    search = Search(where=where, rank=Rrf([nearest], k=10), group_by=grouped, limit=5)
    for rows in collection.search([search]).rows():
        print([row["id"] for row in rows])
    collection.search(search, read_level=chromadb.ReadLevel.INDEX_ONLY)


class Article(Record):
    text: str
    vector: Annotated[list[float], VectorOfLength(3)]
    year: int
    day: date | None = None


class Title(BaseModel):
    text: str


def tables(client: chromadb.ClientAPI) -> None:
    table = client.create_table("articles", Article)
    assert_type(table, chromadb.Table[Article])
    assert_type(client.create_table("articles", schema=Article), chromadb.Table[Article])
    assert_type(client.open_table("articles", Article), chromadb.Table[Article])
    assert_type(client.open_table("articles"), chromadb.Table[BaseModel])
    assert_type(client.get_collection("articles", model=Article), chromadb.Table[Article])
    assert_type(client.create_collection("articles", model=Article), chromadb.Table[Article])
    assert_type(client.get_collection("articles").typed(Article), chromadb.Table[Article])

    article = Article(text="one", vector=[1, 2, 3], year=2026)
    assert_type(table.add(article), list[str])
    table.add([article, {"text": "two", "year": 2025}])
    table.upsert({"text": "two", "year": 2025})
    table.add(row for row in [article])
    assert_type(table.get(["a", 1]), list[Article])
    table.delete("a")
    table.delete(where={"day": date(2026, 11, 21)})

    search = table.search("one").where({"year": {"$gte": 2020}}).limit(5).select(["text"])
    assert_type(search.to_pydantic(), list[Article])
    assert_type(search.to_pydantic(Title), list[Title])
    assert_type(search.to_list(), list[dict[str, Any]])
    table.search([1.0, 2.0, 3.0]).where_document({"$contains": "x"})
    table.search(np.zeros(3, dtype=np.float32))
    table.search().to_pandas()
    table.search().to_arrow()


async def asynchronous() -> None:
    client = await chromadb.AsyncHttpClient(host="localhost")
    assert_type(client, chromadb.AsyncClientAPI)
    assert_type(await chromadb.connect_async("./data"), chromadb.AsyncClientAPI)
    async with chromadb.AsyncPostgresClient("postgresql://localhost/app") as other:
        assert_type(other, chromadb.AsyncClientAPI)
    collection = await client.get_or_create_collection("docs")
    assert_type(collection, chromadb.AsyncCollection)
    await collection.add(ids=["a"], documents=["one"], metadatas={"a": 1})
    got = await collection.get(where={"a": {"$gt": 0}})
    assert_type(got, GetResult)
    found = await collection.query(query_texts=["one"], include=["documents"])
    assert_type(found, QueryResult)
    report = await collection.reembed(MyFunction(), space="cosine")
    assert_type(report.is_switched, bool)
    table = await client.create_table("articles", Article)
    assert_type(table, chromadb.AsyncTable[Article])
    assert_type(await table.search("one").to_pydantic(), list[Article])
    await table.add([{"text": "one", "year": 2026}])
