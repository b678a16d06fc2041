"""Contents by digest, places by path: copies, renames, what was replaced and what is gone."""

from __future__ import annotations

import os
import re
from dataclasses import replace

import pytest
from sqlalchemy import text

from ckptd.model import GONE_STATES, Identity, Metadata, PlaceState, Status
from tests.docs.pages import PROJECT
from tests.index.making import NOW, ROOT, digest, fill, find, identity, inspection, rejected

MOST = 2**64 - 1


def rows(store, query):
    with store.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def test_a_record_comes_back_as_it_was_written(store):
    """Every part of the inspection, for the place where it lies."""
    said = inspection(model_name="BiLSTM", metrics={"accuracy": 0.87}, epoch=7, hyperparameters={"lr": [0.1, {"a": None}]})
    fill(store, {"run/a.pth": said})
    record = store.find_record(ROOT, "run/a.pth")
    assert record.inspection == replace(said, path="run/a.pth", identity=identity(1))
    assert (record.root, record.path, record.state, record.sha256) == (ROOT, "run/a.pth", PlaceState.READY, digest("a"))
    assert (record.identity, record.first_seen_at, record.inspected_at, record.copies) == (identity(1), NOW, NOW, ())


def test_a_listing_leaves_the_long_parts_out(store):
    """Tensors one by one and layers are read only where one record is asked for."""
    said = inspection()
    fill(store, {"a.pth": said})
    (record,) = store.records(None, sort="path", reverse=False, limit=None)
    short = replace(said, tensors=replace(said.tensors, records=()), layers=(), path="a.pth", identity=identity(1))
    assert record.inspection == short


@pytest.mark.parametrize(
    ("status", "state"),
    [(status, PlaceState.READY if status in {Status.OK, Status.NEEDS_CODE} else PlaceState.REJECTED) for status in Status],
)
def test_good_or_bad_a_file_is_a_row(store, status, state):
    """What can be loaded is ready, everything else is rejected; both are settled."""
    fill(store, {"a.pth": inspection(status=status)})
    place = store.find_place(ROOT, "a.pth")
    assert place.state == state
    assert place.is_settled
    assert not place.is_missing
    assert store.find_with_status(ROOT, (status,)) == ["a.pth"]
    assert store.find_with_status(ROOT, [other for other in Status if other is not status]) == []


def test_a_file_without_a_digest_has_a_row_of_its_own(store):
    """Two unreadable files are two records, with no digest and no copies."""
    fill(store, {"a.pth": rejected(), "b.pth": rejected(Status.FAILED), "c.pth": rejected()})
    records = store.records(None, sort="path", reverse=False, limit=None)
    assert [(record.sha256, record.copies, record.inspection.status) for record in records] == [
        (None, (), Status.UNREADABLE),
        (None, (), Status.FAILED),
        (None, (), Status.UNREADABLE),
    ]
    assert store.find_place(ROOT, "a.pth").sha256 is None


def test_a_copy_is_one_content_in_two_places(store):
    """Each knows the other, in any root; the row of the content is there once."""
    fill(store, {"a.pth": inspection("same"), "b/c.pth": inspection("same"), "d.pth": inspection("other")})
    fill(store, {"e.pth": inspection("same")}, root="/srv/other")
    copies = {record.path: record.copies for record in store.records(None, sort="path", reverse=False, limit=None)}
    assert copies == {"a.pth": ("b/c.pth", "e.pth"), "b/c.pth": ("a.pth", "e.pth"), "e.pth": ("a.pth", "b/c.pth"), "d.pth": ()}
    assert rows(store, "SELECT count(*) FROM contents") == [(2,)]


def test_a_copy_that_is_gone_is_no_copy(store):
    """What is missing is listed, and nobody's copy any more."""
    fill(store, {"a.pth": inspection("same"), "b.pth": inspection("same")})
    with store.batch() as batch:
        batch.record_missing(ROOT, "a.pth", now=NOW)
    assert store.find_record(ROOT, "b.pth").copies == ()
    assert store.find_record(ROOT, "a.pth").copies == ("b.pth",)


