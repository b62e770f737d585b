"""Remember notes, and recall those that are related to a message."""

from __future__ import annotations

import argparse
import os
import sys
import time
import uuid
from collections.abc import Sequence
from typing import Any

import pgchroma

DAY_SECONDS = 86_400
MAX_DISTANCE = 0.75
"""The cosine distance beyond which a note is not related. It fits the default model."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name, and return the exit code."""
    given = _parser().parse_args(arguments)
    with pgchroma.connect(os.environ.get("PGCHROMA_URL", "./data")) as client:
        memory = client.get_or_create_collection(
            "memory", configuration={"hnsw": {"space": "cosine"}}
        )
        match given.command:
            case "remember":
                remember(memory, given.text, given.topic)
            case "recall":
                for line in recall(memory, given.text, given.topic, given.days):
                    print(line)
            case "chat":
                chat(memory)
            case _:
                memory.delete(where={"topic": given.topic})
    return 0


def remember(memory: pgchroma.Collection, text: str, topic: str) -> None:
    """Store a note with its topic and the time."""
    memory.add(
        ids=[uuid.uuid4().hex],
        documents=[text],
        metadatas=[{"topic": topic, "said_at": time.time()}],
    )


def recall(
    memory: pgchroma.Collection, text: str, topic: str | None = None, days: float | None = None
) -> list[str]:
    """Return the notes that are related to a text, the most related first."""
    conditions: list[dict[str, Any]] = []
    if topic is not None:
        conditions.append({"topic": topic})
    if days is not None:
        conditions.append({"said_at": {"$gte": time.time() - days * DAY_SECONDS}})
    where = {"$and": conditions} if len(conditions) > 1 else next(iter(conditions), None)
    found = memory.query(query_texts=[text], n_results=3, where=where)
    documents, distances = found["documents"], found["distances"]
    if documents is None or distances is None:
        return []
    near = zip(documents[0], distances[0], strict=True)
    return [note for note, distance in near if note is not None and distance <= MAX_DISTANCE]


def chat(memory: pgchroma.Collection) -> None:
    """Answer each line of the input with the related notes, and remember it."""
    for line in sys.stdin:
        message = line.strip()
        if not message:
            return
        notes = recall(memory, message)
        print("I remember: " + "; ".join(notes) if notes else "That is new to me.")
        remember(memory, message, "chat")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    remembering = commands.add_parser("remember", help="store a note")
    remembering.add_argument("text")
    remembering.add_argument("--topic", default="notes")
    recalling = commands.add_parser("recall", help="print the notes related to a text")
    recalling.add_argument("text")
    recalling.add_argument("--topic")
    recalling.add_argument("--days", type=float)
    commands.add_parser("chat", help="talk; each line is remembered")
    forgetting = commands.add_parser("forget", help="delete the notes of a topic")
    forgetting.add_argument("--topic", required=True)
    return parser


if __name__ == "__main__":
    sys.exit(main())
