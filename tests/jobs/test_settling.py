"""Files that are waited for: until they are whole and their writer let go, and never for ever."""

from __future__ import annotations

import os

import pytest

from ckptd.jobs.roots import WatchedRoot
from ckptd.jobs.settling import Arrived, Gone, Settling, Unreadable
from ckptd.policy.settle import SettleRules
from ckptd.watch.wanted import compile_wanted
from tests.jobs.stages import Clock
from tests.jobs.test_ingest import save


@pytest.fixture
def models(tmp_path):
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def settling(models, clock):
    root = WatchedRoot.open(0, models, compile_wanted([".pth"]))
    yield Settling([root], SettleRules(2.0, 600.0), clock)
    root.handle.close()


def look(settling, clock, seconds=0.0):
    """Let time pass and give what is over, with descriptors closed."""
    clock.now += seconds
    outcomes = list(settling.due(clock.now))
    for outcome in outcomes:
        if isinstance(outcome, Arrived):
            os.close(outcome.fd)
    return outcomes


def test_a_whole_file_that_nobody_writes_is_handed_on_at_once(settling, models, clock):
    """With its identity, and then it is waited for no longer."""
    save(models / "a.pth")
    settling.expect((0, "a.pth"), clock.now, closed=True)
    (arrived,) = look(settling, clock)
    assert arrived.identity.ino == (models / "a.pth").stat().st_ino
    assert len(settling) == 0
    assert settling.next_due() is None


def test_an_open_file_is_waited_for_whatever_its_bytes_say(settling, models, clock):
    """Until its writer closes it; the hint of the close brings the look forward."""
    save(models / "a.pth")
    with (models / "a.pth").open("r+b"):
        settling.expect((0, "a.pth"), clock.now, closed=False)
        assert look(settling, clock) == []
        assert look(settling, clock, 60.0) == []
        assert settling.next_due() > clock.now
    settling.expect((0, "a.pth"), clock.now, closed=True)
    assert settling.next_due() == clock.now
    assert len(look(settling, clock)) == 1


def test_half_a_file_is_waited_for_and_handed_on_when_nobody_goes_on_with_it(settling, models, clock):
    """Ten minutes of quiet; every byte that is added starts them anew."""
    whole = save(models / "whole.pth").read_bytes()
    (models / "a.pth").write_bytes(whole[:500])
    settling.expect((0, "a.pth"), clock.now, closed=True)
    assert look(settling, clock) == []
    assert look(settling, clock, 599.0) == []
    with (models / "a.pth").open("ab") as file:
        file.write(whole[500:700])
    settling.expect((0, "a.pth"), clock.now, closed=True)
    assert look(settling, clock) == []
    assert look(settling, clock, 599.0) == []
    assert settling.all_unfinished()
    assert len(look(settling, clock, 2.0)) == 1


def test_a_single_pass_hands_on_what_its_own_times_call_abandoned(settling, models, clock):
    """It cannot wait ten minutes; a file that is half and an hour old is damaged."""
    half = save(models / "a.pth").read_bytes()[:500]
    (models / "a.pth").write_bytes(half)
    settling.expect((0, "a.pth"), clock.now, closed=False)
    assert look(settling, clock) == []
    written_at = (models / "a.pth").stat().st_mtime
    assert settling.hand_over_abandoned(written_at + 599.0) == 0
    assert settling.hand_over_abandoned(written_at + 3600.0) == 1
    assert len(look(settling, clock)) == 1


def test_what_went_and_what_may_not_be_read_is_told_apart(settling, models, clock):
    """A link that was swapped in is not followed; a directory and a FIFO are no files any more."""
    (models / "link.pth").symlink_to("/etc/passwd")
    (models / "directory.pth").mkdir()
    os.mkfifo(models / "pipe.pth")
    for name in ("gone.pth", "link.pth", "directory.pth", "pipe.pth"):
        settling.expect((0, name), clock.now, closed=True)
    outcomes = {outcome.place[1]: type(outcome) for outcome in look(settling, clock)}
    assert outcomes == {"gone.pth": Gone, "link.pth": Unreadable, "directory.pth": Gone, "pipe.pth": Gone}


def test_a_file_that_is_forgotten_is_not_looked_at(settling, models, clock):
    """And the heap of looks does not keep it."""
    save(models / "a.pth")
    settling.expect((0, "a.pth"), clock.now, closed=True)
    settling.forget((0, "a.pth"))
    assert settling.next_due() is None
    assert look(settling, clock) == []
