"""Look at the walls around inspection workers: start one, and ask which stand."""

from __future__ import annotations

from collections.abc import Iterator

from ckptd.errors import CkptdError
from ckptd.jobs.checks import Check, bad, good
from ckptd.model import Json, Severity
from ckptd.sandbox.limits import Limits
from ckptd.sandbox.once import run_confined


def check_sandbox() -> Iterator[Check]:
    """Say by what workers are confined here, and what is missing."""
    try:
        _, layers = run_confined(_answer_nothing, limits=Limits(), keep_fds=())
    except CkptdError as error:
        yield bad("sandbox", str(error), "see the log of the daemon")
        return
    if layers.degraded:
        cure = "a newer kernel, or fewer restrictions around the daemon"
        yield bad("sandbox", f"workers are less confined: {layers.describe_missing()}", cure, Severity.WARNING)
        return
    yield good("sandbox", "workers are confined by " + ", ".join(layers.applied))


def _answer_nothing(progress: object) -> dict[str, Json]:
    del progress
    return {}
