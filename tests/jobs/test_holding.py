"""One ckptd for each root, and one job at a time, whatever state directories there are."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from ckptd.errors import AlreadyRunningError
from ckptd.jobs.holding import KeptLocks, find_job_holder, find_unlockable, hold_jobs, hold_roots, leave_to_others
from ckptd.jobs.roots import WatchedRoot
from ckptd.storage.lock import Lock, hold, is_held
from ckptd.storage.state import ensure_state_dir
from ckptd.watch.wanted import compile_wanted


@pytest.fixture
def make_root(tmp_path):
    made = []

    def make(name="models", *, mark=True):
        path = tmp_path / name
        path.mkdir(exist_ok=True)
        root = WatchedRoot.open(len(made), path, compile_wanted((".pth",), ()))
        if mark:
            root.look_again()
        made.append(root)
        return root

    yield make
    for root in made:
        root.handle.close()


@pytest.fixture
def states(tmp_path):
    return ensure_state_dir(tmp_path / "one"), ensure_state_dir(tmp_path / "two")


def test_two_state_directories_on_one_root_are_refused(make_root, states):
    """The second is told who has it, though it has a state directory of its own."""
    root = make_root()
    with (
        hold_roots(states[0], [root]),
        pytest.raises(AlreadyRunningError, match=f"process {os.getpid()}"),
        hold_roots(states[1], [root]),
    ):
        pass
    with hold_roots(states[1], [root]):
        pass


def test_a_state_directory_that_lies_in_the_root_is_not_locked_twice(make_root):
    """It has the daemon's own lock already; and who comes with another state directory finds that one."""
    root = make_root()
    inside = Path(root.path) / ".ckptd"
    with hold(inside):
        with hold_roots(inside, [root]), hold_jobs(inside, [root], "scrub"):
            assert is_held(inside)
        assert is_held(inside)


def test_a_default_daemon_keeps_out_one_with_a_state_of_its_own(make_root, states):
    """Its lock is the root's lock."""
    root = make_root()
    with (
        hold(Path(root.path) / ".ckptd"),
        pytest.raises(AlreadyRunningError, match="looks after these checkpoints"),
        hold_roots(states[0], [root]),
    ):
        pass


def test_what_was_taken_is_given_back_when_the_rest_can_t_be(make_root, states):
    """All or none."""
    first, second = make_root("a"), make_root("b")
    with hold_roots(states[0], [second]):
        with pytest.raises(AlreadyRunningError), hold_roots(states[1], [first, second]):
            pass
        with hold_roots(states[1], [first]):
            pass


def test_one_job_for_each_index_and_each_root(make_root, states):
    """Roots in common are enough, an index in common too; nothing in common is no trouble."""
    first, second = make_root("a"), make_root("b")
    with hold_jobs(states[0], [first], "scrub"):
        holder = find_job_holder(states[1], [Path(first.path)])
        assert holder.job == "scrub"
        assert f"process {os.getpid()}" in holder.words
        assert find_job_holder(states[1], [Path(second.path)]) is None
        for state, root in ((states[0], second), (states[1], first)):
            with pytest.raises(AlreadyRunningError, match="runs the job scrub"), hold_jobs(state, [root], "drill"):
                pass
        with hold_jobs(states[1], [second], "drill"):
            pass


def test_a_root_that_takes_no_lock_is_told_and_watched_all_the_same(make_root, states, capsys):
    """A read-only share: nothing is written there, so that a second ckptd does no harm."""
    root = make_root(mark=False)
    with hold_roots(states[0], [root]), hold_jobs(states[0], [root], "scrub"):
        assert "root.unlocked" in capsys.readouterr().out
    locked = make_root("b")
    (Path(locked.path) / ".ckptd" / "lock").mkdir()
    with hold_roots(states[0], [locked]):
        assert "Is a directory" in capsys.readouterr().out


def test_doctor_names_roots_without_a_lock(make_root, states):
    """Where `.ckptd` can't be written."""
    root = Path(make_root().path)
    assert find_unlockable(states[0], [root]) == []
    refuse = lambda *_args: False  # noqa: E731 — root may write anywhere
    assert find_unlockable(states[0], [root], refuse) == [(root, ".ckptd can't be written")]
    assert find_unlockable(root / ".ckptd", [root], refuse) == []


def test_a_root_with_an_incident_gets_its_lock_when_it_is_back(make_root, states):
    """What lies in its place meanwhile is not touched."""
    root = make_root()
    root.incident = "not mounted"
    with hold_roots(states[0], [root]) as locks:
        assert not is_held(Path(root.path) / ".ckptd")
        root.incident = None
        locks.renew(root)
        assert is_held(Path(root.path) / ".ckptd")
        locks.renew(root)  # another mount of it: the old lock is given back, and does not stand in the way
        assert is_held(Path(root.path) / ".ckptd")
    assert not is_held(Path(root.path) / ".ckptd")


