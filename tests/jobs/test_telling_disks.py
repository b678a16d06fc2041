"""What is free: measured beside the loop, since a dead share holds who asks for it."""

from __future__ import annotations

import threading

import pytest

from ckptd.jobs.telling.disks import DiskWatch, Room, measure_room
from ckptd.jobs.telling.states import Disk, find_disk_states
from tests.notify.receivers import until


@pytest.fixture
def watch():
    made = []

    def make(*places, **options):
        made.append(DiskWatch(places, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_dead_share_holds_nobody_up(watch):
    """What is on other disks is known all the same; of the share nothing is, until it answers."""
    dead, rooms = threading.Event(), {"/a": Room(1, 10), "/share": Room(2, 20), "/b": Room(1, 10)}

    def measure(place):
        if place == "/share":
            dead.wait(60.0)
        return rooms[place]

    one = watch("/a", "/share", "/b", seconds=0.05, monotonic=lambda: 0.0, measure=measure)
    until(lambda: one.find().silent == ["/share"], "the others to answer")
    assert one.find().disks == [Disk("/a", 10)]
    dead.set()
    until(lambda: not one.find().silent, "the share to answer")
    assert one.find().disks == [Disk("/a", 10), Disk("/share", 20)]
    assert one.find(but=["/share"]) == ([Disk("/a", 10)], ["/share"])


def test_an_answer_grows_old(watch):
    """A share that died since says nothing any more."""
    now, hold, is_dead = [0.0], threading.Event(), threading.Event()

    def measure(_place):
        if is_dead.is_set():
            hold.wait(60.0)
        return Room(1, 10)

    one = watch("/share", seconds=0.05, monotonic=lambda: now[0], measure=measure)
    until(lambda: one.find().disks, "an answer")
    is_dead.set()
    now[0] = 9.0
    assert one.find().silent == []
    until(lambda: (now.__setitem__(0, now[0] + 11.0), one.find().silent)[1], "it to be old")
    hold.set()


def test_a_low_disk_whose_place_is_gone_is_not_told_as_over(watch):
    """A root that is lost, or a directory that was taken away: nobody knows whether there is room now."""
    rooms = {"/root": Room(1, 10), "/archives": Room(2, 10), "/state": Room(3, 10)}
    one, low = watch(*rooms, seconds=0.05, monotonic=lambda: 0.0, measure=rooms.get), set(rooms)
    until(lambda: len(one.find().disks) == 3, "all to be asked")
    del rooms["/archives"]
    until(lambda: len(one.find().disks) == 2, "one to be gone")
    measured = one.find(but=["/root"])
    assert measured == ([Disk("/state", 10)], ["/root", "/archives"])
    states = find_disk_states(measured.disks, 100, low, measured.silent)["disk-low"]
    assert {state.subject for state in states} == low


def test_what_is_not_there_is_not_low(watch, tmp_path):
    """What is wrong with it is another alert; a name is shown as everywhere."""
    there = tmp_path / "a\x1b"
    there.mkdir()
    one = watch(str(there), str(tmp_path / "gone"), seconds=0.05, monotonic=lambda: 0.0)
    until(lambda: one.find().disks, "it to be asked")
    (disk,) = one.find().disks
    assert disk.place.endswith(r"a\x1b")
    assert measure_room(str(tmp_path / "gone")) is None
