"""What the purge ends, and what it leaves: it never is the one that ends the last copy of what was archived."""

from __future__ import annotations

import os
import shutil

import pytest
import torch

from ckptd.jobs import archive_states, purging
from ckptd.jobs.purging import sweep_trash
from ckptd.model import PlaceState
from ckptd.storage.trash import putting
from tests.jobs.keeping import ARCHIVING, DAY, Clock, checkpoints, index_roots, make_series, open_app, save_checkpoint, states

FLOOR = 1 << 40


def go_on():
    return False


@pytest.fixture
def archived(root, tmp_path):
    """An App whose root has three checkpoints in the trash because an archive has them, the archive, and a clock."""
    clock = Clock()
    share = tmp_path / "share"
    share.mkdir()
    make_series(root, count=5)
    app = open_app(root, clock=clock, policy=ARCHIVING, archive={"directory": share})
    index_roots(app)
    (name,) = app.apply().archives
    clock.now += 60 * DAY
    yield app, share / name, clock
    app.close()


def test_what_a_lost_archive_held_is_not_purged(archived):
    """The trash has the last copy by now: it stays for as long as it is so, and the run says of which archive."""
    app, archive, _ = archived
    away = archive.rename(archive.with_name("away"))
    for _ in range(2):  # before and after somebody found out
        run = app.run_job("purge", go_on)
        assert (run.outcome.value, run.summary["purged"], run.summary["left"]) == ("failed", 0, 3)
        assert f"it was archived in {archive.name}, and no archive that is there has it" in run.reason
        app.verify_archives()
    assert app.archives()[0].state == "missing"
    assert len(app.trash()) == 3
    away.rename(archive)  # and nobody has to say so: one outage of a share must not fill the disk
    assert app.run_job("purge", go_on).summary["purged"] == 3


def test_an_archive_is_read_before_what_it_held_is_ended(archived):
    """That a file of its name is there says nothing: a copy that broke off looks like that."""
    app, archive, _ = archived
    os.truncate(archive, 0)
    assert app.archives()[0].state == "verified"
    done = app.purge_trash()
    assert (done.entries, len(done.left)) == ([], 3)
    assert app.archives()[0].state == "damaged"


def test_an_archive_is_read_once_in_a_run(archived, monkeypatch):
    """It may be as large as all that it holds, and each of these asks for it."""
    app, _, _ = archived
    real, read = archive_states.verify_archive, []
    monkeypatch.setattr(archive_states, "verify_archive", lambda *given: (read.append(given[1].name), real(*given))[1])
    assert app.run_job("purge", go_on).summary["purged"] == 3
    assert len(read) == 1


def test_what_lies_behind_the_end_of_an_archive_is_told_as_what_it_is(archived):
    """Nothing in it is lost, and yet it is not what was written."""
    app, archive, _ = archived
    with archive.open("ab") as file:
        file.write(b"what is that")
    assert [f"{archive.name} is damaged" in why for _, why in app.purge_trash().left] == [True] * 3


def test_a_purge_that_is_told_to_stop_while_it_reads_an_archive_ends_nothing(archived):
    """It is no news; the next run reads it anew."""
    app, _, _ = archived
    asked = iter([False, False])
    run = app.run_job("purge", lambda: next(asked, True))
    assert (run.summary["purged"], run.summary["left"]) == (0, 0)
    assert len(app.trash()) == 3
    assert app.run_job("purge", go_on).summary["purged"] == 3


def test_what_a_person_ends_without_an_archive_is_not_called_archived(archived, root):
    """The index believes in the archive; whoever looks for the checkpoint there would look in vain."""
    app, archive, _ = archived
    archive.unlink()
    one = app.trash()[0]
    app.purge_trash([one.entry])
    assert states(app)[one.path] == "purged"


