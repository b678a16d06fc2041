"""A daemon and its job processes that are real but for what the job "scrub" does: it goes on until a test says so.

`python -m tests.e2e.slow_jobs run …` is `ckptd run …`.
"""

from __future__ import annotations

import os
import sys
import time

from ckptd.jobs.registry import JobContext, JobEntry, JobOutcome

JOBS = (JobEntry("scrub", "go on until told otherwise", f"{__name__}:run"),)


def run(context: JobContext) -> JobOutcome:
    """Say that it runs; end when it is stopped, or when a test puts a file "go" into the state directory."""
    note(context, "started")
    while not (context.state_dir / "go").exists():
        if context.stop():
            note(context, "stopped")
            return JobOutcome("interrupted", {}, "it was told to stop")
        time.sleep(0.02)
    note(context, "finished")
    return JobOutcome("ok", {"files": 1})


def recover(context: JobContext) -> None:
    """Say that it was put in order."""
    note(context, "recovered")


def note(context: JobContext, word: str) -> None:
    """Add a line to the story: word and process."""
    with (context.state_dir / "story").open("a") as file:
        file.write(f"{word} {os.getpid()}\n")


def main() -> int:
    """Run one job; called in its process."""
    from ckptd.cli import job_process

    job_process._step_back = lambda *_: None  # the tests beside it would leave it no time to write its end
    return job_process.main(JOBS)


def run_daemon() -> int:
    """Run a daemon whose jobs are ours."""
    from ckptd.cli import main as ckptd
    from ckptd.jobs.running import launching

    launching._ENTRY = "tests.e2e.slow_jobs"
    return ckptd(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(run_daemon())
