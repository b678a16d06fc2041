r"""MANIFEST.json: what an archive says that it holds.  Whoever reads one has a stranger's text in hand; every value is checked.

Plain JSON in ASCII, one entry a line, so that people can grep it:

    {"ckptd_archive": 1, "format": "tar.gz", "created_at": 1767312000.0, "program": "ckptd 0.1.0", "entries": [
    {"name": "net/best.pth", "what": "checkpoint", "size_bytes": 1, "sha256": "…", "mtime_ns": 0, "mode": 416, "facts": {}}
    ]}

Bytes of a name that are not UTF-8 stand as "\udc80" to "\udcff", as Python names files.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from ckptd import __version__
from ckptd.archive.interface import Entry, Manifest, Member
from ckptd.storage.beneath import split_relative
from ckptd.text import escape

VERSION = 1
PROGRAM = f"ckptd {__version__}"

#: What a manifest may hold at most; a hostile one of this size takes 300 MB for a moment, an honest one 1 KiB an entry.
MOST_MANIFEST_BYTES = 32 << 20
MOST_ENTRIES = 50_000
MOST_VALUES = 2_000_000
_MOST_NAME_BYTES = 4096
_MOST_PART_BYTES = 255
_MOST_DEPTH = 32
_MOST_SIZE = 1 << 62
_MOST_INT64 = (1 << 63) - 1
#: Seconds: the year 5138.
_LATEST = 1e11

_WORD = re.compile(r"[a-z][a-z0-9_.]{0,31}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_STRUCTURE = (b",", b"{", b"[")
_ENCODER = json.JSONEncoder(allow_nan=False)


class ManifestError(Exception):
    """Bytes that are no manifest, or a manifest that nobody may believe; `why` is one phrase, harmless to show."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def manifest_of(format_name: str, members: Iterable[Member], now: float) -> Manifest:
    """Make the manifest of an archive that is to be written.

    Raises:
        ManifestError: a reader would refuse it.
    """
    return Manifest(format_name, float(now), PROGRAM, tuple(map(_entry_of, members)))


def render_manifest(manifest: Manifest) -> bytes:
    """Write a manifest down, and read it once more: what is written can be read.

    Raises:
        ManifestError: a reader would refuse it.
    """
    head: dict[str, Any] = {"ckptd_archive": VERSION, "format": manifest.format, "created_at": manifest.created_at}
    head["program"] = manifest.program
    try:
        lines = [_ENCODER.encode(_entry_to_json(entry)) for entry in manifest.entries]
        start = _ENCODER.encode(head)
    except (TypeError, ValueError, RecursionError) as error:
        raise ManifestError(f"it holds what JSON can't say: {escape(str(error))}") from error
    body = ",\n".join(lines)
    data = f'{start[:-1]}, "entries": [\n{body}\n]}}\n'.encode("ascii")
    parse_manifest(data)
    return data


def parse_manifest(data: bytes) -> Manifest:
    """Read a manifest and check all of it.

    Raises:
        ManifestError: it is too large, no manifest, or says what can't be.
    """
    if len(data) > MOST_MANIFEST_BYTES:
        raise ManifestError(f"it is longer than {MOST_MANIFEST_BYTES >> 20} MiB")
    if sum(map(data.count, _STRUCTURE)) > MOST_VALUES:
        raise ManifestError(f"it holds more than {MOST_VALUES} values")
    try:
        document = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:  # of JSON, of UTF-8, of an integer with 5,000 digits
        raise ManifestError("it is no JSON") from error
    return _checked(document)


def encode_name(name: str) -> bytes:
    """Give the bytes of a member's name, whatever the locale is.

    Raises:
        ManifestError: it is no name that a file below a directory can have.
    """
    try:
        encoded = name.encode("utf-8", "surrogateescape")
        parts = split_relative(encoded)
    except (UnicodeEncodeError, OSError) as error:
        raise ManifestError(f"{escape(name)!r} is no name for a member") from error
    if len(encoded) > _MOST_NAME_BYTES or any(len(part) > _MOST_PART_BYTES for part in parts):
        raise ManifestError(f"the name {escape(name)!r} is too long")
    return encoded