def test_two_names_of_one_content_keep_what_each_name_says(store):
    """The same bytes as `best.pth` and as `BiLSTM_acc87.pth`: neither takes the other's description over."""
    named = inspection("same", model_name="BiLSTM", metrics={"accuracy": 0.87})
    fill(store, {"BiLSTM_acc87.pth": named, "best.pth": inspection("same", stage="best")})
    assert store.find_record(ROOT, "BiLSTM_acc87.pth").inspection.metadata == named.metadata
    assert store.find_record(ROOT, "best.pth").inspection.metadata == Metadata(stage="best")
    assert find(store, "accuracy>0.8") == ["BiLSTM_acc87.pth"]
    assert store.find_record(ROOT, "best.pth").copies == ("BiLSTM_acc87.pth",)


def test_a_rename_loses_nothing(store):
    """Number and first-seen time go along; the old path is known no more."""
    fill(store, {"a.pth": inspection()})
    before = store.find_record(ROOT, "a.pth")
    moved = identity(1, ctime_ns=before.identity.ctime_ns + 5)
    with store.batch() as batch:
        batch.record_moved(ROOT, "a.pth", "b/c.pth", moved, now=NOW + 9)
    after = store.find_record(ROOT, "b/c.pth")
    assert store.find_record(ROOT, "a.pth") is None
    assert after == replace(
        before, path="b/c.pth", identity=moved, inspection=replace(before.inspection, path="b/c.pth", identity=moved)
    )


def test_a_rename_over_a_known_file_replaces_it(store):
    """The mover's number stays, the one it lies over is gone with what only it had."""
    fill(store, {"new.pth": inspection("new"), "last.pth": inspection("old")})
    number = store.find_place(ROOT, "new.pth").id
    with store.batch() as batch:
        batch.record_moved(ROOT, "new.pth", "last.pth", identity(1), now=NOW)
        batch.record_ready(ROOT, "last.pth", identity(1), inspection("new"), now=NOW)
    assert [(record.id, record.path, record.sha256) for record in store.find_named("last")] == [
        (number, "last.pth", digest("new"))
    ]
    assert len(find(store)) == 1
    assert rows(store, "SELECT count(*) FROM contents") == [(1,)]


def test_a_move_of_nothing_changes_nothing(store):
    """Where the source is not known, what lies at the target stays."""
    fill(store, {"a.pth": inspection()})
    before = store.find_record(ROOT, "a.pth")
    with store.batch() as batch:
        batch.record_moved(ROOT, "never.pth", "a.pth", identity(9), now=NOW)
    assert store.find_record(ROOT, "a.pth") == before


def test_a_replaced_file_keeps_its_number_and_leaves_no_rubbish(store):
    """A file saved again and again is one row; the audit has what it was before."""
    for number in range(5):
        fill(
            store,
            {"last.pth": inspection(f"epoch {number}", metrics={"loss": 1.0}, hyperparameters={"lr": 0.1})},
            now=NOW + number,
        )
    record = store.find_record(ROOT, "last.pth")
    assert (record.sha256, record.first_seen_at, record.inspected_at) == (digest("epoch 4"), NOW, NOW + 4)
    counts = "SELECT (SELECT count(*) FROM contents), (SELECT count(*) FROM metrics), (SELECT count(*) FROM hyperparameters)"
    assert rows(store, counts) == [(1, 1, 1)]
    replaced = rows(store, "SELECT sha256, why FROM audit WHERE what = 'checkpoint.replaced' ORDER BY id")
    assert replaced == [(digest(f"epoch {n + 1}"), f'{{"before": "{digest(f"epoch {n}")}"}}') for n in range(4)]


def test_what_two_places_share_stays_when_one_of_them_changes(store):
    """Only a description that no place has any more is dropped."""
    fill(store, {"a.pth": inspection("same"), "b.pth": inspection("same")})
    fill(store, {"a.pth": inspection("new")})
    assert store.find_record(ROOT, "b.pth").sha256 == digest("same")
    assert rows(store, "SELECT count(*) FROM contents") == [(2,)]


