"""Authentication: credentials in headers, what the server caches, and for how long."""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pgchroma
from pgchroma import errors
from pgchroma.backends._async.connect import connect as connect_async
from pgchroma.backends._async.direct import AsyncDirectBackend
from pgchroma.model.credentials import Caller, Role, Scope
from pgchroma.model.entities import DatabaseRef, UserIdentity
from pgchroma.model.hashes import Key
from pgchroma.model.operations import CreateCollection, DeleteCollection
from pgchroma.model.operations.credentials import (
    FindCredential,
    RevokeCredential,
    new_key,
    new_user,
)
from pgchroma.server.auth import authenticator as doors
from pgchroma.server.auth import passwords
from pgchroma.server.auth.authenticator import AllowAll, CredentialAuthenticator, identity
from pgchroma.server.auth.bootstrap import create_first_key
from pgchroma.server.auth.headers import HeaderCredential, parse_credential_headers, plain_headers

DEFAULT = DatabaseRef("default_tenant", "default_database")
PASSWORD = "correct horse"


class Counting:
    """A backend that counts its operations."""

    def __init__(self, backend: AsyncDirectBackend) -> None:
        self._backend = backend
        self.asked = 0
        self.is_down = False

    @property
    def in_caller_transaction(self) -> bool:
        return self._backend.in_caller_transaction

    async def execute(self, operation: Any) -> Any:
        self.asked += isinstance(operation, FindCredential)
        if self.is_down:
            raise errors.UnavailableError("the database cannot be reached")
        return await self._backend.execute(operation)

    async def limits(self) -> Any:
        return await self._backend.limits()

    async def close(self) -> None:
        await self._backend.close()


@pytest.fixture
async def backend(url: str) -> AsyncIterator[Counting]:
    backend = Counting(await connect_async(url, pgchroma.Settings()))
    yield backend
    await backend.close()


@pytest.fixture
def authenticator(backend: Counting) -> CredentialAuthenticator:
    return CredentialAuthenticator(backend)


async def _key(backend: Counting, name: str = "ci", role: Role = "read", *rest: Any) -> Key:
    key, operation = new_key(name, role, *rest)
    await backend.execute(operation)
    return key


def _bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


def _basic(login: str, password: str) -> dict[str, str]:
    pair = base64.b64encode(f"{login}:{password}".encode()).decode()
    return {"authorization": f"Basic {pair}"}


async def _refused(authenticator: doors.Authenticator, headers: dict[str, str]) -> str:
    with pytest.raises(errors.ChromaAuthError) as caught:
        await authenticator.authenticate(headers)
    return caught.value.message()


async def test_a_key_is_taken_in_every_way_chromas_clients_send_it(
    backend: Counting, authenticator: CredentialAuthenticator
) -> None:
    key = await _key(backend, "ci", "write", Scope("default_tenant", "default_database"))
    caller = Caller("ci", "write", Scope("default_tenant", "default_database"))
    for headers in (
        _bearer(key.text),
        {"authorization": f"bearer   {key.text} "},
        {"x-chroma-token": key.text},
        {"x-chroma-token": f"Bearer {key.text}"},
        {"x-chroma-token": key.text, **_bearer(key.text)},
        _basic("ci", key.text),
        _basic(key.id, key.text),
        {**_bearer(key.text), "accept": "*/*"},
    ):
        assert await authenticator.authenticate(headers) == caller


async def test_a_user_is_authenticated_by_password(
    backend: Counting, authenticator: CredentialAuthenticator
) -> None:
    await backend.execute(new_user("jane", "pässword: ✓", "admin"))
    assert await authenticator.authenticate(_basic("jane", "pässword: ✓")) == Caller(
        "jane", "admin"
    )
    assert await _refused(authenticator, _bearer("pässword: ✓".encode().hex())) == (
        "the credential is not valid"
    )


