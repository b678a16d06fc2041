"""Say what of a rotten file is damaged: which tensors, or what else, told by its own CRCs or by a copy that is whole.

Both readings are done by a confined process, as with every file: rot makes of a harmless file one that nobody has looked at.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ckptd.checkpoint.budgets import BUDGETS
from ckptd.checkpoint.reader import Structure, read_source
from ckptd.checkpoint.source import ChangedError, Source
from ckptd.checkpoint.worker import inspect_confined, prepare
from ckptd.errors import WorkerError
from ckptd.model import Finding, Json, Severity
from ckptd.sandbox.limits import Limits
from ckptd.sandbox.once import run_confined
from ckptd.sandbox.serve import Progress
from ckptd.settings import InspectSettings
from ckptd.text import escape

#: Names that are kept, as in a finding; and names, or findings, in one sentence.
_MOST_NAMES = 100
_MOST_SHOWN = 3
_MOST_NAME_CHARACTERS = 200
#: Compared at a time: what differs in it is looked at closer.
_PIECE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Damage:
    """What of a file is not what it was.

    Attributes:
        tensors: dotted names, escaped; at most 100.
        words: one phrase for a person, escaped; empty when nothing could be found out.
    """

    tensors: tuple[str, ...] = ()
    words: str = ""


def limits_of(settings: InspectSettings) -> Limits:
    """Give the limits of the confined readings of a job."""
    required = settings.sandbox == "required"
    return Limits(memory_bytes=settings.memory_bytes, structure_seconds=settings.structure_seconds, required=required)


def find_damage(fd: int, path: str, limits: Limits) -> Damage:
    """Ask a rotten file itself, by its CRCs and its structure; nothing where it has none and its structure is as it was.

    Args:
        fd: of the rotten file.
        path: what it is called.
        limits: for the process that reads it; this one must have one thread.
    """
    try:
        inspection = inspect_confined(fd, path, limits)
    except WorkerError as error:
        return Damage((), f"what of it is damaged could not be found out: {error}")
    # It had no error when it was indexed, or it would not be looked after.
    errors = [finding for finding in inspection.findings if finding.severity is Severity.ERROR]
    names = dict.fromkeys(name for finding in errors for name in finding.tensors)
    return Damage(tuple(names)[:_MOST_NAMES], _say_findings(errors))


def compare_copies(rotten: int, whole: int, limits: Limits) -> Damage:
    """Compare a rotten file with a copy that is whole, byte by byte, and name what differs.

    Args:
        rotten: descriptor of it.
        whole: of the copy; of the same size.
        limits: for the process that reads both; this one must have one thread.
    """
    size = os.fstat(whole).st_size
    prepare(0)
    try:
        answer, _ = run_confined(_compare, rotten, whole, size, limits=limits, keep_fds={rotten, whole}, size_bytes=size)
        return _read_answer(answer)
    except WorkerError as error:
        return Damage((), f"what of it is damaged could not be found out: {error}")


def _say_findings(findings: Sequence[Finding]) -> str:
    shown = [finding.message for finding in findings[:_MOST_SHOWN]]
    more = [f"and {len(findings) - _MOST_SHOWN} more findings"] if len(findings) > _MOST_SHOWN else []
    return "; ".join(shown + more)


# — in the confined process —


class _Part(NamedTuple):
    """A run of bytes of the file that has a name: a storage, or another record."""

    start: int
    end: int
    name: str
    is_storage: bool


class _Difference:
    """What two files differ in."""

    def __init__(self, parts: Sequence[_Part]) -> None:
        self._parts = parts
        self._first = 0
        self.damaged: dict[_Part, None] = {}
        self.bits = 0
        self.outside_bits = 0

    def look(self, at: int, rotten: bytes, whole: bytes) -> None:
        """Look at bytes that begin at `at` and differ somewhere; the calls come in the order of the file."""
        end, cursor = at + len(whole), at
        parts = self._parts
        while self._first < len(parts) and parts[self._first].end <= at:
            self._first += 1
        for part in parts[self._first :]:
            if part.start >= end:
                break
            start, stop = max(part.start, cursor), min(part.end, end)
            self._add(None, rotten[cursor - at : start - at], whole[cursor - at : start - at])
            if stop > start:
                self._add(part, rotten[start - at : stop - at], whole[start - at : stop - at])
            cursor = max(cursor, stop)
        self._add(None, rotten[cursor - at :], whole[cursor - at :])

    def _add(self, part: _Part | None, rotten: bytes, whole: bytes) -> None:
        if rotten == whole:
            return
        bits = (int.from_bytes(rotten) ^ int.from_bytes(whole)).bit_count()
        self.bits += bits
        if part is None:
            self.outside_bits += bits
        else:
            self.damaged[part] = None


def _compare(rotten: int, whole: int, size: int, progress: Progress) -> dict[str, Json]:
    structure = read_source(Source(whole, size, BUDGETS.whole_bytes))
    progress(0)
    difference = _Difference(sorted(_parts(structure)))
    for at in range(0, size, BUDGETS.chunk_bytes):
        length = min(BUDGETS.chunk_bytes, size - at)
        one, other = _read(rotten, at, length), _read(whole, at, length)
        if one != other:
            for start in range(0, length, _PIECE_BYTES):
                piece, right = one[start : start + _PIECE_BYTES], other[start : start + _PIECE_BYTES]
                if piece != right:
                    difference.look(at + start, piece, right)
        progress(at + length)
    names = list[Json](_names(structure, difference.damaged))
    records = [escape(part.name, _MOST_NAME_CHARACTERS) for part in difference.damaged if not part.is_storage]
    return {
        "tensors": names,
        "records": list[Json](records[:_MOST_NAMES]),
        "bits": difference.bits,
        "outside_bits": difference.outside_bits,
    }


def _parts(structure: Structure) -> Iterator[_Part]:
    for spans, is_storage in ((structure.storages, True), (structure.records, False)):
        for name, span in spans.items():
            yield _Part(span.offset, span.offset + span.length, name, is_storage)


def _names(structure: Structure, damaged: dict[_Part, None]) -> list[str]:
    names: dict[str, None] = {}
    for part in damaged:
        if part.is_storage and len(names) < _MOST_NAMES:
            names |= dict.fromkeys(escape(name, _MOST_NAME_CHARACTERS) for name in structure.names_of(part.name))
    return list(names)[:_MOST_NAMES]


def _read(fd: int, at: int, length: int) -> bytes:
    parts = []
    while length:
        data = os.pread(fd, length, at)
        if not data:
            raise ChangedError
        parts.append(data)
        at, length = at + len(data), length - len(data)
    return parts[0] if len(parts) == 1 else b"".join(parts)


# — what it says is believed as far as its form goes —


def _read_answer(answer: dict[str, Json]) -> Damage:
    tensors, records = _read_names(answer, "tensors"), _read_names(answer, "records")
    bits, outside = _read_count(answer, "bits"), _read_count(answer, "outside_bits")
    if not bits:
        return Damage((), "by now its bytes are those of the copy")
    flipped = _say_bits(bits)
    if tensors:
        return Damage(tensors, f"{_list(tensors)}: {flipped} from the good copy")
    if records:
        return Damage((), f"no tensor is touched, but {_list(records)}: {flipped} from the good copy")
    return Damage((), f"no tensor is touched, but what lies between the records: {_say_bits(outside)} from the good copy")


def _say_bits(bits: int) -> str:
    return "1 bit differs" if bits == 1 else f"{bits:,} bits differ"


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    return ", ".join(names[:_MOST_SHOWN]) + more


def _read_names(answer: dict[str, Json], key: str) -> tuple[str, ...]:
    value = answer.get(key)
    if not isinstance(value, list) or len(value) > _MOST_NAMES or not all(isinstance(name, str) for name in value):
        raise WorkerError("a worker gave no answer that can be believed", why=f"{key} is no list of names")
    return tuple(escape(str(name), _MOST_NAME_CHARACTERS) for name in value)


def _read_count(answer: dict[str, Json], key: str) -> int:
    value = answer.get(key)
    if type(value) is not int or value < 0:
        raise WorkerError("a worker gave no answer that can be believed", why=f"{key} is no count")
    return value
