"""A year of training in a few seconds: the daemon plans, archives, reads back, trashes and purges; a person restores."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.running import Daemon, ckptd, run_ckptd, wait_for

ROOT = Path(__file__).resolve().parents[2]
#: Jobs run at the lowest priority, so beside other tests each takes its time.
PATIENCE = 300.0
#: A policy for impatient people: what was young, recent or in the trash for days is so for seconds.
SETTINGS = {
    "CKPTD_POLICY__MODE": "apply",
    "CKPTD_POLICY__KEEP_LAST": "1",
    "CKPTD_POLICY__KEEP_BEST": "1",
    "CKPTD_POLICY__KEEP_WITHIN_SECONDS": "4s",
    "CKPTD_POLICY__MIN_AGE_SECONDS": "2s",
    "CKPTD_POLICY__MAX_FRACTION": "1.0",
    "CKPTD_TRASH__GRACE_SECONDS": "6s",
    "CKPTD_SCHEDULE__RETENTION": "every 2s",
    "CKPTD_SCHEDULE__PURGE": "every 3s",
    "CKPTD_SCHEDULE__SCRUB": "",
    "CKPTD_SCHEDULE__DRILL": "every 5s",
    "CKPTD_SCHEDULE__REPORT": "every 5s",
}


@pytest.fixture
def models(tmp_path):
    root = tmp_path / "models"
    root.mkdir()
    return root


def train(models, epochs):
    example = [sys.executable, str(ROOT / "examples" / "train_digits.py"), "--out", str(models), "--epochs", str(epochs)]
    subprocess.run(example, check=True, timeout=300, capture_output=True)


def story(models, path):
    """Give what the audit says of one path, in order."""
    with closing(sqlite3.connect(f"file:{models}/.ckptd/index.sqlite?mode=ro", uri=True)) as index:
        rows = index.execute("SELECT what, path, why FROM audit ORDER BY id").fetchall()
    return [what for what, place, _ in rows if place == path.encode()], rows


def test_a_year_in_seconds(models, tmp_path):
    """Train → plan → archive → verified → trash → purge → restore, by the real daemon, and the audit tells all of it."""
    daemon = Daemon(models, env=SETTINGS).start()
    try:
        train(tmp_path / "training", 3)
        saved = {path.name: path.read_bytes() for path in (tmp_path / "training").glob("*.pth")}
        for name in sorted(saved):  # all at once: else the first would be archived while the last is trained
            (tmp_path / "training" / name).rename(models / name)
        purged = wait_for(lambda: daemon.has("checkpoint.purged"), "a purge", PATIENCE)
        assert daemon.has("archive.written")
        wait_for(lambda: daemon.has("drill.finished"), "a drill", PATIENCE)
        wait_for(lambda: list(models.glob("reports/*.html")), "a report", PATIENCE)
        gone = purged["path"]
        assert not (models / gone).exists()
        told, rows = story(models, gone)
        order = ["checkpoint.ready", "retention.to-archive", "checkpoint.archived", "checkpoint.trashed", "checkpoint.purged"]
        assert [what for what in told if what in order] == order
        why = json.loads(next(why for what, path, why in rows if what == "checkpoint.trashed" and path == gone.encode()))
        assert any("no rule keeps it" in reason for reason in why["reasons"])
        assert daemon.records().get(gone, {}).get("state", "archived") == "archived"
        _read_with_plain_tools(models, tmp_path / "out", saved)

        before = len(daemon.events())
        done = run_ckptd("--root", models, "restore", gone, env={**daemon.env, "CKPTD_SCHEDULE__RETENTION": ""})
        assert done.returncode in {0, 4}, done.stderr
        wait_for(lambda: _restored(daemon, models, gone), "the checkpoint to be back", PATIENCE)
        back = ("checkpoint.indexed", "checkpoint.recalled", "checkpoint.returned")
        wait_for(lambda: any(daemon.has(event, before, path=gone) for event in back), "the daemon to take it in", PATIENCE)
        left = {path.name for path in models.glob("*.pth")}
        assert left, "the last and the best of each group, and what has no group, stay"
        jobs = {job["name"]: job for job in ckptd("--root", models, "jobs", env=daemon.env, check=False)}
        assert jobs["retention"]["last"]["outcome"] in {"ok", "running"}
        assert not [event for event in daemon.events() if event["event"] in {"job.failed", "library.warned"}]
    finally:
        status = daemon.stop()
    assert status == 0
    assert _all_accounted(models, saved, daemon.env) == set()


def _restored(daemon, models, gone):
    if (models / gone).exists() or daemon.has("checkpoint.restored", path=gone):
        return True
    done = run_ckptd("--root", models, "restore", gone, env=daemon.env)
    return done.returncode == 0


def _read_with_plain_tools(models, out, saved):
    for archive in sorted(models.glob("archives/models_archive_*.tar.gz")):
        target = out / archive.name
        target.mkdir(parents=True)
        subprocess.run(["tar", "-xzf", archive, "-C", target], check=True)
        (sums,) = target.rglob("SHA256SUMS")
        subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=sums.parent, check=True)
        for path in target.rglob("*.pth"):
            assert path.read_bytes() == saved[path.name]


def _all_accounted(models, saved, env):
    """Give what is neither in place, nor in the trash, nor in a verified archive."""
    missing = set(saved) - {path.name for path in models.glob("*.pth")}
    missing -= {entry["path"] for entry in ckptd("--root", models, "trash", "ls", env=env)}
    for archive in ckptd("--root", models, "archives", env=env):
        assert archive["state"] == "verified"
        missing -= {member["path"] for member in ckptd("--root", models, "archives", archive["name"], env=env)}
    return missing
