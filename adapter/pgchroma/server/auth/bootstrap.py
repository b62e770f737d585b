"""The first admin's key: set by the operator, or generated and shown outside the log."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from pgchroma.backends._async.base import AsyncBackend
from pgchroma.backends._async.connect import connect as connect_async
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
    """Create an admin's key if the database has no credential yet.

    The key is `settings.admin_key` if that is set. Otherwise it is generated, and shown on the
    terminal; without a terminal, it is written to a file that only this user may read. The file is
    written before the key is valid, so that no failure leaves a valid key that is unknown.

    Args:
        conninfo: The database.
        settings: The server's settings; the file is in their directory.
        show: Writes a line to the terminal.

    Raises:
        InternalError: The file cannot be written.
    """
    asyncio.run(_bootstrap(conninfo, settings, show))


async def create_first_key(backend: AsyncBackend, key: Key) -> bool:
    """Create an admin's key unless there is a live credential; of concurrent calls, one succeeds.

    Returns:
        Whether the key was created.
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
        raise AssertionError("ServerSettings validates the key")
    if await create_first_key(backend, key):
        _log.info("created the first admin's key, %s, from PGCHROMA_ADMIN_KEY", key.id)
        return
    found = await backend.execute(FindCredential("key", key.id))
    if found is None or not is_match(key.secret, found.secret_hash):
        _log.warning(
            "PGCHROMA_ADMIN_KEY is not a valid key of this database. It is not created, because "
            "there are other credentials: use `pgchroma keys create`"
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
                "Created an API key, because there was none. It is an admin's, and is shown only "
                "once:\n"
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
            _log.warning("created the first admin's key in %s, readable by this user only", file)
    except OSError as error:
        raise InternalError(
            f"the first admin's key cannot be written to {file}: {error.strerror}. Set "
            "PGCHROMA_ADMIN_KEY_FILE, or create a key with `pgchroma keys create`"
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
