"""What an operator meets: several roots, signals, a root that is removed, losses that are meant, a sidecar made anew."""

from __future__ import annotations

import json
import shutil
import signal

import psutil
import pytest

from tests.e2e.running import ckptd, run_ckptd, running, wait_for
from tests.e2e.test_drop_in import save

QUICK = {"CKPTD_WATCH__SETTLE_SECONDS": "0.05", "CKPTD_WATCH__GUARD_SECONDS": "0.2"}


@pytest.fixture
def models(tmp_path):
    return tmp_path / "trained_models"


def test_two_roots_have_one_daemon_and_one_index(tmp_path):
    """A copy in the other root is a copy; each root has its own id and its own rescans."""
    one, two = tmp_path / "one", tmp_path / "two"
    with running(one, two, env=QUICK) as daemon:
        save(one / "a.pth")
        daemon.wait_record("a.pth", status="ok")
        shutil.copy(one / "a.pth", two / "b.pth")
        record = daemon.wait_record("b.pth", status="ok")
        assert record["root"] == str(two)
        assert record["copies"] == ["a.pth"]
        assert (one / ".ckptd" / "root-id").read_text() != (two / ".ckptd" / "root-id").read_text()
        assert not (two / ".ckptd" / "index.sqlite").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_good_order(models, number):
    """Status 0, a last line in the log, no worker left."""
    with running(models, env=QUICK) as daemon:
        save(models / "a.pth")
        daemon.wait_record("a.pth", status="ok")
        workers = psutil.Process(daemon.pid).children(recursive=True)
        assert workers
        daemon.process.send_signal(number)
        assert daemon.process.wait(30) == 0
        assert daemon.has("daemon.stopped", read=1)
        assert not any(worker.is_running() for worker in workers)


def test_workers_without_work_end(models):
    """After `inspect.idle_seconds` the daemon is alone, and the next file starts a worker again."""
    with running(models, env={**QUICK, "CKPTD_INSPECT__IDLE_SECONDS": "0.3"}) as daemon:
        for name in ("a.pth", "b.pth"):
            save(models / name, seed=ord(name[0]))
            daemon.wait_record(name, status="ok")
            wait_for(lambda: not psutil.Process(daemon.pid).children(recursive=True), "the workers to end")


def test_a_root_that_is_removed_with_its_index_ends_the_daemon(models):
    """`rm -r` and `mkdir` is a new beginning: the daemon says so and ends with 1, and the next one begins anew."""
    with running(models, env=QUICK) as daemon:
        save(models / "a.pth")
        daemon.wait_record("a.pth", status="ok")
        # A daemon at work may write between the listing of a directory and its end: rm is asked again then.
        wait_for(lambda: shutil.rmtree(models, ignore_errors=True) or not models.exists(), "the root to be gone")
        models.mkdir()
        assert daemon.process.wait(30) == 1
        assert "start ckptd again" in daemon.log.read_text()
        daemon.start()
        save(models / "b.pth")
        daemon.wait_record("b.pth", status="ok")
        assert set(daemon.records()) == {"b.pth"}


def test_losses_that_are_meant_are_believed_when_a_person_says_so(models):
    """`ckptd scan` holds most files gone at once for an incident, status 1; with --believe-losses they are missing."""
    models.mkdir()
    for number in range(15):
        save(models / f"m{number}.pth", seed=number)
    ckptd("--root", models, "scan")
    for number in range(12):
        (models / f"m{number}.pth").unlink()
    first = run_ckptd("--root", models, "scan")
    assert first.returncode == 1
    assert "--believe-losses" in first.stdout + first.stderr
    believed = ckptd("--root", models, "scan", "--believe-losses")
    assert (believed["missing"], believed["frozen"]) == (12, 0)
    states = [record["state"] for record in ckptd("--root", models, "ls")]
    assert states.count("missing") == 12


def test_a_sidecar_made_anew_beside_a_running_daemon_stays_a_person_s(models):
    """`--regenerate` shows the difference, keeps what a person wrote, and the daemon has nothing to add."""
    with running(models, env=QUICK) as daemon:
        save(models / "net_acc81.pth")
        daemon.wait_record("net_acc81.pth", status="ok")
        path = models / "net_acc81_metadata.json"
        document = json.loads(path.read_text())
        document["notes"] = "mine"
        document["storage_kb"] = None
        path.write_text(json.dumps(document))
        shown = run_ckptd("--root", models, "sidecar", "net_acc81", "--regenerate", "--yes")
        assert shown.returncode == 0, shown.stderr
        assert "storage_kb" in shown.stdout
        after = json.loads(path.read_text())
        assert after["notes"] == "mine"
        assert after["storage_kb"] is not None
        wait_for(lambda: "notes" in daemon.records()["net_acc81.pth"]["metadata"]["other"], "the note in the index")


def test_a_scan_of_one_file_looks_at_that_file(models):
    """By a path from where one stands; one outside of every root is a mistake with a cure."""
    models.mkdir()
    save(models / "a.pth")
    save(models / "b.pth", seed=2)
    done = ckptd("--root", models, "scan", models / "a.pth")
    assert (done["seen"], done["new"]) == (1, 1)
    assert [record["path"] for record in ckptd("--root", models, "ls")] == ["a.pth"]
    again = ckptd("--root", models, "scan", models / "a.pth")
    assert (again["new"], again["unchanged"]) == (0, 1)
    outside = run_ckptd("--root", models, "scan", "/etc/passwd")
    assert outside.returncode == 2
    assert "--root" in outside.stderr
