"""The one way into the daemon's loop from other threads: hints, rescans, ticks of the schedule, signals.

Everything put here is only "look there": doubles are folded, so that a burst of events costs one entry a file and the
inbox is never longer than the list of files that changed.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Mail:
    """What came since the last look.

    Attributes:
        hints: (root number, relative path) → True when a writer closed the file or moved it in.
        patient: the same, for paths that are in no hurry; they come a moment later, many at once.
        rescans: root number → why the full picture is wanted.
        guard: True when it is time to look whether the roots are still the roots.
        jobs: True when the time of a job has come.
        settings: True when somebody wants the settings read anew.
        stop: True when a signal asked for it.
    """

    hints: dict[tuple[int, str], bool] = field(default_factory=dict)
    patient: dict[tuple[int, str], bool] = field(default_factory=dict)
    rescans: dict[int, str] = field(default_factory=dict)
    guard: bool = False
    jobs: bool = False
    settings: bool = False
    stop: bool = False


#: How long a hint in no hurry waits for company: most of those are about the sidecars that the loop writes itself.
PATIENCE_SECONDS = 0.25


class Inbox:
    """Collect mail from any thread; the loop takes it all at once.

    Threading: every method may be called from any thread and from a signal handler of the main thread; `take` and
    `fileno` are for the loop.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # re-entrant: a signal handler may interrupt `take` in the same thread
        self._mail = Mail()
        self._patient: dict[tuple[int, str], bool] = {}
        self._patient_at: float | None = None
        self._woken = False
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def fileno(self) -> int:
        """Give the descriptor that is readable while there is mail."""
        return self._reader

    def hint(self, root: int, path: str, *, closed: bool) -> None:
        """Ask for a look at one path."""
        with self._lock:
            self._mail.hints[root, path] = closed or self._mail.hints.get((root, path), False)
        self._wake()

    def hint_later(self, root: int, path: str, *, closed: bool) -> None:
        """Ask for a look at one path, in a moment."""
        with self._lock:
            self._patient[root, path] = closed or self._patient.get((root, path), False)
            if self._patient_at is not None:
                return
            self._patient_at = time.monotonic() + PATIENCE_SECONDS
        self._wake()  # once, so that the loop knows until when it may sleep

    def next_due(self) -> float | None:
        """Say when `take` gives what was in no hurry."""
        return self._patient_at

    def rescan(self, root: int, why: str) -> None:
        """Ask for the full picture of a root."""
        with self._lock:
            self._mail.rescans.setdefault(root, why)
        self._wake()

    def guard(self) -> None:
        """Ask for a look at the roots themselves."""
        with self._lock:
            self._mail.guard = True
        self._wake()

    def jobs(self) -> None:
        """Ask for a look at what jobs are due."""
        with self._lock:
            self._mail.jobs = True
        self._wake()

    def reread(self) -> None:
        """Ask for the settings to be read anew."""
        with self._lock:
            self._mail.settings = True
        self._wake()

    @property
    def is_stopped(self) -> bool:
        """Say whether the next `take` tells the loop to end."""
        return self._mail.stop

    def stop(self) -> None:
        """Ask the loop to end at the next safe point."""
        with self._lock:
            self._mail.stop = True
        self._wake()

    def take(self) -> Mail:
        """Give what came and start afresh."""
        with self._lock:
            if self._woken:
                os.read(self._reader, 1)
                self._woken = False
            mail, self._mail = self._mail, Mail()
            if self._patient_at is not None and time.monotonic() >= self._patient_at:
                mail.patient, self._patient, self._patient_at = self._patient, {}, None
        return mail

    def forget(self) -> None:
        """Drop what is about roots, which may have other numbers from now on and are looked at anew; wishes of people stay."""
        with self._lock:
            for told in (self._mail.hints, self._mail.rescans, self._patient):
                told.clear()
            self._patient_at = None

    def close(self) -> None:
        """Give the descriptors back; what is put here afterwards wakes nobody."""
        with self._lock:
            self._woken = True  # no byte goes to whoever gets the number of the pipe: signals still come
        os.close(self._reader)
        os.close(self._writer)

    def _wake(self) -> None:
        with self._lock:
            if self._woken:  # one byte is enough for a burst of a thousand events, each of which would cost a system call
                return
            self._woken = True
            os.write(self._writer, b"\0")
