"""A kill at any moment costs a repetition and nothing else.

The short form runs always; `make soak` sets CKPTD_SOAK_KILLS=200 and CKPTD_SOAK_FILES=500.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from pathlib import Path

import psutil

from tests.e2e.running import ckptd, running, wait_for

KILLS = int(os.environ.get("CKPTD_SOAK_KILLS", "6"))
FILES = int(os.environ.get("CKPTD_SOAK_FILES", "60"))


def write_series(directory: Path, count: int, stop: threading.Event, pause: float) -> None:
    """Save `count` checkpoints of different content, the way torch.save does, at an even pace."""
    import torch

    for number in range(count):
        if stop.is_set():
            return
        torch.manual_seed(number)
        torch.save(
            {"weight": torch.randn(64, 64), "number": torch.tensor(number)}, directory / f"run{number % 7}_epoch_{number}.pth"
        )
        time.sleep(pause)


def test_every_file_is_indexed_once_whenever_the_daemon_is_killed(tmp_path):
    """SIGKILL at random moments while files arrive: all indexed once, no sidecar torn, no worker and no temporary file left."""
    models = tmp_path / "trained_models"
    chance = random.Random(20261124)
    stop = threading.Event()
    with running(models, env={"CKPTD_WATCH__SETTLE_SECONDS": "0.05"}) as daemon:
        pause = KILLS * 0.9 / FILES
        writer = threading.Thread(target=write_series, args=(models, FILES, stop, pause))
        writer.start()
        workers: list[psutil.Process] = []
        try:
            for _ in range(KILLS):
                time.sleep(chance.uniform(0.0, 0.6))
                workers += psutil.Process(daemon.pid).children(recursive=True)
                daemon.kill()
                daemon.start()
        finally:
            writer.join(300)
        names = {path.name for path in models.glob("*.pth")}
        assert len(names) == FILES
        # A file that was twice in the hands of a worker that was killed is tried a third time after a minute.
        wait_for(lambda: {r["path"] for r in daemon.records().values() if r["status"] == "ok"} == names, "all files", 150)
        current = set(psutil.Process(daemon.pid).children(recursive=True))
        wait_for(lambda: not [p for p in workers if p not in current and p.is_running()], "workers of killed daemons to end")
        assert daemon.stop() == 0
    records = ckptd("--root", models, "ls")
    assert len(records) == len({record["path"] for record in records}) == FILES
    for record in records:
        sidecar = models / f"{Path(record['path']).stem}_metadata.json"
        assert json.loads(sidecar.read_text())["ckptd"]["sha256"] == record["sha256"]
    assert not list(models.glob(".ckptd-*")), "temporary files are swept"


def test_work_goes_on_when_workers_are_killed(tmp_path):
    """SIGKILL of the workers, again and again while files arrive: every file is indexed all the same."""
    models = tmp_path / "trained_models"
    with running(models, env={"CKPTD_WATCH__SETTLE_SECONDS": "0.05"}) as daemon:
        stop = threading.Event()
        writer = threading.Thread(target=write_series, args=(models, FILES, stop, 0.02))
        writer.start()
        while writer.is_alive():
            for worker in psutil.Process(daemon.pid).children(recursive=True):
                try:
                    os.kill(worker.pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.3)
        writer.join()
        names = {path.name for path in models.glob("*.pth")}
        wait_for(lambda: {r["path"] for r in daemon.records().values() if r["status"] == "ok"} == names, "all files")
