"""What `ckptd doctor` says about rot, and about archives that nobody could restore from."""

from __future__ import annotations

import os
from random import Random

import pytest

from ckptd.index.archived import note_verified
from ckptd.index.ledger import Check, put_check
from ckptd.jobs.doctoring_scrub import tell_scrub
from ckptd.model import Severity
from tests.jobs.scrubbed import Bench, rot, tensor_at


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    made.close()


def lines(bench, name):
    return [check for check in tell_scrub(bench.settings, bench.store) if check.name == name]


def test_an_empty_index_has_nothing_to_say(bench):
    """No line is better than one about nothing."""
    assert list(tell_scrub(bench.settings, bench.store)) == []


def test_rot_is_told_until_it_is_gone_with_the_way_back(bench):
    """The copy is where the index says; the command is the one of the scrub."""
    path = bench.save("a.pth", 3)
    copy = bench.copy(path, "b.pth")
    rot(path, tensor_at(3))
    bench.scrub()
    command = bench.events("scrub.rotten")[0]["command"]
    (told, _) = lines(bench, "scrub")
    assert (told.ok, told.severity) == (False, Severity.ERROR)
    assert told.message == f"{path}: its bytes are no longer those that were saved"
    assert told.cure == f"another copy should be in {copy}: {command}"
    path.rename(path.with_suffix(".rotten"))
    path.write_bytes(copy.read_bytes())
    bench.index(path)
    bench.now = os.stat(path).st_ctime + 1
    bench.scrub()
    assert [check.ok for check in lines(bench, "scrub")] == [True]


def test_what_could_not_be_read_and_has_no_copy(bench):
    """Its own words, and the only cure that is left."""
    path = bench.save("a.pth")
    with bench.store.batch() as batch:
        batch.tell(put_check, Check(*bench.split(path), bench.digest(path), 1.0, "unreadable"))
    (told, _) = lines(bench, "scrub")
    assert "it could not be read" in told.message
    assert "backup" in told.cure


def test_many_bad_ones_are_counted(bench):
    """Twenty lines are enough to see that a disk is dying."""
    path = bench.save("a.pth")
    digest = bench.digest(path)
    for number in range(25):
        copy = bench.copy(path, f"{number:02}.pth")
        with bench.store.batch() as batch:
            batch.tell(put_check, Check(*bench.split(copy), digest, 1.0, "rotten"))
    told = [check for check in lines(bench, "scrub") if not check.ok]
    assert len(told) == 21
    assert "5 more" in told[-1].message


def test_how_much_was_read_again(bench):
    """Nothing, a part, all of it; and what takes too long."""
    bench.save("a.pth")
    assert "1 of 1 checkpoints were not read again yet" in lines(bench, "scrub")[0].message
    bench.scrub()
    assert "all 1 checkpoints were read again" in lines(bench, "scrub")[0].message
    path = bench.save("a.pth", 5)  # other bytes were never read again
    assert "1 of 1" in lines(bench, "scrub")[0].message
    with bench.store.batch() as batch:
        batch.tell(put_check, Check(*bench.split(path), bench.digest(path), 1.0, "unfinished"))
    told = lines(bench, "scrub")[0]
    assert (told.severity, told.cure) == (Severity.WARNING, "raise scrub.seconds")
    assert str(path) in told.message


def test_a_scrub_that_is_never_due_is_told(bench):
    """Rot stays unseen then."""
    bench.save("a.pth")
    schedule = bench.settings.schedule.model_copy(update={"scrub": ""})
    bench.settings = bench.settings.model_copy(update={"schedule": schedule})
    (told,) = lines(bench, "scrub")
    assert not told.ok
    assert "schedule.scrub" in told.cure


def test_archives_and_their_drills(bench):
    """How many, when the last drill was, and which archive lost something."""
    archive = bench.archive(bench.save("a.pth"))
    assert lines(bench, "archives")[0].message == "1, 0 of them drilled; none was drilled yet"
    bench.drill(Random(0))
    assert "1, 1 of them drilled; the last drill was on 20" in lines(bench, "archives")[0].message
    (one,) = bench.archives()
    with bench.store.batch() as batch:
        batch.tell(note_verified, one.id, "missing", [], 1.0)
    told, _ = lines(bench, "archives")
    assert (told.ok, told.message) == (False, f"{archive} is missing")
    assert archive.name in told.cure
