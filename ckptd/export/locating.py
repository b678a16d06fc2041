"""Find the file that `import package.module` would read, without importing or running anything.

The same finders that Python's own import uses are asked for each part of the name; a package's `__init__` is never run, so that
what it would do to its own `__path__` is not seen.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Sequence
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
    SourcelessFileLoader,
)

from ckptd.sandbox.command import packages_on_path

#: In the order of Python's own.  Source: CPython, Lib/importlib/_bootstrap_external.py, `_get_supported_file_loaders`.
_LOADERS = (
    (ExtensionFileLoader, EXTENSION_SUFFIXES),
    (SourceFileLoader, SOURCE_SUFFIXES),
    (SourcelessFileLoader, BYTECODE_SUFFIXES),
)


def find_module_file(module: str, search: Sequence[str]) -> str | None:
    """Give the file of a module, None where there is none; a module that is built into Python has none.

    Args:
        module: identifiers joined by dots.
        search: directories, the strongest first.
    """
    parts = module.split(".")
    if parts[0] in sys.builtin_module_names:
        return None
    spec = None
    for part in parts:
        spec = _find_part(part, search)
        if spec is None:
            return None
        search = tuple(spec.submodule_search_locations or ())
    return spec.origin if spec is not None and spec.has_location else None


def environment_paths() -> tuple[str, ...]:
    """Give the directories that a worker searches behind the trusted ones: the standard library and installed packages.

    The present directory and PYTHONPATH are not among them, nor what .pth files name: a worker has none of these.
    """
    library = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
    dynamic = [os.path.join(path, "lib-dynload") for path in library]
    paths = (*library, *dynamic, *packages_on_path(), sysconfig.get_path("purelib"))
    return tuple(dict.fromkeys(path for path in paths if os.path.isdir(path)))


def _find_part(name: str, search: Sequence[str]) -> ModuleSpec | None:
    """Find one part of a dotted name; directories without `__init__` count together, when nothing else is found."""
    portions: list[str] = []
    for directory in search:
        # A finder of our own: the interpreter's remember what a directory held a moment ago.
        spec = FileFinder(directory, *_LOADERS).find_spec(name)
        if spec is not None and spec.loader is not None:
            return spec
        if spec is not None:
            portions.extend(spec.submodule_search_locations or ())
    if not portions:
        return None
    together = ModuleSpec(name, None, is_package=True)
    together.submodule_search_locations = portions
    return together
