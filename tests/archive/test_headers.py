"""Tar headers: as GNU tar writes and reads them."""

from __future__ import annotations

import os
import subprocess
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptd.archive.tar.headers import BLOCK_BYTES, END, Header, name_bytes, padding_of, parse_block, render_header

paths = st.binary(min_size=1, max_size=4200).map(lambda path: path.replace(b"\0", b"x"))


def parse(data):
    """Read the header of one member, with a long name when there is one."""
    kind, header = parse_block(data[:BLOCK_BYTES])
    if count := name_bytes(kind, header):
        name = data[BLOCK_BYTES : BLOCK_BYTES + count].rstrip(b"\0")
        kind, header = parse_block(data[BLOCK_BYTES + count + padding_of(count) :])
        header = header._replace(path=name)
    return kind, header


@settings(deadline=None, derandomize=True)
@given(paths, st.integers(0, 2**62), st.integers(0, 0o777), st.integers(-(2**40), 2**40))
def test_what_is_written_is_read(path, size, mode, mtime):
    """By ourselves and by Python's tarfile, which asks the same of a header."""
    header = Header(path, size, mode, mtime)
    data = render_header(header)
    assert len(data) % BLOCK_BYTES == 0
    assert parse(data) == (b"0", header)
    last = tarfile.TarInfo.frombuf(data[-BLOCK_BYTES:], "utf-8", "surrogateescape")
    assert (last.size, last.mode, last.mtime, last.uid, last.gid, last.uname, last.type) == (size, mode, mtime, 0, 0, "", b"0")


@settings(deadline=None, derandomize=True)
@given(st.binary(min_size=512, max_size=512))
def test_any_block_is_a_header_or_none(block):
    """Nothing else happens, also when the checksum is right."""
    assert parse_block(block) is None
    right = bytearray(block)
    right[257:265], right[148:156] = b"ustar  \0", b" " * 8
    right[148:156] = b"%06o\0 " % sum(right)
    parsed = parse_block(bytes(right))
    assert parsed is None or parsed[1].size >= 0


def test_a_flipped_bit_is_seen():
    """In every byte, the last ones too, but for the blank behind the checksum."""
    block = render_header(Header(b"a/files/net.pth", 1234, 0o640, 1_700_000_000))
    for at in {*range(BLOCK_BYTES)} - {155}:
        damaged = bytearray(block)
        damaged[at] ^= 1
        assert parse_block(bytes(damaged)) is None, at


@pytest.mark.parametrize(
    "number",
    [b"\xff" * 12, b"\x80\xff" + b"\xff" * 10, b"\xff\x00", b"12x4567", b"+1", b"1_0", b"-1", b"8", b"", b"\xb2", b"0x1"],
)
def test_a_number_is_octal(number):
    """Or binary and not below zero; what Python would take for a number beyond that is none."""
    block = bytearray(render_header(Header(b"a", 1, 0o640, 0)))
    block[124:136] = number.ljust(12, b"\0")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    assert parse_block(bytes(block)) is None


def test_tar_reads_sizes_without_end(tmp_path):
    """9 GiB, in a file of holes; and 100 bytes of name, and 101, and bytes that are no text."""
    headers = [
        Header(b"d/" + b"x" * 98, 0, 0o640, 0),
        Header(b"d/" + b"y" * 99, 0, 0o640, -5),
        Header(b"d/\xff\xfe", 0, 0o600, 1 << 34),
        Header(b"d/large.pth", 9 << 30, 0o640, 1_700_000_000),
    ]
    path = tmp_path / "a.tar"
    with path.open("wb") as file:
        for header in headers:
            file.write(render_header(header))
        file.truncate(file.tell() + (9 << 30))
        file.seek(0, os.SEEK_END)
        file.write(END)
    done = subprocess.run(["tar", "--quoting-style=literal", "-tvf", path], capture_output=True, check=True, env={"TZ": "UTC"})
    lines = done.stdout.splitlines()
    assert done.stderr == b""
    assert [line.split()[0] for line in lines] == [b"-rw-r-----", b"-rw-r-----", b"-rw-------", b"-rw-r-----"]
    assert [line.split()[1] for line in lines] == [b"0/0"] * 4
    assert lines[0].endswith(headers[0].path)
    assert lines[1].endswith(headers[1].path)
    assert b"1969-12-31 23:59" in lines[1]
    assert b"2514-05-30" in lines[2]
    assert lines[2].endswith(b"\xff\xfe")
    assert lines[3].split()[2] == str(9 << 30).encode()
