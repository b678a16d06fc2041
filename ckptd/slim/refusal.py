"""Why a checkpoint is not made smaller."""

from __future__ import annotations

from ckptd.errors import CkptdError


class SlimError(CkptdError):
    """A checkpoint can't be made smaller; what is in it is the reason, and another try would end the same way."""

    def __init__(self, why: str, *, cure: str = "") -> None:
        super().__init__("make a smaller checkpoint", why=why, cure=cure)


class NothingToDropError(SlimError):
    """There is no optimizer or scheduler state in it that is known as such, or nothing is gained without it."""


class SlimInterruptedError(SlimError):
    """The disk or the machine said no, or the file was changed meanwhile; worth another try."""

    permanent = False
