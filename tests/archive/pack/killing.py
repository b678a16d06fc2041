"""Kill a writer before each of its changes to the disk, and look at what it leaves; run as a process of its own.

    python -m tests.archive.pack.killing {write|remove} DIRECTORY

Prints how many kills there were.  A process without threads forks the writers, so torch is never imported here.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from ckptd.archive.pack import objects
from ckptd.archive.pack.codec import _blosc2
from ckptd.archive.pack.format import collect_garbage
from tests.archive.pack.packing import PACK, make_bytes, object_files, pack, verify
from tests.storage.forks import killed_at_every_call


class Scene:
    """Two archives that share objects, and a third one that is to be written and shares some, too."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.home = place / "archives"
        self.kept = place / "kept"
        for name, seed in (("one", 1), ("two", 2), ("three", 3), ("four", 4)):
            (place / name).write_bytes(make_bytes(seed, 5_000))
        self.home.mkdir()
        self._open()
        pack(self.archives, "a.pack", [place / "one", place / "two"])
        pack(self.archives, "b.pack", [place / "two", place / "three"])
        os.close(self.archives)
        shutil.copytree(self.home, self.kept)
        self._open()

    def _open(self) -> None:
        self.archives = os.open(self.home, os.O_RDONLY)

    def prepare(self) -> None:
        """Put everything back as it was."""
        os.close(self.archives)
        shutil.rmtree(self.home)
        shutil.copytree(self.kept, self.home)
        self._open()

    def write(self) -> None:
        """Write the third archive."""
        pack(self.archives, "c.pack", [self.place / "two", self.place / "three", self.place / "four"])

    def remove(self) -> None:
        """Remove the first one."""
        PACK.remove(self.archives, "a.pack")

    def check(self, number: int) -> None:
        """Every archive that has its name is whole; what nobody uses goes; then the same work can be done."""
        names = sorted(path.name for path in self.home.glob("*.pack"))
        assert {"b.pack"} <= set(names), (number, names)
        for name in names:
            assert verify(self.archives, name).is_whole, (number, name)
        collect_garbage(self.archives)
        for name in names:
            assert verify(self.archives, name).is_whole, (number, name)
        hidden = [path.name for path in (self.home / "pack").iterdir() if path not in object_files(self.home)]
        assert hidden == [], (number, hidden)
        for name in names:
            PACK.remove(self.archives, name)
        assert object_files(self.home) == [], number
        self.write()
        assert verify(self.archives, "c.pack").is_whole, number


def main(what: str, place: Path) -> None:
    """Kill one of the two."""
    _blosc2()
    objects._TOGETHER_BYTES = 1  # each object by a write of its own
    scene = Scene(place)
    action = {"write": scene.write, "remove": scene.remove}[what]
    print(killed_at_every_call(action, scene.prepare, scene.check))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
