"""Load the server's settings; error messages name the source of a value.

The order of precedence is: flags, pgchroma's variables (``PGCHROMA_PORT``), Chroma's variables
(``CHROMA_PORT``), the configuration file. The location of the data, `url` or `persist_path`, counts
as one setting: the first source that has either decides, so that a URL in a variable does not
override a directory given as a flag.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, ValidationError

from pgchroma.config import Settings
from pgchroma.server.expectations import reason, shown
from pgchroma.server.settings import GROUPS, ServerSettings
from pgchroma.variables import (
    PREFIX,
    WITHOUT_EFFECT,
    check_variables,
    did_you_mean,
    environment,
)

__all__ = ("LoadedSettings", "load_settings", "log_format")

CHROMA_SETTINGS: Final = frozenset(
    {
        "allow_reset",
        "circuit_breaker",
        "cors_allow_origins",
        "default_knn_index",
        "listen_address",
        "max_payload_size_bytes",
        "open_telemetry",
        "persist_path",
        "port",
    }
)
"""The settings that Chroma's own server also has."""

CHROMA_WITHOUT_EFFECT: Final = frozenset(
    {
        "collections_with_segments_provider",
        "enable_log_scouting",
        "enable_schema",
        "enable_span_indexing",
        "executor",
        "log",
        "mcmr_sysdb",
        "min_records_for_invocation",
        "open_telemetry.filters",
        "region",
        "scorecard",
        "scorecard_enabled",
        "segment_manager",
        "sqlite_filename",
        "sqlitedb",
        "stdout_tracing",
        "sysdb",
        "tenants_to_migrate_immediately",
        "tenants_to_migrate_immediately_threshold",
        "tenants_with_maxscore_enabled",
        "tenants_with_quantization_enabled",
    }
)
"""Keys of Chroma's configuration file that have no effect here."""

_ELSEWHERE: Final = (("sqlitedb", "url"), ("segment_manager", "persist_path"))
"""Keys of Chroma's file that store data outside `persist_path`."""

_NOT_ELSEWHERE: Final = (
    "is not supported: data is stored in the directory persist_path or in the database url"
)

_LOCATION: Final = ("url", "persist_path")

_SECRETS: Final = ("url", "compaction_url", "admin_key")
_FLAGS: Final = {"persist_path": "--path", "listen_address": "--host", "auth": "--no-auth"}


@dataclass(frozen=True, slots=True)
class _Source:
    """Settings of one source.

    Attributes:
        values: The settings, and groups of settings, by name.
        origin: Returns how a setting, or a setting of a group, is written in this source, with its
            value.
    """

    values: dict[str, Any]
    origin: Callable[[str, str], str]

    def value(self, path: tuple[str, ...]) -> Any:
        """Return the value of a setting, which may be part of a group; `None` if it is not set."""
        value: Any = self.values
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        return value


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """The settings, and warnings about them.

    Attributes:
        notices: Warnings for the log.
    """

    settings: ServerSettings
    notices: tuple[str, ...]
    _sources: tuple[_Source, ...]

    def origin(self, name: str) -> str:
        """Return the source of a setting's value, and the value, for an error message."""
        return _origin((name,), self._sources)


def load_settings(file: Path | None, flags: Mapping[str, Any]) -> LoadedSettings:
    """Load the settings from flags, environment and configuration file.

    Raises:
        ValueError: A setting is unknown or wrong. The message is one line with its source, its
            value and the expected values; it contains no secret.
    """
    variables = environment()
    check_variables(variables, Settings.model_fields)
    _refuse_elsewhere(variables)
    in_file = {} if file is None else _read_file(file)
    _refuse_unknown(file, in_file)
    sources = (
        _flags(flags),
        _variables(variables),
        _chroma_variables(variables),
        _Source(in_file, lambda path, value: f"{path}{value and ': '}{value} in {file}"),
    )
    settings = _validated(_with_one_location(sources))
    notices = (*_variable_notices(variables), *_file_notices(file, in_file))
    return LoadedSettings(settings, notices, sources)


