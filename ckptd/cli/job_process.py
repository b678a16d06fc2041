"""The process of one job, started by the daemon; people say `ckptd jobs run NAME`.  What it is to do stands on its stdin."""

from __future__ import annotations

import contextlib
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ckptd.jobs.registry import JobEntry
    from ckptd.jobs.running.launching import Errand

#: Exit status of a run that was told to stop, and wrote that down.  Source: EX_TEMPFAIL of sysexits.h.
STOPPED = 75
_STATUSES = {"ok": 0, "held": 1, "failed": 1, "interrupted": STOPPED}

_asked: list[int] = []


def main(registry: tuple[JobEntry, ...] | None = None) -> int:
    """Run the job; 0 it is done, 1 failed or held, 4 another process runs one, `STOPPED` when it was told to stop.

    Args:
        registry: the jobs there are; those of ckptd when None.
    """
    signal.signal(signal.SIGTERM, _note)  # before the imports: from here on its end is one in good order
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    from ckptd.jobs.running.launching import Errand
    from ckptd.sandbox.confine import die_with

    errand = Errand.from_text(sys.stdin.buffer.read())
    with contextlib.suppress(OSError):  # where the kernel can't, a job outlives its daemon, and holds the lock until it is done
        die_with(errand.parent)
    return _run(errand, registry)


def _run(errand: Errand, registry: tuple[JobEntry, ...] | None) -> int:
    from ckptd.logs import configure_logs  # first: it imports structlog without what nobody needs here

    configure_logs(errand.settings.log)
    import structlog

    from ckptd.errors import CkptdError
    from ckptd.jobs.registry import JOBS
    from ckptd.jobs.running.run import JobPlace, recover_jobs, run_job

    place = JobPlace(errand.settings, errand.state_dir, errand.index, registry or JOBS)
    _step_back(place.registry, errand.job)
    try:
        if errand.job is None:
            recover_jobs(place, _is_asked)
            return 0
        run = run_job(place, errand.job, _is_asked, scheduled_for=errand.scheduled_for)
    except CkptdError as error:
        structlog.get_logger().error("job.failed", job=errand.job, reason=str(error))
        return error.exit_status
    return _STATUSES[run.outcome.value]


def _step_back(registry: tuple[JobEntry, ...], job: str | None) -> None:
    """Give way to everything else on the machine, once all is imported.

    Between eleven busy processes on two cores nice 19 is a third of a percent of one core: the second that the imports take was
    found to take more than a minute then.
    """
    from ckptd.sandbox.limits import lower_priority

    for entry in registry:
        if entry.name == job:
            with contextlib.suppress(Exception):  # what is wrong with it is told when it is run
                entry.load()
    with contextlib.suppress(OSError):
        lower_priority(19)


def _note(number: int, _frame: FrameType | None) -> None:
    _asked.append(number)


def _is_asked() -> bool:
    return bool(_asked)
