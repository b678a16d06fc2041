"""A loss too large to be believed freezes the part of the root it happened in, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptd.model import Identity
from ckptd.policy.brakes import LOST_AT_LEAST, LOST_FRACTION, Freeze, find_common_directory, find_freezes
from ckptd.policy.reconcile import reconcile


def files(count: int, prefix: str = "f", dev: int = 1, first: int = 0) -> dict[str, Identity]:
    return {f"{prefix}{number:04}": Identity(dev, first + number, 1, 1, 1) for number in range(count)}


def freezes_of(known, seen, **options):
    return find_freezes(reconcile(known, seen, **options), known)


@pytest.mark.parametrize(
    ("total", "lost", "frozen"),
    [
        (100, 20, False),  # exactly 20 % is not more
        (100, 21, True),
        (1000, 200, False),
        (1000, 201, True),
        (1000, 1000, True),
        (10, 9, False),  # few files: an evening of tidying up
        (10, 10, True),  # but all of ten is an empty directory
        (9, 9, False),
        (45, 9, False),
        (49, 10, True),
        (50, 10, False),
        (100, 0, False),
    ],
)
def test_share_and_number(total, lost, frozen):
    """More than 20 % and at least ten."""
    known = files(total)
    seen = dict(list(known.items())[lost:])
    assert bool(freezes_of(known, seen)) is frozen


def test_freeze_says_what_and_why():
    """The deepest directory that holds them all, the numbers, and every place."""
    known = {**files(60), **files(40, "runs/a/x/"), **files(40, "runs/a/y/", first=100)}
    freeze = freezes_of(known, files(60))[0]
    assert freeze.part == "runs/a"
    assert freeze.why == "80 of 140 known files are gone at once, more than 20%"
    assert freeze.lost == tuple(sorted(known.keys() - files(60).keys()))


def test_moved_files_are_not_lost():
    """A renamed directory is the usual reason for many places to go."""
    assert freezes_of(files(100, "old/"), files(100, "new/")) == ()


def test_doubtful_and_missing_ones_are_not_lost_again():
    """An unreadable directory is its own problem; what was missing before was told before."""
    known = files(100, "d/")
    assert freezes_of(known, {}, unread=["d"]) == ()
    assert freezes_of(known, {}, missing=set(known)) == ()


def test_missing_ones_do_not_dilute_the_share():
    """A thousand old losses must not hide today's: 30 of the 40 that were there."""
    known = {**files(1000, "gone"), **files(40, "here", first=2000)}
    seen = dict(list(files(40, "here", first=2000).items())[30:])
    assert len(freezes_of(known, seen, missing=set(files(1000, "gone")))) == 1


def test_file_system_that_is_not_mounted_any_more_freezes_its_part():
    """Two files of a thousand, but all that a disk below the root held."""
    known = {**files(1000), **files(2, "disk2/run/", dev=7)}
    changes = reconcile(known, files(1000))
    freezes = find_freezes(changes, known, devices={1})
    assert [(freeze.part, freeze.lost) for freeze in freezes] == [("disk2/run", ("disk2/run/0000", "disk2/run/0001"))]
    assert "not mounted" in freezes[0].why
    assert find_freezes(changes, known, devices={1, 7}) == ()
    assert find_freezes(changes, known) == ()


def test_disk_that_got_another_number_is_still_there():
    """After a reboot every device may have another number; a file that was deleted meanwhile is just deleted."""
    known = files(20, dev=7)
    seen = {path: identity._replace(dev=8) for path, identity in list(known.items())[1:]}
    assert find_freezes(reconcile(known, seen), known, devices={8}) == ()


def test_lost_mount_and_lost_share_are_told_apart():
    """Each with its own reason; no place is in both."""
    known = {**files(100), **files(30, "m/", dev=7)}
    freezes = find_freezes(reconcile(known, dict(list(files(100).items())[50:])), known, devices={1})
    assert [(freeze.part, len(freeze.lost)) for freeze in freezes] == [("m", 30), ("", 50)]


def gone_of(freezes):
    return [path for freeze in freezes for path in freeze.lost]


def test_new_files_end_no_freeze():
    """12 of 50 are too many; training saves 15 more, and 12 of 65 would be believed."""
    known = {**files(12, "runs/a/"), **files(38, "runs/b/", first=100)}
    before = freezes_of(known, files(38, "runs/b/", first=100))
    seen = files(53, "runs/b/", first=100)
    known = {**known, **seen}
    after = find_freezes(reconcile(known, seen), known, before=before)
    assert [freeze.part for freeze in before] == [freeze.part for freeze in after] == ["runs/a"]
    assert after[0].lost == before[0].lost
    assert after[0].why == "files that were gone at once are not back: 12"
    assert find_freezes(reconcile(known, seen), known, before=after) == after
    assert freezes_of(known, seen) == ()


