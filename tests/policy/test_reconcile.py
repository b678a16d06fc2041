"""What a scan means for what is known: literal tables, laws for any two pictures, and the traps between them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptd.model import Identity
from ckptd.policy.reconcile import Changes, reconcile

A, B, C = Identity(1, 10, 100, 5, 6), Identity(1, 11, 100, 5, 6), Identity(1, 12, 300, 5, 6)


@pytest.mark.parametrize(
    ("known", "seen", "changes"),
    [
        ({}, {}, Changes()),
        ({"a": A}, {"a": A}, Changes(same=1)),
        ({}, {"a": A}, Changes(new=("a",))),
        ({"a": A}, {}, Changes(vanished=("a",))),
        ({"a": A}, {"a": B}, Changes(changed=("a",))),
        ({"a": A}, {"a": A._replace(size_bytes=1)}, Changes(changed=("a",))),
        ({"a": A}, {"a": A._replace(mtime_ns=1)}, Changes(changed=("a",))),
        # mtime can be set back; ctime cannot
        ({"a": A}, {"a": A._replace(ctime_ns=1)}, Changes(changed=("a",))),
        ({"a": A}, {"a": A._replace(dev=9)}, Changes(renumbered=("a",))),
        # a rename changes ctime and nothing else
        ({"a": A}, {"b": A._replace(ctime_ns=9)}, Changes(moved=(("a", "b"),))),
        ({"run/a": A, "run/b": B}, {"new/a": A, "new/b": B}, Changes(moved=(("run/a", "new/a"), ("run/b", "new/b")))),
        ({"a": A}, {"b": A._replace(mtime_ns=9)}, Changes(new=("b",), vanished=("a",))),
        ({"a": A}, {"b": A._replace(dev=9)}, Changes(new=("b",), vanished=("a",))),
        # a hard link is another place of the same file, not a move
        ({"a": A}, {"a": A, "b": A}, Changes(new=("b",), same=1)),
        ({"a": A, "b": A}, {"a": A}, Changes(vanished=("b",), same=1)),
        # of two links one name stays, one is new
        ({"a": A}, {"b": A, "c": A}, Changes(new=("c",), moved=(("a", "b"),))),
        ({"a": A, "b": A}, {"c": A}, Changes(vanished=("b",), moved=(("a", "c"),))),
        # two files that change their names
        ({"a": A, "b": B}, {"a": B, "b": A}, Changes(changed=("a", "b"))),
        # one moved over another: the target holds other bytes now
        ({"a": A, "b": B}, {"b": A}, Changes(changed=("b",), vanished=("a",))),
    ],
)
def test_table(known, seen, changes):
    """Every kind of change alone and beside another."""
    assert reconcile(known, seen) == changes


def test_missing_place_that_is_seen_again_returned_or_changed():
    """A share came back: the same files are the same records."""
    known = {"a": A, "b": B, "c": C}
    changes = reconcile(known, {"a": A, "b": C}, missing={"a", "b", "c"})
    assert changes == Changes(returned=("a",), changed=("b",), still_missing=1)


def test_missing_place_is_no_source_of_a_move():
    """It was missing before; that its file appears elsewhere now is a find, not a move of today."""
    assert reconcile({"a": A}, {"b": A}, missing={"a"}) == Changes(new=("b",), still_missing=1)


def test_what_could_not_be_read_is_in_doubt_and_not_gone():
    """A directory answered EACCES or EIO: its files are neither here nor gone, and move nowhere."""
    known = {"x/a": A, "x/deep/b": B, "xy/c": C, "d": A._replace(ino=99)}
    changes = reconcile(known, {"moved": A}, unread=["x", "d"])
    assert changes == Changes(new=("moved",), vanished=("xy/c",), doubtful=("d", "x/a", "x/deep/b"))
    assert reconcile(known, {}, unread=[""]).vanished == ()


def test_plain_tuples_equal_named_ones():
    """The index gives rows, the scanner plain tuples."""
    assert reconcile({"a": A}, {"a": tuple(A)}).same == 1


paths = st.sampled_from(["a", "b", "c", "d/a", "d/b", "d/e/a", "f"])
identities = st.builds(Identity, st.integers(1, 2), st.integers(1, 3), st.integers(1, 2), st.just(5), st.integers(1, 2))
pictures = st.dictionaries(paths, identities, max_size=7)


@given(pictures, pictures, st.sets(paths), st.sets(st.sampled_from(["", "d", "d/e", "a"]), max_size=2))
def test_every_path_is_in_exactly_one_place(known, seen, missing, unread):
    """Nothing is lost and nothing is counted twice, whatever the two pictures are."""
    changes = reconcile(known, seen, missing=missing, unread=unread)
    old, new = [pair[0] for pair in changes.moved], [pair[1] for pair in changes.moved]
    named = [*changes.new, *changes.changed, *changes.returned, *changes.vanished, *changes.renumbered, *changes.doubtful]
    assert len(set(named + old + new)) == len(named + old + new)
    assert (
        len(known.keys() & seen.keys()) == len(changes.changed) + len(changes.returned) + len(changes.renumbered) + changes.same
    )
    assert {*changes.new, *new} == seen.keys() - known.keys()
    gone = known.keys() - seen.keys()
    assert len(gone) == len(changes.vanished) + len(old) + len(changes.doubtful) + changes.still_missing
    assert {*changes.vanished, *old, *changes.doubtful} == gone - missing
    assert all(known[a][:4] == seen[b][:4] for a, b in changes.moved)


@given(pictures, pictures)
def test_after_the_changes_nothing_changes(known, seen):
    """Idempotent: the picture that was taken in says nothing new."""
    assert reconcile(seen, seen) == Changes(same=len(seen))
    shuffled = dict(reversed(seen.items()))
    assert reconcile(known, seen) == reconcile(dict(reversed(known.items())), shuffled)


@given(pictures, pictures)
def test_part_of_a_root_says_what_the_whole_says_of_it(known, seen):
    """A scan of one directory, held against the places in it, gives the changes there; only moves need the whole."""

    def in_d(picture):
        return {path: identity for path, identity in picture.items() if path.startswith("d/")}

    part, whole = reconcile(in_d(known), in_d(seen)), reconcile(known, seen)
    assert part.changed == tuple(path for path in whole.changed if path.startswith("d/"))
    assert set(part.new) <= {*whole.new, *(new for _, new in whole.moved)}
    assert set(part.vanished) <= {*whole.vanished, *(old for old, _ in whole.moved)}
