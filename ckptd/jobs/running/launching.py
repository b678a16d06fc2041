"""A job in a process of its own, as the daemon sees it: started, watched, and ended.

The child gets the daemon's whole settings as JSON on its standard input, writes its log into the daemon's own stream, and
steps back behind everything else on the machine.  The kernel ends it with the daemon; a job can take that at any moment.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ckptd
from ckptd.errors import WorkerError
from ckptd.sandbox.child import open_exit
from ckptd.sandbox.waiting import wait_readable
from ckptd.sandbox.words import open_words
from ckptd.settings import Settings
from ckptd.settings.handover import settings_from_json, settings_to_json

#: Found by name: it is above everything here, and is imported in the child only.
_ENTRY = "ckptd.cli.job_process"
#: `-I` leaves out the environment, the user's site-packages and the working directory; what the daemon imports from is added
#: behind, so that a job finds ckptd wherever the daemon found it.  It ends without tearing the interpreter down: at nice 19 on
#: a busy machine that takes seconds, and a daemon that ends waits for it.
_BOOTSTRAP = (
    "import os, sys; from importlib import import_module; entry = sys.argv[1]; n = int(sys.argv[2]); "
    "sys.path += [p for p in sys.argv[3:3 + n] if p not in sys.path]; del sys.argv[1:3 + n]; "
    "status = import_module(entry).main(); sys.stdout.flush(); sys.stderr.flush(); os._exit(status)"
)
#: How long a child that can't be watched may be gone unnoticed, seconds.
LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Errand:
    """What a job's process is to do.

    Attributes:
        parent: id of the process that starts it, with which it ends.
        job: name; None for putting in order what was broken off, and nothing else.
        scheduled_for: seconds since the epoch.
        index: file name of the index in the state directory.
    """

    parent: int
    job: str | None
    scheduled_for: float | None
    state_dir: Path
    index: str
    settings: Settings

    def to_text(self) -> str:
        """Write it as one line of JSON."""
        value = {"parent": self.parent, "job": self.job, "scheduled_for": self.scheduled_for}
        value |= {"state_dir": os.fspath(self.state_dir), "index": self.index}
        return json.dumps({**value, "settings": settings_to_json(self.settings)})

    @classmethod
    def from_text(cls, text: str | bytes) -> Errand:
        """Read what `to_text` wrote; KeyError, TypeError or ValueError when it is something else."""
        value: Mapping[str, Any] = json.loads(text)
        state_dir, settings = Path(value["state_dir"]), settings_from_json(value["settings"])
        return cls(value["parent"], value["job"], value["scheduled_for"], state_dir, value["index"], settings)


class JobChild:
    """The process of a job.

    Attributes:
        job: name; None for the one that only puts in order.
        started_at: monotonic seconds.
        exit_fd: becomes readable when the process ends; -1 where the kernel has no such thing.
    """

    def __init__(self, errand: Errand) -> None:
        self.job = errand.job
        self.started_at = time.monotonic()
        self._process = _start(errand)
        self.exit_fd = open_exit(self._process.pid)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def poll(self) -> int | None:
        """Collect it if it has ended, and give its exit status, negative for a signal; never waits."""
        return self._process.poll()

    def end(self, seconds: float) -> int | None:
        """Ask it to end, wait, and end it when it does not; None when the kernel holds it."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)
            self._wait(seconds)
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._wait(1.0)
        return self.poll()

    def close(self) -> None:
        """Give the descriptor back."""
        if self.exit_fd >= 0:
            os.close(self.exit_fd)
            self.exit_fd = -1

    def _wait(self, seconds: float) -> None:
        if self.exit_fd >= 0:
            wait_readable([self.exit_fd], seconds)
            return
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)


def _start(errand: Errand) -> subprocess.Popen[bytes]:
    return start_entry(_ENTRY, errand.to_text(), errand.job or "recovery")


def start_entry(
    entry: str, text: str, title: str, output: int | None = None, complaints: int | None = None
) -> subprocess.Popen[bytes]:
    """Start a process of ours that finds its words on its standard input.

    Args:
        entry: module with a `main` that gives the exit status; imported in the child only.
        text: the words.
        title: what a list of processes shows behind the command.
        output: descriptor for its standard output; the daemon's own when None.
        complaints: the same for standard error.

    Returns:
        The process, in a session of its own.

    Raises:
        WorkerError: it can't be started.
    """
    paths = dict.fromkeys((*(path for path in sys.path if path), str(Path(ckptd.__file__).parents[1])))
    command = [sys.executable, "-I", "-X", "utf8", "-c", _BOOTSTRAP, entry, str(len(paths)), *paths, title]
    try:
        with open_words(text.encode()) as words:
            return subprocess.Popen(  # noqa: S603 — the command is built just here
                command, stdin=words, stdout=output, stderr=complaints, cwd="/", start_new_session=True
            )
    except OSError as error:
        raise WorkerError("a process could not be started", path=title, why=error.strerror or str(error)) from error