def _entry_of(member: Member) -> Entry:
    mtime = max(-_MOST_INT64, min(member.mtime_ns, _MOST_INT64))  # some file systems take seconds of 64 bits
    return Entry(member.name, member.what, member.size_bytes, member.sha256, mtime, member.mode & 0o7777, dict(member.facts))


def _entry_to_json(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "what": entry.what,
        "size_bytes": entry.size_bytes,
        "sha256": entry.sha256,
        "mtime_ns": entry.mtime_ns,
        "mode": entry.mode,
        "facts": dict(entry.facts),
    }


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def _checked(document: Any) -> Manifest:
    if not isinstance(document, dict) or not isinstance(document.get("ckptd_archive"), int):
        raise ManifestError("it is no manifest of ckptd")
    if document["ckptd_archive"] != VERSION:
        raise ManifestError(f"it is of version {escape(repr(document['ckptd_archive']), 40)}, and this ckptd reads {VERSION}")
    entries = document.get("entries")
    if not isinstance(entries, list) or not 0 < len(entries) <= MOST_ENTRIES:
        raise ManifestError(f"it does not name between 1 and {MOST_ENTRIES} members")
    created_at = document.get("created_at")
    if not isinstance(created_at, int | float) or not (math.isfinite(created_at) and 0 <= created_at < _LATEST):
        raise ManifestError("created_at is no time")
    program = document.get("program")
    if not isinstance(program, str) or len(program) > 200:
        raise ManifestError("program is no short text")
    checked = tuple(_checked_entry(entry) for entry in entries)
    _check_names(checked)
    return Manifest(_word(document, "format"), float(created_at), program, checked)


def _checked_entry(entry: Any) -> Entry:
    if not isinstance(entry, dict):
        raise ManifestError("an entry is no object")
    name, digest, facts = entry.get("name"), entry.get("sha256"), entry.get("facts", {})
    if not isinstance(name, str):
        raise ManifestError("an entry has no name")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise ManifestError(f"{escape(name)!r} has no SHA-256")
    if not isinstance(facts, dict) or _depth(facts, _MOST_DEPTH) < 0:
        raise ManifestError(f"the facts of {escape(name)!r} are no object, or too deep")
    return Entry(
        name,
        _word(entry, "what"),
        _whole(entry, "size_bytes", 0, _MOST_SIZE),
        digest,
        _whole(entry, "mtime_ns", -_MOST_INT64, _MOST_INT64),
        _whole(entry, "mode", 0, 0o7777),
        facts,
    )


def _word(document: dict[str, Any], key: str) -> str:
    value = document.get(key)
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        raise ManifestError(f"{key} is no word")
    return value


def _whole(document: dict[str, Any], key: str, least: int, most: int) -> int:
    value = document.get(key)
    if type(value) is not int or not least <= value <= most:  # True is an int, too
        raise ManifestError(f"{key} is no number between {least} and {most}")
    return value


def _depth(value: Any, left: int) -> int:
    """Give how many levels are left below the deepest value; negative when there were too many."""
    if left == 0:
        return -1
    inner = value.values() if isinstance(value, dict) else value
    return min((_depth(one, left - 1) for one in inner if isinstance(one, (dict, list))), default=left - 1)


def _check_names(entries: Sequence[Entry]) -> None:
    """Two members with the same bytes for a name, or one that is a folder of another, could not both be unpacked."""
    names = {encode_name(entry.name) for entry in entries}
    if len(names) != len(entries):
        raise ManifestError("it names a member twice")
    for name in names:
        parts = name.split(b"/")
        if any(b"/".join(parts[:count]) in names for count in range(1, len(parts))):
            raise ManifestError(f"{escape(name.decode('utf-8', 'surrogateescape'))!r} lies below another member")