async def test_what_is_wrong_is_refused_in_one_sentence(
    backend: Counting, authenticator: CredentialAuthenticator
) -> None:
    key, other = await _key(backend), await _key(backend, "other")
    revoked = await _key(backend, "revoked")
    expired = await _key(backend, "expired", "read", Scope(), datetime.now(UTC) + timedelta(0.5))
    await backend.execute(RevokeCredential("key", "revoked"))
    await backend.execute(RevokeCredential("key", expired.id))
    await backend.execute(new_user("jane", PASSWORD, "read"))
    for headers in (
        _bearer(Key.generate().text),
        _bearer(Key(key.id, other.secret).text),
        _bearer("something"),
        _bearer(revoked.text),
        _basic("other", key.text),
        _basic("nobody", key.text),
        _basic("jane", key.text),
        _basic("jane", "wrong horse"),
        _basic("nobody", PASSWORD),
        _basic("ci", PASSWORD),
    ):
        assert await _refused(authenticator, headers) == "the credential is not valid"


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": "Bearer a b"},
        {"authorization": "Bearer clé"},
        {"authorization": "Bearer a\x00b"},
        {"authorization": "Bearer a\r\nb"},
        {"authorization": "Digest abc"},
        {"authorization": "Basic"},
        {"authorization": "Basic !!!"},
        {"authorization": "Basic abc"},
        {"authorization": "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode()},
        {"authorization": "Basic " + base64.b64encode(b"no-colon").decode()},
        {"authorization": "Basic " + base64.b64encode(b":password").decode()},
        {"authorization": "Basic " + base64.b64encode(b"login:").decode()},
        {"authorization": "Basic " + base64.b64encode(b"lo\x00gin:password").decode()},
        {"authorization": "Basic " + base64.b64encode(b"login:password\x00").decode()},
        {"authorization": "Basic " + base64.b64encode(b"login:\x00").decode()},
        {"authorization": "Bearer " + "x" * 1_000_000},
        {"authorization": "Basic " + "QUJD" * 250_000},
        {"x-chroma-token": ""},
        {"x-chroma-token": "Bearer"},
        {"x-chroma-token": "Bearer "},
        {"x-chroma-token": "one", "authorization": "Bearer two"},
        {"x-chroma-token": "one", "authorization": "nonsense"},
        {"authorization": "Bearer one, Bearer two"},
        {},
    ],
)
async def test_a_malformed_header_is_refused_without_asking_the_database(
    headers: dict[str, str],
) -> None:
    # An authenticator without a backend: a call of the backend would raise another error.
    message = await _refused(CredentialAuthenticator(None), headers)  # type: ignore[arg-type]
    assert len(message) < 200


printable_headers = st.dictionaries(
    st.sampled_from(["authorization", "x-chroma-token"]),
    st.one_of(
        st.text(),
        st.builds("{} {}".format, st.sampled_from(["Bearer", "basic", "Basic"]), st.text()),
        st.binary().map(lambda b: "Basic " + base64.b64encode(b).decode()),
    ),
)


@given(printable_headers)
def test_no_header_makes_the_parser_fail_otherwise(headers: dict[str, str]) -> None:
    try:
        presented = parse_credential_headers(headers)
    except errors.ChromaAuthError:
        return
    assert presented.secret


def test_a_repeated_header_is_no_credential() -> None:
    raw = [(b"Authorization", b"Bearer one"), (b"authorization", b"Bearer two"), (b"A", b"\xff")]
    headers = plain_headers(raw)
    assert headers == {"authorization": "Bearer one, Bearer two", "a": "ÿ"}
    with pytest.raises(errors.ChromaAuthError):
        parse_credential_headers(headers)


def test_no_secret_is_in_a_repr() -> None:
    assert "abc" not in repr(HeaderCredential("jane", "abc"))


async def test_a_caller_is_remembered_and_then_asked_about_again(backend: Counting) -> None:
    key = await _key(backend)
    authenticator = CredentialAuthenticator(backend, cache_seconds=0.2)
    for _ in range(5):
        await authenticator.authenticate(_bearer(key.text))
    assert backend.asked == 1
    await asyncio.sleep(0.25)
    await authenticator.authenticate(_bearer(key.text))
    assert backend.asked == 2


