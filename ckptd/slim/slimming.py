"""Make a smaller checkpoint: `slim_checkpoint`.

Three processes, of which only this one writes: a confined one reads the file and says what the smaller one will hold, this one
copies bytes by that plan, and a second confined one reads both files and compares them.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Collection, Mapping
from mmap import mmap
from typing import Any, NamedTuple, NoReturn, Protocol

from ckptd.checkpoint.budgets import BUDGETS
from ckptd.errors import WorkerError
from ckptd.model import Finding, Identity, Json
from ckptd.sandbox.confine import Layers
from ckptd.sandbox.limits import Limits
from ckptd.sandbox.once import run_confined
from ckptd.slim.planning import SlimPlan, plan_slim, read_plan
from ckptd.slim.proving import Proof, prove_slim
from ckptd.slim.refusal import NothingToDropError, SlimError, SlimInterruptedError
from ckptd.slim.writing import Progress, write_draft
from ckptd.text import escape

_AGAIN = "it is tried again"


class Slimmed(NamedTuple):
    """A smaller checkpoint that was written, synced, read back and compared.

    Attributes:
        dropped: keys of the outermost dict that it has not, in the order of the file; printable ASCII.
        size_bytes, sha256: of the smaller file.
        source_sha256: of the file it was made of, as it was read for the comparison.
        tensors: those that stayed, tied ones counted each.
        checked_bytes: of their storages, each compared byte by byte.
        findings: about weaker confinement of the two readers, where there was any.
    """

    dropped: tuple[str, ...]
    size_bytes: int
    sha256: str
    source_sha256: str
    tensors: int
    checked_bytes: int
    findings: tuple[Finding, ...] = ()


class Confined(Protocol):
    """Calls a function in a confined process: `sandbox.once.run_confined`."""

    def __call__(
        self,
        function: Callable[..., dict[str, Json]],
        *arguments: object,
        limits: Limits,
        keep_fds: Collection[int],
        size_bytes: int = 0,
    ) -> tuple[dict[str, Json], Layers]:
        """Give the answer, and the walls that stood."""
        ...


def slim_checkpoint(
    source_fd: int,
    target_fd: int,
    *,
    limits: Limits | None = None,
    free_bytes: int = 0,
    progress: Progress = lambda _: None,
    confined: Confined = run_confined,
) -> Slimmed:
    """Write a checkpoint without its optimizer and scheduler state, and prove that nothing else is missing.

    What is on the disk: the bytes of the smaller file are synced here (fsync of `target_fd`) before they are read back and
    compared.  Its name is the caller's: who gives it one syncs the directory.  When this raises anything at all the target is
    cut to nothing, as far as the disk lets it; nothing else is ever touched.

    This process must have one thread, for it forks.

    Args:
        source_fd: open for reading; a regular file that nobody writes to.
        target_fd: open for reading and writing; an empty regular file.
        limits: of the two confined processes.
        free_bytes: what has to stay free on the file system of the target.
        progress: told how many bytes of the smaller file are written, from 0 on; what it raises ends the work.
        confined: how a function is called in a confined process.

    Raises:
        NothingToDropError: there is no such state in it, or it would not become smaller.
        SlimError: it is not whole, not a checkpoint, or the two files differ in more than they should.
        SlimInterruptedError: disk, machine, or a change of the source while it was read; another try may end otherwise.
    """
    before = _look_at(source_fd, target_fd)
    slimming = _Slimming(source_fd, target_fd, limits or Limits(), confined)
    try:
        plan = slimming.plan(before.size_bytes)
        size = _write(plan, source_fd, target_fd, free_bytes, progress)
        proof = slimming.prove(plan.dropped, before.size_bytes + size)
        if Identity.of(os.fstat(source_fd)) != before or os.fstat(target_fd).st_size != size:
            raise SlimInterruptedError("the file was changed while it was read", cure=_AGAIN)
    except BaseException:
        with contextlib.suppress(OSError):
            os.ftruncate(target_fd, 0)
        raise
    return Slimmed(plan.dropped, size, *proof, findings=slimming.findings())


def _look_at(source_fd: int, target_fd: int) -> Identity:
    source, target = os.fstat(source_fd), os.fstat(target_fd)
    if not stat.S_ISREG(source.st_mode):
        raise SlimError("it is no regular file")
    if not stat.S_ISREG(target.st_mode) or target.st_size:
        raise SlimError("the place for the smaller file is not an empty file")
    return Identity.of(source)


def _write(plan: SlimPlan, source_fd: int, target_fd: int, free_bytes: int, progress: Progress) -> int:
    try:
        size = write_draft(plan.draft, source_fd, target_fd, free_bytes=free_bytes, progress=progress)
        os.fsync(target_fd)
    except OSError as error:
        raise SlimInterruptedError(f"the disk says: {os.strerror(error.errno or 0)}", cure=_AGAIN) from error
    # What is compared then comes from the disk, as far as the kernel is willing.
    with contextlib.suppress(OSError):
        os.posix_fadvise(target_fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return size


class _Slimming:
    """The two confined calls of one checkpoint."""

    def __init__(self, source_fd: int, target_fd: int, limits: Limits, confined: Confined) -> None:
        self._source = source_fd
        self._target = target_fd
        self._limits = limits
        self._confined = confined
        self._findings: dict[str, Finding] = {}

    def plan(self, size: int) -> SlimPlan:
        """Have the file read, and learn what the smaller one will hold."""
        # The new pickle may be too long for an answer, and a confined process can write nowhere else.
        with mmap(-1, BUDGETS.pickle_bytes) as shared:
            return read_plan(self._call(plan_slim, self._source, shared, keep={self._source}, size=size), shared, size)

    def prove(self, dropped: tuple[str, ...], size: int) -> Proof:
        """Have both files read and compared."""
        keep = {self._source, self._target}
        answer = self._call(prove_slim, self._source, self._target, dropped, keep=keep, size=size)
        try:
            sha256, source_sha256, tensors, checked = (answer[field] for field in Proof._fields)
            if any(type(one) is not str or len(one) != 64 for one in (sha256, source_sha256)):
                raise ValueError
            return Proof(str(sha256), str(source_sha256), int(tensors), int(checked))
        except (KeyError, TypeError, ValueError) as error:
            raise _interrupted(WorkerError("a worker's answer was refused", why=type(error).__name__)) from error

    def findings(self) -> tuple[Finding, ...]:
        """Give what there is to say about the walls, each thing once."""
        return tuple(self._findings.values())

    def _call(
        self, function: Callable[..., dict[str, Json]], *arguments: object, keep: Collection[int], size: int
    ) -> Mapping[str, Any]:
        try:
            answer, layers = self._confined(function, *arguments, limits=self._limits, keep_fds=keep, size_bytes=size)
        except WorkerError as error:
            raise _interrupted(error) from error
        self._findings |= {found.message: found for found in layers.findings()}
        if "refused" in answer:
            _refuse(answer)
        return answer


def _refuse(answer: Mapping[str, Any]) -> NoReturn:
    why = escape(str(answer.get("why")), 1_000)
    match answer["refused"]:
        case "nothing":
            raise NothingToDropError(why)
        case "changed":
            raise SlimInterruptedError(why, cure=_AGAIN)
        case _:
            raise SlimError(why)


def _interrupted(error: WorkerError) -> SlimError:
    return SlimInterruptedError(f"{error.what}: {error.why}" if error.why else error.what, cure=error.cure or _AGAIN)
