"""Inspect one file: one descriptor, one read, one `Inspection`.  No torch, and nothing in the file is ever run.

`inspect_path` is `ckptd.inspect`.  Both functions answer for every file, whatever is in it and whatever becomes of it while
it is read: a bad file is an answer and no exception.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import NamedTuple

from ckptd.checkpoint.budgets import BUDGETS, Budgets
from ckptd.checkpoint.findings import finding, judge
from ckptd.checkpoint.health import Health, make_meter
from ckptd.checkpoint.passing import Run, pass_over
from ckptd.checkpoint.reader import Structure, read_source
from ckptd.checkpoint.scalars import read_scalars
from ckptd.checkpoint.source import ChangedError, Source
from ckptd.checkpoint.sparse import check_sparse
from ckptd.checkpoint.tensors import storages_of
from ckptd.checkpoint.totals import add_up, root_of
from ckptd.checkpoint.understanding import understand
from ckptd.model import Finding, Identity, Inspection, Status, TensorTotals
from ckptd.text import escape

#: Reads of a file that changes under our hands.
_TRIES = 3
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
#: Names of tensors in one message.
_MOST_NAMES = 3

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a named pipe (FIFO)"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
)

#: Told how many bytes of the file have been read.
Progress = Callable[[int], None]


def inspect_path(path: str | os.PathLike[str]) -> Inspection:
    """Say what the file at `path` is, without running it.

    The answer says everything: a file that is not there, no checkpoint, damaged or hostile is a status with findings.  This
    runs in the calling process; `ckptd inspect` and the daemon do the same in a confined one.

    Args:
        path: of a file; a symbolic link is not followed.
    """
    name = os.fspath(path)
    opened = open_checkpoint(name)
    if isinstance(opened, Inspection):
        return opened
    try:
        return inspect_fd(opened, name)
    finally:
        os.close(opened)


def open_checkpoint(path: str) -> int | Inspection:
    """Open a regular file for reading; what is none, or cannot be opened, is an inspection already."""
    try:
        told = os.lstat(path)
        if stat.S_ISLNK(told.st_mode):
            return _refused(path, "not-a-checkpoint", f"it is a symbolic link to {_target(path)}: inspect that file itself")
        if not stat.S_ISREG(told.st_mode):
            return _refused(path, "not-a-checkpoint", f"it is {_name_kind(told.st_mode)}")
        fd = os.open(path, _FLAGS)
    except OSError as error:
        return _refused(path, "unreadable", f"it cannot be opened: {error.strerror}")
    except ValueError:  # a zero byte in the name
        return _refused(path, "unreadable", "it cannot be opened: no file can be called that")
    return fd


def inspect_fd(fd: int, path: str, *, progress: Progress | None = None, budgets: Budgets = BUDGETS) -> Inspection:
    """Say what an open file is.

    Args:
        fd: stays the caller's.
        path: what the file is called; its name is read for what it says about the model.
        progress: called with 0 when the structure is known, and then with the bytes that have passed.
        budgets: limits of everything.
    """
    inspection = None
    for _ in range(_TRIES):
        try:
            before = os.fstat(fd)
            inspection = _inspect(fd, path, before, progress, budgets)
            after = Identity.of(os.fstat(fd))
        except ChangedError:
            continue
        except OSError as error:
            return _refused(path, "unreadable", f"it cannot be read: {error.strerror or type(error).__name__}")
        except Exception as error:  # noqa: BLE001 — whatever it was, this file gets an answer and the next one its turn
            return _refused(path, "inspector-error", f"the inspector failed: {type(error).__name__}: {escape(str(error))}")
        if after == inspection.identity:
            return inspection
    return _refused(path, "changed-while-reading", f"it was changed while it was read, {_TRIES} times")


def _inspect(fd: int, path: str, told: os.stat_result, progress: Progress | None, budgets: Budgets) -> Inspection:
    identity = Identity.of(told)
    if not stat.S_ISREG(told.st_mode):
        return _refused(path, "not-a-checkpoint", f"it is {_name_kind(told.st_mode)}", identity)
    if told.st_size > budgets.file_bytes:
        message = f"it has {told.st_size:,} bytes; ckptd inspects up to {budgets.file_bytes:,}"
        return _refused(path, "file-too-large", message, identity)
    source = Source(fd, told.st_size, budgets.whole_bytes)
    structure = read_source(source, budgets)
    if progress is not None:
        progress(0)
    passed = _pass(source, structure, budgets, progress)
    return _conclude(source, path, identity, structure, passed)


class _Passed(NamedTuple):
    """What one pass over the bytes gave."""

    sha256: str
    runs: Sequence[Run]
    healths: Mapping[str, Health]


def _pass(source: Source, structure: Structure, budgets: Budgets, progress: Progress | None) -> _Passed:
    if source.whole is None:
        import_module("numpy")  # `health` takes it where it is there: for a large file that pays at once
    dtypes = _dtypes_of_storages(structure)
    swap = structure.byteorder not in ("", sys.byteorder)
    storages = [Run(key, span, make_meter(dtypes.get(key, ""), swap=swap)) for key, span in structure.storages.items()]
    records = [Run(name, span) for name, span in structure.records.items() if span.crc is not None]
    digest = pass_over(source, [*storages, *records], budgets, progress)
    healths = {run.name: run.meter.health for run in storages if run.meter is not None}
    return _Passed(digest, [*storages, *records], healths)


def _dtypes_of_storages(structure: Structure) -> dict[str, str]:
    """Give how the values of each storage are to be read: as its tensors say, nothing where they disagree."""
    found: dict[str, str] = {}
    for _, tensor in structure.tensors:
        for storage in storages_of(tensor):
            # Parts of a sparse tensor and of a quantizer have types of their own.
            dtype = tensor.dtype if storage is tensor.storage else storage.dtype
            key = root_of(structure, storage.key)
            if found.setdefault(key, dtype) != dtype:
                found[key] = ""
    return found


def _conclude(source: Source, path: str, identity: Identity, structure: Structure, passed: _Passed) -> Inspection:
    scalars = read_scalars(source, structure)
    known = understand(structure.root, structure.tensors, path, structure.container, scalars=scalars)
    findings = [*structure.findings, *_damage(structure, passed.runs), *check_sparse(source, structure)]
    findings += _not_finite(structure, passed.healths, known.weights | known.copies)
    status = judge(findings, checked=structure.checked)
    foreign = status is Status.NOT_A_CHECKPOINT
    return Inspection(
        path,
        status,
        structure.container,
        None if foreign or structure.root is None else known.kind,
        passed.sha256,
        source.size,
        TensorTotals() if foreign else add_up(structure, passed.healths, known.weights - known.copies, known.optimizer),
        known.metadata,
        tuple(findings),
        known.layers,
        identity,
    )


def _damage(structure: Structure, runs: Iterable[Run]) -> Iterable[Finding]:
    keys = set(structure.storages)
    for run in runs:
        if not run.is_damaged:
            continue
        names = structure.names_of(run.name) if run.name in keys else []
        if names:
            more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
            subject = ", ".join(escape(name, 80) for name in names[:_MOST_NAMES]) + more
        else:
            subject = f"the record {escape(run.name, 80)}"
        yield finding("crc-mismatch", f"{subject}: the bytes do not match the CRC-32 they were saved with", names)


def _not_finite(structure: Structure, healths: Mapping[str, Health], weights: frozenset[str]) -> Iterable[Finding]:
    nan = inf = 0
    names = []
    counted: set[str] = set()
    for name, tensor in structure.tensors:
        if name not in weights or tensor.storage is None:
            continue
        key = root_of(structure, tensor.storage.key)
        health = healths.get(key)
        if health is None or not (health.nan or health.inf):
            continue
        names.append(name)
        if key not in counted:
            counted.add(key)
            nan, inf = nan + health.nan, inf + health.inf
    if names:
        yield finding("non-finite-weights", f"{nan:,} NaN and {inf:,} infinite values in {len(names):,} weights", names)


def _refused(path: str, code: str, message: str, identity: Identity | None = None) -> Inspection:
    findings = (finding(code, message),)
    size = 0 if identity is None else identity.size_bytes
    return Inspection(path, judge(findings, checked=False), size_bytes=size, findings=findings, identity=identity)


def _name_kind(mode: int) -> str:
    return next((meaning for is_kind, meaning in _KINDS if is_kind(mode)), "no regular file")


def _target(path: str) -> str:
    try:
        return escape(os.readlink(path), 120)
    except OSError:
        return "somewhere else"
