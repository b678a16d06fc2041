"""Read a file that is to be put away, and believe only what was read: its size and digest have to be what the caller knew."""

from __future__ import annotations

import hashlib
import os
import stat
from types import TracebackType
from typing import Self

from ckptd.archive.interface import Member, MemberChangedError
from ckptd.errors import CkptdError


class OpenMember:
    """A member that is open; every byte goes into its digest.

    Attributes:
        stat: as the open file says it.
        left_bytes: what is still to be read.
    """

    def __init__(self, member: Member) -> None:
        """Open it.

        Raises:
            MemberChangedError: it can't be opened, or is of another kind or size than the caller knew.
        """
        self._member = member
        self.left_bytes = member.size_bytes
        self._digest = hashlib.sha256()
        try:
            self._fd = member.open()
        except (OSError, CkptdError) as error:
            raise MemberChangedError(member.name, _why(error)) from error
        try:
            self.stat = os.fstat(self._fd)
            if not stat.S_ISREG(self.stat.st_mode):
                raise MemberChangedError(member.name, "it is no plain file any more")
            if self.stat.st_size != member.size_bytes:
                raise MemberChangedError(member.name, "its size changed")
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        except BaseException:
            os.close(self._fd)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._fd)

    def read_into(self, room: memoryview) -> int:
        """Read the next bytes, as many as there is room for and are left; how many.

        Raises:
            MemberChangedError: it became shorter, or the disk said no.
        """
        part = room[: self.left_bytes]
        try:
            count = os.readv(self._fd, [part])
        except OSError as error:
            raise MemberChangedError(self._member.name, _why(error)) from error
        if not count:
            raise MemberChangedError(self._member.name, "it became shorter while it was read")
        self._digest.update(part[:count])
        self.left_bytes -= count
        return count

    def check(self) -> None:
        """Check, when all of it was read, that it was what the caller knew.

        Raises:
            MemberChangedError: it was not.
        """
        if os.fstat(self._fd).st_size != self._member.size_bytes:
            raise MemberChangedError(self._member.name, "its size changed while it was read")
        if self._digest.hexdigest() != self._member.sha256:
            raise MemberChangedError(self._member.name, "its digest is another one")


def _why(error: OSError | CkptdError) -> str:
    if isinstance(error, OSError):
        return f"it can't be read: {os.strerror(error.errno or 0)}"
    return f"it can't be read: {error}"