async def test_revocation_takes_effect_within_the_time_and_at_once_after_forget(
    backend: Counting,
) -> None:
    one, two = await _key(backend, "one"), await _key(backend, "two")
    authenticator = CredentialAuthenticator(backend, cache_seconds=0.3)
    await authenticator.authenticate(_bearer(one.text))
    await backend.execute(RevokeCredential("key", "one"))
    assert await authenticator.authenticate(_bearer(one.text))
    await asyncio.sleep(0.35)
    await _refused(authenticator, _bearer(one.text))
    await authenticator.authenticate(_bearer(two.text))
    await backend.execute(RevokeCredential("key", "two"))
    authenticator.forget()
    await _refused(authenticator, _bearer(two.text))


async def test_deleting_what_a_key_is_for_ends_it(backend: Counting) -> None:
    await backend.execute(CreateCollection(DEFAULT, "papers"))
    scope = Scope("default_tenant", "default_database", "papers")
    key = await _key(backend, "ci", "write", scope)
    authenticator = CredentialAuthenticator(backend, cache_seconds=0)
    caller = await authenticator.authenticate(_bearer(key.text))
    assert caller.scope.collection_id is not None
    await backend.execute(DeleteCollection(DEFAULT, "papers"))
    await backend.execute(CreateCollection(DEFAULT, "papers"))
    await _refused(authenticator, _bearer(key.text))


async def test_a_key_expires_while_it_is_remembered(backend: Counting) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=0.5)
    key = await _key(backend, "ci", "read", Scope(), soon)
    authenticator = CredentialAuthenticator(backend, cache_seconds=60)
    await authenticator.authenticate(_bearer(key.text))
    await asyncio.sleep(0.55)
    await _refused(authenticator, _bearer(key.text))


