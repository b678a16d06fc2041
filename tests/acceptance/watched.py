"""Inspect every file of a directory in a process that reports whatever it does beside reading that file.

Run as `python -m tests.acceptance.watched DIRECTORY`; one JSON line a file on standard output.  Everything is imported
first; then an audit hook notes each import, open, exec, process, socket and code object.  A file that hangs ends the process by
SIGALRM, which the parent sees as missing lines.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

#: Nothing takes so long; a hanging reader dies by this.
_PATIENCE_SECONDS = 30

_WATCHED = (
    "import exec compile open os. subprocess. socket. shutil. ctypes. code. marshal. pickle. builtins. urllib. ftplib. "
    "webbrowser. tempfile. sqlite3. glob. pathlib. mmap. fcntl. signal. pty. cpython. sys. gc. setopencodehook function.__new__"
).split()
#: Harmless by themselves, and what every read does.
_QUIET = frozenset(
    "os.scandir os.listdir sys._getframe object.__getattr__ gc.get_objects builtins.id sys.unraisablehook".split()
)


class Watch:
    """Note every watched event that is not the opening of the file at hand."""

    def __init__(self) -> None:
        self.path: str | None = None
        self.events: list[str] = []

    def __call__(self, event: str, args: tuple[object, ...]) -> None:
        if self.path is None or event in _QUIET or not event.startswith(tuple(_WATCHED)):
            return
        if event == "open" and args[0] == self.path and isinstance(args[2], int) and not args[2] & (os.O_WRONLY | os.O_RDWR):
            return
        self.events.append(f"{event} {args!r:.200}")


def _peak_bytes() -> int:
    """Give the most memory this process had; ru_maxrss would count what the parent had when it forked."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def main(directory: Path) -> None:
    """Inspect the files in the order of their names."""
    import numpy  # noqa: F401 — the engine imports it when it meets the first large file

    from ckptd.checkpoint.inspection import inspect_path

    paths = sorted(directory.iterdir())
    for path in paths[:: max(1, len(paths) // 25)]:
        # Whatever is imported late is imported here, before the hook listens.
        inspect_path(str(path))
    watch = Watch()
    sys.addaudithook(watch)
    for path in paths:
        signal.setitimer(signal.ITIMER_REAL, _PATIENCE_SECONDS)
        watch.events.clear()
        watch.path = str(path)
        start = time.process_time()
        found = inspect_path(str(path))
        seconds = time.process_time() - start
        watch.path = None
        line = {
            "name": path.name,
            "status": found.status,
            "container": found.container,
            "kind": found.kind,
            "tensors": found.tensors.count,
            "findings": [[f.code, f.severity, f.message, list(f.tensors)] for f in found.findings],
            "events": list(watch.events),
            "cpu_seconds": seconds,
            "peak_bytes": _peak_bytes(),
        }
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
