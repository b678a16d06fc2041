"""Where archives are written: never beside the disk that they belong on, and never under a name that was given before."""

from __future__ import annotations

import os
import shutil

import pytest
import structlog.testing
import torch

from ckptd.jobs import archiving_by_hand
from ckptd.jobs.archiving import CATALOG, Wanted, write_archive
from tests.jobs.keeping import ARCHIVING, checkpoints, index_roots, make_series, name_of, open_app, save_checkpoint


@pytest.fixture
def share(tmp_path):
    """A directory as it looks while a share is mounted there."""
    made = tmp_path / "nas"
    made.mkdir()
    return made


def unmount(share):
    """Leave the empty directory that a share was mounted on."""
    away = share.with_name("away")
    share.rename(away)
    share.mkdir()
    return away


def mount(share, away):
    share.rmdir()
    away.rename(share)


def test_an_empty_mount_point_is_not_the_directory_of_the_archives(root, share):
    """What was archived there is gone with the share, so that nothing is written and every original stays; then it goes on."""
    make_series(root, count=5)
    app = open_app(root, policy=ARCHIVING, archive={"directory": share})
    index_roots(app)
    first = {one.path for one in app.apply().done}
    assert len(first) == 3
    before = app.archives()
    away = unmount(share)
    for number in range(5):
        save_checkpoint(root / name_of("BiGRU", 50 - number, 60), 50 + number, days=50 - number)
    index_roots(app)
    left = checkpoints(root)
    applied = app.apply()
    assert not applied.done
    assert checkpoints(root) == left
    assert list(share.iterdir()) == []
    (failure,) = applied.failures
    assert f"write an archive: {share}: the archive that was written there is gone" in failure
    assert f"make an empty {CATALOG} there that ckptd's user may write" in failure
    assert app.archives() == before
    mount(share, away)
    assert len(app.apply().done) == 3
    assert [one.name for one in app.archives()] == ["models_archive_20260101.tar.gz", "models_archive_20260101_2.tar.gz"]
    assert set(app.verify_archives()) == {one.name for one in app.archives()}


def test_a_directory_that_lay_on_the_share_is_not_made_anew_below_its_mount_point(root, share):
    """archive.directory is a directory of the share; on the local disk there is none."""
    series = make_series(root, count=3)
    (share / "archives").mkdir()
    app = open_app(root, archive={"directory": share / "archives"})
    index_roots(app)
    app.archive(f"path = '{series[0].name}'", remove=False)
    unmount(share)
    done = app.archive(f"path = '{series[1].name}'", remove=True)
    assert not done.stored
    assert series[1].exists()
    assert "the archive that was written there is gone" in done.problems[0]
    assert list(share.iterdir()) == []


def test_a_directory_that_was_emptied_on_purpose_is_used_again(root, share):
    """An empty log of archives says that it is the directory, and that nothing is to be in it."""
    series = make_series(root, count=3)
    app = open_app(root, archive={"directory": share})
    index_roots(app)
    (first,) = app.archive(f"path = '{series[0].name}'", remove=False).stored
    (share / CATALOG).unlink()
    assert app.archive(f"path = '{series[1].name}'", remove=False).stored, "its archive is still there"
    (share / first.name).unlink()
    assert app.archive(f"path = '{series[1].name}'", remove=False).stored, "its log is still there"
    unmount(share)
    (share / CATALOG).touch()
    (last,) = app.archive(f"path = '{series[2].name}'", remove=False).stored
    assert last.name == "models_archive_20260101_4.tar.gz"
    assert len(app.archives()) == 4


