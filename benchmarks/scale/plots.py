"""The plots: small SVG files that are identical for identical numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from scale.curves import TARGET, points
from scale.peer_process import PEERS
from scale.report_sections import Row, Section, is_empty
from scale.results import Measured

COLOURS = {
    "pgchroma": "#2060c0",
    "chromadb": "#d08020",
    "psycopg": "#606060",
    "langchain": "#a0b890",
    "lancedb": "#b05080",
    "qdrant": "#40a0a0",
}
GROWTH = {
    "query": ("query", "time p50"),
    "filter of 10 %": ("filters", "equality 10 % time p50"),
    "filter of 0.1 %": ("filters", "equality 0.1 % time p50"),
    "count": ("count", "time p50"),
}
"""The measures drawn over the number of records: a panel's title to part and measure."""

STYLE = {
    "svg.hashsalt": "pgchroma",
    "svg.fonttype": "none",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


def dots(measured: Measured, section: Section, path: Path) -> bool:
    """Draw a dot for each peer in each row of a section; return whether there was any to draw.

    Dots, not bars: the axis is logarithmic, where a bar's length means nothing.
    """
    rows = [row for row in section.rows if _belongs(row, section)]
    rows = [row for row in rows if not is_empty(row, measured, tuple(PEERS))]
    if not rows:
        return False
    with _figure(path, 0.9 + 0.24 * len(rows)) as axes:
        for peer in reversed(PEERS):  # pgchroma's is drawn last, over the others.
            found = [(row.figure(measured, peer), place) for place, row in enumerate(rows)]
            drawn = [(figure, place) for figure, place in found if figure > 0]
            if drawn:
                axes.plot(*zip(*drawn, strict=True), linestyle="", **_look(peer))
        axes.set_yticks(range(len(rows)), [_plain(row.label, section) for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(axis="y", color="#e0e0e0", linewidth=0.6)
        axes.set_xlabel(section.axis)
        _logarithmic(axes.xaxis)
    return True


def curve(measured: Measured, path: Path) -> bool:
    """Draw recall against time; return whether there was anything to draw."""
    curves = {peer: points(measured, peer) for peer in PEERS}
    if not any(curves.values()):
        return False
    with _figure(path, 3) as axes:
        for peer, found in curves.items():
            if found:
                recalls, times = zip(*found, strict=True)
                axes.plot(times, recalls, **_look(peer))
        axes.axhline(TARGET, color="#c0c0c0", linewidth=0.8)
        axes.set_xlabel("milliseconds, p50")
        axes.set_ylabel("recall@10")
        _logarithmic(axes.xaxis)
    return True


def growth(found: list[Measured], path: Path) -> bool:
    """Draw times over the number of records; return whether there were several numbers."""
    if len(found) < 2:
        return False
    with mpl.rc_context(STYLE):
        figure, panels = plt.subplots(2, 2, figsize=(6.4, 4.4), layout="constrained")
        for axes, (title, (part, measure)) in zip(panels.flat, GROWTH.items(), strict=True):
            for peer in PEERS:
                times = [(m.workload.size, m.value(peer, part, measure)) for m in found]
                drawn = [point for point in times if not math.isnan(point[1])]
                if drawn:
                    axes.plot(*zip(*drawn, strict=True), **_look(peer))
            axes.set_title(title, fontsize=8)
            _logarithmic(axes.xaxis)
            _logarithmic(axes.yaxis)
        for axes in panels[:, 0]:
            axes.set_ylabel("milliseconds, p50")
        for axes in panels[1]:
            axes.set_xlabel("records")
        _legend(figure, panels[0, 0])
        _save(figure, path)
    return True


@contextmanager
def _figure(path: Path, height: float) -> Iterator[Axes]:
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(6.4, height), layout="constrained")
        yield axes
        _legend(figure, axes)
        _save(figure, path)


def _look(peer: str) -> dict[str, Any]:
    return {
        "marker": "o",
        "markersize": 4,
        "color": COLOURS[peer],
        "label": PEERS[peer].label,
    }


def _logarithmic(axis: Axis) -> None:
    """Make an axis logarithmic, with plain numbers at it."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    low, high = axis.get_view_interval()
    narrow = high / low < 100
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,g}"))
    axis.set_minor_formatter(NullFormatter())


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    # The library leaves trailing spaces, which linters complain about.
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(line.rstrip() for line in lines) + "\n", encoding="utf-8")


def _legend(figure: Figure, axes: Axes) -> None:
    """Name the peers above the plot, in the order of the tables."""
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    labels = [peer.label for peer in PEERS.values() if peer.label in handles]
    drawn = [handles[label] for label in labels]
    figure.legend(drawn, labels, loc="outside upper center", ncols=len(labels), fontsize=7)


def _belongs(row: Row, section: Section) -> bool:
    """Whether a row's numbers are of the plot's kind, where a table has several kinds."""
    return not section.drawn or section.drawn in row.label


def _plain(label: str, section: Section) -> str:
    """Remove from a label the text that the axis already has."""
    for end in (f", {section.drawn}", ", p50, ms", ", ms", ", rows/s", ", queries/s"):
        label = label.removesuffix(end)
    return label
