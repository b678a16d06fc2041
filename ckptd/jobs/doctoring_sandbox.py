"""Look at the walls around inspection workers: start one, and ask which stand.

They are those of whoever asks, in this shell: those of the daemon's workers stand within its unit, where nobody else can look.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptd.errors import CkptdError
from ckptd.jobs.checks import Check, bad, good
from ckptd.model import Json, Severity
from ckptd.sandbox.limits import Limits
from ckptd.sandbox.once import run_confined

#: Where the rest of the answer is.
_OF_DAEMON = "a service's workers live within its unit, and what they read with fewer walls has the finding sandbox-degraded"


def check_sandbox() -> Iterator[Check]:
    """Say by what a worker is confined that is started here, and what is missing."""
    try:
        _, layers = run_confined(_answer_nothing, limits=Limits(), keep_fds=())
    except CkptdError as error:
        yield bad("sandbox", str(error), "see the log of the daemon")
        return
    if layers.degraded:
        cure = "a newer kernel, or fewer restrictions around the daemon"
        why = f"a worker that is started here is less confined: {layers.describe_missing()}; {_OF_DAEMON}"
        yield bad("sandbox", why, cure, Severity.WARNING)
        return
    yield good("sandbox", f"a worker that is started here is confined by {', '.join(layers.applied)}; {_OF_DAEMON}")


def _answer_nothing(progress: object) -> dict[str, Json]:
    del progress
    return {}
