"""A daemon that says at its end how many of its kind are in memory: `python -m tests.e2e.counting run …` is `ckptd run …`."""

from __future__ import annotations

import gc
import sys
from pathlib import Path


def main() -> int:
    """Run, and write the number beside the first root."""
    from ckptd import daemon
    from ckptd.cli import main as ckptd

    end = daemon.Daemon._tell_end

    def count(self: daemon.Daemon) -> None:
        gc.unfreeze()  # a daemon freezes what it is made of, and what is frozen is not among the objects
        alive = sum(isinstance(thing, daemon.Daemon) for thing in gc.get_objects())
        Path(self._engine.roots[0].path + ".alive").write_text(str(alive))
        end(self)

    daemon.Daemon._tell_end = count
    return ckptd(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
