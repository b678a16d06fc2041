"""What a report asks the index, on each kind of database."""

from __future__ import annotations

import os
from dataclasses import replace

from sqlalchemy import insert

from ckptd.index import totals
from ckptd.index.archived import Archived, ArchivedMember, put_archive
from ckptd.index.ledger import Check, put_check
from ckptd.index.runs import RunOutcome, add_run, end_run, note_schedule
from ckptd.index.tables import places
from ckptd.model import Finding, PlaceState, Severity, Status
from tests.index.making import DAY, NOW, ROOT, digest, fill, identity, inspection

OTHER = "/srv/other"
NAN = Finding("non-finite-weights", Severity.WARNING, "1 NaN", ())


def every(rows):
    return [tuple(row) for row in rows]


def present(store, *roots):
    return store.ask(totals.walk_present, roots or (ROOT,), every)


def test_each_checkpoint_that_is_there_is_a_row(store):
    """Of the roots that are asked for and of no other host; what is gone is not among them."""
    fill(store, {"a.pth": inspection("a"), "b.pth": inspection("b"), "c.pth": inspection("c")})
    fill(store, {"d.pth": inspection("d")}, root=OTHER)
    with store.batch() as batch:
        batch.record_state(ROOT, "b.pth", PlaceState.TRASHED, now=NOW)
    store.owner, mine = "elsewhere", store.owner
    fill(store, {"e.pth": inspection("e")})
    store.owner = mine
    assert [(root, path) for root, path, *_ in present(store)] == [(ROOT.encode(), b"a.pth"), (ROOT.encode(), b"c.pth")]
    assert len(present(store, ROOT, OTHER)) == 3
    row = present(store)[0]
    assert row[2:8] == (digest("a"), 5, 1, 1001, int(NOW * 1e9), NOW)
    gone = store.ask(totals.walk_gone, (ROOT,), every)
    assert gone == [(ROOT.encode(), "trashed", 5, 2, 1002, int(NOW * 1e9), NOW, NOW)]


def test_each_description_is_a_row(store):
    """With the beginning of its JSON, and all of it where its weights may not be finite."""
    bad = replace(inspection("b", Status.OK, model_name="net", dataset="ECG", date="2026-01-02"), findings=(NAN,))
    fill(store, {"a.pth": inspection("a"), "b.pth": bad})
    keys = {row[8] for row in present(store)}
    rows = {row[0]: row[1:] for row in store.ask(totals.walk_contents, every)}
    assert set(rows) == keys
    by_model = {row[2]: row for row in rows.values()}
    assert by_model["net"][:5] == ("ok", "state_dict", "net", "ECG", "2026-01-02")
    assert '"dtypes":{"float32":12},"optimizer_bytes":0' in by_model["net"][5]
    assert totals.read_findings(by_model["net"][6]) == (("non-finite-weights", "warning", "1 NaN"),)
    assert by_model[None][6] is None


def test_findings_are_given_by_key(store):
    fill(store, {"a.pth": replace(inspection("a"), findings=(NAN,))})
    key = present(store)[0][8]
    assert store.ask(totals.load_findings, [key, "no such key"]) == {key: (("non-finite-weights", "warning", "1 NaN"),)}


def test_the_first_look_at_each_root(store):
    fill(store, {"a.pth": inspection("a")}, now=NOW)
    fill(store, {"b.pth": inspection("b")}, now=NOW - DAY)
    fill(store, {"c.pth": inspection("c")}, root=OTHER, now=NOW + 5)
    assert store.ask(totals.find_first_looks, (ROOT, OTHER)) == {ROOT.encode(): NOW - DAY, OTHER.encode(): NOW + 5}


def test_places_of_equal_contents_are_one_for_each_file(store):
    """A hard link is no second file."""
    one = inspection("a")
    with store.batch() as batch:
        for path, number in (("a.pth", 1), ("link.pth", 1), ("z/copy.pth", 2)):
            batch.record_ready(ROOT, path, identity(number), one, now=NOW)
        batch.record_ready(ROOT, "b.pth", identity(3), inspection("b"), now=NOW)
    found = store.ask(totals.find_equal_places, (ROOT,), [digest("a")])
    assert found == {digest("a"): [(ROOT, "a.pth"), (ROOT, "z/copy.pth")]}


