"""Files that can't be opened or inspected are tried again at each start and doubt; that they still can't be is no news."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from ckptd.errors import WorkerError
from ckptd.index.following import read_events
from ckptd.jobs.reading import Read
from ckptd.jobs.settling import Unreadable
from ckptd.model import Finding, Identity, Inspection, Severity, Status
from tests.jobs.stages import names, staged
from tests.jobs.test_ingest import save


@pytest.fixture
def models(tmp_path):
    return tmp_path / "models"


def news(stages):
    """Give what the audit says that is news: (what, status)."""
    events, _ = stages.store.ask(read_events, 0, ("checkpoint.ready", "checkpoint.rejected"), 1_000)
    return [(event.what, event.why["status"]) for event in events if not event.why.get("how")]


def close_for_us(stages, *paths):
    """Let files be there and not be opened: root, who runs the tests, may open any."""
    look = stages.ingest._settling._look

    def refuse(place, now):
        if place[1] in paths:
            return Unreadable(place, Identity.of(os.stat(stages.path / place[1])), "Permission denied")
        return look(place, now)

    stages.ingest._settling._look = refuse


REJECTED = ("checkpoint.rejected", "unreadable")


def test_a_file_that_can_not_be_opened_is_news_once(models):
    """At each start and each overflow it is tried again, and that nobody may open it is known."""
    save(models / "a.pth")
    for why in ("start", "overflow"):
        with staged(models) as stages:
            close_for_us(stages, "a.pth")
            stages.reconcile(why)
            stages.reconcile("overflow")
            assert news(stages) == [REJECTED]
            told = names(stages.log, "checkpoint.rejected")
        assert len(told) == (1 if why == "start" else 0)


def test_it_is_news_when_it_can_be_read_or_was_saved_again(models):
    """Whatever is wrong with it then is another trouble, or none."""
    save(models / "a.pth")
    save(models / "b.pth")
    with staged(models) as stages:
        close_for_us(stages, "a.pth", "b.pth")
        stages.reconcile()
    save(models / "b.pth", seed=1, size=20)
    with staged(models) as stages:
        close_for_us(stages, "b.pth")
        stages.reconcile()
        stages.settle(60.0)
        assert sorted(news(stages)) == [("checkpoint.ready", "ok"), REJECTED, REJECTED, REJECTED]


WAITS = (0.0, 5.0, 60.0, 600.0)
FAILED = ("checkpoint.rejected", "failed")


def test_an_inspection_that_failed_for_good_is_news_once(models):
    """It is tried again at each start, four times, and after each doubt."""
    save(models / "a.pth")
    for _ in range(2):
        with staged(models) as stages:
            stages.reader.errors["a.pth"] = WorkerError("a worker was killed")
            stages.reconcile()
            for wait in WAITS:
                stages.settle(wait)
            assert len(stages.reader.read) == 4
            stages.reconcile("overflow")
            assert news(stages) == [FAILED]


def test_a_kill_between_two_tries_hides_no_failure(models):
    """What is in the index then is no word that anybody was told."""
    save(models / "a.pth")
    with staged(models) as stages:
        stages.reader.errors["a.pth"] = WorkerError("a worker was killed")
        stages.reconcile()
        stages.settle(WAITS[1])
        assert news(stages) == []
    with staged(models) as stages:
        stages.reader.errors["a.pth"] = WorkerError("a worker was killed")
        stages.reconcile()
        for wait in WAITS:
            stages.settle(wait)
        assert news(stages) == [FAILED]


def test_what_the_inspector_itself_calls_unreadable_is_news_once(models):
    """An I/O error of the disk in the middle of a file, and another one later."""
    save(models / "a.pth")
    bad = Finding("unreadable", Severity.ERROR, "an I/O error")
    for findings, seen in (((bad,), 1), ((bad,), 1), ((replace(bad, code="inspection-failed"),), 2)):
        with staged(models) as stages:
            start = stages.reader.start

            def fail(place, identity, fd, shown, start=start, findings=findings, stages=stages):
                start(place, identity, fd, shown)
                one = Inspection(place[1], Status.UNREADABLE, findings=findings, identity=identity)
                stages.reader._answers[-1] = Read(place, identity, one, None)

            stages.reader.start = fail
            stages.reconcile()
            stages.settle(60.0)
            assert news(stages) == [REJECTED] * seen
