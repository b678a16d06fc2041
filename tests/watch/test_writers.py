"""However a file comes to be, it is never handed on half-written: observer, scanner, lease and settle rule together.

The loop below does what the daemon does with one root, with a container that is complete when it ends in "END!".
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ckptd.model import Openness
from ckptd.policy.settle import Incomplete, Ready, SettleRules, Tracked, settle, track
from ckptd.watch.openness import find_writer
from ckptd.watch.scanner import Directory, RegularFile, observe, scan
from ckptd.watch.wanted import compile_wanted
from tests.watch.watching import wait_until, watching

BODY, END = b"w" * 4096, b"END!"
WHOLE = BODY * 4 + END
PTH = compile_wanted((".pth",))
#: Short, as a test should be; pauses below are longer than the first and much shorter than the second.
RULES = SettleRules(settle_seconds=0.05, incomplete_seconds=3.0)


class Intake:
    """Take in what is ready, in a thread, and note the bytes that were there then."""

    def __init__(self, root: Path, *, use_lease: bool) -> None:
        self.taken: dict[str, list[bytes]] = {}
        self.damaged: set[str] = set()
        self._root = os.open(root, os.O_RDONLY)
        self.use_lease = use_lease
        self._waiting: dict[str, Tracked] = {}
        self._done: dict[str, tuple[int, ...]] = {}
        self._stop = threading.Event()

    def run(self, take_hints: Callable[[], dict[str, bool]]) -> None:
        while not self._stop.is_set():
            hints = take_hints()
            for path in [*hints, *[path for path in self._waiting if path not in hints]]:
                self._look(path, closed=hints.get(path, False))
            time.sleep(0.003)

    def stop(self) -> None:
        self._stop.set()
        os.close(self._root)

    def _look(self, path: str, *, closed: bool) -> None:
        seen = observe(self._root, path, PTH)
        if isinstance(seen, Directory):
            for found in scan(self._root, PTH, path).files:
                self._waiting.setdefault(found, Tracked((0, 0, 0, 0, 0), 0.0, closed=False))
        if not isinstance(seen, RegularFile):
            self._waiting.pop(path, None)
            return
        if self._done.get(path) == seen.identity:
            self._waiting.pop(path, None)
            return
        now = time.monotonic()
        tracked = self._waiting[path] = track(self._waiting.get(path), seen.identity, now, closed=closed)
        fd = os.open(path, os.O_RDONLY, dir_fd=self._root)
        try:
            openness = find_writer(fd) if self.use_lease else Openness.UNKNOWN
            complete = os.pread(fd, 4, max(0, seen.identity.size_bytes - 4)) == END
            verdict = settle(tracked, complete=complete, openness=openness, now=now, rules=RULES)
            if isinstance(verdict, Ready | Incomplete):
                self.taken.setdefault(path, []).append(os.pread(fd, 1 << 20, 0))
                self.damaged.update({path} if isinstance(verdict, Incomplete) else ())
                self._done[path] = seen.identity
                del self._waiting[path]
        finally:
            os.close(fd)


class Place:
    """A watched root with an intake that runs."""

    def __init__(self, root: Path, intake: Intake) -> None:
        self.root = root
        self.intake = intake

    def wait_taken(self, path: str = "a.pth") -> list[bytes]:
        return wait_until(lambda: self.intake.taken.get(path), f"{path} to be taken in")

    def assert_taken_once_and_whole(self, path: str = "a.pth", whole: bytes = WHOLE) -> None:
        assert self.wait_taken(path) == [whole]
        assert self.intake.damaged == set()


@pytest.fixture(params=["lease", "no-lease"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """With the lease's answer, and as for another user's files, where nobody knows who writes."""
    root = tmp_path / "root"
    root.mkdir()
    intake = Intake(root, use_lease=request.param == "lease")
    with watching(root) as seen:

        def take_hints() -> dict[str, bool]:
            hints: dict[str, bool] = {}
            while seen.hints:
                path, closed = seen.hints.pop(0)
                hints[path] = hints.get(path, False) or closed
            return hints

        loop = threading.Thread(target=intake.run, args=(take_hints,))
        loop.start()
        yield Place(root, intake)
        intake.stop()
        loop.join()


def test_slow_writer_that_pauses(place):
    """A cluster's file system hangs for longer than the quiet time, in the middle and before the end."""
    with (place.root / "a.pth").open("wb", buffering=0) as file:
        for _ in range(4):
            file.write(BODY)
            time.sleep(2 * RULES.settle_seconds)
        assert place.intake.taken == {}
        file.write(END)
    place.assert_taken_once_and_whole()


