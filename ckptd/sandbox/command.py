"""The command line of a worker: a bare interpreter that finds ckptd, and the packages it needs, without `site`."""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import ckptd

#: `-I -S` leaves out site-packages, the environment and the working directory, so the paths are given one by one.
_BOOTSTRAP = "import sys; n = int(sys.argv[1]); sys.path[{1}] = sys.argv[2:2 + n]; import {0}; {0}.main(sys.argv[2 + n:])"
#: Before the standard library, or behind it: of all that is installed, something may bear the name of one of its modules.
_FIRST, _LAST = ":0", "len(sys.path):"
#: Torch's imports make no garbage, and to look for it takes a tenth of their time; a job's process looks again.
_NO_COLLECTION = "import gc; gc.disable(); "


def worker_command(module: str, *, needs: Sequence[str] = ("isal", "numpy"), paths: Sequence[str] = ()) -> tuple[str, ...]:
    """Build the command line of a worker that runs `module.main(arguments)`.

    Args:
        module: dotted name.
        needs: packages whose directories the worker has to know; one that is not installed is left out.
        paths: further directories to import from.
    """
    found = [str(Path(ckptd.__file__).parents[1]), *paths]
    for name in needs:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            found.append(str(Path(spec.origin).parents[1]))
    return _command(module, found, _FIRST, ())


def torch_command(module: str, packages: Sequence[str] = (), *, paths: Sequence[str] = ()) -> tuple[str, ...]:
    """Build the command line of a worker that finds all that is installed here, as torch and what it needs are.

    What `.pth` files would run or add is left out.  Garbage is not collected before the first job.

    Args:
        module: dotted name; its `main(arguments)` is run.
        packages: joined by commas, the first of those arguments.
        paths: further directories to import from.
    """
    root = str(Path(ckptd.__file__).parents[1])
    found = [*paths, *packages_on_path(), sysconfig.get_path("purelib"), root]
    return _command(module, found, _LAST, [",".join(packages)], first=_NO_COLLECTION)


def packages_on_path() -> tuple[str, ...]:
    """Tell the directories of `sys.path` into which packages are installed."""
    return tuple(path for path in sys.path if Path(path).name in ("site-packages", "dist-packages"))


def _command(module: str, found: Sequence[str], place: str, arguments: Sequence[str], *, first: str = "") -> tuple[str, ...]:
    unique = dict.fromkeys(found)
    code = first + _BOOTSTRAP.format(module, place)
    return (sys.executable, "-I", "-S", "-c", code, str(len(unique)), *unique, *arguments)