def log_format(file: Path | None, flags: Mapping[str, Any]) -> str:
    """Return the log format, as far as wrong settings reveal it."""
    found = flags.get("log_format") or environment().get(f"{PREFIX}LOG_FORMAT")
    if found is None and file is not None:
        try:
            found = _read_file(file).get("log_format")
        except ValueError:
            found = None
    return "json" if found == "json" else "text"


def _flags(flags: Mapping[str, Any]) -> _Source:
    def origin(path: str, value: str) -> str:
        flag = _FLAGS.get(path, f"--{path.replace('_', '-')}")
        return f"{flag} {value}".rstrip()

    given = {name: value for name, value in flags.items() if value is not None}
    if all(name in given for name in _LOCATION):
        raise ValueError("--url and --path exclude each other; give one of them")
    return _Source(given, origin)


def _variables(variables: Mapping[str, str]) -> _Source:
    values = _parsed(PREFIX, variables, ServerSettings.model_fields)
    path = variables.get(f"{PREFIX}PATH")
    if path is not None and values.setdefault("persist_path", path) != path:
        raise ValueError(f"{PREFIX}PATH and {PREFIX}PERSIST_PATH differ; unset one of them")
    in_files = dict(_read_secrets(variables, values))
    values |= in_files
    if "url" in values:
        # A container image may set a default directory.
        values.pop("persist_path", None)

    def origin(path: str, value: str) -> str:
        name = f"{PREFIX}{path.upper().replace('.', '__')}"
        if path in in_files:
            return f"{name}_FILE"
        if path == "persist_path" and name not in variables:
            name = f"{PREFIX}PATH"
        return f"{name}={value}" if value else name

    return _Source(values, origin)


def _chroma_variables(variables: Mapping[str, str]) -> _Source:
    """Read Chroma's variables, but not others with its prefix: clients read ``CHROMA_URL``."""
    return _Source(
        _parsed("CHROMA_", variables, CHROMA_SETTINGS),
        lambda path, value: f"CHROMA_{path.upper().replace('.', '__')}={value}",
    )


