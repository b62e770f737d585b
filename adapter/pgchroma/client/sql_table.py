"""A collection's view as a table of SQLAlchemy Core."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgchroma.extras import load_extra
from pgchroma.model.view import CollectionView

if TYPE_CHECKING:
    from sqlalchemy import MetaData, Table

__all__ = ("sqlalchemy_table",)


def sqlalchemy_table(view: CollectionView, metadata: MetaData | None) -> Table:
    """Describe a view to SQLAlchemy; an equal table that `metadata` has already is replaced.

    Raises:
        MissingExtraError: SQLAlchemy or pgvector is not installed.
    """
    sa: Any = load_extra("sqlalchemy", "postgres")
    postgresql: Any = load_extra("sqlalchemy.dialects.postgresql", "postgres")
    pgvector: Any = load_extra("pgvector.sqlalchemy", "postgres")
    moment = sa.DateTime(timezone=True)
    types = {
        "bigint": sa.BigInteger(),
        "double precision": postgresql.DOUBLE_PRECISION(),
        "boolean": sa.Boolean(),
        "text": sa.Text(),
    }
    table: Table = sa.Table(
        view.name,
        sa.MetaData() if metadata is None else metadata,
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("document", sa.Text()),
        sa.Column("uri", sa.Text()),
        sa.Column("metadata", postgresql.JSONB()),
        sa.Column("embedding", pgvector.VECTOR(view.dimension)),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("updated_at", moment, nullable=False),
        *(sa.Column(key, types[kind]) for key, kind in view.keys),
        schema=view.schema,
        extend_existing=True,
    )
    return table
