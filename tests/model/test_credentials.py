"""Authorization: roles, scopes, keys and passwords."""

from __future__ import annotations

import itertools
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgchroma import errors
from pgchroma.model.credentials import ROLES, Caller, Role, Scope, Target, check_credential_name
from pgchroma.model.hashes import (
    DECOY,
    Key,
    check_password,
    hash_key_secret,
    hash_password,
    is_match,
)
from pgchroma.model.operations.credentials import new_key, new_user

ONE, TWO = UUID(int=1), UUID(int=2)

# Few values, so that some are equal.
names = st.sampled_from(["a", "b"])
ids = st.sampled_from([ONE, TWO])
roles = st.sampled_from(ROLES)

scopes = st.one_of(
    st.builds(Scope),
    st.builds(Scope, names),
    st.builds(Scope, names, names),
    st.builds(Scope, names, names, names, ids),
)
targets = st.one_of(
    st.builds(Target),
    st.builds(Target, names, is_lookup=st.booleans()),
    st.builds(Target, names, names, is_lookup=st.booleans()),
    st.builds(Target, names, names, collection_id=ids),
    st.builds(Target, names, names, collection_name=names),
    st.builds(Target, names, names, ids, names),
)


def _may(caller: Caller, role: Role, target: Target) -> bool:
    try:
        caller.require(role, target)
    except errors.AuthorizationError:
        return False
    return True


def _path(scope: Scope, by_name: bool) -> list[Any]:
    collection = scope.collection if by_name else scope.collection_id
    return list(itertools.takewhile(bool, (scope.tenant, scope.database, collection)))


def _target_path(target: Target, by_name: bool) -> list[Any]:
    collection = target.collection_name if by_name else target.collection_id
    return list(itertools.takewhile(bool, (target.tenant, target.database, collection)))


def _is_prefix(one: list[Any], other: list[Any]) -> bool:
    return other[: len(one)] == one


@given(scopes, targets)
def test_a_scope_covers_what_its_path_is_the_start_of(scope: Scope, target: Target) -> None:
    ways = [
        by_name
        for by_name, value in ((True, target.collection_name), (False, target.collection_id))
        if value is not None
    ]
    # A target that has both an id and a name must match by both.
    expected = all(
        _is_prefix(_path(scope, way), _target_path(target, way)) for way in ways or [True]
    )
    assert scope.covers(target) == expected


@given(scopes, roles, roles, targets)
def test_a_caller_may_do_what_the_role_and_the_scope_allow(
    scope: Scope, own: Role, needed: Role, target: Target
) -> None:
    strength = {"read": 1, "write": 2, "admin": 3}
    is_on_the_way = (
        target.is_lookup
        and needed == "read"
        and target.tenant is not None
        and _is_prefix(_target_path(target, True), _path(scope, True))
    )
    expected = strength[own] >= strength[needed] and (scope.covers(target) or is_on_the_way)
    assert _may(Caller("someone", own, scope), needed, target) == expected


@given(scopes, roles, roles, targets)
def test_a_narrower_scope_never_passes_where_a_wider_one_does_not(
    scope: Scope, own: Role, needed: Role, target: Target
) -> None:
    if not _may(Caller("someone", own, scope), needed, target):
        return
    wider = [Scope(), Scope(scope.tenant)]
    if scope.tenant is not None:
        wider.append(Scope(scope.tenant, scope.database))
    assert all(_may(Caller("someone", own, wide), needed, target) for wide in wider)


@given(scopes, roles, targets)
def test_a_confined_caller_never_acts_on_the_parents_of_the_scope(
    scope: Scope, own: Role, target: Target
) -> None:
    depth = max(len(_target_path(target, by_name)) for by_name in (True, False))
    if target.is_lookup or depth >= len(_path(scope, True)):
        return
    assert not any(_may(Caller("someone", own, scope), role, target) for role in ROLES)


def test_lookups_go_up_the_path_and_nowhere_else() -> None:
    caller = Caller("reader", "read", Scope("acme", "main", "papers", ONE))
    assert _may(caller, "read", Target("acme", is_lookup=True))
    assert _may(caller, "read", Target("acme", "main", is_lookup=True))
    for target in (
        Target("acme"),
        Target("acme", "main"),
        Target("other", is_lookup=True),
        Target("acme", "other", is_lookup=True),
        Target("other", "main", is_lookup=True),
        Target(is_lookup=True),
        Target("acme", "main", TWO, is_lookup=True),
        Target("acme", "main", collection_name="drafts", is_lookup=True),
    ):
        assert not _may(caller, "read", target)
    assert not _may(caller, "write", Target("acme", is_lookup=True))
    admin = Caller("admin", "admin", Scope("acme", "main"))
    assert not _may(admin, "admin", Target("acme", is_lookup=True))