def test_writer_that_seeks_back(place):
    """The end is written first and the body last: only an answer about the writer helps there, and the lease gives it."""
    if not place.intake.use_lease:  # then a pause longer than the quiet time is all it takes; the inspection finds out
        return
    with (place.root / "a.pth").open("wb", buffering=0) as file:
        file.seek(4 * len(BODY))
        file.write(END)
        for part in range(4):
            file.seek(part * len(BODY))
            file.write(BODY)
            time.sleep(2 * RULES.settle_seconds)
    place.assert_taken_once_and_whole()


def test_cp(place, tmp_path):
    """Cp writes under the final name, with one descriptor."""
    whole = os.urandom(1 << 19) + END
    (tmp_path / "source").write_bytes(whole)
    subprocess.run(["cp", tmp_path / "source", place.root / "a.pth"], check=True)
    place.assert_taken_once_and_whole(whole=whole)


def test_cp_with_times_of_the_past_and_the_future(place, tmp_path):
    """`cp -p` sets an mtime that says nothing about now."""
    for name, at in (("past.pth", 0), ("future.pth", 4_000_000_000)):
        (tmp_path / name).write_bytes(WHOLE)
        os.utime(tmp_path / name, (at, at))
        subprocess.run(["cp", "-p", tmp_path / name, place.root / name], check=True)
        place.assert_taken_once_and_whole(name)


def test_rsync_like_temporary_file_and_rename(place):
    """Rsync writes `.a.pth.Ab12Cd` in pieces, sets its times, and renames it."""
    temporary = place.root / ".a.pth.Ab12Cd"
    with temporary.open("wb", buffering=0) as file:
        for part in (BODY * 2, BODY * 2, END):
            file.write(part)
            time.sleep(RULES.settle_seconds / 2)
    os.utime(temporary, (1_000_000_000, 1_000_000_000))
    temporary.rename(place.root / "a.pth")
    place.assert_taken_once_and_whole()


def test_scp_like_appending_that_opens_and_closes(place):
    """Each piece is a close of its own: nobody has it open in the pauses, and only the missing end tells."""
    for part in (BODY, BODY * 2, BODY, END):
        with (place.root / "a.pth").open("ab") as file:
            file.write(part)
        time.sleep(2 * RULES.settle_seconds)
    place.assert_taken_once_and_whole()


def test_hard_link_to_a_file_that_is_still_written(place, tmp_path):
    """The link's create event says nothing about its writer, and the writer's close is an event of another directory."""
    with (tmp_path / "outside").open("wb", buffering=0) as file:
        file.write(BODY * 2)
        (place.root / "a.pth").hardlink_to(tmp_path / "outside")
        time.sleep(2 * RULES.settle_seconds)
        assert place.intake.taken == {}
        file.write(BODY * 2 + END)
    place.assert_taken_once_and_whole()


def test_rename_from_outside_while_the_writer_goes_on(place, tmp_path):
    """MOVED_TO says that it was moved, not that its writer is done."""
    with (tmp_path / "outside").open("wb", buffering=0) as file:
        file.write(BODY * 4)
        (tmp_path / "outside").rename(place.root / "a.pth")
        time.sleep(RULES.settle_seconds)
        file.write(END)
    place.assert_taken_once_and_whole()


def test_writer_that_dies_in_the_middle_is_damaged_after_the_long_wait(place):
    """Kill -9 of the training script: the file has no end and never will."""
    code = (
        "import os, signal, sys\n"
        "file = open(sys.argv[1], 'wb', buffering=0)\n"
        "file.write(b'w' * 5000)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, place.root / "a.pth"], check=False)
    time.sleep(3 * RULES.settle_seconds)
    assert place.intake.taken == {}
    assert place.wait_taken() == [b"w" * 5000]
    assert place.intake.damaged == {"a.pth"}


def test_overwrite_in_place_is_taken_again(place):
    """The same name saved each epoch: each state that was whole is seen, none in between."""
    for number in (b"1", b"2"):
        (place.root / "a.pth").write_bytes(number + WHOLE)
        wait_until(lambda n=number: place.intake.taken.get("a.pth", [b""])[-1] == n + WHOLE, "the new state")
    assert place.intake.taken["a.pth"] == [b"1" + WHOLE, b"2" + WHOLE]


def test_many_files_at_once_in_new_directories(place):
    """Directories that come into being while they are filled lose none."""
    names = {f"run{number}/deep/{number}.pth" for number in range(40)}
    for name in names:
        (place.root / name).parent.mkdir(parents=True)
        (place.root / name).write_bytes(WHOLE)
    wait_until(lambda: names <= set(place.intake.taken), "all of them")
    assert {data for states in place.intake.taken.values() for data in states} == {WHOLE}