def test_what_a_damaged_archive_held_is_not_purged(root):
    """Some of its members can still be had, from a disk that lost the others: that is no reason to end these."""
    clock = Clock()
    make_series(root, count=5, extra=torch.randn(200_000))
    app = open_app(root, clock=clock, policy=ARCHIVING)
    index_roots(app)
    archive = root / "archives" / app.apply().archives[0]
    os.truncate(archive, archive.stat().st_size // 2)
    app.verify_archives()
    assert app.archives()[0].state == "damaged"
    lost = [one.is_lost for one in app.archive_members(archive.name) if one.what == "checkpoint"]
    assert set(lost) == {True, False}
    clock.now += 60 * DAY
    assert len(app.purge_trash().left) == 3
    assert len(app.trash()) == 3


def test_a_person_who_names_an_entry_may_end_it(archived):
    """Whatever became of its archive; who says `all` has named none."""
    app, archive, _ = archived
    archive.unlink()
    assert app.purge_trash(everything=True).entries == []
    entry = app.trash()[0].entry
    assert app.purge_trash([entry]).entries == [entry]


def test_what_was_archived_before_it_went_is_not_purged_without_its_archive(root):
    """A process read it, so that it went a run later, because an archive had it already."""
    clock = Clock()
    series = make_series(root, count=5)
    app = open_app(root, clock=clock, policy=ARCHIVING)
    index_roots(app)
    with series[0].open("rb"):
        (name,) = app.apply().archives
    assert [one.action.value for one in app.apply().done] == ["trash"]
    (root / "archives" / name).unlink()
    clock.now += 60 * DAY
    assert len(app.purge_trash().left) == 3


def test_what_was_never_archived_is_purged(root):
    """Its ladder is the trash alone."""
    clock = Clock()
    make_series(root, count=5)
    app = open_app(root, clock=clock, policy=ARCHIVING | {"ladder": ["trash"]})
    index_roots(app)
    app.apply()
    clock.now += 60 * DAY
    assert len(app.purge_trash().entries) == 3


def test_what_has_not_waited_long_enough_is_not_told_of(archived):
    """Its archive may be back by then."""
    app, archive, clock = archived
    archive.unlink()
    clock.now -= 59 * DAY
    run = app.run_job("purge", go_on)
    assert (run.outcome.value, run.summary["left"]) == ("ok", 0)


def test_what_travelled_with_a_checkpoint_that_was_taken_out_is_purged(archived, root):
    """Somebody took the checkpoint itself out of the trash by hand."""
    app, archive, _ = archived
    archive.unlink()
    for path in (root / ".ckptd" / "trash").rglob("*.pth"):
        path.unlink()
    assert len(app.purge_trash().entries) == 3


def test_an_archive_in_a_root_that_is_not_believed_is_none(tmp_path):
    """Another directory lies in the place of that root, and a file of that name in it."""
    here, away = tmp_path / "here", tmp_path / "away"
    for made in (here, away):
        made.mkdir()
    make_series(here, count=5)
    save_checkpoint(away / "a.pth", 99)
    clock = Clock()
    app = open_app(here, away, clock=clock, policy=ARCHIVING, archive={"directory": away / "kept"})
    index_roots(app)
    assert len(app.apply().archives) == 1
    away.rename(tmp_path / "elsewhere")
    shutil.copytree(tmp_path / "elsewhere" / "kept", away / "kept")
    clock.now += 60 * DAY
    assert app.purge_trash().entries == []
    shutil.rmtree(away)
    (tmp_path / "elsewhere").rename(away)
    assert len(app.purge_trash().entries) == 3
    app.close()


def full(root, clock=None, **policy):
    """Give an App on a disk that is too full, with eight checkpoints in the trash."""
    make_series(root, count=10)
    policy = ARCHIVING | {"ladder": ["trash"], "free_bytes": FLOOR} | policy
    app = open_app(root, clock=clock, policy=policy, trash={"purge_when_full": True})
    index_roots(app)
    assert len(app.apply().done) == 8
    return app


def test_no_more_is_purged_for_room_than_gives_it(root, monkeypatch):
    """There are file systems that say only minutes later that room came back."""
    app = full(root)
    entries = sorted(one.entry for one in app.trash())
    monkeypatch.setattr(purging, "free_bytes", lambda _fd: FLOOR - 1)
    run = app.run_job("purge", go_on)
    assert (run.summary["purged"], run.summary["early"]) == (1, 1)
    assert run.summary["freed_bytes"] > 0
    assert [one.entry for one in app.trash()] == entries[1:]


def test_where_nothing_came_free_yet_as_much_is_purged_as_is_short(root, monkeypatch):
    """Two checkpoints and a byte: that takes three."""
    app = full(root)
    one = app.trash()[0].entry
    freed = app.purge_trash([one]).freed_bytes
    monkeypatch.setattr(purging, "free_bytes", lambda _fd: FLOOR - 2 * freed - 1)
    assert app.run_job("purge", go_on).summary["early"] == 3


def test_room_that_somebody_else_made_counts(root, monkeypatch):
    """It is there now."""
    app = full(root)
    trash = root / ".ckptd" / "trash"
    monkeypatch.setattr(purging, "free_bytes", lambda _fd: 0 if len(list(trash.iterdir())) == 8 else FLOOR)
    assert app.run_job("purge", go_on).summary["early"] == 1


def test_what_was_purged_for_its_age_counts_as_room(root, monkeypatch):
    """What went later waits as long as it should."""
    clock = Clock()
    app = full(root, clock)
    clock.now += 10 * DAY
    make_series(root, "BiGRU", count=10)
    index_roots(app)
    assert len(app.apply().done) == 8
    clock.now += 10 * DAY
    monkeypatch.setattr(purging, "free_bytes", lambda _fd: FLOOR - 1)
    run = app.run_job("purge", go_on)
    assert (run.summary["purged"], run.summary["early"]) == (8, 0)


def test_what_gives_no_room_back_is_not_purged_for_it(root, tmp_path, monkeypatch):
    """A backup has each under another name, and its blocks with it."""
    app = full(root)
    for path in (root / ".ckptd" / "trash").rglob("*.pth"):
        os.link(path, tmp_path / path.name)
    monkeypatch.setattr(purging, "free_bytes", lambda _fd: 0)
    run = app.run_job("purge", go_on)
    assert (run.outcome.value, run.summary["early"]) == ("ok", 0)
    assert len(app.trash()) == 8


def test_what_has_all_its_names_in_the_trash_gives_room_back(root, monkeypatch):
    """`best.pth` was a hard link to one of the others, and both went."""
    series = make_series(root, count=10)
    for path in series[:4]:
        os.link(path, path.with_name(f"copy_{path.name}"))
    app = open_app(root, policy=ARCHIVING | {"ladder": ["trash"], "free_bytes": FLOOR}, trash={"purge_when_full": True})
    index_roots(app)
    app.apply()
    inodes = [path.stat().st_ino for path in (root / ".ckptd" / "trash").rglob("*.pth")]
    assert len(inodes) > len(set(inodes))
    monkeypatch.setattr(purging, "free_bytes", lambda _fd: 0)
    app.run_job("purge", go_on)
    assert app.trash() == []


def test_for_room_too_the_last_copy_of_what_was_archived_stays(root, tmp_path, monkeypatch):
    """A full disk is no reason to lose a checkpoint for good; one that an archive has goes."""
    clock = Clock()
    app = full(root, clock, ladder=["archive", "trash"], free_bytes=1)
    first, *_ = app.archives()
    monkeypatch.setattr(purging, "free_bytes", lambda _fd: 0)
    (root / "archives" / first.name).rename(tmp_path / "away")
    run = app.run_job("purge", go_on)
    assert (run.outcome.value, run.summary["early"], run.summary["left"]) == ("failed", 0, 8)
    clock.now += 60 * DAY
    assert app.run_job("purge", go_on).summary["left"] == 8, "each is told of once"
    clock.now -= 60 * DAY
    (tmp_path / "away").rename(root / "archives" / first.name)
    assert app.run_job("purge", go_on).summary["early"] > 0


class KillError(BaseException):
    """The process is gone."""


def killed_behind_the_move(app, monkeypatch):
    """Take checkpoints away, and be killed once the first lies in the trash."""

    def kill(*_arguments):
        raise KillError

    with monkeypatch.context() as patched:
        patched.setattr(putting, "move_companions", kill)
        with pytest.raises(KillError):
            app.apply()


@pytest.mark.parametrize("number", [55, 0])
def test_a_sweep_does_not_call_a_newer_save_trashed(root, monkeypatch, number):
    """Training saved the name again behind the kill, and the daemon read it; 0 is the content of before."""
    series = make_series(root, count=4)
    app = open_app(root, policy=ARCHIVING | {"ladder": ["trash"]})
    index_roots(app)
    killed_behind_the_move(app, monkeypatch)
    gone = series[0]
    assert not gone.exists()
    save_checkpoint(gone, number)
    index_roots(app)
    with app.working("purge") as context:
        assert sweep_trash(context) == 1
    assert gone.name in checkpoints(root)
    assert states(app)[gone.name] == "ready"
    assert [one.path for one in app.trash()] == [gone.name]


def test_a_sweep_notes_what_a_kill_left_in_the_trash(root, monkeypatch):
    """The kill came before anybody could write it down."""
    series = make_series(root, count=4)
    app = open_app(root, policy=ARCHIVING | {"ladder": ["trash"]})
    index_roots(app)
    killed_behind_the_move(app, monkeypatch)
    index_roots(app)
    with app.store.batch() as batch:
        batch.record_state(str(root), series[0].name, PlaceState.MISSING, now=1.0)
    with app.working("purge") as context:
        sweep_trash(context)
    assert states(app)[series[0].name] == "trashed"


def test_a_sweep_does_not_call_a_newer_save_trashed_that_somebody_removed(root, monkeypatch):
    """Nothing lies there, but what was there last is in no trash."""
    series = make_series(root, count=4)
    app = open_app(root, policy=ARCHIVING | {"ladder": ["trash"]})
    index_roots(app)
    killed_behind_the_move(app, monkeypatch)
    save_checkpoint(series[0], 55)
    index_roots(app)
    series[0].unlink()
    with app.store.batch() as batch:
        batch.record_state(str(root), series[0].name, PlaceState.MISSING, now=1.0)
    with app.working("purge") as context:
        sweep_trash(context)
    assert states(app)[series[0].name] == "missing"
