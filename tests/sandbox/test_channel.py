"""Lines and their bounds, and descriptors that stay with their requests."""

import contextlib
import json
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptd.errors import WorkerError
from ckptd.sandbox.channel import MAX_LINE_BYTES, MAX_MARKS, Channel, ChannelClosedError, Lines, WorkerEnd, decode, encode

SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4))


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_what_goes_in_comes_out(value):
    """Any JSON object survives, in one line of ASCII."""
    line = encode(value)
    assert line.isascii()
    assert line.index(b"\n") == len(line) - 1
    assert decode(line[:-1]) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_refused(data):
    """Nothing but WorkerError leaves, whatever arrives."""
    with contextlib.suppress(WorkerError):
        assert type(decode(data)) is dict


@given(
    st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"")), max_size=8), st.lists(st.integers(1, 12)), st.binary()
)
def test_lines_do_not_depend_on_how_they_arrive(lines, cuts, rest):
    """However a stream is cut, the same lines come out of it, and what has no end yet stays inside."""
    data = b"".join(line + b"\n" for line in lines) + rest.replace(b"\n", b"")
    reader, found = Lines(), []
    for cut in [*cuts, len(data)]:
        found += reader.feed(data[:cut])
        data = data[cut:]
    assert found == lines


def test_a_line_is_bounded_to_the_byte():
    """The newline counts: what `encode` may write is just what `feed` takes."""
    room = MAX_LINE_BYTES - 1
    assert Lines().feed(b"x" * room + b"\n") == [b"x" * room]
    with pytest.raises(WorkerError):
        Lines().feed(b"x" * (room + 1) + b"\n")
    reader = Lines()
    assert reader.feed(b"x" * room) == []
    with pytest.raises(WorkerError):
        reader.feed(b"x")
    assert len(encode({"a": "x" * (MAX_LINE_BYTES - 9)})) == MAX_LINE_BYTES
    with pytest.raises(ValueError, match="at most"):
        encode({"a": "x" * (MAX_LINE_BYTES - 8)})


def test_a_line_is_bounded_in_values():
    """As many marks as agreed, and not one more."""
    most = MAX_MARKS - 1  # so many values have one comma less between them, and two brackets around them
    assert len(decode(b'{"a":[' + b",".join([b"1"] * most) + b"]}")["a"]) == most
    with pytest.raises(WorkerError, match="values in one line"):
        decode(b'{"a":[' + b",".join([b"1"] * (most + 1)) + b"]}")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"1",
        b"{",
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":1} {}',
        '{"a":"é"}'.encode(),
        b'"' * 9,
    ],
)
def test_what_is_no_object_is_refused(line):
    with pytest.raises(WorkerError):
        decode(line)


def test_not_finite_is_no_json():
    with pytest.raises(ValueError, match="JSON"):
        encode({"a": float("nan")})


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    yield Channel(ours), WorkerEnd(theirs), theirs
    ours.close()
    theirs.close()


def test_each_request_has_its_own_descriptor(pair, tmp_path):
    """Sent in batches of any size, descriptor n belongs to line n."""
    channel, end, _ = pair
    fds = []
    for number in range(12):
        path = tmp_path / str(number)
        path.write_text(str(number))
        fds.append(os.open(path, os.O_RDONLY))
    lines = [encode({"id": number}) for number in range(12)]
    for batch in (slice(0, 1), slice(1, 8), slice(8, 12)):
        channel.send(b"".join(lines[batch]), fds[batch])
    for number in range(12):
        message, fd = end.receive()
        assert message == {"id": number}
        assert os.read(fd, 10).decode() == str(number)
        os.close(fd)
    for fd in fds:
        os.close(fd)


def test_the_parent_never_blocks(pair):
    """What the worker does not take waits in the parent, and arrives whole and in order once it does."""
    channel, end, _ = pair
    line = encode({"text": "x" * 100_000})
    with Path(os.devnull).open("rb") as null:
        for _ in range(40):
            channel.send(line, [null.fileno()])
        assert channel.wants_write
        for _ in range(40):
            channel.flush()
            message, fd = end.receive()
            os.close(fd)
            assert len(message["text"]) == 100_000
    assert not channel.wants_write
    assert channel.receive() == []


def test_a_request_without_its_descriptor_is_an_error(pair):
    channel, end, _ = pair
    channel.send(encode({"id": 1}), [])
    with pytest.raises(WorkerError, match="without its descriptor"):
        end.receive()


def test_the_end_of_a_worker_is_seen_after_its_last_words(pair):
    """Lines that were sent before the death are received first; sending only notes that nobody listens."""
    channel, end, theirs = pair
    end.send(b"last\n")
    theirs.close()
    channel.send(encode({"id": 1}), [])
    assert channel.broken
    assert not channel.wants_write
    assert channel.receive() == [b"last"]
    with pytest.raises(ChannelClosedError):
        channel.receive()


def test_the_worker_sees_the_end_of_its_parent(pair):
    channel, end, _ = pair
    channel.close()
    assert end.receive() is None


def test_descriptors_that_a_worker_sends_do_not_arrive(pair):
    """The parent takes bytes only: a worker can't fill its table of descriptors."""
    channel, _, theirs = pair
    before = os.listdir("/proc/self/fd")
    with Path(os.devnull).open("rb") as null:
        socket.send_fds(theirs, [json.dumps({}).encode() + b"\n"], [null.fileno()] * 5)
    assert channel.receive() == [b"{}"]
    assert os.listdir("/proc/self/fd") == before