def test_what_is_back_is_let_go_and_the_rest_is_not():
    """Two of twelve are still gone, too few for a brake of their own; in the end nothing is."""
    known = {**files(12, "runs/a/"), **files(38, "runs/b/", first=100)}
    before = freezes_of(known, files(38, "runs/b/", first=100))
    seen = dict(list(known.items())[2:])
    after = find_freezes(reconcile(known, seen), known, before=before)
    assert [(freeze.part, freeze.lost) for freeze in after] == [("runs/a", ("runs/a/0000", "runs/a/0001"))]
    assert find_freezes(reconcile(known, known), known, before=after) == ()


def test_what_is_known_as_missing_is_frozen_no_more():
    """Somebody said that what is gone is gone."""
    known = files(50)
    seen = dict(list(known.items())[12:])
    before = freezes_of(known, seen)
    lost = set(gone_of(before))
    assert find_freezes(reconcile(known, seen, missing=lost), known, before=before) == ()


def test_a_directory_that_can_not_be_read_for_a_moment_ends_no_freeze():
    """What is in doubt is not back."""
    known = files(50, "d/")
    before = freezes_of(known, dict(list(known.items())[12:]))
    changes = reconcile(known, {}, unread=["d"])
    assert gone_of(find_freezes(changes, known, before=before)) == gone_of(before)


def test_another_disk_in_the_place_of_the_lost_one_ends_no_freeze():
    """It may have the same number: two files of a thousand would be believed."""
    known = {**files(1000), **files(2, "disk2/", dev=7)}
    changes = reconcile(known, files(1000))
    before = find_freezes(changes, known, devices={1})
    after = find_freezes(changes, known, devices={1, 7}, before=before)
    assert gone_of(before) == gone_of(after) == ["disk2/0000", "disk2/0001"]
    assert "not mounted" not in after[0].why


def test_a_new_loss_takes_an_old_one_in():
    """No place is in two freezes."""
    known = files(100)
    before = freezes_of(known, dict(list(known.items())[21:]))
    after = find_freezes(reconcile(known, dict(list(known.items())[40:])), known, before=before)
    assert [len(freeze.lost) for freeze in after] == [40]


@pytest.mark.parametrize(
    ("part", "path", "covered"),
    [
        ("", "a", True),
        ("", "x/a", True),
        ("x", "x/a", True),
        ("x", "x", True),
        ("x", "xy/a", False),
        ("x/y", "x/a", False),
    ],
)
def test_covers(part, path, covered):
    """A part is a directory, not a prefix of a string."""
    assert Freeze(part, "", ()).covers(path) is covered


names = st.lists(st.lists(st.sampled_from(["a", "b", "a-b", "a.b", "ab"]), min_size=1, max_size=4).map("/".join), min_size=1)


@given(names)
def test_common_directory_holds_all_and_no_deeper_one_does(paths):
    """The deepest one, by whole names."""
    part = find_common_directory(paths)
    assert all(Freeze(part, "", ()).covers(path) for path in paths)
    below = {path[len(part) + 1 if part else 0 :].partition("/")[0] for path in paths}
    is_leaf = any("/" not in path[len(part) + 1 if part else 0 :] for path in paths)
    assert is_leaf or len(below) > 1


@given(st.integers(0, 300), st.integers(0, 300))
def test_law_of_the_brake(total, lost):
    """It is on exactly when both limits are passed, whatever the numbers."""
    lost = min(lost, total)
    known = files(total)
    frozen = freezes_of(known, dict(list(known.items())[lost:]))
    assert bool(frozen) == (lost >= LOST_AT_LEAST and lost > LOST_FRACTION * total)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 200), st.integers(0, 60))
def test_law_of_a_freeze_that_lasts(total, lost, new, back):
    """Whatever comes, each file that was frozen and is still gone is frozen, once."""
    known = files(total)
    before = freezes_of(known, dict(list(known.items())[lost:]))
    seen = {**files(new, "new", first=1000), **dict(list(known.items())[max(0, lost - back) :])}
    known = {**known, **files(new, "new", first=1000)}
    after = gone_of(find_freezes(reconcile(known, seen), known, before=before))
    assert set(gone_of(before)) - seen.keys() <= set(after)
    assert len(after) == len(set(after))
