"""A person's JSON is read as JSON says, refused where two readers could differ, and known by its place in the text."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptd.metadata.reading import MOST_BYTES, BrokenError, read_document
from tests.metadata.test_layout import OBJECTS

BROKEN = {
    b"": "not a JSON object",
    b"   ": "not a JSON object",
    b"[]": "not a JSON object",
    b'"text"': "not a JSON object",
    b"null": "not a JSON object",
    b"{": "not JSON: expecting property name",
    b'{"a": 1': "not JSON: expecting ',' delimiter at line 1, column 8",
    b'{"a": 1,}': "not JSON: expecting property name",
    b'{"a" 1}': "not JSON: expecting ':' delimiter",
    b'{"a": }': "not JSON: expecting value at line 1, column 7",
    b"{'a': 1}": "not JSON",
    b'{"a": "\n"}': "not JSON: invalid control character",
    b'{"a": 1} x': "something follows",
    b'{"a": 1}{}': "something follows",
    b'{"a": 1}\0': "something follows",
    b'{"a": 1, "a": 2}': "a key stands in it twice",
    b'{"a": 1, "\\u0061": 2}': "a key stands in it twice",
    b'{"a": {"b": 1, "b": 1}}': "a key stands in it twice",
    b'{"a": NaN}': "NaN is not JSON",
    b'{"a": [-Infinity]}': "-Infinity is not JSON",
    b'{"a": 01}': "not JSON",
    b'{"a": "\xff"}': "not UTF-8 at byte 7",
    b'{"a": ' + b"[" * 65 + b"]" * 65 + b"}": "nested deeper than 64",
    b'{"a": ' * 5000: "nested deeper than 64",
    b"[" * 500_000: "nested deeper than 64",
    b'{"a": "' + b"x" * MOST_BYTES + b'"}': "larger than 1 MiB",
    b'{"' + b'\\"[' * 300_000: "not JSON",  # an endless string full of quotes: quadratic for a naive search
    b"\xff\xfe{\x00}\x00": "not UTF-8",
}


@pytest.mark.parametrize("data", BROKEN, ids=lambda data: repr(data[:30]))
def test_what_is_no_document_is_refused_with_the_reason(data: bytes) -> None:
    with pytest.raises(BrokenError, match=BROKEN[data]):
        read_document(data)


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b" \r\n\t{ } \n",
        b'{"a":1}',
        b'{"a": "[[[[\\"{{{{"}',
        b'{"a": ' + b"[" * 60 + b"]" * 60 + b"}",
        b'{"a": 1e400, "b": -0.0, "c": ' + b"9" * 5000 + b"}",
        b'{"a": "\\ud800"}',
        json.dumps({"a": "[" * 1000}).encode(),
    ],
    ids=lambda data: repr(data[:30]),
)
def test_what_is_a_document_is_read(data: bytes) -> None:
    document = read_document(data)
    sys.set_int_max_str_digits(0)
    expected = json.loads(data)
    sys.set_int_max_str_digits(4300)
    assert list(document.members) == list(expected)
    assert all(document.members[key].value == expected[key] or key == "c" for key in expected)


def test_a_byte_order_mark_stays_at_the_beginning() -> None:
    document = read_document(b'\xef\xbb\xbf{"a": 1, "ckptd": {}}')
    assert document.replaced("ckptd", "7").encode() == b'\xef\xbb\xbf{"a": 1, "ckptd": 7}'


def test_a_value_is_known_in_its_own_spelling() -> None:
    document = read_document(b'{ "a" : 1.00e+2 ,"b":{ "c" : [1 , 2] , "d": 1e400 } }')
    assert document.raw("a") == "1.00e+2"
    assert document.raw("b") == '{ "c" : [1 , 2] , "d": 1e400 }'
    assert document.inner("b").raw("c") == "[1 , 2]"
    assert document.inner("b").raw("d") == "1e400"


@given(OBJECTS.filter(len), st.sampled_from([None, 0, 2, "\t"]), st.booleans(), st.data())
def test_law_a_replacement_changes_one_value_and_no_other_byte(
    members: dict, indent: int | str | None, ascii_only: bool, data: st.DataObject
) -> None:
    text = json.dumps(members, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    try:
        document = read_document(text)
    except BrokenError:
        assert b"\xed" in text  # half a surrogate pair is not UTF-8
        return
    key = data.draw(st.sampled_from(list(members)))
    changed = document.replaced(key, '"new"')
    assert json.loads(changed) == {**members, key: "new"}
    member = document.members[key]
    assert changed[: member.start] == document.text[: member.start]
    assert changed[member.start + 5 :] == document.text[member.end :]


@given(st.binary(max_size=60) | st.text(st.sampled_from('{}[]",:1aeE.-+ \\u\n'), max_size=30).map(str.encode))
def test_law_whatever_is_read_python_reads_too(data: bytes) -> None:
    """Law: a document of ours is one of the standard library's, with the same value."""
    try:
        document = read_document(data)
    except BrokenError:
        return
    assert {key: member.value for key, member in document.members.items()} == json.loads(data.decode("utf-8-sig"))
