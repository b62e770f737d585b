"""Write a directory of Chroma with LangChain, or read it from a server, and print what is found.

python langchain_directory.py write <directory>
python langchain_directory.py read <base-url>

It prints a JSON list: for each text what is found, as lists of id, document, metadata and score.
"""

from __future__ import annotations

import json
import sys
from string import ascii_lowercase
from typing import Any

import chromadb
from langchain_chroma import Chroma
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from support import connect

SUBJECTS = ["a swift", "an owl", "the old dog", "my brother", "a clown", "the captain"]
VERBS = ["sleeps", "eats apples", "plays the trumpet", "runs across the bridge", "sings"]
NAME = "articles"
FOUND = 5


class Letters(Embeddings):
    """How often a text has each letter, with weights that keep distances from being equal."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [
            [text.count(letter) * n**0.3 for n, letter in enumerate(ascii_lowercase, 1)]
            for text in texts
        ]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


def documents() -> list[Document]:
    return [
        Document(f"{subject} {verb}", id=f"{n}-{m}", metadata={"subject": n, "verb": verb})
        for n, subject in enumerate(SUBJECTS)
        for m, verb in enumerate(VERBS)
    ]


def searches(store: Chroma) -> list[Any]:
    """Search for each document's text, once among all and once among those of a subject."""
    return [
        [
            (document.id, document.page_content, document.metadata, score)
            for document, score in store.similarity_search_with_score(
                each.page_content, k=FOUND, filter=chosen
            )
        ]
        for each in documents()
        for chosen in (None, {"subject": {"$ne": each.metadata["subject"]}})
    ]


def main(action: str, place: str) -> None:
    writes = action == "write"
    client = chromadb.PersistentClient(place) if writes else connect(place, None)
    store = Chroma(NAME, Letters(), client=client, create_collection_if_not_exists=writes)
    if writes:
        store.add_documents(documents())
    print(json.dumps(searches(store)))


if __name__ == "__main__":
    main(*sys.argv[1:])
