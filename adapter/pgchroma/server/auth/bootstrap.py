"""The first admin's key: taken from the operator, or generated and handed over outside the log."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from pgchroma.backends.base import AsyncBackend
from pgchroma.backends.connect import connect_async
from pgchroma.errors import InternalError
from pgchroma.model.hashes import Key, hash_key_secret, is_match
from pgchroma.model.operations.credentials import (
    CreateFirstCredential,
    FindCredential,
    ListCredentials,
)
from pgchroma.server.settings import ServerSettings

__all__ = ("bootstrap_admin_key", "create_first_key")

FIRST_KEY: Final = "admin"
FILE: Final = "pgchroma-admin.key"

_log = logging.getLogger("pgchroma.server")


def bootstrap_admin_key(
    conninfo: str, settings: ServerSettings, show: Callable[[str], None]
) -> None:
    """Make an admin's key where nobody has a credential yet.

    It is `settings.admin_key` if there is one. Else it is generated, and shown on the terminal, or
    written to a file that only this user may read where there is no terminal. The file is there
    before the key is valid, so that no failure leaves a key that nobody knows.

    Args:
        conninfo: The database.
        settings: Whose `admin_key` is taken; in whose directory the file is.
        show: Writes a line to the terminal.

    Raises:
        InternalError: The file cannot be written.
    """
    asyncio.run(_bootstrap(conninfo, settings, show))


async def create_first_key(backend: AsyncBackend, key: Key) -> bool:
    """Make `key` valid unless some credential is; of several that do at once, one succeeds.

    Returns:
        Whether it was made.
    """
    return await backend.execute(
        CreateFirstCredential(key.id, FIRST_KEY, hash_key_secret(key.secret))
    )


async def _bootstrap(conninfo: str, settings: ServerSettings, show: Callable[[str], None]) -> None:
    backend = await connect_async(conninfo, settings.backend_settings())
    try:
        if settings.admin_key is not None:
            await _take(backend, settings.admin_key.get_secret_value())
        elif not await _has_credentials(backend):
            await _generate(backend, settings, show)
    finally:
        await backend.close()


async def _take(backend: AsyncBackend, text: str) -> None:
    key = Key.parse(text)
    if key is None:
        raise AssertionError("the settings have checked the key")
    if await create_first_key(backend, key):
        _log.info("made the first admin's key, %s, of PGCHROMA_ADMIN_KEY", key.id)
        return
    found = await backend.execute(FindCredential("key", key.id))
    if found is None or not is_match(key.secret, found.secret_hash):
        _log.warning(
            "PGCHROMA_ADMIN_KEY is not a valid key of this database, which has others; it is not "
            "added: use `pgchroma keys create`"
        )


async def _has_credentials(backend: AsyncBackend) -> bool:
    keys = await backend.execute(ListCredentials("key"))
    users = await backend.execute(ListCredentials("user"))
    return any(credential.is_live for credential in (*keys, *users))


async def _generate(
    backend: AsyncBackend, settings: ServerSettings, show: Callable[[str], None]
) -> None:
    key = Key.generate()
    if _has_terminal(settings):
        if await create_first_key(backend, key):
            show(
                "There was no API key yet. This one is an admin's; it is not shown again:\n"
                f"{key.text}"
            )
        return
    directory = settings.persist_path.expanduser() if settings.url is None else Path.cwd()
    file = directory.resolve() / FILE
    draft = file.with_name(f"{FILE}.{os.getpid()}")
    try:
        _write_private(draft, key.text)
        if await create_first_key(backend, key):
            draft.replace(file)
            _log.warning("made the first admin's key; it is in %s, readable by this user", file)
    except OSError as error:
        raise InternalError(
            f"the first admin's key cannot be written to {file}: {error.strerror}. Set "
            "PGCHROMA_ADMIN_KEY_FILE, or make a key with `pgchroma keys create`"
        ) from error
    finally:
        with suppress(OSError):
            draft.unlink()


def _has_terminal(settings: ServerSettings) -> bool:
    return settings.log_format == "text" and sys.stdin.isatty() and sys.stderr.isatty()


def _write_private(file: Path, text: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as output:
        output.write(f"{text}\n")
        output.flush()
        os.fsync(descriptor)
