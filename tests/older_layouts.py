"""Turning the tables of collections into those of older layouts."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from tests.downgrading import downgrade

SCHEMA = "default_tenant__default_database"


def to_layout_1(url: str) -> None:
    """Give all collections the tables that the layout before compaction had."""
    with psycopg.connect(url) as plain:
        rows = plain.execute("select id, name, dimension from pgchroma.collections").fetchall()
        for id, name, dimension in rows:
            plain.execute(f"drop table {SCHEMA}.counts_{id.hex}")
            if dimension is not None:
                plain.execute(f"drop index if exists {SCHEMA}.vectors_{id.hex}_zeros")
                plain.execute(f"alter table {SCHEMA}.vectors_{id.hex} reset (vacuum_index_cleanup)")
            if name.startswith("counts_") and len(name) <= 63:
                view = plain.execute(
                    "select c.oid::regclass::text from pg_class as c "
                    "where relkind = 'v' and starts_with(relname, %s)",
                    [f"{name}~"],
                ).fetchone()
                assert view is not None
                plain.execute(f'alter view {view[0]} rename to "{name}"')
        plain.execute("update pgchroma.collections set layout_version = 1")


def to_revision_0003(url: str) -> None:
    """Turn a database into one of the revision and the layout before compaction."""
    to_layout_1(url)
    with psycopg.connect(url) as plain:
        plain.execute("drop schema chroma cascade")
    downgrade(url, "0003")


def layouts(url: str, names: Sequence[str] | None = None) -> set[int]:
    """The layouts of collections, or of those with these names."""
    with psycopg.connect(url) as plain:
        rows = plain.execute(
            "select layout_version from pgchroma.collections "
            "where name = any(%(names)s) or %(names)s::text[] is null",
            {"names": None if names is None else list(names)},
        ).fetchall()
    return {version for (version,) in rows}
