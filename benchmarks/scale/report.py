"""The document: the machine, the goals, then a table and a plot for each section."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from scale import curves, plots
from scale.goals import FLAT, GOALS, growth_of_count
from scale.peer_process import GROWTH, PEERS
from scale.reading import CURVE
from scale.report_sections import SECTIONS, Row, Section, is_empty
from scale.results import Measured, Rounds
from tables import short, table

LABELS = [PEERS[peer].label for peer in PEERS]
AGAINST = ("chromadb", "psycopg")
"""The peers that pgchroma's numbers are divided by."""

EVERYWHERE = {"load", "disk", *GROWTH}
"""The parts that are also measured for collections that only show the growth."""

MAIN = "clustered-384"
"""The data set whose largest collection is plotted."""

NAMES = {MAIN: "384", "clustered-1536": "1,536", "docstrings": "384, real"}

ABOUT = """\
The peers, each in a process and a directory of its own, with settings left as they are (`M` 16, \
`ef_construction` 100, `ef_search` 100, space l2):

- **pgchroma**: `PersistentClient`, on its embedded PostgreSQL, which is durable.
- **chromadb**: Chroma's own `PersistentClient`, in this process.
- **SQL by hand**: psycopg with a pool, prepared statements and binary parameters; one table of \
records, one of vectors with one HNSW index, on the same embedded PostgreSQL. What pgchroma can \
come near to at best.
- **langchain-postgres**: `PGVectorStore` with an HNSW index, on another embedded PostgreSQL. It \
only takes part in loading, queries, filters by metadata, memory and disk.
- **LanceDB**: its client for Python, in this process. A column for each metadata key, scalar \
indexes on the ids and on the keys that are filtered by, and an `IVF_HNSW_FLAT` index of one \
partition; they are built after the load, when its fragments have been compacted.
- **Qdrant Edge**: Qdrant's engine in this process, from the package `qdrant-edge-py`. Indexes on \
the keys that are filtered by are built after the load, then HNSW by `optimize()`. Qdrant's server \
is not in the package indexes of Python, Debian or npm, and the local mode of its client compares \
a query with every vector.

LanceDB and Qdrant Edge take part in what all do alike: loading, queries, filters by metadata, \
gets by ids, counts, memory and disk.

The data: documents of some 300 characters and seven metadata keys; clustered vectors of 384 or \
1,536 dimensions (100 centres, around each a spread along 32 directions, and a little noise), or \
real embeddings: 10,000 paragraphs of the standard library's docstrings, by the default model. \
Queries are of the same kind and not among the records. Recall@10 is told from the nearest \
records found by comparing with all, and stands in parentheses beside the time it belongs to.

All peers have loaded and come to rest before reading is timed; they then take turns of a few \
seconds or less. Numbers are medians over turns and rounds. Before a filter is timed it is asked \
for 30 times, with every peer, and all come to rest again: pgchroma makes indexes for keys that \
filters keep asking for.
"""


def write(rounds: Rounds, machine: dict[str, Any], output: Path) -> None:
    """Write the document and its plots from all rounds that are kept."""
    found = rounds.measured()
    images = output.parent / "images"
    sections = [
        "# Benchmarks of indexes, filters and churn\n",
        "Made by `make bench-vectors` from the rounds it keeps in `build/bench`; `ARGS=--help` "
        "lists what may be measured alone.\n",
        ABOUT,
        _machine(machine),
        _rounds(found),
        _goals(found),
        *(_section(section, found, images) for section in SECTIONS),
        _curve(found, images),
        _growth(found, images),
    ]
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text("\n".join(section for section in sections if section), encoding="utf-8")


