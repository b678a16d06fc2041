"""MANIFEST.json: what is written can be read, and what can't be is refused without a price."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptd.archive.interface import Entry, Manifest
from ckptd.archive.manifest import (
    MOST_ENTRIES,
    MOST_MANIFEST_BYTES,
    ManifestError,
    encode_name,
    manifest_of,
    parse_manifest,
    render_manifest,
)
from tests.archive.making import member_of

DIGEST = "0123456789abcdef" * 4
ENTRY = {"name": "a.pth", "what": "checkpoint", "size_bytes": 1, "sha256": DIGEST, "mtime_ns": 0, "mode": 0o640, "facts": {}}
WHOLE = {"ckptd_archive": 1, "format": "tar.gz", "created_at": 1.5, "program": "ckptd 0.1.0", "entries": [ENTRY]}


def entry(**changes):
    return WHOLE | {"entries": [ENTRY | changes]}


def parse(document):
    return parse_manifest(json.dumps(document).encode())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
parts = st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=20).filter(
    lambda part: part not in (".", "..")
)
entries = st.builds(
    Entry,
    name=st.lists(parts, min_size=1, max_size=4).map("/".join),
    what=st.sampled_from(["checkpoint", "sidecar", "export"]),
    size_bytes=st.integers(0, 2**62),
    sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    mtime_ns=st.integers(-(2**63) + 1, 2**63 - 1),
    mode=st.integers(0, 0o7777),
    facts=st.dictionaries(st.text(max_size=8), json_values, max_size=3),
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(entries, min_size=1, max_size=5, unique_by=lambda one: one.name.split("/")[0]), st.floats(0, 1e10))
def test_what_is_written_is_read(made, created_at):
    """Every entry, every fact."""
    manifest = Manifest("pack", created_at, "ckptd 0.1.0", tuple(made))
    data = render_manifest(manifest)
    assert parse_manifest(data) == manifest
    assert data.isascii()
    assert len(data.splitlines()) == len(made) + 2


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.binary(max_size=3), st.integers(0, 3))
def test_damaged_bytes_are_refused_or_read(at, put, length):
    """Whatever is changed: a manifest, or a phrase that says why not."""
    data = json.dumps(WHOLE).encode()
    at %= len(data)
    with suppress(ManifestError):
        assert parse_manifest(data[:at] + put + data[at + length :]).entries


def test_a_name_that_is_no_text(tmp_path):
    """Bytes that are not UTF-8 survive, whatever the locale is."""
    (tmp_path / "a").write_bytes(b"")
    manifest = manifest_of("tar.gz", [member_of(tmp_path / "a", "x\udcff.pth")], 0)
    assert parse_manifest(render_manifest(manifest)).entries[0].name == "x\udcff.pth"
    assert encode_name("x\udcff.pth") == b"x\xff.pth"


def test_times_and_modes_beyond_what_a_manifest_holds(tmp_path):
    """Are brought to the nearest that it holds: they are no reason to archive nothing."""
    (tmp_path / "a").write_bytes(b"")
    member = member_of(tmp_path / "a", "a")
    odd = member.__class__(member.name, member.what, member.open, 0, member.sha256, 2**80, 0o100644)
    (checked,) = parse_manifest(render_manifest(manifest_of("tar.gz", [odd], 0))).entries
    assert (checked.mtime_ns, checked.mode) == (2**63 - 1, 0o644)


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ([], "no manifest of ckptd"),
        ({"entries": [ENTRY]}, "no manifest of ckptd"),
        (WHOLE | {"ckptd_archive": 2}, "version 2"),
        (WHOLE | {"entries": []}, "does not name between"),
        (WHOLE | {"entries": {"a": 1}}, "does not name between"),
        (WHOLE | {"entries": [1]}, "no object"),
        (WHOLE | {"created_at": -1}, "no time"),
        (WHOLE | {"created_at": 1e300}, "no time"),
        (WHOLE | {"program": "x" * 201}, "program"),
        (WHOLE | {"format": "../x"}, "format is no word"),
        (entry(name=None), "no name"),
        (entry(name=""), "no name for a member"),
        (entry(name="/etc/passwd"), "no name for a member"),
        (entry(name="a/../../b"), "no name for a member"),
        (entry(name="a\0b"), "no name for a member"),
        (entry(name="a/./b"), "no name for a member"),
        (entry(name="a/"), "no name for a member"),
        (entry(name="\ud800"), "no name for a member"),
        (entry(name="x" * 256), "too long"),
        (entry(name="/".join(["x" * 200] * 21)), "too long"),
        (entry(sha256=DIGEST.upper()), "no SHA-256"),
        (entry(sha256=DIGEST[:-1]), "no SHA-256"),
        (entry(sha256=[DIGEST]), "no SHA-256"),
        (entry(size_bytes=-1), "size_bytes"),
        (entry(size_bytes=True), "size_bytes"),
        (entry(size_bytes=1.0), "size_bytes"),
        (entry(size_bytes="1"), "size_bytes"),
        (entry(size_bytes=2**63), "size_bytes"),
        (entry(mtime_ns=2**64), "mtime_ns"),
        (entry(mode=0o10000), "mode"),
        (entry(what="Check\npoint"), "what is no word"),
        (entry(facts=[]), "facts"),
        (WHOLE | {"entries": [ENTRY, ENTRY]}, "twice"),
        (WHOLE | {"entries": [ENTRY, ENTRY | {"name": "a.pth/b.pth"}]}, "below another"),
    ],
)
def test_what_cannot_be_is_refused(document, why):
    """Each value is checked."""
    with pytest.raises(ManifestError, match=why):
        parse(document)


def test_the_same_bytes_spelled_twice_are_the_same_name():
    """Surrogates that are UTF-8 once they are put together: on a disk both would be one file."""
    twice = [ENTRY | {"name": "é"}, ENTRY | {"name": "\udcc3\udca9"}]
    with pytest.raises(ManifestError, match="twice"):
        parse(WHOLE | {"entries": twice})


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"[" * 1_000_000, "no JSON"),
        (b'{"ckptd_archive":' * 100_000, "no JSON"),
        (b"[" + b"{}," * 2_000_001 + b"1]", "more than 2000000 values"),
        (b'{"ckptd_archive": ' + b"1" * 100_000 + b"}", "no JSON"),
        (b'{"ckptd_archive": 1, "created_at": NaN}', "no JSON"),
        (b" " * (MOST_MANIFEST_BYTES + 1), "longer than 32 MiB"),
        (b"\xff\xfe\xff", "no JSON"),
        (b"", "no JSON"),
    ],
    ids=["lists", "objects", "values", "digits", "nan", "long", "no text", "empty"],
)
def test_bombs_are_refused(data, why):
    """Depth, number, length: before memory is taken for them."""
    with pytest.raises(ManifestError, match=why):
        parse_manifest(data)


def test_facts_have_a_depth():
    """What is too deep for others to read is not written either."""
    facts: dict = {}
    for _ in range(40):
        facts = {"x": facts}
    with pytest.raises(ManifestError, match="deep"):
        parse(entry(facts=facts))


@pytest.mark.parametrize("facts", [{"x": float("nan")}, {"x": {1, 2}}, {"x": "y" * MOST_MANIFEST_BYTES}])
def test_what_nobody_could_read_is_not_written(facts):
    """An archive whose manifest is refused would be lost."""
    with pytest.raises(ManifestError):
        render_manifest(Manifest("tar.gz", 0.0, "ckptd", (Entry("a", "checkpoint", 0, DIGEST, 0, 0, facts),)))


def test_there_is_a_most_of_members():
    """More go into a second archive."""
    many = tuple(Entry(f"{number}.pth", "checkpoint", 0, DIGEST, 0, 0) for number in range(MOST_ENTRIES + 1))
    with pytest.raises(ManifestError, match="between 1 and"):
        render_manifest(Manifest("tar.gz", 0.0, "ckptd", many))
