"""Prove that a smaller checkpoint is the larger one without some parts: a confined process reads both files anew.

It knows nothing of how the smaller one was made.  Four things are compared: what the reader makes of each file, the calls that
each pickle makes as they are written, every byte of each storage that stays, and the CRC-32 of every record on the way.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from ckptd.checkpoint.budgets import BUDGETS
from ckptd.checkpoint.contents import Span
from ckptd.checkpoint.health import Bytes, Health, Meter
from ckptd.checkpoint.passing import Run, pass_over
from ckptd.checkpoint.reader import Structure, read_source
from ckptd.checkpoint.source import ChangedError, Source
from ckptd.model import Container, Json, Status
from ckptd.sandbox.serve import Progress
from ckptd.slim.comparing import Comparison, DifferenceError
from ckptd.slim.pickles import find_pickle, record
from ckptd.slim.planning import refuse_status
from ckptd.slim.refusal import SlimError


class Proof(NamedTuple):
    """What was compared.

    Attributes:
        sha256, source_sha256: of the smaller file and of the larger one.
        tensors: those that stayed, tied ones counted each.
        checked_bytes: of the storages that stayed, each once.
    """

    sha256: str
    source_sha256: str
    tensors: int
    checked_bytes: int


def prove_slim(source_fd: int, target_fd: int, dropped: Sequence[str], progress: Progress) -> dict[str, Json]:
    """Compare, as the function of `run_confined`: `{"refused": …}`, or the fields of a `Proof`."""
    try:
        proof = _prove(source_fd, target_fd, dropped, progress)
    except ChangedError:
        return {"refused": "changed", "why": "a file was cut short while it was read"}
    except DifferenceError as error:
        return {"refused": "it", "why": f"the smaller file is not the same without them: {error}"}
    except SlimError as error:
        return {"refused": "it", "why": error.why}
    return {**proof._asdict()}


def _prove(source_fd: int, target_fd: int, dropped: Sequence[str], progress: Progress) -> Proof:
    source, target = _open(source_fd), _open(target_fd)
    ours, theirs = read_source(source), read_source(target)
    refuse_status(ours)
    if theirs.container is not Container.ZIP or theirs.status not in {Status.OK, ours.status}:
        raise DifferenceError("it can't be read as the larger one can")
    progress(0)
    keys = _compare_values(ours, theirs, dropped)
    if _compare_calls(source, target, ours, theirs, dropped) != keys:
        raise DifferenceError("a storage is another one")
    twins = _pair_storages(ours, theirs, keys)
    source_sha256 = _pass(source, ours, progress, 0, {key: _Twin(target_fd, span) for key, span in twins.items()})
    sha256 = _pass(target, theirs, progress, source.size, {})
    return Proof(sha256, source_sha256, len(theirs.tensors), sum(span.length for span in twins.values()))


def _open(fd: int) -> Source:
    return Source(fd, os.fstat(fd).st_size, BUDGETS.whole_bytes)


def _compare_values(ours: Structure, theirs: Structure, dropped: Collection[str]) -> dict[str, str]:
    """Compare what the reader makes of both; give the key of each storage in ours → that in theirs."""
    comparison = Comparison()
    comparison.compare(ours.root, theirs.root, dropped)
    return comparison.keys


def _compare_calls(
    source: Source, target: Source, ours: Structure, theirs: Structure, dropped: Collection[str]
) -> dict[str, str]:
    """Compare the calls that both pickles make; give the same."""
    comparison = Comparison()
    comparison.compare(record(find_pickle(source, ours)), record(find_pickle(target, theirs)), dropped)
    return comparison.keys


def _pair_storages(ours: Structure, theirs: Structure, keys: Mapping[str, str]) -> dict[str, Span]:
    """Give for the key of each storage in ours that stays where its bytes lie in theirs."""
    if set(theirs.storages) != set(keys.values()) or theirs.views:
        raise DifferenceError("it holds other storages")
    if (ours.byteorder or "little") != theirs.byteorder:
        raise DifferenceError("it has another byte order")
    twins = {}
    for key, other in keys.items():
        twins[key] = theirs.storages[other]
        if key not in ours.storages or ours.storages[key].length != twins[key].length:
            raise DifferenceError("a storage has another length")
    return twins


class _Twin:
    """Compares bytes that pass, in order, with those of another file."""

    def __init__(self, fd: int, span: Span) -> None:
        self._fd = fd
        self._at = span.offset
        self._end = span.offset + span.length

    def look(self, data: Bytes, health: Health) -> None:
        """Compare the next bytes."""
        del health
        view, done = memoryview(data), 0
        while done < len(view):
            other = os.pread(self._fd, min(len(view) - done, self._end - self._at), self._at)
            if not other:
                raise DifferenceError("a storage is longer")
            # Equal lengths: this compares memory, where == of a memoryview goes byte by byte and takes 50 times as long.
            if not other.startswith(view[done : done + len(other)]):
                raise DifferenceError("the bytes of a storage differ")
            done += len(other)
            self._at += len(other)

    @property
    def is_done(self) -> bool:
        """Say whether all of it was compared."""
        return self._at == self._end


def _pass(source: Source, structure: Structure, progress: Progress, before: int, twins: Mapping[str, _Twin]) -> str:
    """Read a file once: compare storages with their twins, check each CRC-32, and give the SHA-256."""
    runs = [*_runs(structure, twins)]
    digest = pass_over(source, runs, progress=lambda done: progress(before + done))
    if any(run.is_damaged for run in runs):
        raise SlimError("bytes of it do not match the CRC-32 they were saved with: it is damaged")
    if not all(twin.is_done for twin in twins.values()):
        raise DifferenceError("a storage was not compared")
    return digest


def _runs(structure: Structure, twins: Mapping[str, _Twin]) -> Iterator[Run]:
    for key, span in structure.storages.items():
        twin = twins.get(key)
        yield Run(key, span, None if twin is None else Meter(1, twin.look))
    for name, span in structure.records.items():
        yield Run(name, span)
