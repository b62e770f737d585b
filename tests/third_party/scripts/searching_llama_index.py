"""LlamaIndex's `QueryFusionRetriever`: its vector retriever and a search for words, both of Chroma.

python searching_llama_index.py <base-url> [<api-key>]
"""

from __future__ import annotations

from typing import Any

import chromadb
from chromadb import K, Knn, Schema, Search, SparseVectorIndexConfig, VectorIndexConfig
from chromadb.utils.embedding_functions import (
    ChromaBm25EmbeddingFunction,
    register_embedding_function,
)
from llama_index.core import VectorStoreIndex
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.llms import MockLLM
from llama_index.core.retrievers import BaseRetriever, QueryFusionRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.vector_stores.chroma import ChromaVectorStore
from support import Letters, arguments, connect, unique

TEXTS = {"cats": "cats purr", "dogs": "dogs bark", "cars": "cars honk at dogs"}

register_embedding_function(Letters)


class Embedding(BaseEmbedding):  # type: ignore[misc]
    """The same function for LlamaIndex."""

    def _get_text_embedding(self, text: str) -> list[float]:
        return [float(number) for number in Letters()([text])[0]]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


class Words(BaseRetriever):  # type: ignore[misc]
    """Searches a collection of Chroma for words."""

    def __init__(self, collection: chromadb.Collection) -> None:
        super().__init__()
        self._collection = collection

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        rank = Knn(query_bundle.query_str, key="words")
        found: Any = self._collection.search(Search(rank=rank).select(K.DOCUMENT, K.SCORE))
        return [
            NodeWithScore(node=TextNode(id_=row["id"], text=row["document"]), score=-row["score"])
            for row in found.rows()[0]
        ]


def main() -> None:
    client = connect(*arguments())
    words = SparseVectorIndexConfig(
        source_key=K.DOCUMENT, embedding_function=ChromaBm25EmbeddingFunction(), bm25=True
    )
    schema = Schema().create_index(config=VectorIndexConfig(embedding_function=Letters()))
    schema.create_index(config=words, key="words")
    collection = client.create_collection(unique("llama"), schema=schema)
    store = ChromaVectorStore(chroma_collection=collection)
    index = VectorStoreIndex.from_vector_store(store, embed_model=Embedding())
    index.insert_nodes([TextNode(id_=id, text=text) for id, text in TEXTS.items()])
    fused = QueryFusionRetriever(
        [index.as_retriever(similarity_top_k=3), Words(collection)],
        llm=MockLLM(),
        mode="reciprocal_rerank",
        num_queries=1,
        similarity_top_k=2,
        use_async=False,
    )
    found = fused.retrieve("dogs")
    assert [each.node.node_id for each in found] == ["dogs", "cars"], found
    client.delete_collection(collection.name)
    client.close()


if __name__ == "__main__":
    main()
