"""Import from trusted directories, and from their sources alone.

Python prefers the bytecode in `__pycache__` to the source beside it when the two agree on size and time, and both can be
forged.  Such a directory is often open to a group where the sources are not, and no person reads it; so it isn't read here.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, ExtensionFileLoader, FileFinder, SourceFileLoader
from typing import Any, NoReturn


class SourceOnlyLoader(SourceFileLoader):
    """Compile each source anew, and write no bytecode.

    Source: CPython, Lib/importlib/_bootstrap_external.py, `SourceLoader.get_code`: without the source's time it neither looks
    for bytecode nor writes any.
    """

    def path_stats(self, path: Any) -> NoReturn:
        """Tell nothing about the source's time."""
        raise OSError(path)


def search_first(directories: Sequence[str]) -> None:
    """Let modules be imported from trusted directories before all others, for the rest of this process."""
    new = [path for path in directories if path not in sys.path]
    if not new:
        return
    sys.path_hooks.insert(0, _hook(tuple(new)))
    for path in [path for path in sys.path_importer_cache if _lies_in(path, new)]:
        del sys.path_importer_cache[path]
    sys.path[:0] = new
    importlib.invalidate_caches()


def _hook(directories: tuple[str, ...]) -> Callable[[str], FileFinder]:
    def find_in(path: str) -> FileFinder:
        if not _lies_in(path, directories):
            raise ImportError(path)
        return FileFinder(path, (ExtensionFileLoader, EXTENSION_SUFFIXES), (SourceOnlyLoader, SOURCE_SUFFIXES))

    return find_in


def _lies_in(path: str, directories: Sequence[str]) -> bool:
    return any(path == directory or path.startswith(directory.rstrip("/") + "/") for directory in directories)