def test_a_file_that_is_gone_keeps_its_record(store):
    """Missing, with all that is known of it; recorded again it is back, first seen when it was."""
    fill(store, {"a.pth": inspection()})
    before = store.find_record(ROOT, "a.pth")
    with store.batch() as batch:
        batch.record_missing(ROOT, "a.pth", now=NOW + 1)
    gone = store.find_record(ROOT, "a.pth")
    assert gone == replace(before, state=PlaceState.MISSING)
    assert store.find_place(ROOT, "a.pth").is_missing
    assert store.load_root(ROOT) == (None, 0)
    fill(store, {"a.pth": inspection()}, now=NOW + 2)
    assert store.find_record(ROOT, "a.pth") == before


def test_one_batch_may_hold_the_whole_life_of_a_file(store):
    """Recorded, moved, gone and recorded again: in this order and at once."""
    with store.batch() as batch:
        batch.record_ready(ROOT, "a.pth", identity(1), inspection("a"), now=NOW)
        batch.record_moved(ROOT, "a.pth", "b.pth", identity(1), now=NOW)
        batch.record_ready(ROOT, "b.pth", identity(1), inspection("a"), now=NOW)
        batch.record_missing(ROOT, "b.pth", now=NOW)
        batch.record_ready(ROOT, "a.pth", identity(2), inspection("b"), now=NOW)
    known = store.load_places(ROOT)
    assert {path: (place.state, place.sha256) for path, place in known.items()} == {
        "a.pth": ("ready", digest("b")),
        "b.pth": ("missing", digest("a")),
    }


def test_first_seen_comes_from_the_journal_where_it_knows(store):
    """A reindex finds files that were first seen long ago."""
    store.import_first_seen({(ROOT, "a.pth"): 1.5})
    fill(store, {"a.pth": inspection("a"), "b.pth": inspection("b")})
    assert [record.first_seen_at for record in store.records(None, sort="path", reverse=False, limit=None)] == [1.5, NOW]


@pytest.mark.parametrize(
    "name", [b"\xff\xfe.pth", b"d\x80/\xc3\x28.pth", b"new\nline.pth", b"\x1b[2J.pth", "ü\u202e.pth".encode()]
)
def test_any_name_that_a_kernel_takes_is_kept(store, name):
    """Bytes that are no UTF-8, controls: found by place, by listing, by name, and with their copies."""
    path = os.fsdecode(name)
    fill(store, {path: inspection("same"), "copy.pth": inspection("same")})
    with store.batch() as batch:
        batch.record_output(ROOT, path + ".json", digest("x"), "sidecar", now=NOW)
        batch.record_moved(ROOT, path, path + "x", identity(1), now=NOW)
        batch.record_moved(ROOT, path + "x", path, identity(1), now=NOW)
    assert set(store.load_places(ROOT)) == {path, "copy.pth"}
    assert store.find_record(ROOT, path).inspection.path == path
    assert set(find(store)) == {path, "copy.pth"}
    assert [record.path for record in store.find_named(path)] == [path]
    assert store.find_record(ROOT, "copy.pth").copies == (path,)
    assert store.own_outputs(ROOT) == {path + ".json": digest("x")}


@pytest.mark.parametrize("number", [0, 1, 2**63 - 1, 2**63, MOST])
def test_device_and_inode_numbers_take_all_64_bits(store, number):
    """Unsigned in the kernel, signed in the database: what comes back is what went in."""
    place = Identity(number, MOST - number, 5, 6, 7)
    with store.batch() as batch:
        batch.record_ready(ROOT, "a.pth", place, inspection(), now=NOW)
    assert store.find_place(ROOT, "a.pth").identity == tuple(place)
    assert store.load_places(ROOT)["a.pth"].identity == tuple(place)
    assert store.find_record(ROOT, "a.pth").identity == place
    assert store.find_contents([place])[place][0].is_exact


@pytest.mark.parametrize("at", [-(10**30), 10**30])
def test_a_time_that_no_column_holds_is_no_crash(store, at):
    """Some file systems take the year 99999; the file is a row, found again by what a column can hold."""
    place = identity(1, mtime_ns=at, ctime_ns=at)
    with store.batch() as batch:
        batch.record_ready(ROOT, "a.pth", place, inspection(), now=NOW)
    assert store.find_contents([place])[place][0].is_exact
    assert find(store) == ["a.pth"]


