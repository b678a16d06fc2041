"""Rows about the running daemon: bulk arrival, reconcile, latency, and doing nothing."""

from __future__ import annotations

import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from bench.files import make_series, make_tree, move_in
from bench.timing import Row, run, time_call
from tests.e2e.running import Daemon, running, wait_for


def at(event: dict[str, Any]) -> float:
    """Give when an event was logged, seconds since the epoch."""
    return datetime.fromisoformat(event["timestamp"]).timestamp()


def count_events(daemon: Daemon, name: str) -> int:
    """Count lines of one event without parsing the rest of the log."""
    return daemon.log.read_bytes().count(f'"{name}"'.encode())


def measure_bulk_scan(place: Path, quick: bool) -> list[Row]:
    """2,000 files of 100 kB moved into a watched root: index and sidecars of all, in the running daemon."""
    count = 200 if quick else 2000
    source = make_series(place / "source", count, 100_000)
    seconds, peers = [], []
    for attempt in range(3):
        copy = place / f"copy{attempt}"
        shutil.copytree(source, copy)
        root = place / f"root{attempt}"
        with running(root, env={"CKPTD_LOG__LEVEL": "info"}) as daemon:
            make_series(root, 1, 50_000)  # the pool is warm: start-up is a figure of its own
            wait_for(lambda: count_events(daemon, "checkpoint.indexed") >= 1, "the first file")
            start = time.time()
            move_in(copy, root / "in")
            wait_for(lambda: count_events(daemon, "checkpoint.indexed") >= count + 1, "all files", 300)
            last = max(at(e) for e in daemon.events() if e["event"] == "checkpoint.indexed")
            seconds.append(last - start)
            assert len(list((root / "in").glob("*_metadata.json"))) == count
        files = [str(path) for path in (root / "in").glob("*.pth")]
        command = ["sha256sum", *files]
        peers.append(time_call(lambda command=command: run(command)))
    mine, peer = statistics.median(seconds), statistics.median(peers)
    ratio = statistics.median(a / b for a, b in zip(seconds, peers, strict=True))
    work = f"bulk scan of {count} files of 100 kB into index + sidecars"
    rows = [
        Row(
            work,
            f"{mine:.2f} s ({mine / count * 1e3:.2f} ms a file)",
            f"sha256sum {peer:.2f} s",
            f"{ratio:.2f}",
            "≤ 1.5",
            ratio <= 1.5,
        )
    ]
    return rows + measure_trackers(source, mine / count)


def measure_trackers(source: Path, mine: float) -> list[Row]:
    """`dvc add` and MLflow's log_artifact for such files, where CKPTD_BENCH_PEERS names an environment that has them."""
    peers = Path(os.environ.get("CKPTD_BENCH_PEERS", "/nonexistent"))
    files = sorted(source.glob("*.pth"))[:50]
    rows = []
    scripts = {
        "dvc add": (
            "import sys,time,subprocess\nfrom dvc.repo import Repo\nfrom pathlib import Path\n"
            "r=Repo.init('.',no_scm=True)\nt=time.perf_counter()\nr.add(sys.argv[1:])\nprint(time.perf_counter()-t)"
        ),
        "MLflow log_artifact": (
            "import sys,time,mlflow\nmlflow.set_tracking_uri('sqlite:///m.db')\nmlflow.set_experiment('x')\n"
            "with mlflow.start_run():\n    mlflow.log_artifact(sys.argv[1])\n    t=time.perf_counter()\n"
            "    for f in sys.argv[1:]:\n        mlflow.log_artifact(f)\n    print(time.perf_counter()-t)"
        ),
    }
    for name, script in scripts.items():
        work = f"the same, a file, against {name}"
        if not (peers / "bin" / "python").exists():
            rows.append(Row(work, f"{mine * 1e3:.2f} ms", "not installed", "—", "", None))
            continue
        work_place = source.parent / name.split()[0]
        shutil.copytree(source, work_place, dirs_exist_ok=True)
        names = [file.name for file in files]
        command = [str(peers / "bin" / "python"), "-c", script, *names]
        done = subprocess.run(command, capture_output=True, text=True, cwd=work_place, check=False)
        if done.returncode != 0:
            rows.append(
                Row(work, f"{mine * 1e3:.2f} ms", f"failed: {done.stderr.strip().splitlines()[-1][:60]}", "—", "", None)
            )
            continue
        each = float(done.stdout.strip().splitlines()[-1]) / len(files)
        rows.append(Row(work, f"{mine * 1e3:.2f} ms", f"{each * 1e3:.2f} ms", f"{mine / each:.3f}", "", None))
    return rows


