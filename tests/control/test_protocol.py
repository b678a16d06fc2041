"""Requests and answers: what goes out comes in, and nothing else does."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptd.control.protocol import MOST_REQUEST_BYTES, Answer, Asked, RequestError

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)


@given(
    st.builds(
        Asked,
        st.sampled_from(["status", "pause", "resume", "reload", "run"]),
        arguments=st.lists(TEXTS, max_size=5).map(tuple),
        roots=st.lists(TEXTS, max_size=3).map(tuple),
        seconds=st.floats(0, 1e6),
        zone=TEXTS,
        columns=st.integers(0, 500),
        colors=st.booleans(),
    )
)
def test_a_request_arrives_as_it_was_sent(asked):
    """One line, whatever is in it."""
    line = asked.to_line()
    assert line.count(b"\n") == 1
    assert Asked.from_line(line) == asked


@given(st.integers(0, 255), TEXTS, st.dictionaries(TEXTS, TEXTS, max_size=3))
def test_an_answer_arrives_as_it_was_sent(status, problem, value):
    """The same for answers."""
    assert Answer.from_line(Answer(status, problem, value).to_line()) == Answer(status, problem, value)


@given(st.binary(max_size=200) | st.recursive(st.none() | st.booleans() | st.text(), st.lists).map(json.dumps).map(str.encode))
def test_nothing_else_is_taken(line):
    """Bytes and JSON of any kind: a sentence, never another exception."""
    with pytest.raises(RequestError):
        Asked.from_line(line)


def test_a_name_with_bytes_that_are_no_text_survives():
    """What a file system calls a file may be no UTF-8."""
    assert Asked.from_line(Asked("run", ("show", "a\udcff.pth")).to_line()).arguments == ("show", "a\udcff.pth")


def test_a_request_that_is_too_long_is_not_sent():
    """The daemon would refuse it; the sentence says what to do."""
    with pytest.raises(RequestError, match="name fewer at once"):
        Asked("run", ("pin", "x" * MOST_REQUEST_BYTES)).to_line()
