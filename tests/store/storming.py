"""A process that writes and reads until it is killed.

    python -m tests.store.storming URL NUMBER SEED

It prints each operation before it runs it on its own group, and again when it is done. The records
it reads have to make sense; if they do not, the process ends with an error.
"""

from __future__ import annotations

import json
import random
import sys
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

import pgchroma

GROUPS = 8
SIZE = 5
DIMENSION = 4


@dataclass(frozen=True)
class Deed:
    """An operation on groups of records, always on whole groups."""

    kind: str
    groups: list[str]
    token: str

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def ids_of(group: str) -> list[str]:
    """Name a group's records, so that those of all groups are mixed when they are sorted."""
    return [f"{number}-{group}" for number in range(SIZE)]


def vector_of(token: str) -> Any:
    seed = int.from_bytes(token.encode()[:24].ljust(24), "big")
    return np.random.default_rng(seed).normal(size=DIMENSION).astype(np.float32)


def do(papers: Any, deed: Deed, chance: random.Random) -> None:
    records = [(id, group) for group in deed.groups for id in ids_of(group)]
    chance.shuffle(records)
    ids = [id for id, _ in records]
    if deed.kind == "delete":
        papers.delete(ids=ids)
    elif deed.kind == "delete where":
        papers.delete(where={"group": {"$in": deed.groups}})
    elif deed.kind == "note":
        papers.update(ids=ids, metadatas=[{"note": deed.token}] * len(ids))
    else:
        getattr(papers, deed.kind)(
            ids=ids,
            embeddings=[vector_of(deed.token)] * len(ids),
            documents=[deed.token] * len(ids),
            metadatas=[{"token": deed.token, "group": group} for _, group in records],
        )


def state_of(papers: Any, group: str) -> tuple[str, str | None] | None:
    """Read a group: its token and its note, or None where it is not there. It has to be whole."""
    found = papers.get(where={"group": group}, include=["documents", "metadatas", "embeddings"])
    if not found["ids"]:
        return None
    assert sorted(found["ids"]) == ids_of(group), found["ids"]
    (token,) = set(found["documents"])
    assert {metadata["token"] for metadata in found["metadatas"]} == {token}, found
    assert (found["embeddings"] == vector_of(token)).all(), found
    (note,) = {metadata.get("note") for metadata in found["metadatas"]}
    return token, note


def after(state: tuple[str, str | None] | None, deed: Deed) -> tuple[str, str | None] | None:
    """Return the state of a writer's group after an operation."""
    if deed.kind.startswith("delete"):
        return None
    if deed.kind == "note":
        return state and (state[0], deed.token)
    if deed.kind == "add":
        return state or (deed.token, None)
    if deed.kind == "update":
        return state and (deed.token, state[1])
    return deed.token, state and state[1]


def look(papers: Any, chance: random.Random) -> None:
    """Query, and check that each group found is whole and its embeddings match its records."""
    probe = vector_of(str(chance.random()))
    found = papers.query(query_embeddings=[probe], n_results=1_000)
    groups: dict[str, list[str]] = {}
    for id, token, distance in zip(
        found["ids"][0], found["documents"][0], found["distances"][0], strict=True
    ):
        expected = ((vector_of(token) - probe) ** 2).sum()
        assert abs(distance - expected) < 1e-3, (id, token, distance, expected)
        groups.setdefault(id.split("-", 1)[1], []).append(token)
    for group, tokens in groups.items():
        assert len(tokens) == SIZE, (group, tokens)
        assert len(set(tokens)) == 1, (group, tokens)


KINDS = ("add", "upsert", "upsert", "update", "note", "delete", "delete where")


def _main() -> None:
    _, url, number, seed = sys.argv
    chance = random.Random(f"{number} {seed}")
    settings = pgchroma.Settings(pgchroma_compaction=False, pgchroma_pool_size=1)
    with pgchroma.PostgresClient(url, settings) as client:
        papers = client.get_collection("papers", embedding_function=None)
        own, turn = f"own{number}", 0
        while True:
            turn += 1
            token = f"{number}/{seed}/{turn}"
            deed = Deed(chance.choice(KINDS), [own], token)
            print(deed.to_json(), flush=True)
            do(papers, deed, chance)
            print("done", flush=True)
            for _ in range(3):
                groups = chance.sample([f"all{n}" for n in range(GROUPS)], chance.randint(1, 3))
                do(papers, Deed(chance.choice(KINDS), groups, token), chance)
            state_of(papers, f"all{chance.randrange(GROUPS)}")
            look(papers, chance)


if __name__ == "__main__":
    _main()