def test_a_root_that_another_took_meanwhile_is_an_incident_of_its_own(make_root, states):
    """It was away, and is not fought for; once the other one has ended it is asked for again, and taken."""
    root, other = make_root("a"), make_root("b")
    root.incident = "not mounted"
    with hold_roots(states[0], [root, other]) as locks:
        root.incident = None
        with hold_roots(states[1], [root]):
            locks.take_back(root)
            assert f"process {os.getpid()}" in root.incident
            assert other.incident is None
        root.incident = None
        locks.take_back(root)
        assert root.incident is None
        assert is_held(Path(root.path) / ".ckptd")


def test_a_lock_that_was_removed_is_known_as_lost(make_root, states, monkeypatch):
    """Whoever comes next gets another one; where nobody can tell, as on a share that is away, it is held."""
    root = make_root()
    with hold_roots(states[0], [root]) as locks:
        assert not locks.has_lost(root)
        (Path(root.path) / ".ckptd" / "lock").unlink()
        assert locks.has_lost(root)
        monkeypatch.setattr(Lock, "still_held", refuse_to_say)
        assert not locks.has_lost(root)
        monkeypatch.undo()
        locks.take_back(root)
        assert is_held(Path(root.path) / ".ckptd")
        assert not locks.has_lost(root)
    assert not locks.has_lost(root)


def refuse_to_say(_lock):
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_root_is_another_s_where_its_holder_is_not_that_of_the_state_directory(make_root, states):
    """By the process, while it lives: what one that ended wrote into the state directory counts for nothing."""
    root, away = make_root("a"), make_root("b")
    place = Path(root.path) / ".ckptd"
    away.incident = "not mounted"
    with hold(place), hold(Path(away.path) / ".ckptd"):
        with hold(states[0]):
            leave_to_others(states[0], [root, away])
            assert root.incident is None
        leave_to_others(place, [root])  # where the state directory lies in the root, it is its own
        assert root.incident is None
        leave_to_others(states[0], [root, away])
        assert f"another ckptd looks after it: process {os.getpid()}" in root.incident
        assert away.incident == "not mounted"
        root.look_again()
        assert root.incident is not None
    root.look_again()
    assert root.incident is None
    leave_to_others(states[0], [root])
    assert root.incident is None


def test_a_process_of_the_same_number_in_another_container_is_another(make_root, states):
    """In each of them ckptd has the number 1; an older ckptd wrote nothing but its number."""
    root = make_root("a")
    place = Path(root.path) / ".ckptd"
    with hold(place), hold(states[0]):
        theirs = json.loads((place / "lock").read_text())
        assert theirs == json.loads((states[0] / "lock").read_text())
        (place / "lock").write_text(json.dumps(theirs | {"process": "another"}))
        leave_to_others(states[0], [root])
        assert "another ckptd looks after it" in root.incident
        del theirs["process"]
        (place / "lock").write_text(json.dumps(theirs))
        root.look_again()
        assert root.incident is None


def test_who_falls_back_on_what_it_had_yields_what_it_has_no_more(make_root, states):
    """All or none is for a start; settings that were in use before are used for the rest."""
    first, second = make_root("a"), make_root("b")
    with hold_roots(states[1], [first]), hold_roots(states[0], [first, second], yields=True) as locks:
        assert first.incident is not None
        assert second.incident is None
        assert len(locks.held) == 1


def test_locks_that_are_kept_let_nobody_in_between(make_root, states):
    """Neither while nobody holds them, nor when the first who takes them over fails; then they are given back."""
    root, kept = make_root(), KeptLocks()
    place = Path(root.path) / ".ckptd"
    with hold(states[0]) as lock, hold_roots(states[0], [root]) as locks:
        kept.keep((lock, *locks.held))
    assert is_held(states[0])
    assert is_held(place)
    for _ in range(2):
        with kept.hold(states[0]), hold_roots(states[0], [root], kept.hold):
            pass
        assert is_held(states[0])
        assert is_held(place)
    with kept.hold(states[0]), hold_roots(states[0], [root], kept.hold):
        kept.close()
        assert is_held(states[0])
        assert is_held(place)
    assert not is_held(states[0])
    assert not is_held(place)


def test_what_is_not_kept_is_taken(make_root, states):
    """Other settings have other directories."""
    kept = KeptLocks()
    with hold(states[0]) as lock:
        kept.keep([lock])
    with kept.hold(states[1]):
        assert is_held(states[1])
    assert not is_held(states[1])
    kept.close()
