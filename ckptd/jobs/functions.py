"""Training-function files of the operator's directories, read as data and linked to the checkpoints they belong to."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ckptd.checkpoint.functions import TrainingFunction, match_function, read_function

#: A training function is a few kilobytes of source; more is something else.
MAX_BYTES = 1 << 20
#: Files looked at in one directory; a directory of more is no collection of functions.
MAX_FILES = 2_000


@dataclass(frozen=True, slots=True)
class _Known:
    stamp: tuple[int, int, int]
    function: TrainingFunction | None


class FunctionShelf:
    """Keep the training functions of some directories, each file read once for each time it changes.

    Nothing on the shelf is ever run; a file that is no training function is simply not on it.
    """

    def __init__(self, directories: Sequence[Path]) -> None:
        self._directories = tuple(directories)
        self._known: dict[Path, _Known] = {}

    def find(self, model_name: str | None, beside: Path | None = None) -> tuple[Path, TrainingFunction] | None:
        """Find the training function of a model, in the settings' directories and in `functions` beside the checkpoint."""
        if model_name is None:
            return None
        directories = [*self._directories] if beside is None else [*self._directories, beside, beside / "functions"]
        for directory in directories:
            functions = self._read_directory(directory)
            name = match_function(model_name, sorted(path.name for path in functions))
            if name is not None:
                path = directory / name
                return path, functions[path]
        return None

    def _read_directory(self, directory: Path) -> dict[Path, TrainingFunction]:
        found = {}
        try:
            names = [entry.name for entry in os.scandir(directory) if entry.name.endswith(".json")][:MAX_FILES]
        except OSError:  # most checkpoints have no such directory beside them
            return {}
        for name in names:
            if name.endswith("_metadata.json"):
                continue
            path = directory / name
            function = self._read(path)
            if function is not None:
                found[path] = function
        return found

    def _read(self, path: Path) -> TrainingFunction | None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        with open(fd, "rb") as file:  # noqa: PTH123 — a descriptor, opened without following links
            status = os.fstat(fd)
            stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
            known = self._known.get(path)
            if known is not None and known.stamp == stamp:
                return known.function
            function = None
            if stat.S_ISREG(status.st_mode) and status.st_size <= MAX_BYTES:
                text = file.read(MAX_BYTES).decode("utf-8", "replace")
                function = read_function(text)
                if not function.defines_create_model:
                    function = None
        self._known[path] = _Known(stamp, function)
        return function