def _parsed(prefix: str, variables: Mapping[str, str], names: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in names:
        text = variables.get(f"{prefix}{name.upper()}")
        if name in GROUPS:
            group = _group(f"{prefix}{name.upper()}", text, variables, GROUPS[name])
            found |= {name: group} if group is not None else {}
        elif text is not None:
            found[name] = text
    return found


def _group(
    variable: str, text: str | None, variables: Mapping[str, str], model: type[BaseModel]
) -> Any:
    parts = {
        part: variables[f"{variable}__{part.upper()}"]
        for part in model.model_fields
        if f"{variable}__{part.upper()}" in variables
    }
    if text is None:
        return parts or None
    try:
        whole = json.loads(text)
    except ValueError:
        whole = text
    return {**whole, **parts} if isinstance(whole, dict) else whole


def _read_secrets(
    variables: Mapping[str, str], values: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Read the files that variables such as ``PGCHROMA_URL_FILE`` name."""
    for name in _SECRETS:
        variable = f"{PREFIX}{name.upper()}"
        file = variables.get(f"{variable}_FILE")
        if file is None:
            continue
        if name in values:
            raise ValueError(f"{variable} and {variable}_FILE exclude each other; unset one")
        try:
            yield name, Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8"
            raise ValueError(f"{variable}_FILE={shown(file)}: cannot be read: {why}") from error


def _read_file(file: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f", line {mark.line + 1}"
        raise ValueError(f"{file}{line}: {getattr(error, 'problem', 'not YAML')}") from error
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ValueError(f"{file} cannot be read: {why}") from error
    if not isinstance(found or {}, dict):
        raise ValueError(f"{file}: expected settings such as `port: 8000`")
    return {str(name): value for name, value in (found or {}).items() if value is not None}


def _refuse_unknown(file: Path | None, found: Mapping[str, Any]) -> None:
    known = {*ServerSettings.model_fields, *CHROMA_WITHOUT_EFFECT}
    for group, model in GROUPS.items():
        known |= {f"{group}.{name}" for name in model.model_fields}
    unknown = [name for name in _names(found) if name not in known]
    if unknown:
        named = "; ".join(f"{shown(name)}{did_you_mean(name, known)}" for name in unknown)
        raise ValueError(f"{file}: unknown setting: {named}")
    for group, name in _ELSEWHERE:
        part = found.get(group)
        if isinstance(part, dict) and part.get(name) is not None:
            raise ValueError(f"{group}.{name} in {file}: {_NOT_ELSEWHERE}")
    if all(name in found for name in _LOCATION):
        raise ValueError(f"{file}: url and persist_path exclude each other; leave one out")


def _refuse_elsewhere(variables: Mapping[str, str]) -> None:
    for group, name in _ELSEWHERE:
        variable = f"CHROMA_{group}__{name}".upper()
        if variable in variables:
            raise ValueError(f"{variable}: {_NOT_ELSEWHERE}")


def _names(found: Mapping[str, Any]) -> Iterator[str]:
    for name, value in found.items():
        yield name
        if name in GROUPS and isinstance(value, dict):
            yield from (f"{name}.{part}" for part in value)


def _with_one_location(sources: tuple[_Source, ...]) -> tuple[_Source, ...]:
    """Drop the location of the data from all sources but the first that has it."""
    is_settled = False
    kept = []
    for source in sources:
        values = dict(source.values)
        if is_settled:
            values = {name: value for name, value in values.items() if name not in _LOCATION}
        is_settled = is_settled or any(name in values for name in _LOCATION)
        kept.append(_Source(values, source.origin))
    return tuple(kept)


def _validated(sources: tuple[_Source, ...]) -> ServerSettings:
    merged: dict[str, Any] = {}
    for source in reversed(sources):
        for name, value in source.values.items():
            below = merged.get(name)
            if isinstance(below, dict) and isinstance(value, dict):
                value = {**below, **value}  # noqa: PLW2901
            merged[name] = value
    try:
        return ServerSettings.model_validate(merged)
    except ValidationError as error:
        messages: dict[tuple[str, ...], str] = {}
        for each in error.errors(include_url=False):
            path = _path(each)
            # A value rejected as a directory may be a URL with a password.
            where = _origin(path, sources, is_secret=each["type"] == "directory")
            messages.setdefault(path[:1], f"{where}: {reason(each, path)}")
        raise ValueError("; ".join(messages.values())) from None


def _path(error: Any) -> tuple[str, ...]:
    """Return the path of the setting an error is about; pydantic appends the type that failed."""
    named = error.get("ctx", {}).get("setting")
    if named is not None:
        return (named,)
    path = tuple(map(str, error["loc"]))
    return path[:2] if path[0] in GROUPS else path[:1]


def _origin(path: tuple[str, ...], sources: tuple[_Source, ...], *, is_secret: bool = False) -> str:
    name = ".".join(path)
    is_secret = is_secret or path[0] in (*_SECRETS, "auth")
    for source in sources:
        value = source.value(path)
        if value is not None:
            return source.origin(name, "" if is_secret else shown(value))
    return name


def _variable_notices(variables: Mapping[str, str]) -> Iterator[str]:
    names = {f"CHROMA_{name.upper().replace('.', '__')}" for name in CHROMA_WITHOUT_EFFECT}
    names |= {name.upper() for name in WITHOUT_EFFECT}
    names |= {name.upper() for name in Settings.model_fields if name.startswith("chroma_")}
    groups = tuple(f"{name}__" for name in names)
    # Chroma's servers before 1.0 stored their data in it.
    names.add("PERSIST_DIRECTORY")
    found = sorted(name for name in variables if name in names or name.startswith(groups))
    if found:
        yield f"these variables of Chroma's have no effect on this server: {', '.join(found)}"


def _file_notices(file: Path | None, found: Mapping[str, Any]) -> Iterator[str]:
    named = [name for name in _names(found) if name in CHROMA_WITHOUT_EFFECT]
    if named:
        yield f"{file}: these settings of Chroma's have no effect here: {', '.join(named)}"
