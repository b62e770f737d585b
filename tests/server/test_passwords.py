"""Guesses of passwords: which callers are locked out or wait, and what the server caches."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

import pgchroma
from pgchroma import errors
from pgchroma.backends._async.connect import connect as connect_async
from pgchroma.backends._sync.connect import connect
from pgchroma.model.credentials import Caller
from pgchroma.model.hashes import hash_password, is_match
from pgchroma.model.operations.credentials import new_key, new_user
from pgchroma.server.auth import passwords
from pgchroma.server.auth.authenticator import CredentialAuthenticator
from pgchroma.server.auth.passwords import (
    LOCKED_SECONDS,
    MAX_FAILURES,
    Lockout,
    PasswordVerifier,
    network_of,
)
from tests.server.test_authentication import PASSWORD, Counting, _basic, _bearer, _key
from tests.server_process import eventually, running

HERE, THERE = "198.51.100.7", "203.0.113.9"


@pytest.fixture
async def backend(url: str) -> AsyncIterator[Counting]:
    backend = Counting(await connect_async(url, pgchroma.Settings()))
    yield backend
    await backend.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Verify without scrypt, and return the list of verified passwords."""
    verified: list[str] = []

    def verify(secret: str, secret_hash: str) -> bool:
        verified.append(secret)
        time.sleep(0.002)
        return secret == PASSWORD

    monkeypatch.setattr(passwords, "is_match", verify)
    return verified


async def outcome(
    authenticator: CredentialAuthenticator, login: str, password: str, address: str = HERE
) -> Any:
    try:
        return await authenticator.authenticate(_basic(login, password), address)
    except errors.ChromaError as error:
        return type(error)


async def test_a_login_is_locked_for_an_address_and_for_no_other(
    backend: Counting, quick: list[str]
) -> None:
    for name in ("jane", "john"):
        await backend.execute(new_user(name, PASSWORD, "read"))
    authenticator = CredentialAuthenticator(backend, cache_seconds=0)
    for number in range(MAX_FAILURES):
        assert await outcome(authenticator, "jane", f"wrong-{number}") is errors.ChromaAuthError
    with pytest.raises(errors.RateLimitError, match="wrong passwords of this user") as caught:
        await authenticator.authenticate(_basic("jane", "wrong-again"), HERE)
    assert 0 < caught.value.retry_after <= LOCKED_SECONDS
    asked = len(quick)
    assert await outcome(authenticator, "jane", PASSWORD) is errors.RateLimitError
    assert len(quick) == asked
    assert await outcome(authenticator, "jane", PASSWORD, THERE) == Caller("jane", "read")
    assert await outcome(authenticator, "john", PASSWORD) == Caller("john", "read")
    assert await outcome(authenticator, "nobody", "wrong") is errors.ChromaAuthError
    # A user whom the process has already authenticated is let in, wherever the guesses come from.
    assert await outcome(authenticator, "jane", PASSWORD) == Caller("jane", "read")


async def test_a_lock_ends(
    backend: Counting, quick: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await backend.execute(new_user("jane", PASSWORD, "read"))
    authenticator = CredentialAuthenticator(backend, cache_seconds=0)
    for number in range(MAX_FAILURES):
        await outcome(authenticator, "jane", f"wrong-{number}")
    assert await outcome(authenticator, "jane", PASSWORD) is errors.RateLimitError
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + LOCKED_SECONDS + 1)
    assert await outcome(authenticator, "jane", PASSWORD) == Caller("jane", "read")


async def test_the_same_wrong_password_does_not_lock_the_user_out(
    backend: Counting, quick: list[str]
) -> None:
    await backend.execute(new_user("jane", PASSWORD, "read"))
    authenticator = CredentialAuthenticator(backend, cache_seconds=0)
    for _ in range(3 * MAX_FAILURES):
        assert await outcome(authenticator, "jane", "an old password") is errors.ChromaAuthError
    assert await outcome(authenticator, "jane", PASSWORD) == Caller("jane", "read")


@pytest.mark.parametrize("login", ["jane", "guess-{}"])
async def test_guesses_at_once_are_counted_before_they_are_verified(
    login: str, backend: Counting, quick: list[str]
) -> None:
    await backend.execute(new_user("john", PASSWORD, "read"))
    authenticator = CredentialAuthenticator(backend, cache_seconds=0)
    guesses = [outcome(authenticator, login.format(n), f"wrong-{n}") for n in range(100)]
    storm = asyncio.gather(*guesses)
    await asyncio.sleep(0)
    assert await outcome(authenticator, "john", PASSWORD) == Caller("john", "read")
    kinds = await storm
    refused = kinds.count(errors.RateLimitError)
    assert refused == (100 - MAX_FAILURES if login == "jane" else 0)
    assert kinds.count(errors.ChromaAuthError) == 100 - refused


