"""LangChain's `Chroma.hybrid_search`, over Chroma's Python client.

python searching_langchain.py <base-url> [<api-key>]
"""

from __future__ import annotations

from chromadb import K, Knn, Rrf, Schema, Search, SparseVectorIndexConfig, VectorIndexConfig
from chromadb.utils.embedding_functions import (
    ChromaBm25EmbeddingFunction,
    register_embedding_function,
)
from langchain_chroma import Chroma
from langchain_core.documents import Document
from support import Letters, arguments, connect, unique

DOCUMENTS = [
    Document("cats purr", metadata={"topic": "animals"}),
    Document("dogs bark", metadata={"topic": "animals"}),
    Document("cars honk at dogs", metadata={"topic": "machines"}),
]

register_embedding_function(Letters)


def main() -> None:
    client = connect(*arguments())
    name = unique("langchain")
    words = SparseVectorIndexConfig(
        source_key=K.DOCUMENT, embedding_function=ChromaBm25EmbeddingFunction(), bm25=True
    )
    schema = Schema().create_index(config=VectorIndexConfig(embedding_function=Letters()))
    schema.create_index(config=words, key="words")
    client.create_collection(name, schema=schema)
    store = Chroma(name, client=client)
    store.add_documents(DOCUMENTS, ids=["cats", "dogs", "cars"])
    ranks = [Knn("dogs", return_rank=True, limit=300, default=1_000)]
    ranks.append(Knn("dogs", key="words", return_rank=True, limit=300, default=1_000))
    search = (
        Search()
        .where(K("topic") == "animals")
        .rank(Rrf(ranks, weights=[2.0, 1.0], k=60))
        .limit(10)
        .select(K.DOCUMENT, K.SCORE, "topic")
    )
    found = store.hybrid_search(search)
    assert [document.id for document in found] == ["dogs", "cats"], found
    assert found[0].page_content == "dogs bark", found
    assert found[0].metadata == {"topic": "animals"}, found
    store.delete_collection()
    client.close()


if __name__ == "__main__":
    main()
