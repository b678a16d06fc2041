"""Following the audit, and what is asked beside it: cursors, arrivals, what is not to be believed."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from dataclasses import replace

import pytest

from ckptd.index.following import Cursor, Pulse, begin_following, find_end, keep_cursors, put_cursor, read_events
from ckptd.index.ledger import Check, put_check
from ckptd.index.store import Store
from ckptd.index.troubles import BAD_OUTCOMES, BadPlace, BadRoot, load_arrivals, load_bad_roots
from ckptd.jobs.telling.events import read_event
from ckptd.model import GONE_STATES, Finding, PlaceState, Severity, Source, Status
from ckptd.policy.scrub import BAD
from tests.index.making import DAY, NOW, ROOT, digest, fill, identity, inspection


def note(store, *whats, why=None):
    with store.batch() as batch:
        for what in whats:
            batch.audit(what, ROOT, "a.pth", None, now=NOW, why=why or {})


def test_a_follower_begins_at_the_end_and_goes_on_where_it_was(store):
    """History is no news; what came after is, in order, once."""
    note(store, "one", "two")
    with store.batch() as batch:
        cursor = batch.tell(begin_following, "me", NOW)
    assert store.ask(read_events, cursor.audit, ("one", "two"), 10) == ([], cursor.audit)
    note(store, "one", "other", "two")
    events, upto = store.ask(read_events, cursor.audit, ("one", "two"), 10)
    assert [event.what for event in events] == ["one", "two"]
    assert upto == store.ask(find_end)
    with store.batch() as batch:
        batch.tell(put_cursor, "me", Cursor(upto, NOW))
        assert batch.tell(begin_following, "me", NOW + DAY) == Cursor(upto, NOW)


def test_a_bite_ends_at_its_last_row(store):
    """What is beyond it comes with the next question, and nothing between is passed over."""
    note(store, *(["one", "other"] * 5))
    first, upto = store.ask(read_events, 0, ("one",), 3)
    assert upto == first[-1].id
    second, end = store.ask(read_events, upto, ("one",), 3)
    assert len(first) + len(second) == 5
    assert end == store.ask(find_end)


def test_a_follower_that_nobody_wants_is_forgotten(store):
    """It begins at the end again."""
    with store.batch() as batch:
        batch.tell(begin_following, "me", NOW)
        batch.tell(begin_following, "you", NOW)
        batch.tell(keep_cursors, ["you"])
    note(store, "one")
    with store.batch() as batch:
        assert batch.tell(begin_following, "me", NOW).audit == store.ask(find_end)
        assert batch.tell(begin_following, "you", NOW).audit == 0


def test_what_belongs_to_a_follower_stays_or_goes_with_it(store):
    """By its name."""
    with store.batch() as batch:
        for name in ("me", "me/1", "you", "you/1", "you/2", "young"):
            batch.tell(put_cursor, name, Cursor(7, NOW))
        batch.tell(keep_cursors, ["you"])
    with store.engine.connect() as connection:
        names = connection.exec_driver_sql("SELECT name FROM cursors ORDER BY name").scalars().all()
    assert names == ["you", "you/1", "you/2"]


def test_no_row_is_named_like_another_in_any_index(store, tmp_path):
    """Numbers begin anew in a new index, and go back with a copy: who wrote it tells."""
    other = Store.open(tmp_path / "other.sqlite")
    keys = []
    for one in (store, other):
        note(one, "one", "one")
        keys += [event.key for event in one.ask(read_events, 0, ("one",), 10)[0]]
    other.close()
    assert len(set(keys)) == 4
    assert keys[0] == f"{store.run}-{store.ask(find_end) - 1}"


def test_a_row_that_somebody_wrote_by_hand_is_no_fault(sqlite_store):
    """Why is empty then."""
    with closing(sqlite3.connect(sqlite_store.file)) as connection, connection:
        for why in ("nonsense", "[1]", "[" * 100_000):
            connection.execute("INSERT INTO audit (at, what, job, run, why) VALUES (1, 'one', '', '', ?)", (why,))
    events, _ = sqlite_store.ask(read_events, 0, ("one",), 10)
    assert [event.why for event in events] == [{}, {}, {}]


def test_the_audit_says_what_was_found(store):
    """The status, what is no mere information, the reason, and what makes it no news."""
    bad = (Finding("truncated", Severity.ERROR, "it ends"), Finding("non-finite-weights", Severity.WARNING, "NaN"))
    one = inspection("x", Status.DAMAGED)
    with store.batch() as batch:
        batch.record_ready(ROOT, "a.pth", identity(1), replace(one, findings=(*one.findings, *reversed(bad))), now=NOW)
        batch.record_ready(ROOT, "b.pth", identity(2), one, now=NOW, how="recalled")
    first, second = store.ask(read_events, 0, ("checkpoint.rejected",), 10)[0]
    told = {"non-finite-weights": "NaN"}
    assert first.why == {
        "status": "damaged",
        "findings": ["non-finite-weights", "truncated"],
        "reason": "it ends",
        "told": told,
    }
    assert second.why == {"status": "damaged", "how": "recalled"}


def test_weights_that_are_not_finite_are_in_the_audit_behind_whatever_else(store):
    """A thousand findings of one kind are one, and what is told by itself is never cut off."""
    many = tuple(Finding("unknown-global", Severity.WARNING, f"m{number}") for number in range(1_000))
    kinds = tuple(Finding(f"kind-{number}", Severity.WARNING, "it would run code") for number in range(20))
    nan = Finding("non-finite-weights", Severity.WARNING, "3 values are NaN")
    with store.batch() as batch:
        for number, before in enumerate((many, kinds)):
            one = replace(inspection(f"x{number}"), findings=(*before, nan))
            batch.record_ready(ROOT, f"{number}.pth", identity(number), one, now=NOW)
    first, second = store.ask(read_events, 0, ("checkpoint.ready",), 10)[0]
    assert first.why["findings"] == ["unknown-global", "non-finite-weights"]
    assert second.why["findings"] == [*(f"kind-{number}" for number in range(10)), "non-finite-weights"]
    assert second.why["reason"] == "it would run code"
    assert read_event(second).example == "1.pth: 3 values are NaN"


def test_what_the_scrub_found_is_bad_until_the_content_is_another(store):
    """Saved anew, or gone: it is no rot any more."""
    assert set(BAD_OUTCOMES) == {outcome.value for outcome in BAD}
    fill(store, {path: inspection(path) for path in ("a.pth", "b.pth", "c.pth", "d.pth")})
    with store.batch() as batch:
        for path, outcome in (("a.pth", "rotten"), ("b.pth", "unreadable"), ("c.pth", "ok"), ("d.pth", "rotten")):
            batch.tell(put_check, Check(ROOT, path, digest(path), NOW, outcome))
        batch.record_missing(ROOT, "d.pth", now=NOW)
    assert store.ask(load_bad_roots, 1) == [BadRoot(ROOT, 2, (BadPlace(ROOT, "a.pth", "rotten"),))]
    with store.batch() as batch:
        batch.record_ready(ROOT, "a.pth", identity(1), inspection("new"), now=NOW)
    assert store.ask(load_bad_roots, 9) == [BadRoot(ROOT, 1, (BadPlace(ROOT, "b.pth", "unreadable"),))]


def test_each_root_has_its_own_rot(store):
    """However much there is in another one: a number, and some names."""
    with store.batch() as batch:
        for root, files in (("/a", 20), ("/b", 3)):
            for number in range(files):
                path = f"{number:02d}.pth"
                batch.record_ready(root, path, identity(number), inspection(root + path), now=NOW)
                batch.tell(put_check, Check(root, path, digest(root + path), NOW, "rotten"))
    found = store.ask(load_bad_roots, 10)
    assert [(one.root, one.files, len(one.places)) for one in found] == [("/a", 20, 10), ("/b", 3, 3)]
    assert found[1].places[0] == BadPlace("/b", "00.pth", "rotten")


def test_a_checkpoint_came_when_it_was_seen_or_changed_and_not_when_it_was_read_again(store):
    """The latest of each model and data set; a name that is not sure makes no group."""
    sure, unsure = {"model_name": Source("name", 0.9)}, {"model_name": Source("name", 0.3)}
    names = {"model_name": "BiLSTM", "dataset": "ECG"}
    with store.batch() as batch:
        for number, (path, days, metadata) in enumerate(
            [
                ("old.pth", -3, {**names, "sources": sure}),
                ("new.pth", -2, {**names, "sources": sure}),
                ("unsure.pth", -1, {"model_name": "GRU", "sources": unsure}),
                ("runs/x.pth", -1, {"model_name": "TCN", "sources": sure}),
                ("ahead.pth", 9, {"model_name": "Ahead", "sources": sure}),
            ]
        ):
            file = identity(number, mtime_ns=int((NOW + days * DAY) * 1e9))
            batch.record_ready(ROOT, path, file, inspection(path, **metadata), now=NOW)
    with store.batch() as batch:  # first seen when it was saved: a reindex reads all of them again much later
        batch.tell(lambda connection, _: connection.exec_driver_sql("UPDATE places SET first_seen_at = mtime_ns / 1e9"))
    arrivals = {one.model: one for one in store.ask(load_arrivals, 0.6)}
    assert set(arrivals) == {"BiLSTM", "TCN", "Ahead"}
    assert arrivals["BiLSTM"].at == NOW - 2 * DAY
    assert (arrivals["TCN"].path, arrivals["TCN"].at) == ("runs/x.pth", NOW - DAY)
    assert arrivals["Ahead"].at == NOW
    (one,) = store.ask(lambda *about: load_arrivals(*about, 0.6, at=(ROOT, "old.pth")))
    assert one.at == NOW - 3 * DAY


@pytest.mark.parametrize("state", [*GONE_STATES, PlaceState.READY])
def test_what_is_gone_by_now_came_all_the_same(store, state):
    """The newest of a group may be archived, in the trash or moved away; one that was rejected never came."""
    about = {"model_name": "BiLSTM", "sources": {"model_name": Source("name", 0.9)}}
    days = {"old.pth": (-3, Status.OK), "new.pth": (-2, Status.NEEDS_CODE), "bad.pth": (-1, Status.DAMAGED)}
    with store.batch() as batch:
        for number, (path, (day, status)) in enumerate(days.items()):
            file = identity(number, mtime_ns=int((NOW + day * DAY) * 1e9))
            batch.record_ready(ROOT, path, file, inspection(path, status, **about), now=NOW)
            batch.record_state(ROOT, path, PlaceState.READY if path == "old.pth" else state, now=NOW)
        batch.tell(lambda connection, _: connection.exec_driver_sql("UPDATE places SET first_seen_at = mtime_ns / 1e9"))
    (one,) = store.ask(load_arrivals, 0.6)
    assert one.at == NOW - 2 * DAY


def test_a_look_at_a_long_audit_costs_what_is_new(sqlite_store):
    """It is asked for by number, and not read from its beginning."""
    with sqlite_store.engine.connect() as connection:
        question = "EXPLAIN QUERY PLAN SELECT * FROM audit WHERE id > 5 AND what IN ('one') ORDER BY id"
        plan = str(connection.exec_driver_sql(question).all())
    assert "SEARCH" in plan
    assert "SCAN" not in plan


def test_an_index_that_nobody_wrote_to_has_no_pulse(sqlite_store):
    """A look at it costs no question; each write is noticed, by whatever process."""
    note(sqlite_store, "one")
    now = [time.time() + 10]
    pulse = Pulse(sqlite_store.file, lambda: now[0])
    assert pulse.has_beaten()
    assert not pulse.has_beaten()
    with closing(sqlite3.connect(sqlite_store.file)) as connection, connection:
        connection.execute("INSERT INTO audit (at, what, job, run, why) VALUES (1, 'one', '', '', '{}')")
    assert pulse.has_beaten()
    assert not pulse.has_beaten()
    assert Pulse(None).has_beaten()


def test_a_write_in_the_same_tick_of_the_clock_is_not_missed(sqlite_store):
    """What was written just now is looked at once more."""
    note(sqlite_store, "one")
    log = sqlite_store.file.with_name(f"{sqlite_store.file.name}-wal")
    now = [log.stat().st_mtime]
    pulse = Pulse(sqlite_store.file, lambda: now[0])
    assert [pulse.has_beaten() for _ in range(3)] == [True] * 3
    now[0] += 1
    assert [pulse.has_beaten() for _ in range(2)] == [True, False]
    log.unlink()
    assert [pulse.has_beaten() for _ in range(2)] == [True, True]