async def test_a_flood_from_one_address_does_not_affect_others(
    backend: Counting, quick: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "MAX_WAITING", 20)
    await backend.execute(new_user("jane", PASSWORD, "read"))
    key = await _key(backend)
    authenticator = CredentialAuthenticator(backend, cache_seconds=0)
    flood = [asyncio.create_task(outcome(authenticator, f"l-{n}", "wrong")) for n in range(200)]
    while authenticator._passwords._size < 20:
        await asyncio.sleep(0)
    assert await outcome(authenticator, "jane", PASSWORD, THERE) == Caller("jane", "read")
    assert await authenticator.authenticate(_bearer(key.text), HERE)
    kinds = await asyncio.gather(*flood)
    assert kinds.count(errors.RateLimitError) > 100
    assert authenticator._passwords._size == 0
    assert not authenticator._passwords._waiting
    assert authenticator._passwords._free == passwords.MAX_VERIFICATIONS


async def test_addresses_take_turns(quick: list[str]) -> None:
    verifier = PasswordVerifier()
    flood = [asyncio.create_task(verifier.verify(f"f{n}", "", HERE)) for n in range(50)]
    await asyncio.sleep(0)
    assert await verifier.verify(PASSWORD, "", THERE)
    assert quick.index(PASSWORD) <= 2 * passwords.MAX_VERIFICATIONS + 1
    await asyncio.gather(*flood)


async def test_who_hangs_up_while_waiting_gives_the_turn_on(
    quick: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "MAX_WAITING", 30)
    verifier = PasswordVerifier()
    for _ in range(20):
        tasks = [asyncio.create_task(verifier.verify("x", "", str(n % 3))) for n in range(60)]
        await asyncio.sleep(0.001)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert verifier._free == passwords.MAX_VERIFICATIONS
    assert (verifier._size, len(verifier._waiting)) == (0, 0)


def test_what_is_remembered_of_failures_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "MAX_REMEMBERED", 10)
    lockout = Lockout()
    lockout.start("pending", HERE, b"x")
    for number in range(100):
        lockout.start(f"l-{number}", HERE, b"x")
        lockout.end(f"l-{number}", HERE, b"x", is_wrong=True)
    assert len(lockout._failures) == 10
    lockout.end("pending", HERE, b"x", is_wrong=True)
    assert ("pending", HERE) in lockout._failures


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("a socket", "a socket"),
    ],
)
def test_networks(address: str, network: str) -> None:
    assert network_of(address) == network


@pytest.mark.parametrize("suffix", ["\0", "\0\0\0", "\0x"])
def test_a_password_ends_where_it_ends(suffix: str) -> None:
    # HMAC fills keys up with NULs, and scrypt begins with it.
    secret_hash = hash_password("correct horse")
    assert is_match("correct horse", secret_hash)
    assert not is_match("correct horse" + suffix, secret_hash)


@pytest.mark.heavy
def test_forty_threads_of_guesses_do_not_lock_users_out(url: str, tmp_path: Path) -> None:
    key, new = new_key("ci", "read")
    with closing(connect(url, pgchroma.Settings())) as backend:
        backend.execute(new)
        backend.execute(new_user("jane", PASSWORD, "read"))
        backend.execute(new_user("john", PASSWORD, "read"))
    with running(tmp_path / "log", "--url", url) as server:
        identity = f"{server.url}/api/v2/auth/identity"
        stop = threading.Event()

        def guess(thread: int) -> set[int]:
            statuses = set()
            with httpx.Client(timeout=60) as http:
                while not stop.wait(0.2):
                    login = "jane" if thread % 4 else f"guess-{uuid.uuid4()}"
                    answer = http.get(identity, auth=(login, uuid.uuid4().hex))
                    statuses.add(answer.status_code)
            return statuses

        def ask(**credential: Any) -> int:
            return httpx.get(identity, timeout=60, **credential).status_code

        with ThreadPoolExecutor(40) as threads:
            guesses = [threads.submit(guess, thread) for thread in range(40)]
            eventually(guesses[-1].running)
            try:
                assert ask(auth=("john", PASSWORD)) == 200
                assert ask(auth=("jane", f"{PASSWORD}\0")) == 401
                assert ask(headers={"x-chroma-token": key.text}) == 200
            finally:
                stop.set()
            statuses = set().union(*(each.result() for each in guesses))
    assert statuses == {401, 429}
