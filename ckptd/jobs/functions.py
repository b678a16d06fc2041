"""Training-function files of the operator's directories, read as data and linked to the checkpoints they belong to."""

from __future__ import annotations

import os
import stat
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ckptd.checkpoint.functions import TrainingFunction, match_function, read_function

#: A training function is a few kilobytes of source; more is something else.
MAX_BYTES = 1 << 20
#: Files looked at in one directory; a directory of more is no collection of functions.
MAX_FILES = 2_000
#: Bytes newly read in one look, in the loop's own time: 16 MiB of JSON take it a good half second.
MAX_LOOK_BYTES = 16 << 20
#: How long a look at a directory is good for.  The daemon is told of changes before; a directory outside of the roots is not
#: watched.  Each sidecar that we write changes the directory, so that its own times say nothing.
FRESH_SECONDS = 10.0
#: Directories remembered at once.
MAX_DIRECTORIES = 1_000


@dataclass(frozen=True, slots=True)
class _Known:
    stamp: tuple[int, int, int]
    function: TrainingFunction | None


@dataclass(frozen=True, slots=True)
class _Looked:
    """What lay in a directory when it was looked at; files that are no functions are remembered as such."""

    at: float
    files: dict[str, _Known]
    functions: dict[str, TrainingFunction]


class FunctionShelf:
    """Keep the training functions of some directories, each file read once for each time it changes.

    Nothing on the shelf is ever run; a file that is no training function is simply not on it.

    Args:
        directories: the operator's.
        clock: monotonic seconds.
    """

    def __init__(self, directories: Sequence[Path], clock: Callable[[], float] = time.monotonic) -> None:
        self._directories = tuple(map(os.fspath, directories))
        self._clock = clock
        self._looked: OrderedDict[str, _Looked] = OrderedDict()

    def find(self, model_name: str | None, beside: str | None = None) -> tuple[Path, TrainingFunction] | None:
        """Find the training function of a model, in the settings' directories and in `functions` beside the checkpoint."""
        if model_name is None:
            return None
        directories = self._directories if beside is None else (*self._directories, beside, beside + "/functions")
        for directory in directories:
            functions = self._look(directory).functions
            name = match_function(model_name, sorted(functions)) if functions else None
            if name is not None:
                return Path(directory, name), functions[name]
        return None

    def forget(self, directory: str) -> None:
        """Look at a directory anew at the next question: something changed in it."""
        looked = self._looked.get(directory)
        if looked is not None:
            self._looked[directory] = _Looked(float("-inf"), looked.files, looked.functions)

    def _look(self, directory: str) -> _Looked:
        before, now = self._looked.get(directory), self._clock()
        if before is not None and now - before.at < FRESH_SECONDS:
            return before
        files = _read_directory(directory, {} if before is None else before.files)
        functions = {name: known.function for name, known in files.items() if known.function is not None}
        self._looked[directory] = looked = _Looked(now, files, functions)
        self._looked.move_to_end(directory)
        if len(self._looked) > MAX_DIRECTORIES:
            self._looked.popitem(last=False)
        return looked


def _read_directory(directory: str, before: dict[str, _Known]) -> dict[str, _Known]:
    """Read each JSON file that is new or changed; metadata of checkpoints is none of ours here."""
    try:
        with os.scandir(directory) as entries:
            names = [
                entry.name for entry in entries if entry.name.endswith(".json") and not entry.name.endswith("_metadata.json")
            ]
    except OSError:  # most checkpoints have no such directory beside them
        return {}
    found: dict[str, _Known] = {}
    left = MAX_LOOK_BYTES
    for name in names[:MAX_FILES]:
        known = _read(f"{directory}/{name}", before.get(name), left)
        if known is not None:
            found[name] = known
            left -= known.stamp[1] if known is not before.get(name) else 0
    return found


def _read(path: str, before: _Known | None, most_bytes: int) -> _Known | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with open(fd, "rb") as file:  # noqa: PTH123 — a descriptor, opened without following links
        status = os.fstat(fd)
        stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
        if before is not None and before.stamp == stamp:
            return before
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
            return _Known((status.st_ino, 0, status.st_mtime_ns), None)
        if status.st_size > most_bytes:
            return None  # the next look goes on
        try:
            function = read_function(file.read(MAX_BYTES).decode("utf-8", "replace"))
        except OSError:
            return None
        return _Known(stamp, function if function.defines_create_model else None)
