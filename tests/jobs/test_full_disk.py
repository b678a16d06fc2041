"""A disk that is full at whatever moment: originals stay, nothing half-written has a name, and the next run does the work."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress

import pytest

from ckptd.errors import CkptdError
from tests.jobs.keeping import checkpoints, index_roots, make_series, open_app
from tests.jobs.killer import digest_of

pytestmark = pytest.mark.root


@pytest.fixture
def small(tmp_path):
    """Give a root on a file system of 4 MiB of its own."""
    root = tmp_path / "models"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0755", "tmpfs", root], check=True)
    try:
        yield root
    finally:
        subprocess.run(["umount", "-l", root], check=True)


def fill(root, left_bytes):
    """Leave so many bytes free."""
    disk = os.statvfs(root)
    rest = disk.f_bavail * disk.f_frsize - left_bytes
    if rest > 0:
        with (root / "ballast.bin").open("wb") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, rest)
            except OSError:
                file.truncate(0)


@pytest.mark.parametrize("archive_format", ["tar.gz", "pack"])
@pytest.mark.parametrize("left_kib", [0, 4, 16, 48, 96, 160, 260, 400])
def test_apply_on_a_full_disk(small, tmp_path, left_kib, archive_format, monkeypatch):
    """Index and journal lie elsewhere; archive and trash lie on the full disk."""
    from ckptd.jobs import archiving

    monkeypatch.setattr(archiving, "LEAST_FREE_BYTES", 0)
    make_series(small, count=6, optimizer=True)
    wanted = {digest_of(path): path.name for path in small.glob("*.pth")}
    app = open_app(
        small, state_dir=tmp_path / "state", policy={"keep_last": 1, "keep_best": 0}, archive={"format": archive_format}
    )
    index_roots(app)
    fill(small, left_kib * 1024)
    with suppress(CkptdError):
        applied = app.apply()
        assert applied.failures or applied.skipped or applied.done
    here = {digest_of(path) for path in small.glob("*.pth")}
    trashed = {entry.sha256 for entry in app.trash()}
    assert set(wanted) <= here | trashed
    (small / "ballast.bin").unlink(missing_ok=True)
    again = app.apply()
    assert not again.failures
    assert len(checkpoints(small)) == 1
    for archive in app.archives():
        assert app.verify_archives([archive.name])[archive.name] == []


@pytest.mark.parametrize("left_kib", [0, 8, 24, 64])
def test_slim_on_a_full_disk(small, tmp_path, left_kib, monkeypatch):
    """The smaller file does not fit: the larger one stays as it is."""
    from ckptd.jobs import slimming

    monkeypatch.setattr(slimming, "LEAST_FREE_BYTES", 0)
    made = make_series(small, count=3, optimizer=True)
    before = {path: path.read_bytes() for path in made}
    app = open_app(small, state_dir=tmp_path / "state", policy={"keep_last": 1, "keep_best": 0, "ladder": ["slim"]})
    index_roots(app)
    fill(small, left_kib * 1024)
    applied = app.apply()
    slimmed = {one.path for one in applied.done}
    for path, data in before.items():
        assert (path.read_bytes() == data) is (path.name not in slimmed)
    (small / "ballast.bin").unlink(missing_ok=True)
    assert {one.path for one in app.apply().done} | slimmed == {path.name for path in made[:-1]}


def test_restore_onto_a_full_disk(small, tmp_path):
    """Nothing torn bears the name, and the sentence says what to do."""
    made = make_series(small, count=2, optimizer=True)
    data = made[0].read_bytes()
    app = open_app(
        small,
        state_dir=tmp_path / "state",
        policy={"keep_last": 1, "keep_best": 0},
        archive={"directory": tmp_path / "archives"},
    )
    index_roots(app)
    app.apply()
    app.purge_trash(everything=True)
    fill(small, 8 * 1024)
    with pytest.raises(CkptdError, match="no room"):
        app.restore(made[0].name)
    assert not made[0].exists()
    (small / "ballast.bin").unlink()
    app.restore(made[0].name)
    assert made[0].read_bytes() == data


def test_a_read_only_root(small, tmp_path):
    """Nothing can be moved: it is told, and nothing is lost."""
    made = make_series(small, count=3)
    app = open_app(
        small,
        state_dir=tmp_path / "state",
        policy={"keep_last": 1, "keep_best": 0, "ladder": ["trash"]},
    )
    index_roots(app)
    subprocess.run(["mount", "-o", "remount,ro", small], check=True)
    try:
        applied = app.apply()
        assert not applied.done
        assert len(applied.skipped) == 2
        assert all("read-only" in one.why.lower() or "Read-only" in one.why for one in applied.skipped)
    finally:
        subprocess.run(["mount", "-o", "remount,rw", small], check=True)
    assert all(path.exists() for path in made)
    assert shutil.disk_usage(small).free
