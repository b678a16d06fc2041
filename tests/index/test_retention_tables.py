"""Marks, groups, removals, archives, checks and freezes: what the policy remembers, on each kind of database."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ckptd.errors import CkptdError
from ckptd.index import archived, ledger, marks
from ckptd.index.archived import Archived, ArchivedMember
from ckptd.index.candidates import load_candidates, load_scores
from ckptd.index.ledger import Check, Gone, Grouping
from ckptd.index.marks import ALIAS, PIN, TAG, Derivation, Mark
from ckptd.model import PlaceState, Source
from tests.index.making import NOW, ROOT, digest, identity, inspection


def tell(store, function, *arguments):
    with store.batch() as batch:
        return batch.tell(function, *arguments)


def mark(kind, name="", path="a.pth", content="a"):
    return Mark(kind, name, ROOT, path, digest(content), NOW, "ada")


def test_marks_come_back_as_they_were_put(store):
    """Odd bytes of names included."""
    put = [mark(PIN, path="r\udcff.pth"), mark(TAG, "paper"), mark(ALIAS, "prod")]
    for one in put:
        tell(store, marks.put_mark, one)
    assert sorted(store.ask(marks.load_marks)) == sorted(put)


def test_an_alias_names_one_content(store):
    """Giving it to another one takes it from the first; tags are many."""
    for path in ("a.pth", "b.pth"):
        tell(store, marks.put_mark, mark(ALIAS, "prod", path, path))
        tell(store, marks.put_mark, mark(TAG, "paper", path, path))
    found = store.ask(marks.load_marks)
    assert [one.path for one in found if one.kind == ALIAS] == ["b.pth"]
    assert [one.path for one in found if one.kind == TAG] == ["a.pth", "b.pth"]


@pytest.mark.parametrize(
    ("path", "content", "gone"),
    [("a.pth", "a", 1), ("copy.pth", "a", 1), ("a.pth", "new", 1), ("copy.pth", "new", 0)],
)
def test_a_mark_is_taken_back_by_content_or_place(store, path, content, gone):
    """Whoever unpins a copy unpins the content."""
    tell(store, marks.put_mark, mark(PIN))
    assert tell(store, marks.drop_marks, PIN, "", ROOT, path, digest(content)) == gone
    assert len(store.ask(marks.load_marks)) == 1 - gone


def test_derivations_and_what_was_wanted_back(store):
    """Slimmed out of which, and restored when last."""
    made = Derivation(digest("small"), digest("large"), marks.SLIM, NOW)
    tell(store, marks.put_derivation, made)
    tell(store, marks.note_restored, digest("x"), NOW)
    tell(store, marks.note_restored, digest("x"), NOW + 5)
    assert store.ask(marks.load_derivations) == [made, Derivation(digest("x"), digest("x"), marks.RESTORE, NOW + 5)]


def test_groupings_are_the_last_word_for_each_place(store):
    """A group of None is remembered as such."""
    tell(store, ledger.put_groupings, [Grouping(ROOT, "a.pth", digest("a"), "Net"), Grouping(ROOT, "b.pth", digest("b"), None)])
    tell(store, ledger.put_groupings, [Grouping(ROOT, "a.pth", digest("c"), "Other", "keep last")])
    assert store.ask(ledger.load_groupings) == {
        (ROOT, "a.pth"): Grouping(ROOT, "a.pth", digest("c"), "Other", "keep last"),
        (ROOT, "b.pth"): Grouping(ROOT, "b.pth", digest("b"), None),
    }


def test_what_went_is_found_by_time_and_forgotten_when_it_is_back(store):
    """The brake counts the last seven days."""
    old, new = (Gone(ROOT, f"{at}.pth", digest("a"), "Net", 10, "archive", float(at)) for at in (1, 9))
    tell(store, ledger.add_gone, old)
    tell(store, ledger.add_gone, new)
    assert store.ask(ledger.load_gone, 5.0) == [new]
    tell(store, ledger.drop_gone, ROOT, "9.pth")
    assert store.ask(ledger.load_gone, 0.0) == [old]


def test_freezes(store):
    """Why nothing is taken away, until somebody lifts it."""
    assert store.ask(ledger.load_freezes) == {}
    tell(store, ledger.put_freeze, "reindexed", "made anew", NOW)
    tell(store, ledger.put_freeze, "reindexed", "made anew, again", NOW)
    assert store.ask(ledger.load_freezes) == {"reindexed": "made anew, again"}
    tell(store, ledger.drop_freezes)
    assert store.ask(ledger.load_freezes) == {}


def test_checks(store):
    """The last one for each place."""
    for outcome in ("ok", "rotten"):
        tell(store, ledger.put_check, Check(ROOT, "a.pth", digest("a"), NOW, outcome))
    assert store.ask(ledger.load_checks) == {(ROOT, "a.pth"): Check(ROOT, "a.pth", digest("a"), NOW, "rotten")}


ARCHIVE = Archived(0, "/srv/archives", "models_archive_20260101.tar.gz", "tar.gz", digest("t"), 99, "verified", NOW, NOW, None)


def member(path="a.pth", content="a", what="checkpoint", **values):
    return ArchivedMember(0, path, what, ROOT, path, digest(content), 10, **values)


def test_an_archive_and_its_members(store):
    """Found by content, by name and by the beginning of a digest; what is lost is not offered."""
    rows = [member(), member("run/b.pth", "b"), member("a_metadata.json", "s", "sidecar")]
    number = tell(store, archived.put_archive, ARCHIVE, rows)
    (found,) = store.ask(archived.load_archives)
    assert (found.id, found.name, found.members, found.drilled_at) == (number, ARCHIVE.name, 3, None)
    assert [one.path for one in store.ask(archived.load_members, number)] == ["a.pth", "a_metadata.json", "run/b.pth"]
    assert store.ask(archived.load_archived_digests) == {digest("a"): (ARCHIVE.name,), digest("b"): (ARCHIVE.name,)}
    for name in ("run/b.pth", f"{ROOT}/run/b.pth", "b.pth", "b", digest("b")[:8]):
        assert [one.path for one in store.ask(archived.find_members_named, name)] == ["run/b.pth"], name
    assert store.ask(archived.find_members_named, digest("b")[:5]) == []

    tell(store, archived.note_verified, number, "damaged", ["run/b.pth"], NOW + 1)
    assert store.ask(archived.find_members, [digest("a"), digest("b")])[0].path == "a.pth"
    assert len(store.ask(archived.find_members, [digest("a"), digest("b")])) == 1
    assert store.ask(archived.load_archived_digests) == {}, "a damaged archive is no reason for anything"
    tell(store, archived.note_verified, number, "verified", [], NOW + 2)
    assert not any(one.is_lost for one in store.ask(archived.load_members, number))
    tell(store, archived.note_drilled, number, NOW + 3)
    assert store.ask(archived.load_archives)[0].drilled_at == NOW + 3
    tell(store, archived.drop_archive, number)
    assert store.ask(archived.load_archives) == []
    assert store.ask(archived.load_members, number) == []


def test_another_archive_of_the_same_name_is_refused(store):
    """What lies in the first one is not forgotten for it."""
    tell(store, archived.put_archive, ARCHIVE, [member()])
    with pytest.raises(CkptdError, match="another archive is known by this name"):
        tell(store, archived.put_archive, replace(ARCHIVE, sha256=digest("other")), [member("c.pth", "c")])
    (found,) = store.ask(archived.load_archives)
    assert found.sha256 == ARCHIVE.sha256
    assert [one.path for one in store.ask(archived.load_members, found.id)] == ["a.pth"]


def test_an_archive_that_is_written_down_again_takes_the_place_of_the_first(store):
    """One row for each file, with what is in it now."""
    tell(store, archived.put_archive, ARCHIVE, [member(), member("b.pth", "b")])
    tell(store, archived.put_archive, ARCHIVE, [member("c.pth", "c")])
    (found,) = store.ask(archived.load_archives)
    assert found.members == 1
    assert [one.path for one in store.ask(archived.load_members, found.id)] == ["c.pth"]


def put(store, path, content="a", **metadata):
    with store.batch() as batch:
        batch.record_ready(ROOT, path, identity(len(path)), inspection(content, **metadata), now=NOW)


def test_candidates_are_what_is_there(store):
    """With all that a plan asks, and without what went."""
    sure = {"model_name": Source("name", 0.8)}
    put(store, "a.pth", "a", model_name="Net", dataset="ECG", epoch=3, sources=sure)
    put(store, "bb.pth", "b")
    put(store, "ccc.pth", "c")
    with store.batch() as batch:
        batch.record_state(ROOT, "ccc.pth", PlaceState.TRASHED, now=NOW)
    first, second = store.ask(load_candidates, ROOT)
    assert (first.path, first.model, first.dataset, first.epoch, first.model_confidence) == ("a.pth", "Net", "ECG", 3, 0.8)
    assert (second.path, second.model, second.model_confidence, second.optimizer_bytes) == ("bb.pth", None, 0.0, 0)
    assert store.ask(load_candidates, "/elsewhere") == []


def test_rows_of_an_older_ckptd_are_read_out_of_their_payload(sqlite_store):
    """An index that was upgraded has no traits yet."""
    put(sqlite_store, "a.pth", "a", model_name="Net", sources={"model_name": Source("name", 0.8)})
    with sqlite_store.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM traits")
    (only,) = sqlite_store.ask(load_candidates, ROOT)
    assert only.model_confidence == 0.8


def test_scores_are_made_of_the_metrics_of_each_content(store):
    """By the function of the caller, once for each content."""
    put(store, "a.pth", "a", metrics={"val_accuracy": 0.9, "loss": 0.2})
    put(store, "bb.pth", "b", metrics={"loss": 0.3})
    put(store, "ccc.pth", "c")
    scores = store.ask(load_scores, ROOT, dict)
    assert sorted(scores.values(), key=len) == [{"loss": 0.3}, {"val_accuracy": 0.9, "loss": 0.2}]


def test_what_ckptd_took_away_is_not_missing(store):
    """A file that ckptd moved is not lost, and neither is one that a person archived."""
    put(store, "a.pth")
    for state in (PlaceState.TRASHED, PlaceState.ARCHIVED, PlaceState.PURGED):
        with store.batch() as batch:
            batch.record_state(ROOT, "a.pth", state, now=NOW)
        with store.batch() as batch:
            batch.record_missing(ROOT, "a.pth", now=NOW)
        assert store.find_record(ROOT, "a.pth").state is state
        assert (store.load_identities(ROOT), set(store.load_gone(ROOT, ["a.pth"]))) == ({}, {"a.pth"})
        assert store.load_root(ROOT)[1] == 0
