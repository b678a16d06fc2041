"""The figures of the index: sums and counts, on each kind of database."""

from __future__ import annotations

from dataclasses import replace

from ckptd.index import figures as questions
from ckptd.index.archived import DAMAGED, VERIFIED, Archived, put_archive
from ckptd.index.ledger import Check, put_check
from ckptd.index.runs import RunOutcome, add_run, end_run
from ckptd.model import Finding, PlaceState, Severity, Status
from ckptd.proof import Verdict
from tests.index.making import NOW, ROOT, digest, export, identity, inspection


def record(batch, name, status=Status.OK, root=ROOT, now=NOW, **changes):
    batch.record_ready(root, f"{name}.pth", identity(ord(name[0])), replace(inspection(name, status), **changes), now=now)


def test_files_are_added_up_by_root_and_state(store):
    """With their sizes and the time of the newest; those of other hosts are not among them."""
    with store.batch() as batch:
        record(batch, "a")
        record(batch, "b", now=NOW + 5)
        record(batch, "c", Status.DAMAGED)
        record(batch, "d", root="/srv/\udcff")
    with store.batch() as batch:
        batch.record_state(ROOT, "a.pth", PlaceState.TRASHED, now=NOW)
    sums = {(row.root, row.state): row[2:] for row in store.ask(questions.sum_places)}
    size = identity(0).size_bytes
    assert sums == {
        (ROOT, "trashed"): (1, size + ord("a"), NOW),
        (ROOT, "ready"): (1, size + ord("b"), NOW + 5),
        (ROOT, "rejected"): (1, size + ord("c"), NOW),
        ("/srv/\udcff", "ready"): (1, size + ord("d"), NOW),
    }
    store.owner = "elsewhere"
    assert store.ask(questions.sum_places) == []


def test_rejected_files_are_counted_by_status(store):
    """Those that lie there: one that is gone is rejected no more."""
    with store.batch() as batch:
        for name, status in (("a", Status.OK), ("b", Status.DAMAGED), ("c", Status.DAMAGED), ("d", Status.UNSAFE)):
            record(batch, name, status)
    assert store.ask(questions.count_rejected) == {(ROOT, "damaged"): 2, (ROOT, "unsafe"): 1}
    with store.batch() as batch:
        batch.record_missing(ROOT, "d.pth", now=NOW)
    assert store.ask(questions.count_rejected) == {(ROOT, "damaged"): 2}


def test_rotten_files_are_counted_while_they_lie_there(store):
    """What was replaced since, and what is gone, is rotten no more."""
    with store.batch() as batch:
        for name in "abcd":
            record(batch, name)
        for name, outcome in (("a", "rotten"), ("b", "unreadable"), ("c", "ok"), ("d", "rotten")):
            batch.tell(put_check, Check(ROOT, f"{name}.pth", digest(name), NOW, outcome))
    assert store.ask(questions.count_rotten) == {(ROOT, "rotten"): 2, (ROOT, "unreadable"): 1}
    with store.batch() as batch:
        batch.record_missing(ROOT, "d.pth", now=NOW)
        record(batch, "a", sha256=digest("other"))
    assert store.ask(questions.count_rotten) == {(ROOT, "unreadable"): 1}


def test_exports_and_archives_are_counted(store):
    """By target and verdict, by state."""
    with store.batch() as batch:
        batch.record_export(ROOT, "a.pth", export("onnx", verdict=Verdict.VERIFIED), now=NOW)
        batch.record_export(ROOT, "b.pth", export("onnx", verdict=Verdict.ERROR), now=NOW)
        batch.record_export(ROOT, "c.pth", export("onnx", verdict=Verdict.ERROR), now=NOW)
        for number, state in enumerate((VERIFIED, VERIFIED, DAMAGED)):
            one = Archived(0, "/srv/archives", f"{number}.tar.gz", "tar.gz", digest(str(number)), 100, state, NOW, NOW, None)
            batch.tell(put_archive, one, [])
    assert store.ask(questions.count_exports) == {("onnx", "verified"): 1, ("onnx", "error"): 2}
    assert sorted(store.ask(questions.count_archives)) == [(DAMAGED, 1, 100), (VERIFIED, 2, 200)]


def test_a_job_that_is_held_came_to_a_good_end(store):
    """And one that failed later takes nothing from that."""
    with store.batch() as batch:
        for started, outcome in ((NOW, RunOutcome.HELD), (NOW + 100, RunOutcome.FAILED)):
            number = batch.tell(add_run, "retention", "r", None, started)
            batch.tell(end_run, number, outcome, "", {}, started + 10)
        going_on = batch.tell(add_run, "scrub", "r", None, NOW)
    assert store.ask(questions.find_last_successes) == {"retention": NOW + 10}
    assert store.ask(questions.find_last_run) == going_on
    runs = store.ask(questions.load_runs_after, 0)
    assert [(run.job, run.outcome, run.finished_at) for run in runs] == [
        ("retention", "held", NOW + 10),
        ("retention", "failed", NOW + 110),
        ("scrub", "running", None),
    ]
    assert store.ask(questions.load_runs_after, going_on) == []


def test_a_finding_about_weights_is_found_where_it_came(store):
    """At the places that are asked for, however many, and at no others."""
    bad = Finding("non-finite-weights", Severity.WARNING, "NaN", ())
    with store.batch() as batch:
        record(batch, "a", findings=(bad,))
        record(batch, "b", findings=(bad,))
        record(batch, "c")
    (payload,) = store.ask(questions.load_suspects, [(ROOT, "b.pth"), (ROOT, "c.pth"), (ROOT, "none.pth")])
    assert '"non-finite-weights"' in payload
    assert store.ask(questions.load_suspects, []) == []
    assert len(store.ask(questions.load_suspects, [(ROOT, f"{name}.pth") for name in "ab" * 200])) == 2 * 2
