"""What is left when the disturbers have gone: everything is indexed, nothing is torn, nothing leaks."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil

from ckptd.index.store import Store
from ckptd.model import GONE_STATES, Record
from tests.e2e.running import ckptd, has_ended
from tests.soak.actors import World

#: Memory that one daemon may gain while it is left alone with the arrivals, bytes a minute: an hour of it would be 15 MB.
MOST_SLOPE_BYTES = 256 << 10
#: What each file that lies there takes, at most; 1.1 kB were measured for 10,000 of them.
FILE_BYTES = 1_300


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table.

    Attributes:
        what: in words.
        value: as it is shown.
        is_right: False fails the run.
    """

    what: str
    value: str
    is_right: bool = True


class Sample(NamedTuple):
    """What was seen of a daemon.

    Attributes:
        at: monotonic seconds.
        memory_bytes: resident.
        files: how many the index has as present.
    """

    at: float
    memory_bytes: int
    files: int


def count_files(root: Path) -> int:
    """Ask the index how many files lie there."""
    with closing(sqlite3.connect(f"file:{root}/.ckptd/index.sqlite?mode=ro", uri=True)) as index:
        marks = ", ".join(f"'{state.value}'" for state in GONE_STATES)
        return int(index.execute(f"SELECT count(*) FROM places WHERE state NOT IN ({marks})").fetchone()[0])


def find_unindexed(world: World) -> list[str]:
    """Give each file that lies there and is not known with its very content; nothing else may be waited for."""
    store = Store.open(world.root / ".ckptd" / "index.sqlite")
    try:
        known = {record.path: record for record in store.records(None, sort="path", reverse=False, limit=None)}
    finally:
        store.close()
    return [
        f"{path} ({known[path].state.value if path in known else 'unknown'})"
        for path, digest in _digests(world).items()
        if path not in known or not _is_known(known[path], world.root / path, digest)
    ]


def judge(world: World, samples: list[Sample], descriptors_before: int) -> list[Line]:
    """Look at everything once the daemon has nothing to do, and stop it.

    Args:
        world: as the actors left it.
        samples: of the last daemon, while it was left alone with the arrivals.
        descriptors_before: of the last daemon, when it had just begun.
    """
    lines = [Line(what, f"{count:,}") for what, count in sorted(world.deeds.items())]
    unindexed = find_unindexed(world)
    lines.append(Line("checkpoints there", f"{len(_digests(world)):,}"))
    lines.append(_none("not indexed, or with another content", unindexed))
    lines.append(_none("lost: saved, removed by nobody, and neither there nor taken away by the policy", _find_lost(world)))
    lines.append(_none("torn metadata files", _find_torn(world)))
    lines += _count_work(world)
    now, waiting = _count_least(world.daemon.pid), ckptd("--root", world.root, "status")["exporting"]
    told = f"{descriptors_before}, {now} with {waiting} exports that wait or run"
    lines.append(
        Line("descriptors beside those of children, at its start and now", told, now <= descriptors_before + 6 + waiting)
    )
    lines.append(_slope(samples))
    lines.append(_none("log lines that are a traceback", _find_faults(world)))
    status = world.daemon.stop()
    lines.append(Line("exit status of the daemon", str(status), status == 0))
    lines.append(_none("processes left", _find_left(world)))
    lines.append(_none("scratch and temporary files left", _find_scratch(world.root)))
    lines.append(_none("canaries: code out of a file ran", [str(path) for path in world.daemon.log.parent.glob("canary*")]))
    return lines


def _find_faults(world: World) -> list[str]:
    """Give each traceback that a daemon or a job logged; of a killed process the last line may be half a line."""
    logs = (path.read_text(errors="replace").splitlines() for path in world.daemon.log.parent.glob("*.log"))
    return [line[-300:] for lines in logs for line in lines if '"exception"' in line or line.startswith("Traceback")]


def count_descriptors(pid: int) -> int:
    """Count what a process has open, less the socket and the descriptor that it keeps of each child."""
    children = len(psutil.Process(pid).children())
    return len(os.listdir(f"/proc/{pid}/fd")) - 2 * children


def _count_least(pid: int) -> int:
    """Count for two seconds: a job that begins in this moment has pipes that its end takes away."""
    counts = []
    for _ in range(20):
        counts.append(count_descriptors(pid))
        time.sleep(0.1)
    return min(counts)


_WHY_FAILED = "SELECT DISTINCT job, reason FROM job_runs WHERE outcome = 'failed' ORDER BY 1, 2 LIMIT 10"


