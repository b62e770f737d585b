"""Index the Markdown files of a folder, and ask for the sections that answer a question."""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pgchroma

HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
MAX_CHARACTERS = 1_500
"""The default model reads about this much of a text; longer sections are split at paragraphs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name, and return the exit code."""
    given = _parser().parse_args(arguments)
    with pgchroma.connect(os.environ.get("PGCHROMA_URL", "./data")) as client:
        docs = client.get_or_create_collection("docs", configuration={"hnsw": {"space": "cosine"}})
        if given.command == "index":
            return index(docs, given.folder)
        return ask(docs, given.question, given.file, given.results)


def index(docs: pgchroma.Collection, folder: Path) -> int:
    """Store the sections of the folder's files, and delete those that are gone."""
    if not folder.is_dir():
        print(f"{folder} is not a directory", file=sys.stderr)
        return 2
    # The id of a section contains a hash of its text: a changed section is a new record.
    sections = {id: section for id, *section in _sections(folder)}
    stored = set(docs.get(include=[])["ids"])
    new = sorted(sections.keys() - stored)
    if new:
        docs.add(
            ids=new,
            documents=[sections[id][2] for id in new],
            metadatas=[{"file": sections[id][0], "heading": sections[id][1]} for id in new],
        )
    gone = sorted(stored - sections.keys())
    if gone:
        docs.delete(ids=gone)
    print(f"{len(new)} sections added, {len(gone)} deleted, {len(sections)} in all")
    return 0


def ask(docs: pgchroma.Collection, question: str, file: str | None, results: int) -> int:
    """Print the sections that are nearest to the question."""
    where = None if file is None else {"file": file}
    found = docs.query(query_texts=[question], n_results=results, where=where)
    documents, metadatas, distances = found["documents"], found["metadatas"], found["distances"]
    if documents is None or metadatas is None or distances is None or not documents[0]:
        print("nothing found; index a folder first", file=sys.stderr)
        return 1
    for text, metadata, distance in zip(documents[0], metadatas[0], distances[0], strict=True):
        place = {} if metadata is None else metadata
        print(f"{place.get('file')} > {place.get('heading')}  ({1 - distance:.2f})")
        print(f"    {' '.join((text or '').split())[:200]}")
    return 0


def _sections(folder: Path) -> Iterator[tuple[str, str, str, str]]:
    """Yield the id, the file, the heading and the text of each section."""
    for path in sorted(folder.rglob("*.md")):
        file = path.relative_to(folder).as_posix()
        content = path.read_text(encoding="utf-8", errors="replace").replace("\0", "")
        starts = [match.start() for match in HEADING.finditer(content)]
        bounds = sorted({0, *starts, len(content)})
        for start, end in pairwise(bounds):
            heading = HEADING.match(content, start)
            title = path.stem if heading is None else heading[1]
            for part in _parts(content[start:end]):
                digest = hashlib.sha256(f"{file}\n{part}".encode()).hexdigest()[:20]
                yield digest, file, title, part


def _parts(text: str) -> Iterator[str]:
    """Split a section at empty lines into parts that the model reads whole."""
    part = ""
    for paragraph in text.strip().split("\n\n"):
        if part and len(part) + len(paragraph) > MAX_CHARACTERS:
            yield part
            part = ""
        part = f"{part}\n\n{paragraph}".strip()
    if part:
        yield part


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    indexing = commands.add_parser("index", help="store the Markdown files of a folder")
    indexing.add_argument("folder", type=Path)
    asking = commands.add_parser("ask", help="print the sections nearest to a question")
    asking.add_argument("question")
    asking.add_argument("--file", help="only this file, as its path below the folder")
    asking.add_argument("--results", type=int, default=3)
    return parser


if __name__ == "__main__":
    sys.exit(main())
