"""Rows about pack archives: a fine-tune series beside restic, one file, restoring beside `cp`, memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.files import make_large
from bench.rows_archive import find_weights, make_members
from bench.timing import Row, run, time_call
from ckptd.archive.interface import Member
from ckptd.archive.pack.format import PackFormat

_NAME = "models_archive_20260102.pack"
_ROUNDS = 3
#: Prints the memory, MiB, that writing, verifying and restoring one file took beyond what the process had, libraries included.
_PEAK = """
import sys
from pathlib import Path
from bench import rows_pack
from bench.rows_archive import make_members
members = make_members([Path(sys.argv[1])])
def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
Path("/proc/self/clear_refs").write_text("5")
start = peak()
shelf = rows_pack.Shelf(Path(sys.argv[2]))
shelf.write(members)
shelf.verify()
shelf.restore(members[0].name, shelf.place / "restored")
print(peak() - start)
"""


class Shelf:
    """A directory with one pack archive, which is written over and over."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._pack = PackFormat()
        self._directory = -1
        self.clear()

    def clear(self) -> None:
        """Remove all of it, and let the disk come to rest."""
        if self._directory >= 0:
            os.close(self._directory)
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir()
        self._directory = os.open(self.place, os.O_RDONLY)
        os.sync()

    def write(self, members: Sequence[Member]) -> int:
        """Write the archive; its bytes, with those of the objects."""
        receipt = self._pack.write(self._directory, _NAME, members, now=0.0, free_bytes=1, progress=lambda _: None)
        return receipt.size_bytes

    def verify(self) -> None:
        """Read it back from the disk."""
        assert self._pack.verify(self._directory, _NAME, lambda _: None).is_whole

    def restore(self, member: str, target: Path) -> None:
        """Bring one member back."""
        fd = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        self._pack.restore(self._directory, _NAME, member, fd)
        os.close(fd)


def make_fine_tunes(directory: Path, weights: Path, count: int = 8) -> list[Path]:
    """Save a series: the last convolution and the classifier differ by relative noise of 1e-3, all else is frozen."""
    import torch

    directory.mkdir()
    state = torch.load(weights, weights_only=True)
    for number in range(count):
        torch.manual_seed(number)
        tuned = {
            key: value * (1 + 1e-3 * torch.randn_like(value))
            if key.startswith(("conv6", "classifier")) and value.is_floating_point()
            else value
            for key, value in state.items()
        }
        torch.save(tuned, directory / f"tuned_epoch_{number}.pth")
    return sorted(directory.iterdir())


def measure_pack(place: Path, quick: bool) -> list[Row]:
    """A series of 8 fine-tunes, one file, one member, and the memory that it takes."""
    weights = find_weights("tiny.pth" if quick else "full.pth")
    series = make_fine_tunes(place / "series", weights)
    shelf = Shelf(place / "archives")
    rows = _measure_series(place, shelf, series)
    rows += _measure_one(place, shelf, weights)
    rows += _measure_one_of_many(place, shelf, series)
    return rows + _measure_memory(place, quick)


def _measure_series(place: Path, shelf: Shelf, series: Sequence[Path]) -> list[Row]:
    members, total = make_members(series), sum(path.stat().st_size for path in series)
    work = f"pack of 8 fine-tunes, {total / 1e6:.0f} MB"
    written, verified, peers = [], [], []
    for _ in range(_ROUNDS):  # in turn, so that both see the same machine
        shelf.clear()
        written.append(time_call(lambda: shelf.write(members)))
        verified.append(time_call(shelf.verify))
        peers += _time_restic(place / "restic", series[0].parent)
    size = _size_of(shelf.place) / total
    mine, back = min(written), min(verified)
    rows = [Row(f"{work}, its size", f"{size:.4f} of them", *_peer_size(place, total), "≤ 0.43", size <= 0.43)]
    if peers:
        met, shown = mine < min(peers), f"restic {min(peers):.2f} s"
        rows.append(Row(f"{work}, written and synced", f"{mine:.2f} s", shown, f"{mine / min(peers):.2f}", "< 1", met))
    else:
        rows.append(Row(f"{work}, written and synced", f"{mine:.2f} s", "restic is not installed", "", "< 1", None))
    shown = f"{total / back / 1e9:.2f} GB/s"
    return [*rows, Row(f"{work}, every byte read back and compared", f"{back:.2f} s", "", shown, "", None)]


def _time_restic(repository: Path, directory: Path) -> list[float]:
    if shutil.which("restic") is None:
        return []
    shutil.rmtree(repository, ignore_errors=True)
    command = ["env", "RESTIC_PASSWORD=bench", "restic", "--quiet", "--repo", str(repository)]
    run([*command, "init"])
    os.sync()
    return [time_call(lambda: run([*command, "backup", str(directory)]))]


def _peer_size(place: Path, total: int) -> tuple[str, str]:
    if not (place / "restic").exists():
        return "restic is not installed", ""
    size = _size_of(place / "restic") / total
    return "restic", f"{size:.2f} of them"


def _size_of(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def _measure_one(place: Path, shelf: Shelf, weights: Path) -> list[Row]:
    """One file: its size, and how fast it comes back, beside `cp` of the file."""
    members, size, target = make_members([weights]), weights.stat().st_size, place / "restored.pth"
    shelf.clear()
    ratio = shelf.write(members) / size
    mine, peer = [], []
    for _ in range(5 * _ROUNDS):
        target.unlink(missing_ok=True)
        mine.append(time_call(lambda: shelf.restore(members[0].name, target)))
        target.unlink()
        peer.append(time_call(lambda: run(["cp", str(weights), str(target)])))
    best, copied = min(mine), min(peer)
    work = f"pack of {weights.name}, {size / 1e6:.0f} MB"
    return [
        Row(f"{work}, its size", f"{ratio:.4f} of it", "", "", "≤ 0.66", ratio <= 0.66),
        Row(
            f"{work}, restored, digest checked",
            f"{best:.3f} s",
            f"`cp` {copied:.3f} s",
            f"{best / copied:.2f}",
            "≤ 3",
            best <= 3 * copied,
        ),
        Row("the same", f"{size / best / 1e9:.2f} GB/s", "", "", "≥ 0.7 GB/s", size / best >= 0.7e9),
    ]


def _measure_one_of_many(place: Path, shelf: Shelf, series: Sequence[Path]) -> list[Row]:
    """One member of 100: what is read for it is what it is made of."""
    copies = place / "copies"
    copies.mkdir()
    paths = [Path(shutil.copyfile(series[number % len(series)], copies / f"{number}.pth")) for number in range(100)]
    members = make_members(paths)
    shelf.clear()
    shelf.write(members)
    before = _bytes_read()
    shelf.restore(members[50].name, place / "restored.pth")
    share = (_bytes_read() - before) / members[50].size_bytes
    shutil.rmtree(copies)
    return [Row("one member of 100 restored, bytes read", f"{share:.2f} of its own", "", "", "≤ 1", share <= 1)]


def _bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split("rchar:")[1].split()[0])


def _measure_memory(place: Path, quick: bool) -> list[Row]:
    path = make_large(place / "large.pth", 50_000_000 if quick else 1_000_000_000)
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, str(path), str(place / "peak")], capture_output=True, text=True, check=True
    )
    grown = float(done.stdout)
    work = f"peak memory of pack, {path.stat().st_size / 1e6:.0f} MB written, verified and restored, above its start"
    return [Row(work, f"{grown:.0f} MiB", "", "", "≤ 200 MiB", grown <= 200)]