def test_load_places_below_a_directory_takes_that_directory_only(store):
    """And not its neighbours whose names begin alike."""
    fill(store, {name: inspection(name) for name in ["d.pth", "d/a.pth", "d/e/b.pth", "d-x/a.pth", "d0/a.pth", "da/a.pth"]})
    fill(store, {"d/other.pth": inspection()}, root="/srv/other")
    assert set(store.load_places(ROOT, "d")) == {"d/a.pth", "d/e/b.pth"}
    assert len(store.load_places(ROOT)) == 6


def test_identities_alone_are_what_the_places_say(store):
    """Those of what is there; of what is gone only where it is asked for, however many there are."""
    fill(store, {name: inspection(name) for name in ["a.pth", "b.pth", os.fsdecode(b"\xff.pth")]})
    fill(store, {"other.pth": inspection()}, root="/srv/other")
    with store.batch() as batch:
        batch.record_missing(ROOT, "b.pth", now=NOW)
        batch.record_ready(ROOT, "max.pth", Identity(MOST, MOST, 1, 2, 3), inspection(), now=NOW)
    places = {path: place.identity for path, place in store.load_places(ROOT).items()}
    gone = {"b.pth": places.pop("b.pth")}
    assert store.load_identities(ROOT) == places
    many = [f"never-{number}.pth" for number in range(2_000)]
    assert store.load_gone(ROOT, ["a.pth", *many, "b.pth", "other.pth"]) == gone
    assert store.load_gone(ROOT, ["a.pth"]) == store.load_gone(ROOT, []) == store.load_gone("/srv/other", ["b.pth"]) == {}


def test_roots_and_hosts_do_not_mix(store):
    """A root's count, id and outputs are its own, and another host's places are no business of ours."""
    fill(store, {"a.pth": inspection()})
    fill(store, {"a.pth": inspection(), "b.pth": inspection()}, root="/srv/other")
    store.save_root(ROOT, "first")
    store.save_root(ROOT, "second")
    assert store.load_root(ROOT) == ("second", 1)
    assert store.load_root("/srv/other") == (None, 2)
    store.owner = "elsewhere"
    assert store.load_root(ROOT) == (None, 0)
    assert store.load_places(ROOT) == {}
    assert find(store) == []
    assert store.find_named("a.pth") == []
    assert store.find_contents([identity(1)]) == {}


@pytest.mark.parametrize(
    ("sidecar", "expected"),
    [
        ("m_metadata.json", ["m.pt", "m.pth", "m.pth.tar"]),
        ("m.pth_metadata.json", ["m.pth", "m.pth.tar"]),
        ("m.pth.ckptd.json", ["m.pth", "m.pth.tar"]),
        ("d/m_metadata.json", ["d/m.pth"]),
        ("never_metadata.json", []),
    ],
)
def test_the_checkpoints_of_a_sidecar_are_found(store, sidecar, expected):
    """However many neighbours begin alike."""
    near = [f"m{sign}{number}.pth" for number in range(150) for sign in "-_"]
    names = ["m.pth", "m.pt", "m.pth.tar", "d/m.pth", "m.d/x.pth", "mm.pth", "gone.pth", *near]
    fill(store, {name: inspection() for name in names})
    with store.batch() as batch:
        batch.record_missing(ROOT, "gone.pth", now=NOW)
    assert store.find_places_by_stem(ROOT, sidecar) == expected
    assert store.find_places_by_stem(ROOT, "gone_metadata.json") == []


def test_outputs_are_known_by_their_last_digest(store):
    """A file we wrote twice is ours with what we wrote last."""
    for word in ("first", "second"):
        with store.batch() as batch:
            batch.record_output(ROOT, "a_metadata.json", digest(word), "sidecar", now=NOW)
    assert store.own_outputs(ROOT) == {"a_metadata.json": digest("second")}
    assert store.own_outputs("/srv/other") == {}


def test_the_index_keeps_only_states_of_rest():
    """A file comes to rest as ready, rejected or gone; docs/states.md has every state and says so."""
    page = (PROJECT / "docs" / "states.md").read_text()
    kept = dict(re.findall(r"^\| `([a-z]+)` \|.*\| (memory|index) \|$", page, re.MULTILINE))
    assert kept == {
        state.value: "index" if state in {PlaceState.READY, PlaceState.REJECTED, *GONE_STATES} else "memory"
        for state in PlaceState
    }
