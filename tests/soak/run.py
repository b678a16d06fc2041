"""Run it: `python -m tests.soak.run --seconds 1200 --seed 1`; exit 1 when a line of the table is not as it must be.

Needs root: the root is a small file system of its own, so that it can be filled.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from tests.e2e.running import Daemon, ckptd, wait_for
from tests.soak import actors
from tests.soak.actors import World
from tests.soak.verdict import Line, Sample, count_descriptors, count_files, find_unindexed, judge

PROJECT = Path(__file__).parents[2]
ARRIVALS_A_SECOND = 20
#: The share of the time in which everything happens; then training alone goes on, and the memory of one daemon is measured.
_WILD = 0.6
#: Room for what is kept of 24,000 checkpoints; the index remembers those as well that are gone.
_SIZE = "1g"

SETTINGS = {
    "CKPTD_WATCH__SETTLE_SECONDS": "0.2",
    "CKPTD_WATCH__GUARD_SECONDS": "1",
    "CKPTD_WATCH__RECONCILE_SECONDS": "20",
    "CKPTD_WATCH__INCOMPLETE_SECONDS": "5",
    "CKPTD_POLICY__MODE": "apply",
    "CKPTD_POLICY__KEEP_LAST": "20",
    "CKPTD_POLICY__KEEP_BEST": "0",
    "CKPTD_POLICY__KEEP_WITHIN_SECONDS": "0",
    "CKPTD_POLICY__MIN_AGE_SECONDS": "10",
    "CKPTD_POLICY__MAX_FRACTION": "1",
    "CKPTD_POLICY__LADDER": '["trash"]',
    "CKPTD_INSPECT__IDLE_SECONDS": "2",
    "CKPTD_TRASH__GRACE_SECONDS": "20",
    "CKPTD_SCHEDULE__RETENTION": "every 7s",
    "CKPTD_SCHEDULE__PURGE": "every 11s",
    "CKPTD_SCHEDULE__SCRUB": "every 13s",
    "CKPTD_SCHEDULE__REPORT": "every 29s",
    "CKPTD_SCHEDULE__DRILL": "",
    "CKPTD_EXPORT__TARGETS": '["safetensors"]',
    "CKPTD_EXPORT__QUIET_SECONDS": "5",
    "CKPTD_EXPORT__MIN_FREE_BYTES": "4MiB",
}


class ClockedDaemon(Daemon):
    """A daemon whose clock the actors set; each start has a log of its own, beside the disk that is filled."""

    module = "tests.soak.clocked"

    def __init__(self, root: Path, logs: Path, env: dict[str, str]) -> None:
        super().__init__(root, env=env, cwd=PROJECT)
        self.logs = logs
        self.starts = 0

    def start(self) -> Daemon:
        """Start with a new log."""
        self.starts += 1
        self.log = self.logs / f"{self.starts}.log"
        return super().start()


def main(argv: Sequence[str] | None = None) -> int:
    """Do it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1_200.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="ckptd-soak-") as place:
        lines = soak(Path(place), options.seconds, options.seed)
    width = max(len(line.what) for line in lines)
    for line in lines:
        print(f"{' ' if line.is_right else '!'} {line.what:<{width}}  {line.value}")
    return 0 if all(line.is_right for line in lines) else 1


def soak(place: Path, seconds: float, seed: int) -> list[Line]:
    """Let everything happen for some time, and say what is left of it.

    Args:
        place: a directory.
        seconds: how long.
        seed: of all chance.
    """
    clock = place / "clock"
    hostile = actors.build_hostile(place, place / "canary")
    with _disk(place / "disk") as root:
        daemon = ClockedDaemon(root, place, {**SETTINGS, "CKPTD_SOAK_CLOCK": str(clock)})
        daemon.start()
        world = World(root, clock, daemon, random.Random(seed), hostile)
        return _live(world, seconds)


def _live(world: World, seconds: float) -> list[Line]:
    daemon = world.daemon
    try:
        begin = time.monotonic()
        _disturb(world, begin + seconds * _WILD)
        _calm(world)
        first = count_descriptors(daemon.pid)
        samples = _train(world, begin + seconds)
        _settle(world)
        return judge(world, samples, first)
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.kill()


def _disturb(world: World, until: float) -> None:
    """Let training save, and everything else happen beside it."""
    beat = 1 / ARRIVALS_A_SECOND
    due = time.monotonic()
    while time.monotonic() < until:
        actors.save(world)
        actors.free_disk(world)
        for deed in actors.choose(world, beat):
            deed(world)
        due = max(due + beat, time.monotonic() - 1.0)
        time.sleep(max(0.0, due - time.monotonic()))


def _calm(world: World) -> None:
    """Give everything back, and start one last daemon with the right time."""
    while world.ballast is not None:
        actors.free_disk(world)
        time.sleep(0.05)
    world.clock.write_text("0")
    world.note_children()
    world.daemon.kill()
    world.daemon.start()
    world.is_still = True


def _train(world: World, until: float) -> list[Sample]:
    """Let training go on alone; look at the daemon every two seconds."""
    samples: list[Sample] = []
    process = psutil.Process(world.daemon.pid)
    beat, due = 1 / ARRIVALS_A_SECOND, time.monotonic()
    while time.monotonic() < until:
        actors.save(world)
        if not samples or time.monotonic() - samples[-1].at >= 2.0:
            samples.append(Sample(time.monotonic(), process.memory_info().rss, count_files(world.root)))
            world.note_children()
        due += beat
        time.sleep(max(0.0, due - time.monotonic()))
    return samples


def _settle(world: World) -> None:
    """Wait until everything is known and nothing is left to do; what is not so in time stands in the table."""
    with contextlib.suppress(AssertionError):
        wait_for(lambda: _is_waited_for(world) == 0 and not find_unindexed(world), "the end of the work", patience=300.0)


def _is_waited_for(world: World) -> int:
    """Ask the daemon itself how many files wait.  Exports may: 20 a second are more than one core makes beside all else."""
    waiting: int = ckptd("--root", world.root, "status", check=False)["waiting"]
    return waiting


@contextlib.contextmanager
def _disk(place: Path) -> Iterator[Path]:
    """Give a root on a small file system of its own."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "ckptd-soak", place], check=True)
    try:
        root = place / "models"
        root.mkdir()
        yield root
    finally:
        subprocess.run(["umount", "-l", place], check=True)


if __name__ == "__main__":
    sys.exit(main())