def walk(directory: str) -> int:
    """Count files with scandir and stat: the floor under every rescan."""
    count = 0
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                count += walk(entry.path)
            else:
                entry.stat(follow_symlinks=False)
                count += 1
    return count


def measure_reconcile(place: Path, quick: bool) -> list[Row]:
    """100,000 unchanged files: a full rescan of the running daemon against the bare walk."""
    count = 10_000 if quick else 100_000
    root = make_tree(place / "root", count)
    env = {
        "CKPTD_LOG__LEVEL": "info",
        "CKPTD_WATCH__INCOMPLETE_SECONDS": "0.1",
        "CKPTD_WATCH__SETTLE_SECONDS": "0.05",
        "CKPTD_SIDECAR__ENABLED": "false",
    }
    with running(root, env=env) as daemon:
        wait_for(
            lambda: count_events(daemon, "checkpoint.rejected") + count_events(daemon, "checkpoint.indexed") >= count,
            "the index",
            900,
        )
        daemon.stop()
    with running(root, env={**env, "CKPTD_WATCH__RECONCILE_SECONDS": "4"}) as daemon:
        wait_for(lambda: count_events(daemon, "scan.finished") >= 5, "four rescans", 200)
        scans = [e for e in daemon.events() if e["event"] == "scan.finished"][1:]
    walks = [time_call(lambda: walk(str(root))) for _ in range(5)]
    mine, peer = statistics.median(e["seconds"] for e in scans), statistics.median(walks)
    work = f"reconcile of {count} unchanged files in the running daemon"
    return [Row(work, f"{mine:.2f} s", f"scandir + stat {peer:.2f} s", f"{mine / peer:.2f}", "≤ 2", mine / peer <= 2)]


def measure_latency(place: Path, quick: bool) -> list[Row]:
    """From the close of a 200 kB file to its commit in the index, one file at a time."""
    count = 40 if quick else 200
    source = make_series(place / "source", count, 200_000)
    root = place / "root"
    closed: dict[str, float] = {}
    with running(root, env={"CKPTD_LOG__LEVEL": "info"}) as daemon:
        chance = random.Random(0)
        for number, path in enumerate(sorted(source.iterdir())):
            content = path.read_bytes()
            with (root / path.name).open("wb") as file:
                file.write(content)
            closed[path.name] = time.time()
            wait_for(lambda n=number: count_events(daemon, "checkpoint.indexed") > n, "the file")
            time.sleep(chance.uniform(0.0, 0.05))
        waits = sorted(at(e) - closed[e["path"]] for e in daemon.events() if e["event"] == "checkpoint.indexed")
    waits = sorted(waits)
    p50, p99 = waits[len(waits) // 2] * 1e3, waits[int(len(waits) * 0.99) - 1] * 1e3
    work = f"closed write → indexed, 200 kB, warm pool, {count} files"
    return [
        Row(work, f"p50 {p50:.1f} ms", "", "", "20 ms", p50 <= 20),
        Row(work, f"p99 {p99:.1f} ms", "", "", "100 ms", p99 <= 100),
    ]


def measure_idle(place: Path, quick: bool) -> list[Row]:
    """The daemon with 10,000 indexed files, doing nothing."""
    count = 1000 if quick else 10_000
    root = place / "root"
    make_series(place / "source", count, 10_000).rename(root)
    seconds = 20 if quick else 60
    with running(root, env={"CKPTD_LOG__LEVEL": "info", "CKPTD_INSPECT__IDLE_SECONDS": "2"}) as daemon:
        wait_for(lambda: count_events(daemon, "checkpoint.indexed") >= count, "the index", 300)
        process = psutil.Process(daemon.pid)
        wait_for(lambda: not process.children(recursive=True), "the workers to end")
        time.sleep(6)
        before, start = sum(process.cpu_times()[:2]), time.monotonic()
        time.sleep(seconds)
        share = (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - start)
        rss = process.memory_info().rss / 2**20
        workers = len(process.children(recursive=True))
    torch = subprocess.run(
        # Not ru_maxrss: that begins with what the process had before exec, which is the memory of this one.
        [sys.executable, "-c", "import torch; print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"],
        capture_output=True,
        text=True,
        check=True,
    )
    peer = int(json.loads(torch.stdout)) / 1024
    work = f"idle daemon, {count} files"
    return [
        Row(work, f"{rss:.0f} MiB RSS", f"import torch {peer:.0f} MiB", f"{rss / peer:.2f}", "≤ 80 MB", rss * 2**20 <= 80e6),
        Row(work, f"{share * 100:.3f} % CPU", "", "", "< 0.1 %", share < 0.001),
        Row(work, f"{workers} workers", "", "", "0", workers == 0),
    ]
