"""Full disks, read-only mounts, mass loss, many files: reported, retried, nothing lost."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys

import pytest

from tests.e2e.running import ckptd, run_ckptd, running, wait_for
from tests.storage.mounts import tmpfs

pytestmark = pytest.mark.root
QUICK = {"CKPTD_WATCH__SETTLE_SECONDS": "0.05", "CKPTD_WATCH__GUARD_SECONDS": "0.2", "CKPTD_WATCH__RECONCILE_SECONDS": "1"}


def fill(path):
    """Write to a file until the file system is full."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    assert shutil.disk_usage(path).free == 0


def save(path, seed=0, size=1000):
    import torch

    torch.manual_seed(seed)
    torch.save({"weight": torch.randn(size), "bias": torch.randn(3)}, path)


def indexed(daemon):
    """Give the files that the log says were indexed."""
    return {event["path"] for event in daemon.events() if event["event"] == "checkpoint.indexed"}


def test_a_full_disk_costs_a_sidecar_for_a_while_and_nothing_else(tmp_path):
    """With no room for a sidecar the file is indexed and the trouble reported; with room again the sidecar comes."""
    with (
        tmpfs(tmp_path / "trained_models") as models,
        running(models, env={**QUICK, "CKPTD_STATE_DIR": str(tmp_path / "state")}) as daemon,
    ):
        save(tmp_path / "outside.pth")
        shutil.copy(tmp_path / "outside.pth", models / "tmp.hidden")
        (models / "tmp.hidden").rename(models / ".waiting")
        fill(models / "ballast")
        (models / ".waiting").rename(models / "a.pth")
        daemon.wait_record("a.pth", status="ok")
        daemon.wait_event("sidecar.failed")
        assert not (models / "a_metadata.json").exists()
        wait_for(lambda: not list(models.glob(".ckptd-*")), "the end of what could not be written")
        (models / "ballast").unlink()
        wait_for((models / "a_metadata.json").exists, "the sidecar once there is room")
        assert json.loads((models / "a_metadata.json").read_text())["ckptd"]["status"] == "ok"


def test_a_full_disk_under_the_index_is_waited_out(tmp_path):
    """With no room for the index the daemon stays up and says so; with room again every file is indexed."""
    with tmpfs(tmp_path / "state", size="2m") as state:
        models = tmp_path / "trained_models"
        with running(models, env={**QUICK, "CKPTD_STATE_DIR": str(state / "ckptd")}) as daemon:
            save(models / "first.pth")
            daemon.wait_record("first.pth", status="ok")
            fill(state / "ballast")
            for number in range(60):
                save(models / f"m{number}.pth", seed=number)
            daemon.wait_event("index.unavailable")
            (state / "ballast").unlink()
            wait_for(lambda: sum(r["status"] == "ok" for r in daemon.records().values()) == 61, "all files once there is room")


def test_a_read_only_root_is_indexed_without_sidecars(tmp_path):
    """A share mounted read-only is looked after all the same, and the missing sidecars are reported."""
    models = tmp_path / "trained_models"
    with tmpfs(models):
        save(models / "a.pth")
        subprocess.run(["mount", "-o", "remount,ro", models], check=True)
        with running(models, env={**QUICK, "CKPTD_STATE_DIR": str(tmp_path / "state")}) as daemon:
            daemon.wait_record("a.pth", status="ok")
            daemon.wait_event("sidecar.failed")


@pytest.mark.parametrize("state", ["state", "trained_models/.ckptd"])
def test_an_unmounted_share_loses_nothing(tmp_path, state):
    """After `umount` the root is an empty directory: an incident; after `mount` work goes on.

    The whole root is looked at once, before there is a file, and it goes a moment after the last one was indexed:
    what came since that look is known all the same.
    """
    models = tmp_path / "trained_models"
    env = {**QUICK, "CKPTD_WATCH__RECONCILE_SECONDS": "3600", "CKPTD_STATE_DIR": str(tmp_path / state)}
    with tmpfs(models), running(models, env=env) as daemon:
        daemon.wait_event("scan.finished")
        for number in range(5):
            save(models / f"m{number}.pth", seed=number)
        wait_for(lambda: len(indexed(daemon)) == 5, "five files")
        with tmpfs(models):  # mounted over: what was there is hidden
            daemon.wait_event("root.lost")
            assert list(models.iterdir()) == []
            if state == "state":  # else the index is away as well
                assert [record["state"] for record in daemon.records().values()] == ["ready"] * 5
        daemon.wait_event("root.returned")
        save(models / "later.pth", seed=9)
        daemon.wait_record("later.pth", status="ok")
        assert all(record["state"] == "ready" for record in daemon.records().values())


def test_losing_most_files_at_once_is_held_back(tmp_path):
    """`rm *.pth` of 30 files while the daemon is down freezes the root: the records stay ready and the log says why."""
    models = tmp_path / "trained_models"
    with running(models, env=QUICK) as daemon:
        for number in range(30):
            save(models / f"m{number}.pth", seed=number)
        wait_for(lambda: len([r for r in daemon.records().values() if r["status"] == "ok"]) == 30, "thirty files")
        daemon.stop()
        for number in range(25):
            (models / f"m{number}.pth").unlink()
        daemon.start()
        daemon.wait_event("root.frozen")
        assert "frozen" in run_ckptd("--root", models, "doctor").stdout


def test_a_freeze_outlives_new_files_and_a_reload(tmp_path):
    """12 of 50 gone at once wait for a person; 15 new ones make it 12 of 65, which alone would be believed."""
    models = tmp_path / "trained_models"
    with running(models, env=QUICK) as daemon:
        for number in range(50):
            save(models / f"m{number}.pth", seed=number)
        wait_for(lambda: len(indexed(daemon)) == 50, "fifty files")
        daemon.stop()
        for number in range(12):
            (models / f"m{number}.pth").unlink()
        daemon.start()
        daemon.wait_event("root.frozen")
        for number in range(50, 65):
            save(models / f"m{number}.pth", seed=number)
        wait_for(lambda: len(indexed(daemon)) == 65, "the new files")
        for _ in range(2):  # once by the clock, and once after the settings were read anew
            since = len(daemon.events())
            assert daemon.wait_event("scan.finished", since=since)["frozen"] == 12
            daemon.process.send_signal(signal.SIGHUP)
            daemon.wait_event("settings.reloaded", since=since)
        states = {path: record["state"] for path, record in daemon.records().items()}
        assert [states[f"m{number}.pth"] for number in range(12)] == ["ready"] * 12


def test_a_file_nobody_may_read_is_reported(tmp_path):
    """EACCES is a row with status unreadable; after chmod the file is read."""
    models = tmp_path / "trained_models"
    models.mkdir()
    save(models / "a.pth")
    (models / "a.pth").chmod(0o000)
    # Without these two capabilities root is a user like any other.
    unprivileged = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    scan = [*unprivileged, sys.executable, "-m", "ckptd", "--root", str(models), "scan", "--json"]
    first = subprocess.run(scan, capture_output=True, text=True, timeout=60)
    assert json.loads(first.stdout)["rejected"] == 1, first.stderr
    assert ckptd("--root", models, "ls")[0]["status"] == "unreadable"
    (models / "a.pth").chmod(0o644)
    subprocess.run(scan, capture_output=True, timeout=60, check=True)
    assert ckptd("--root", models, "ls")[0]["status"] == "ok"
