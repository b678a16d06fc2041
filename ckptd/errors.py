"""Errors that say what happened, to which file, why, and what to do about it.

Every error that reaches a person is a `CkptdError`.  Foreign errors (OSError, SQLAlchemy's, torch's) are translated once,
at the edge of the room that meets them.  `permanent` answers the only question a retry loop has: is it worth another try?
"""

from __future__ import annotations

from typing import ClassVar


class CkptdError(Exception):
    """Report one problem in one sentence.

    Attributes:
        what: what was being done, in a few words ("read the settings").
        path: the file it concerns, as the operating system spells it, or None.
        why: the cause.
        cure: what the reader can do about it; empty when there is nothing to do.
        permanent: True when trying again without a change cannot help.
    """

    permanent: ClassVar[bool] = True
    exit_status: ClassVar[int] = 1

    def __init__(self, what: str, *, path: object = None, why: str = "", cure: str = "") -> None:
        self.what = what
        self.path = None if path is None else str(path)
        self.why = why
        self.cure = cure
        super().__init__(what, self.path, why, cure)

    def __str__(self) -> str:
        text = self.what
        if self.path is not None:
            text += f": {self.path}"
        if self.why:
            text += f": {self.why}"
        if self.cure:
            text += f" ({self.cure})"
        return text


class SettingsError(CkptdError):
    """Settings that cannot be used; `problems` holds every `file: key: message` line, not only the first."""

    exit_status = 2

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(self.problems)


class UsageError(CkptdError):
    """A request that makes no sense as it was put: an unknown name, a query that does not parse."""

    exit_status = 2


class FormatError(CkptdError):
    """Bytes that are not what their container says; raised inside the reader, ends as a finding."""


class NeedsCodeError(CkptdError):
    """Loading this file would run code that came with it; `ckptd.load` refuses."""

    exit_status = 3


class UnsafeError(CkptdError):
    """The file names code that no model needs, or was built to deceive."""

    exit_status = 3


class StorageError(CkptdError):
    """A disk said no: full, read-only, permission denied.  Worth another try."""

    permanent = False


class IndexUnavailableError(CkptdError):
    """The index cannot be opened or written just now."""

    permanent = False


class WorkerError(CkptdError):
    """A worker crashed, hung, or answered with something else than an answer."""

    permanent = False


class RootLostError(CkptdError):
    """A watched root vanished or is another directory than it was; an incident, not a deletion."""

    permanent = False


class AlreadyRunningError(CkptdError):
    """Another daemon holds the lock of this root."""

    exit_status = 4
