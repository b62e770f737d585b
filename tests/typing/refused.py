"""Mistakes that type checkers must find: an error in each line that ends with the mark, no other.

`test_typing.py` checks this file; nothing runs it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

import pgchroma as chromadb
from pgchroma.execution.expression import K, Knn, MinK, Rrf, Search
from pgchroma.records import Record

texts: NDArray[np.str_] = np.array(["a"])


class Article(Record):
    text: str


class Other(BaseModel):
    text: str


def clients() -> None:
    chromadb.PersistantClient("./data")  # error
    chromadb.PersistentClient(path=5)  # error
    chromadb.HttpClient(port="8000")  # error
    chromadb.connect("./data", tenants="acme")  # error
    chromadb.PostgresClient()  # error


def collections(client: chromadb.ClientAPI) -> None:
    client.create_collection(5)  # error
    client.create_collection("docs", configuration={"hnsw": {"space": "cosinus"}})  # error
    client.create_collection("docs", configuration={"hnws": {"space": "cosine"}})  # error
    client.create_collection("docs", configuration={"hnsw": {"ef_search": "50"}})  # error
    client.create_collection("docs", embedding_function=lambda texts: texts)  # error
    client.create_collection("docs", metadata="docs")  # error
    client.create_collection("docs", model=Article, embedding_function=None)  # error
    client.get_or_create_collection("docs", get_or_create=True)  # error
    client.get_collection("docs", model="Article")  # error
    client.get_collection_by_id(5)  # error
    client.create_table("docs")  # error
    client.create_table("docs", Article, schema=Article)  # error
    client.create_table("docs", Article, mode="append")  # error
    client.list_collections(limit="5")  # error
    print(client.create_collection("docs").nam)  # error


def schemas(schema: chromadb.Schema) -> None:
    schema.create_index("fts")  # error
    schema.create_index(chromadb.VectorIndexConfig(space="cosinus"))  # error
    schema.create_index(chromadb.VectorIndexConfig(embedding_function=5))  # error
    schema.create_index(chromadb.HnswIndexConfig())  # error
    schema.create_index(chromadb.FtsIndexConfig(), key=5)  # error
    chromadb.HnswIndexConfig(ef_search="50")  # error


def writes(collection: chromadb.Collection) -> None:
    collection.add(ids=5, documents="one")  # error
    collection.add(ids=[5], documents=["one"])  # error
    collection.add(ids=("a", "b"), documents=["one", "two"])  # error
    collection.add(ids="a", embeddings=object())  # error
    collection.add(ids="a", embeddings="abc")  # error
    collection.add(ids="a", embeddings=["abc"])  # error
    collection.add(ids="a", embeddings=[["abc"]])  # error
    collection.add(ids="a", embeddings=texts)  # error
    collection.add(ids="a", embeddings=5)  # error
    collection.add(ids="a", documents=5)  # error
    collection.add(ids="a", documents=[5])  # error
    collection.add(ids="a", metadatas="source")  # error
    collection.add(ids="a", metadatas={"a": object()})  # error
    collection.add(ids="a", metadatas={"a": {"b": 1}})  # error
    collection.add(ids="a", metadatas={"a": [1, "x"]})  # error
    collection.add(ids="a", metadatas=[1])  # error
    collection.add(ids="a", images=[[1, 2]])  # error
    collection.add(ids="a", uris=[5])  # error
    collection.add(documents="one")  # error
    collection.add(ids="a", document="one")  # error
    collection.update(5)  # error
    collection.upsert(ids="a", embeddings=b"abc".decode())  # error
    collection.modify(configuration={"hnsw": {"space": "cosine"}})  # error
    collection.reembed("default")  # error


def reads(collection: chromadb.Collection) -> None:
    collection.get(ids=5)  # error
    collection.get(limit="5")  # error
    collection.get(include=["document"])  # error
    collection.get(include="documents")  # error
    collection.get(include=("documents",))  # error
    collection.query(query_texts=5)  # error
    collection.query(query_texts=[5])  # error
    collection.query(query_embeddings=["one"])  # error
    collection.query("one")  # error
    collection.query(query_texts="one", n_results="5")  # error
    collection.delete(limit="5")  # error
    collection.recall(sample="5")  # error
    collection.count(read_level="index_only")  # error
    collection.search("one")  # error
    print(collection.get()["id"])  # error
    print(collection.get()["documents"][0])  # error
    print(collection.query(query_texts="one")["scores"])  # error


def filters(collection: chromadb.Collection) -> None:
    collection.get(where="source")  # error
    collection.get(where={"a": None})  # error
    collection.get(where={1: "a"})  # error
    collection.get(where={"a": {"$gtx": 1}})  # error
    collection.get(where={"a": {"$gt": [1]}})  # error
    collection.get(where={"a": {"$gt": "x"}})  # error
    collection.get(where={"a": {"$in": 1}})  # error
    collection.get(where={"$and": [1]})  # error
    collection.get(where={"$or": [{"a": {"$eqq": 1}}]})  # error
    collection.get(where_document={"$contain": "x"})  # error
    collection.get(where_document={"$contains": 1})  # error
    collection.query(query_texts="one", where_document="x")  # error


def searches() -> None:
    Knn(query=5)  # error
    Knn(query="one", limit="5")  # error
    Search(limit="5")  # error
    Search().where("page > 3")  # error
    Search().rank(5)  # error
    MinK(keys=5, k=2)  # error
    K("name").is_in("a")  # error
    print(K("page") > object())  # error
    Rrf(Knn(query="one"))  # error


def tables(table: chromadb.Table[Article]) -> None:
    table.add(5)  # error
    table.add("one")  # error
    table.add([5])  # error
    table.add(Other(text="one"))  # error
    table.get(5.5)  # error
    table.search(5)  # error
    table.search("one").limit("5")  # error
    table.search("one").where("year > 2020")  # error
    table.search("one").to_pydantic(5)  # error
    print(table.search("one").to_pydantic()[0].title)  # error
    print(table.search("one").to_pydantic(Other)[0].title)  # error


async def asynchronous(
    client: chromadb.AsyncClientAPI, collection: chromadb.AsyncCollection
) -> None:
    await client.create_collection(5)  # error
    await collection.add(ids=5, documents="one")  # error
    await collection.add(ids="a", embeddings=object())  # error
    await collection.get(include=["document"])  # error
    await collection.query(query_texts="one", where={"a": {"$gtx": 1}})  # error
    await collection.reembed(5)  # error
    print((await collection.get())["id"])  # error
    print(collection.get()["ids"])  # error
