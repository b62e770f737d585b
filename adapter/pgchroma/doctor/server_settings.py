"""PostgreSQL's settings: those of the server, and those of roles and databases."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pgchroma.doctor.database import Database
from pgchroma.store.running.steps import render

__all__ = ("ServerSettings", "Setting", "read_settings", "shown_bytes")

_UNITS: Final[Mapping[str, int]] = {
    "B": 1, "kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40, "8kB": 8 << 10,
    "us": 0, "ms": 1, "s": 1_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000,
}  # fmt: skip
"""What a unit is in bytes, or in milliseconds."""

_QUANTITY: Final = re.compile(r"\s*(-?[0-9.]+)\s*([a-zA-Z]*)\s*")

_STEP: Final = 1024


@dataclass(frozen=True, slots=True)
class Setting:
    """A value of a setting, and where it applies.

    Attributes:
        value: The value as text.
        number: The value in bytes, in milliseconds, or as it is; `None` if it is not a number.
        place: ``server``, or the role and the database that it was set for; empty if this session
            has it from a role, a database, or its connection string.
        reset: The statement that removes it; empty for the server's configuration.
    """

    name: str
    value: str
    number: float | None
    place: str
    reset: str = ""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """All settings that apply to sessions of a database.

    Attributes:
        of_session: The values that this session started with.
        of_roles: What was set for roles and databases.
    """

    of_session: Mapping[str, Setting]
    of_roles: tuple[Setting, ...]

    def number(self, name: str, default: float = 0.0) -> float:
        """Return the session's value in bytes or milliseconds; the default if it has none."""
        setting = self.of_session.get(name)
        return default if setting is None or setting.number is None else setting.number

    def is_off(self, name: str) -> bool:
        """Whether the session has a setting that is off."""
        setting = self.of_session.get(name)
        return setting is not None and setting.value == "off"

    def everywhere(self, *names: str) -> Iterator[Setting]:
        """Yield the values of settings: the server's, and those of roles and databases."""
        for name in names:
            if name in self.of_session and self.of_session[name].place:
                yield self.of_session[name]
        yield from (setting for setting in self.of_roles if setting.name in names)


def read_settings(database: Database) -> ServerSettings:
    """Read the settings that apply to sessions of this database.

    The server's value of a setting is not known if this session has another from its role or its
    database.
    """
    rows = database.rows(_SESSION, has_limits=False)
    units = {name: unit or "" for name, _, unit, _ in rows}
    of_session = {
        name: Setting(name, value, _number(value, units[name]), place)
        for name, value, _, place in rows
    }
    of_roles = []
    for name, value, place, reset in database.rows(_ROLES):
        of_roles.append(Setting(name, value, _number(value, units.get(name, "")), place, reset))
    return ServerSettings(of_session, tuple(of_roles))


def shown_bytes(number: float) -> str:
    """Return a number of bytes for people, such as ``1.5 GB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < _STEP:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.3g} {unit}"
        number /= _STEP
    return f"{number:.4g} TB"


def _number(value: str, default_unit: str) -> float | None:
    found = _QUANTITY.fullmatch(value)
    if found is None:
        return None
    unit = found[2] or default_unit
    return float(found[1]) * _UNITS.get(unit, 1)


_SESSION: Final = render(
    """
    select
        name, coalesce(reset_val, ''), unit,
        case when source in ('database', 'user', 'database user', 'client', 'session') then ''
            else 'server' end
    from pg_catalog.pg_settings
    """
)

_ROLES: Final = render(
    """
    select
        split_part(c.entry, '=', 1),
        substr(c.entry, strpos(c.entry, '=') + 1),
        concat_ws(
            ' in ', 'role ' || r.rolname, 'database ' || d.datname
        ),
        case
            when r.rolname is null then format('alter database %%I reset ', d.datname)
            when d.datname is null then format('alter role %%I reset ', r.rolname)
            else format('alter role %%I in database %%I reset ', r.rolname, d.datname)
        end || split_part(c.entry, '=', 1)
    from pg_catalog.pg_db_role_setting as s
    cross join unnest(s.setconfig) as c (entry)
    left join pg_catalog.pg_roles as r on r.oid = s.setrole
    left join pg_catalog.pg_database as d on d.oid = s.setdatabase
    where s.setdatabase = 0
        or s.setdatabase = (
            select oid from pg_catalog.pg_database where datname = current_database()
        )
    order by 3, 1
    """
)
