"""A real daemon for tests: started as a user would, watched through its own log, ended by its process id."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

#: Generous: a shared machine under load; nothing is asserted about it.
PATIENCE_SECONDS = 60.0
#: No job has a time: those of the night would run beside a test at some hours of the day.  A test that wants one says when.
NO_SCHEDULE = {f"CKPTD_SCHEDULE__{job}": "" for job in ("RETENTION", "PURGE", "SCRUB", "DRILL", "REPORT")}


def wait_for(condition: Callable[[], Any], what: str, patience: float = PATIENCE_SECONDS) -> Any:
    """Poll until `condition` gives something true, and give that back."""
    deadline = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience:.0f} s in vain for {what}")
        time.sleep(0.02)


def has_ended(process: psutil.Process | int) -> bool:
    """Tell whether a process has ended; one that nobody collected yet has, too."""
    try:
        if isinstance(process, int):
            process = psutil.Process(process)
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it was collected between the two questions
        return True


def ckptd(*args: object, check: bool = True, cwd: Path | None = None, env: dict[str, str] | None = None) -> Any:
    """Run one `ckptd … --json` command and give its JSON."""
    done = run_ckptd(*args, "--json", cwd=cwd, env=env)
    assert not check or done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def run_ckptd(*args: object, cwd: Path | None = None, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run one command of ckptd and give what it printed."""
    command = [sys.executable, "-m", "ckptd", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=cwd, env={**os.environ, **(env or {})})


class Daemon:
    """`ckptd run` in a process group of its own, its JSON log in a file."""

    #: What is run as a program; one of the tests' own may break something in it.
    module = "ckptd"
    #: Whether the command line says which roots; else the settings do.
    names_roots = True

    def __init__(self, *roots: Path, env: dict[str, str] | None = None, cwd: Path | None = None) -> None:
        self.roots = roots
        self.env = env or {}
        self.cwd = cwd
        self.log = roots[0].parent / f"{roots[0].name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Daemon:
        """Start and wait until it says that it runs."""
        before = len(self.events())
        roots = [part for root in self.roots for part in ("--root", str(root))] if self.names_roots else []
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module, "run", *roots],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **NO_SCHEDULE, "CKPTD_LOG__FORMAT": "json", "CKPTD_LOG__LEVEL": "debug", **self.env},
                cwd=self.cwd,
            )
        wait_for(lambda: self.process.poll() is not None or self.has("daemon.started", since=before), "the daemon to start")
        assert self.process.poll() is None, self.log.read_text()
        return self

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        """End it as a power cut would, with SIGKILL and no warning."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    def stop(self) -> int:
        """Ask it to end, as systemd does, and give its exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def events(self) -> list[dict[str, Any]]:
        """Give every complete line of the log as JSON."""
        if not self.log.exists():
            return []
        lines = self.log.read_bytes().split(b"\n")[:-1]
        return [json.loads(line) for line in lines if line.startswith(b"{")]

    def has(self, event: str, since: int = 0, **values: Any) -> dict[str, Any] | None:
        """Give the first event of that name with those values, if it was logged."""
        for entry in self.events()[since:]:
            if entry.get("event") == event and all(entry.get(key) == value for key, value in values.items()):
                return entry
        return None

    def wait_event(self, event: str, since: int = 0, **values: Any) -> dict[str, Any]:
        """Wait until that event was logged."""
        found: dict[str, Any] = wait_for(lambda: self.has(event, since, **values), f"{event} {values} in\n{self.log}")
        return found

    def records(self) -> dict[str, dict[str, Any]]:
        """Ask `ckptd ls` what is known: path → record."""
        roots = [part for root in self.roots for part in ("--root", str(root))]
        return {record["path"]: record for record in ckptd(*roots, "ls", env=self.env, cwd=self.cwd)}

    def wait_record(self, path: str, **values: Any) -> dict[str, Any]:
        """Wait until `ckptd ls` shows `path` with those values."""

        def look() -> dict[str, Any] | None:
            record = self.records().get(path)
            return record if record and all(record.get(key) == value for key, value in values.items()) else None

        found: dict[str, Any] = wait_for(look, f"the record of {path} with {values}")
        return found


@contextmanager
def running(*roots: Path, env: dict[str, str] | None = None, cwd: Path | None = None) -> Iterator[Daemon]:
    """Run a daemon on `roots` for as long as the block lasts."""
    for root in roots:
        root.mkdir(exist_ok=True)
    daemon = Daemon(*roots, env=env, cwd=cwd).start()
    try:
        yield daemon
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.stop()
