"""Fields that a body has twice."""

from __future__ import annotations

import pytest

from pgchroma.errors import MalformedRequestError
from pgchroma.wire.collections import CreateCollectionBody
from pgchroma.wire.duplicates import duplicate_field, raw_fields
from pgchroma.wire.reading import LARGE, read_body


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b"{}", None),
        (b' { "a" : 1 ,\n "b":[1,2] } ', None),
        (b'{"b":{"a":1},"a":3}', None),
        (b'{"a":"}\\",","b":"\\"a\\":"}', None),
        (b'{"a":1,"a":2}', "a"),
        (b'{"a":1,"a":1}', "a"),
        (b'{"a":12,"a":1}', "a"),
        (b'{"a":1,"a":12}', "a"),
        (b'{"a":[],"b":2,"a":[1]}', "a"),
        (b'{"a":"x","\\u0061":"y"}', "a"),
    ],
)
def test_a_field_is_there_twice(body: bytes, name: str | None) -> None:
    assert duplicate_field(body, raw_fields(body)) == name


@pytest.mark.parametrize("filler", [b"", b" " * LARGE], ids=["small", "large"])
def test_a_body_with_a_field_twice_is_refused(filler: bytes) -> None:
    body = b'{"name":"one",%s"get_or_create":true,"name":"two"}' % filler
    with pytest.raises(MalformedRequestError, match="duplicate field `name`"):
        read_body(body, CreateCollectionBody)
    whole = b'{"name":"one",%s"get_or_create":true}' % filler
    assert read_body(whole, CreateCollectionBody).name == "one"