def test_a_name_is_given_once_a_day_though_its_archive_was_moved_away(root, tmp_path):
    """On a tape by now: the index goes on knowing what lies in it, and when it is back it can be restored from."""
    series = make_series(root, count=2)
    data = series[0].read_bytes()
    app = open_app(root)
    index_roots(app)
    (first,) = app.archive(f"path = '{series[0].name}'", remove=True).stored
    (root / "archives" / first.name).rename(tmp_path / "tape")
    (second,) = app.archive(f"path = '{series[1].name}'", remove=True).stored
    assert (first.name, second.name) == ("models_archive_20260101.tar.gz", "models_archive_20260101_2.tar.gz")
    assert [one.name for one in app.archives()] == [first.name, second.name]
    (tmp_path / "tape").rename(root / "archives" / first.name)
    app.purge_trash(everything=True)
    app.restore(series[0].name)
    assert series[0].read_bytes() == data


def test_by_hand_a_root_is_looked_at_again_before_each_archive(root, tmp_path, monkeypatch):
    """Unmounted behind the first one: what it was mounted on gets neither an archive nor a checkpoint."""
    make_series(root, count=4, extra=torch.randn(200_000))
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    app = open_app(root, state_dir=state, archive={"max_bytes": 1 << 20})
    index_roots(app)
    real = archiving_by_hand.write_archive
    away = tmp_path / "away"

    def once(*arguments, **options):
        stored = real(*arguments, **options)
        if not away.exists():
            root.rename(away)
            root.mkdir()
        return stored

    monkeypatch.setattr(archiving_by_hand, "write_archive", once)
    done = app.archive("size>=0", remove=True)
    assert len(done.stored) == 1
    assert len(done.removed) == 1
    (problem,) = done.problems
    assert problem.startswith(f"{root}: ")
    assert list(root.iterdir()) == []
    assert len(checkpoints(away)) == 3


def test_the_archives_of_a_root_lie_in_the_root_that_is_open(root, tmp_path):
    """Its path may lead elsewhere by the time: what goes out of a root goes into archives on the same disk."""
    path = save_checkpoint(root / "a.pth", 1)
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    app = open_app(root, state_dir=state)
    index_roots(app)
    sha256 = app.show("a.pth").sha256
    with app.working("archive") as context:
        root.rename(tmp_path / "away")
        root.mkdir()
        stored = write_archive(
            context, context.roots[0], [Wanted("a.pth", sha256, (tmp_path / "away/a.pth").stat().st_size, {})]
        )
    assert not path.exists()
    assert list(root.iterdir()) == []
    assert (tmp_path / "away" / "archives" / stored.name).exists()


def test_a_link_in_the_place_of_the_archives_is_not_followed(root, tmp_path):
    """Whoever can write in a root could lead them anywhere."""
    save_checkpoint(root / "a.pth", 1)
    (tmp_path / "elsewhere").mkdir()
    (root / "archives").symlink_to(tmp_path / "elsewhere")
    app = open_app(root)
    index_roots(app)
    (problem,) = app.archive("size>=0", remove=True).problems
    assert "it is a link" in problem
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_log_that_can_not_be_written_is_told_before_an_archive_is_written(root, share):
    """Else the archive would lie there, and be found and refused anew by everything that comes after."""
    make_series(root, count=5)
    app = open_app(root, policy=ARCHIVING, archive={"directory": share})
    index_roots(app)
    (share / CATALOG).mkdir()
    failures = app.apply().failures
    assert all("write the log of archives" in failure and "let ckptd's user write it" in failure for failure in failures)
    assert failures
    assert os.listdir(share) == [CATALOG]


def test_an_archive_that_can_not_be_noted_keeps_nobody_from_the_trash(root, share):
    """Somebody brought one here, and the log is root's."""
    make_series(root, count=5)
    app = open_app(root, policy=ARCHIVING, archive={"directory": share})
    index_roots(app)
    (name,) = app.apply().archives
    shutil.copy(share / name, share / "models_archive_20250101.tar.gz")
    (share / CATALOG).unlink()
    (share / CATALOG).mkdir()
    with structlog.testing.capture_logs() as log:
        assert app.restore_trash(app.trash()[0].entry)
    assert [one["event"] for one in log].count("archive.unreadable") == 1
    assert len(app.archives()) == 1