def test_an_id_and_a_name_of_two_collections_are_not_covered() -> None:
    scope = Scope("acme", "main", "papers", ONE)
    assert scope.covers(Target("acme", "main", ONE, "papers"))
    assert not scope.covers(Target("acme", "main", TWO, "papers"))
    assert not scope.covers(Target("acme", "main", ONE, "drafts"))


def test_a_scope_by_half_a_collection_covers_only_that_half() -> None:
    assert not Scope("acme", "main", "papers").covers(Target("acme", "main", ONE))
    assert not Scope("acme", "main", collection_id=ONE).covers(
        Target("acme", "main", collection_name="papers")
    )


def test_a_scope_without_its_outer_part_is_refused() -> None:
    malformed: tuple[dict[str, Any], ...] = (
        {"database": "main"},
        {"tenant": "acme", "collection": "papers"},
    )
    for parts in malformed:
        with pytest.raises(errors.InvalidArgumentError, match="the scope has"):
            Scope(**parts)
    with pytest.raises(errors.InvalidArgumentError, match="collection but no"):
        Scope("acme", collection_id=ONE)


def test_an_unknown_role_may_do_nothing() -> None:
    caller = Caller("odd", "owner")  # type: ignore[arg-type]
    assert not any(_may(caller, role, Target()) for role in ROLES)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (Target(), "the whole installation"),
        (Target("acme"), "tenant acme"),
        (Target("acme", "main"), "database main of tenant acme"),
        (Target("acme", "main", ONE), f"collection {ONE} in database main of tenant acme"),
    ],
)
def test_a_refusal_repeats_what_was_asked_for(target: Target, said: str) -> None:
    with pytest.raises(errors.AuthorizationError) as caught:
        Caller("someone", "read", Scope("other")).require("write", target)
    assert caught.value.message() == f"permission denied: requires the role write on {said}"


def test_a_key_reads_back_and_matches_its_hash_only() -> None:
    key, other = Key.generate(), Key.generate()
    assert Key.parse(key.text) == key
    assert key.secret not in repr(key)
    assert key.id in repr(key)
    hashed = hash_key_secret(key.secret)
    assert is_match(key.secret, hashed)
    assert not is_match(other.secret, hashed)
    assert key.secret not in hashed


@given(st.text())
def test_what_is_no_key_is_told(text: str) -> None:
    assert Key.parse(text) is None
    assert Key.parse(f"pgc_{text}_{text}") is None


def test_a_password_matches_its_own_hash_only() -> None:
    hashed = hash_password("correct horse")
    assert hashed.startswith("scrypt$16384$8$5$")
    assert is_match("correct horse", hashed)
    assert not is_match("correct horsf", hashed)
    assert hash_password("correct horse") != hashed
    assert not is_match("correct horse", DECOY)


@pytest.mark.parametrize(
    "hashed",
    ["", "plain", "md5$x", "scrypt$1$2", "scrypt$x$8$5$AA==$AA==", "scrypt$3$8$5$AA==$AA==",
     "scrypt$16384$8$5$!$AA==", "sha256$", "scrypt$1073741824$8$5$AA==$AA=="],
)  # fmt: skip
def test_a_hash_of_no_form_of_ours_matches_nothing(hashed: str) -> None:
    assert not is_match("secret", hashed)
    assert not is_match("", hashed)


def test_bad_passwords_are_refused() -> None:
    for password in ("short", "x" * 1025, Key.generate().text, "with\x00zero", "half\ud800pair"):
        with pytest.raises(errors.InvalidArgumentError, match="password"):
            check_password(password)


@pytest.mark.parametrize(
    "name",
    ["", "a b", "a:b", "-a", "ä", "a\n", "x" * 129, "0123456789abcdef"],
)
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(errors.InvalidArgumentError, match="name"):
        check_credential_name(name)


def test_good_names_pass() -> None:
    for name in ("a", "ci-reader", "jane.doe+x@example.org", "x" * 128):
        assert check_credential_name(name) == name


def test_no_secret_is_in_what_is_made() -> None:
    key, operation = new_key("ci", "read")
    assert operation.secret_hash not in repr(operation)
    assert is_match(key.secret, operation.secret_hash)
    user = new_user("jane", "correct horse", "admin", Scope("acme"))
    assert user.secret_hash not in repr(user)
    assert is_match("correct horse", user.secret_hash)