def test_exports_are_summed(store):
    """Those of ours with a size; sidecars are none."""
    with store.batch() as batch:
        batch.record_output(ROOT, "a.onnx", digest("x"), "export", now=NOW, identity=tuple(identity(9)))
        batch.record_output(ROOT, "a_metadata.json", digest("y"), "sidecar", now=NOW)
    assert store.ask(totals.sum_exports, (ROOT,)) == (1, 1009)
    assert store.ask(totals.sum_exports, (OTHER,)) == (0, 0)


def test_archives_are_summed_with_their_checkpoints(store):
    """Sidecars in them are not counted; an archive without any member is one too."""
    made = Archived(0, "/a", "one.tar.gz", "tar.gz", digest("t"), 700, "verified", NOW, NOW, None)
    members = [
        ArchivedMember(0, "a.pth", "checkpoint", ROOT, "a.pth", digest("a"), 500),
        ArchivedMember(0, "b.pth", "checkpoint", ROOT, "b.pth", digest("b"), 400, is_lost=True),
        ArchivedMember(0, "a.json", "sidecar", ROOT, "a.json", digest("c"), 9),
    ]
    with store.batch() as batch:
        batch.tell(put_archive, made, members)
        batch.tell(put_archive, replace(made, name="two.tar.gz", created_at=NOW + 1, state="damaged"), [])
    assert [tuple(one) for one in store.ask(totals.sum_archives)] == [
        ("/a", 700, "verified", NOW, None, 2, 1, 900), ("/a", 700, "damaged", NOW + 1, None, 0, 0, 0),
    ]  # fmt: skip


def test_checks_are_summed_while_their_bytes_are_there(store):
    """A check speaks of the content that it read; of another one at the same place it says nothing."""
    fill(store, {"a.pth": inspection("a"), "b.pth": inspection("b"), "c.pth": inspection("c")})
    with store.batch() as batch:
        batch.tell(put_check, Check(ROOT, "a.pth", digest("a"), NOW - DAY, "ok"))
        batch.tell(put_check, Check(ROOT, "b.pth", digest("b"), NOW - 2 * DAY, "rotten"))
        batch.tell(put_check, Check(ROOT, "c.pth", digest("older"), NOW - 9 * DAY, "rotten"))
    assert store.ask(totals.sum_checks, (ROOT,)) == (2, NOW - 2 * DAY, [(ROOT, "b.pth")])


def test_the_last_run_of_each_job(store):
    """The one that asks is left out, and so is what only says since when a timetable holds."""
    with store.batch() as batch:
        batch.tell(note_schedule, "purge", "0 5 * * *", NOW)
        for job, outcome, run in (("purge", "ok", "1"), ("purge", "failed", "2"), ("scrub", "ok", "3")):
            number = batch.tell(add_run, job, run, None, NOW + int(run))
            batch.tell(end_run, number, RunOutcome(outcome), "it broke" if outcome == "failed" else "", {"n": 1}, NOW + 10)
        batch.tell(add_run, "report", "mine", None, NOW + 20)
        batch.tell(note_schedule, "drill", "0 6 * * sun", NOW + 30)
    found = store.ask(totals.load_last_runs, "mine")
    assert [(one.job, one.outcome, one.started_at, one.finished_at, one.succeeded_at, one.reason) for one in found] == [
        ("purge", "failed", NOW + 2, NOW + 10, NOW + 10, "it broke"), ("scrub", "ok", NOW + 3, NOW + 10, NOW + 10, ""),
    ]  # fmt: skip
    assert [one.job for one in store.ask(totals.load_last_runs, "")] == ["purge", "report", "scrub"]


def test_names_that_are_no_text(store):
    """Bytes come as bytes, and go back to the same names."""
    fill(store, {"\udcff.pth": inspection("a"), "copy\udcfe.pth": inspection("a")})
    assert [row[1] for row in present(store)] == [b"\xff.pth", b"copy\xfe.pth"]
    found = store.ask(totals.find_equal_places, (ROOT,), [digest("a")])
    assert sorted(path for _, path in found[digest("a")]) == ["copy\udcfe.pth", "\udcff.pth"]


def test_a_place_without_a_content_is_a_row(store):
    """It is there, and nobody could read it so far."""
    with store.batch() as batch:
        values = {
            "host": store.owner,
            "root": os.fsencode(ROOT),
            "path": b"x.pth",
            "shown": "x.pth",
            "state": "rejected",
            "dev": 1,
        }
        values |= {"ino": 2, "size": 3, "mtime_ns": 4, "ctime_ns": 5, "first_seen_at": NOW, "state_since": NOW}
        batch.tell(lambda connection, _: connection.execute(insert(places).values(**values)))
    assert present(store)[0][8] is None