def _count_work(world: World) -> list[Line]:
    """Say what the daemons did, so that nobody takes a quiet run for a good one."""
    with closing(sqlite3.connect(f"file:{world.root}/.ckptd/index.sqlite?mode=ro", uri=True)) as index:
        events = dict(index.execute("SELECT what, count(*) FROM audit GROUP BY what"))
        runs = dict(index.execute("SELECT job || ' ' || outcome, count(*) FROM job_runs GROUP BY 1"))
        reasons = [f"{job}: {reason}" for job, reason in index.execute(_WHY_FAILED)]
        contents, size = (
            index.execute("SELECT count(*) FROM contents").fetchone()[0],
            os.path.getsize(f"{world.root}/.ckptd/index.sqlite"),
        )
    wanted = ("checkpoint.ready", "checkpoint.rejected", "checkpoint.trashed", "checkpoint.purged", "export.verified")
    lines = [Line(f"audit: {what}", f"{events.get(what, 0):,}") for what in wanted]
    lines.append(Line("index", f"{size / 1e6:.1f} MB for {contents:,} contents"))
    lines.append(Line("runs of jobs", ", ".join(f"{name} {count}" for name, count in sorted(runs.items()))))
    return [*lines, *(Line("a job failed", reason[:200]) for reason in reasons)]


def _none(what: str, found: list[str]) -> Line:
    shown = ", ".join(found[:3]) + (" …" if len(found) > 3 else "")
    return Line(what, f"{len(found)}" + (f" ({shown})" if found else ""), not found)


def _slope(samples: list[Sample]) -> Line:
    """Fit lines through memory and files of the later half: the first minutes fill caches.

    What lies there takes memory, and what is gone may take none.
    """
    late = samples[len(samples) // 2 :]
    if len(late) < 3:
        return Line("memory", "too short to tell")
    memory = _fit([(one.at, one.memory_bytes) for one in late])
    files = _fit([(one.at, one.files) for one in late])
    minutes = (late[-1].at - late[0].at) / 60
    text = (
        f"{late[-1].memory_bytes / 1e6:.1f} MB, {memory / 1024:+.0f} KiB a minute over {minutes:.1f} min, "
        f"in which the files there went from {late[0].files:,} to {late[-1].files:,}"
    )
    # In the short form two minutes of arrivals are all there is: a page here or there would make the slope.
    is_flat = memory - FILE_BYTES * max(0.0, files) <= MOST_SLOPE_BYTES
    return Line("memory of the daemon", text, is_flat or minutes < 3)


def _fit(points: list[tuple[float, int]]) -> float:
    """Give the slope of the line through points by least squares, in units a minute."""
    mean_t = sum(at for at, _ in points) / len(points)
    mean = sum(value for _, value in points) / len(points)
    spread = sum((at - mean_t) ** 2 for at, _ in points) or 1.0
    return 60 * sum((at - mean_t) * (value - mean) for at, value in points) / spread


def _digests(world: World) -> dict[str, str]:
    found = {}
    for path in _find_shown(world.root, ".pth"):
        relative = path.relative_to(world.root)
        if relative.parts[0] != "archives":
            with suppress(FileNotFoundError):  # the policy took it away just now
                found[str(relative)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _find_shown(root: Path, ending: str) -> Iterator[Path]:
    """Give each file that is not hidden; `rglob` would end where a directory of the trash goes while it is walked."""
    for directory, names, files in os.walk(root):
        names[:] = [name for name in names if not name.startswith(".")]
        yield from (Path(directory, file) for file in files if file.endswith(ending) and not file.startswith("."))


def _is_known(record: Record, path: Path, digest: str) -> bool:
    """Say whether the index speaks of this very content; what was not read to its end has no digest, but a size and a time."""
    if record.sha256 is not None:
        return record.sha256 == digest
    try:
        seen = path.stat()
    except FileNotFoundError:
        return True
    return (record.identity.size_bytes, record.identity.mtime_ns) == (seen.st_size, seen.st_mtime_ns)


def _find_lost(world: World) -> list[str]:
    # In this order: the index says that the policy takes a file away before the file goes.
    missing = [path for path in world.saved if not (world.root / path).exists() and path not in world.mine]
    store = Store.open(world.root / ".ckptd" / "index.sqlite")
    try:
        places = store.load_places(str(world.root))
        gone = {path for path, place in places.items() if place.state in GONE_STATES}
    finally:
        store.close()
    return [path for path in missing if path not in gone]


def _find_torn(world: World) -> list[str]:
    torn = []
    for path in _find_shown(world.root, "_metadata.json"):
        try:
            json.loads(path.read_text())
        except FileNotFoundError:
            continue
        except ValueError:
            torn.append(str(path.relative_to(world.root)))
    return torn


def _find_left(world: World) -> list[str]:
    """Give each process of a daemon that outlived it."""
    left = [child for child in world.children if not has_ended(child)]
    _, left = psutil.wait_procs(left, timeout=10)
    return [f"{child.pid} {_name(child)}" for child in left]


def _name(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())[:60]
    return "which has ended since"


def _find_scratch(root: Path) -> list[str]:
    found = [*root.rglob(".ckptd-*")]
    found += [path for path in (root / ".ckptd" / "scratch").rglob("*") if path.is_file()]
    return [str(path.relative_to(root)) for path in found]