async def test_a_password_is_verified_once_and_its_user_looked_up_each_time(
    backend: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified = []

    def verify(secret: str, secret_hash: str) -> bool:
        verified.append(secret)
        return True

    monkeypatch.setattr(passwords, "is_match", verify)
    await backend.execute(new_user("jane", PASSWORD, "read"))
    authenticator = CredentialAuthenticator(backend, cache_seconds=0)
    for _ in range(3):
        await authenticator.authenticate(_basic("jane", PASSWORD))
    assert verified == [PASSWORD]
    assert backend.asked == 3
    # A namesake with another password is another user.
    await backend.execute(RevokeCredential("user", "jane"))
    await backend.execute(new_user("jane", "other horse", "read"))
    await authenticator.authenticate(_basic("jane", PASSWORD))
    assert len(verified) == 2


async def test_one_question_is_asked_for_many_that_come_at_once(backend: Counting) -> None:
    await backend.execute(new_user("jane", PASSWORD, "read"))
    authenticator = CredentialAuthenticator(backend)
    callers = await asyncio.gather(
        *(authenticator.authenticate(_basic("jane", PASSWORD)) for _ in range(100))
    )
    assert set(callers) == {Caller("jane", "read")}
    assert backend.asked == 1


async def test_who_hangs_up_does_not_take_the_answer_from_the_others(backend: Counting) -> None:
    await backend.execute(new_user("jane", PASSWORD, "read"))
    authenticator = CredentialAuthenticator(backend)
    waiting = [
        asyncio.create_task(authenticator.authenticate(_basic("jane", PASSWORD))) for _ in range(3)
    ]
    await asyncio.sleep(0)
    waiting[0].cancel()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == [Caller("jane", "read")] * 2


async def test_a_fault_of_the_database_is_neither_a_refusal_nor_remembered(
    backend: Counting,
) -> None:
    key = await _key(backend)
    authenticator = CredentialAuthenticator(backend)
    backend.is_down = True
    with pytest.raises(errors.UnavailableError):
        await authenticator.authenticate(_bearer(key.text))
    waiting = asyncio.create_task(authenticator.authenticate(_bearer(key.text)))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await asyncio.sleep(0.01)
    gc.collect()
    backend.is_down = False
    assert await authenticator.authenticate(_bearer(key.text))


async def test_memory_is_bounded_and_failures_crowd_out_no_caller(
    backend: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "MAX_CACHED", 20)
    key = await _key(backend)
    authenticator = CredentialAuthenticator(backend, cache_seconds=60)
    await authenticator.authenticate(_bearer(key.text))
    for number in range(100):
        await _refused(authenticator, _bearer(f"wrong-{number}"))
    assert len(authenticator._caches.rejected._kept) == 20
    assert not authenticator._caches.pending
    asked = backend.asked
    await authenticator.authenticate(_bearer(key.text))
    await _refused(authenticator, _bearer("wrong-99"))
    assert backend.asked == asked


async def test_a_failure_is_remembered_no_longer_than_a_success(backend: Counting) -> None:
    authenticator = CredentialAuthenticator(backend, cache_seconds=0.2)
    await _refused(authenticator, _basic("jane", PASSWORD))
    await backend.execute(new_user("jane", PASSWORD, "read"))
    await asyncio.sleep(0.25)
    assert await authenticator.authenticate(_basic("jane", PASSWORD)) == Caller("jane", "read")


async def test_nothing_presented_is_kept(backend: Counting) -> None:
    key = await _key(backend)
    authenticator = CredentialAuthenticator(backend)
    await authenticator.authenticate(_bearer(key.text))
    await backend.execute(new_user("jane", PASSWORD, "read"))
    await authenticator.authenticate(_basic("jane", PASSWORD))
    kept = repr(
        [vars(authenticator), authenticator._caches.callers._kept, authenticator._verified._kept]
    )
    assert key.secret not in kept
    assert PASSWORD not in kept


async def test_an_unknown_user_takes_as_long_as_a_wrong_password(
    backend: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    await backend.execute(new_user("jane", PASSWORD, "read"))
    authenticator = CredentialAuthenticator(backend, cache_seconds=0)
    computed: list[dict[str, Any]] = []

    def scrypt(password: bytes, **parameters: Any) -> bytes:
        computed.append({"length": len(password), **parameters, "salt": len(parameters["salt"])})
        return original(password, **parameters)

    original = hashlib.scrypt
    monkeypatch.setattr(hashlib, "scrypt", scrypt)
    asked = backend.asked
    await _refused(authenticator, _basic("jane", "wrong-0"))
    known, computed = computed, []
    assert backend.asked == asked + 1
    await _refused(authenticator, _basic("nobody", "wrong-1"))
    assert backend.asked == asked + 2
    assert computed == known
    assert len(known) == 1


async def test_without_authentication_all_callers_may_do_everything() -> None:
    authenticator = AllowAll()
    authenticator.forget()
    for headers in ({}, _bearer("anything"), {"authorization": "nonsense"}):
        assert await authenticator.authenticate(headers) == Caller("", "admin")


@pytest.mark.parametrize(
    ("caller", "expected"),
    [
        (Caller("", "admin"), UserIdentity("", "default_tenant", ["default_database"])),
        (Caller("root", "admin"), UserIdentity("root", "*", ["*"])),
        (Caller("ci", "read", Scope("acme")), UserIdentity("ci", "acme", ["*"])),
        (Caller("ci", "read", Scope("acme", "main")), UserIdentity("ci", "acme", ["main"])),
        (
            Caller("ci", "read", Scope("acme", "main", "papers")),
            UserIdentity("ci", "acme", ["main"]),
        ),
    ],
)
def test_identity_is_told_as_chroma_does(caller: Caller, expected: UserIdentity) -> None:
    assert identity(caller) == expected


async def test_of_servers_that_start_at_once_one_makes_the_first_key(backend: Counting) -> None:
    keys = [Key.generate() for _ in range(6)]
    made = await asyncio.gather(*(create_first_key(backend, key) for key in keys))
    (key,) = (key for key, is_made in zip(keys, made, strict=True) if is_made)
    caller = await CredentialAuthenticator(backend).authenticate(_bearer(key.text))
    assert caller == Caller("admin", "admin")
    assert not await create_first_key(backend, Key.generate())