def _machine(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    commands = "\n".join(
        f"- `{command}`: {about['minutes']:.0f} minutes, {about['date']}, {about['revision']}"
        for command, about in machine["commands"].items()
    )
    return (
        "## Machine and commands\n\n"
        f"{machine['cores']} cores ({machine['processor']}), {machine['memory']}, "
        f"{machine['system']}; writing a page and `fsync` take {machine['fsync, ms']:.2g} ms. "
        f"{versions}.\n\n{commands}\n"
    )


def _rounds(found: list[Measured]) -> str:
    rows = [[NAMES[m.workload.data], f"{m.workload.size:,}", f"{m.rounds}"] for m in found]
    return table(["dimensions", "records", "rounds"], 1, rows)


def _goals(found: list[Measured]) -> str:
    columns = [m for m in found if set(m.results.get("pgchroma", {})) - EVERYWHERE] or found
    header = ["goal", "bound"] + [
        f"{m.workload.size:,} × {NAMES[m.workload.data]}" for m in columns
    ]
    rows = [
        [goal.name, f"{goal.sign} {goal.bound:g}"]
        + [_verdict(goal.figure(m), goal.met(goal.figure(m))) for m in columns]
        for goal in GOALS
    ]
    growth = growth_of_count(found, MAIN)
    row = ["count, largest ÷ smallest collection", f"≤ {FLAT:g}"]
    largest = _largest(found)
    rows.append(row + [_verdict(growth, growth <= FLAT) if m is largest else "–" for m in columns])
    return (
        "## Goals\n\n"
        "Of pgchroma, by records and dimensions. Where a goal covers several measures, the worst "
        "counts. “At equal recall” is at "
        f"{curves.TARGET}, or at the most that both reach, read off between the points of the "
        "curves below.\n\n" + table(header, 2, rows)
    )


def _verdict(figure: float, met: bool) -> str:
    return "–" if math.isnan(figure) else f"{short(figure)} {'✓' if met else '✗'}"


def _section(section: Section, found: list[Measured], images: Path) -> str:
    rows = [
        _line(row, measured)
        for measured in found
        for row in section.rows
        if not is_empty(row, measured, tuple(PEERS))
    ]
    if not rows:
        return ""
    header = ["dimensions", "records", "", *LABELS, *(f"÷ {PEERS[p].label}" for p in AGAINST)]
    name = f"bench-{section.slug}.svg"
    drawn = next((m for m in reversed(_main(found)) if plots.dots(m, section, images / name)), None)
    about = f" The plot is of {drawn.workload.size:,} records." if drawn else ""
    image = f"![{section.title}](images/{name})\n\n" if drawn else ""
    return f"## {section.title}\n\n{section.text}{about}\n\n{image}{table(header, 3, rows)}"


def _line(row: Row, measured: Measured) -> list[str]:
    figures = {peer: row.figure(measured, peer) for peer in PEERS}
    recalls = {peer: row.recall(measured, peer) if row.recall else math.nan for peer in PEERS}
    workload = measured.workload
    return [
        NAMES[workload.data],
        f"{workload.size:,}",
        row.label,
        *(_with_recall(figures[peer], recalls[peer]) for peer in PEERS),
        *(_divided(figures["pgchroma"], figures[peer]) for peer in AGAINST),
    ]


def _with_recall(figure: float, recall: float) -> str:
    return short(figure) if math.isnan(recall) else f"{short(figure)} ({recall:.3f})"


def _divided(ours: float, theirs: float) -> str:
    return short(ours / theirs) if theirs > 0 and ours >= 0 else "–"


def _curve(found: list[Measured], images: Path) -> str:
    rows = []
    for measured in found:
        lines = {
            peer: dict(zip(CURVE, curves.points(measured, peer), strict=False)) for peer in PEERS
        }
        for ef_search in CURVE:
            points = [lines[peer].get(ef_search, (math.nan, math.nan)) for peer in PEERS]
            if not all(math.isnan(time) for _, time in points):
                workload = measured.workload
                cells = [_with_recall(time, recall) for recall, time in points]
                rows.append([NAMES[workload.data], f"{workload.size:,}", str(ef_search), *cells])
    if not rows:
        return ""
    name = "bench-curve.svg"
    drawn = next((m for m in reversed(_main(found)) if plots.curve(m, images / name)), None)
    about = f" The plot is of {drawn.workload.size:,} records." if drawn else ""
    image = f"![Recall and time](images/{name})\n\n" if drawn else ""
    return (
        "## Recall and time\n\n"
        "p50 in milliseconds by `ef_search`, 100 queries each, with recall@10. chromadb is opened "
        f"again for each, because it reads the setting with its index.{about}\n\n{image}"
        + table(["dimensions", "records", "ef_search", *LABELS], 1, rows)
    )


def _growth(found: list[Measured], images: Path) -> str:
    main = _main(found)
    if not plots.growth(main, images / "bench-growth.svg"):
        return ""
    return (
        "## Growth\n\n"
        f"The same times over collections of {main[0].workload.size:,} to "
        f"{main[-1].workload.size:,} records; both axes are logarithmic. The numbers are in the "
        "tables above.\n\n![Growth](images/bench-growth.svg)\n"
    )


def _main(found: list[Measured]) -> list[Measured]:
    return [measured for measured in found if measured.workload.data == MAIN]


def _largest(found: list[Measured]) -> Measured | None:
    return _main(found)[-1] if _main(found) else None
