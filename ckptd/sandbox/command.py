"""The command line of a worker: a bare interpreter that finds ckptd, and the few packages it needs, without `site`."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

import ckptd

#: `-I -S` leaves out site-packages, the environment and the working directory, so the paths are given one by one.
_BOOTSTRAP = "import sys; n = int(sys.argv[1]); sys.path[:0] = sys.argv[2:2 + n]; import {0}; {0}.main(sys.argv[2 + n:])"


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
    unique = dict.fromkeys(found)
    return (sys.executable, "-I", "-S", "-c", _BOOTSTRAP.format(module), str(len(unique)), *unique)
