"""The cache of digests: what is known of a file by its identity, so that nothing is read twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ckptd.model import Status
from tests.index.making import NOW, ROOT, fill, identity, inspection, rejected


def test_an_unchanged_file_is_known_exactly(store):
    """All five numbers are the same: the inspection comes back whole, with its place."""
    said = inspection(model_name="m")
    fill(store, {"a.pth": said})
    found = store.find_contents([identity(1), identity(2)])
    assert list(found) == [identity(1)]
    ((recalled,)) = found[identity(1)]
    assert recalled == (replace(said, path="a.pth", identity=identity(1)), ROOT, "a.pth", True, False)


@pytest.mark.parametrize("field", ["dev", "ino", "size_bytes", "mtime_ns"])
def test_a_file_that_differs_in_one_number_is_not_known(store, field):
    """Another device, inode, size or time: it has to be read."""
    fill(store, {"a.pth": inspection()})
    other = identity(1)._replace(**{field: getattr(identity(1), field) + 1})
    assert store.find_contents([other]) == {}


def test_another_ctime_alone_is_known_and_not_exact(store):
    """Moved, linked, chmod-ed, or written to by somebody who set the clock: the caller decides."""
    fill(store, {"a.pth": inspection()})
    other = identity(1, ctime_ns=7)
    ((recalled,)) = store.find_contents([other])[other]
    assert not recalled.is_exact
    assert recalled.inspection.identity == other


def test_hard_links_are_all_given(store):
    """One identity at two places, one of them missing by now."""
    with store.batch() as batch:
        for path in ("a.pth", "b.pth"):
            batch.record_ready(ROOT, path, identity(1), inspection(), now=NOW)
        batch.record_missing(ROOT, "a.pth", now=NOW)
    found = store.find_contents([identity(1)])[identity(1)]
    assert sorted((recalled.path, recalled.is_gone) for recalled in found) == [("a.pth", True), ("b.pth", False)]


def test_what_has_no_digest_is_never_recalled(store):
    """A file that could not be read is read again."""
    fill(store, {"a.pth": rejected(), "b.pth": rejected(Status.FAILED)})
    assert store.find_contents([identity(1), identity(2)]) == {}


def test_the_device_is_left_out_below_roots_on_network_file_systems(store):
    """Its number changes from mount to mount; what is known elsewhere still needs the right one."""
    fill(store, {"a.pth": inspection()})
    fill(store, {"a.pth": inspection()}, root="/srv/local")
    mounted_again = identity(1, dev=77)
    assert store.find_contents([mounted_again]) == {}
    ((recalled,)) = store.find_contents([mounted_again], unnumbered=[ROOT])[mounted_again]
    assert (recalled.root, recalled.is_exact) == (ROOT, True)


def test_two_devices_may_use_the_same_numbers(store):
    """Two files that differ in the device alone, asked for at once, get each their own."""
    first, second = identity(1), identity(1, dev=6)
    with store.batch() as batch:
        batch.record_ready(ROOT, "a.pth", first, inspection("a"), now=NOW)
        batch.record_ready(ROOT, "b.pth", second, inspection("b"), now=NOW)
    found = store.find_contents([first, second])
    assert [found[one][0].path for one in (first, second)] == ["a.pth", "b.pth"]


def test_many_are_found_at_once(store):
    """More than fit one statement."""
    fill(store, {f"{number}.pth": inspection(str(number)) for number in range(450)})
    found = store.find_contents([identity(number) for number in range(1, 451)])
    assert {one.ino: recalled[0].path for one, recalled in found.items()} == {n + 1: f"{n}.pth" for n in range(450)}


def test_asking_for_nothing_gives_nothing(store):
    """No statement with an empty list."""
    assert store.find_contents([]) == {}
