"""The outbox: in order for each alert, all at once when a channel is back, and for three days however the clock jumps."""

from __future__ import annotations

import json
import select
import selectors

import pytest

from ckptd.errors import WorkerError
from ckptd.index.alerting import Waiting
from ckptd.jobs.telling.sending import Channel, Sending
from ckptd.notify.message import Happening
from ckptd.notify.retrying import BACK_OFF_SECONDS, GIVE_UP_FAILURES, GIVE_UP_SECONDS, find_next_delivery
from ckptd.notify.running import Ended, Running
from tests.notify.making import NOW, message

HOUR = 3600.0


class Receiver:
    """A receiver on the other side of a process that is none: it takes what a test lets it take.

    Attributes:
        took: ids of the messages, in the order in which they arrived.
        refused: likewise, of those that it refused.
        tried: how many errands there were.
        refuses: ids that it never takes.
    """

    def __init__(self):
        self.took = []
        self.refused = []
        self.tried = 0
        self.is_up = True
        self.refuses = set()

    def start(self, _channel, _options, bodies):
        self.tried += 1
        if not self.is_up:
            raise WorkerError("nobody is there")
        answers = []
        for body in bodies:
            number = json.loads(body)["id"]
            trouble = "no" if number in self.refuses else ""
            answers.append({"message": number, "trouble": trouble, "remark": ""})
            (self.refused if trouble else self.took).append(number)
        return Sent("\n".join(map(json.dumps, answers)))


class Sent:
    """A process that has ended."""

    fds = ()
    is_watched = True
    grace_seconds = 0.0

    def __init__(self, output):
        self.output = output

    def read(self):
        pass

    def has_ended(self):
        return True

    def finish(self, _seconds=0.0):
        return Ended(0, "", self.output)


class World:
    """A receiver, a clock, and what sends to it."""

    def __init__(self):
        self.now = NOW
        self.receiver = Receiver()
        self.selector = selectors.DefaultSelector()
        self.sending = self.make()

    def make(self):
        channel = Channel("webhook", {"timeout_seconds": 1}, "info")
        clocks = {"wall": lambda: self.now, "monotonic": lambda: self.now}
        return Sending([channel], self.selector, start=self.receiver.start, **clocks)

    def restart(self):
        """End, and begin with what was written down, as the index gives it back."""
        written = sorted(self.sending.waiting.values(), key=lambda one: one.made_at)
        self.sending.close()
        self.sending = self.make()
        self.sending.load(written)

    def put(self, number, **values):
        self.sending.put(message(**{"id": number, "at": self.now, **values}))

    def turn(self, seconds=0.0, turns=4):
        self.now += seconds
        for _ in range(turns):
            self.sending.step()


@pytest.fixture
def world():
    made = World()
    yield made
    made.sending.close()
    made.selector.close()


@pytest.mark.parametrize("restarts", [False, True])
def test_no_end_of_an_alert_overtakes_its_beginning(world, restarts):
    """A receiver was down: what was raised meanwhile waits for its next try, and what ended it waits behind that."""
    world.receiver.is_up = False
    world.put("raised")
    for seconds in BACK_OFF_SECONDS[:3]:
        world.turn(seconds)
    world.receiver.is_up = True
    world.put("resolved", what=Happening.RESOLVED)
    if restarts:
        world.restart()
    world.turn(1.0)
    assert world.receiver.took == []
    world.turn(BACK_OFF_SECONDS[-1])
    assert world.receiver.took == ["raised", "resolved"]
    assert world.sending.waiting == {}


def test_another_alert_does_not_wait(world):
    """One that a receiver never takes holds up nobody but what follows it."""
    world.receiver.refuses = {"poison"}
    world.put("poison")
    world.put("behind")
    world.put("other", subject="/srv/others")
    world.turn()
    assert world.receiver.took == ["other"]


def test_a_clock_that_is_set_back_changes_no_order(world):
    """What comes back from the index comes by its time."""
    world.receiver.is_up = False
    world.put("raised")
    world.turn()
    world.now -= 9 * HOUR
    world.put("resolved", what=Happening.RESOLVED)
    world.restart()
    world.receiver.is_up = True
    world.turn(2 * HOUR)
    assert world.receiver.took == ["raised", "resolved"]


def test_all_that_waits_is_sent_when_the_channel_took_something(world):
    """It is back: nobody waits an hour for that.  What it refused in the same errand keeps its time."""
    world.receiver.is_up = False
    for number in range(3):
        world.put(f"m{number}", subject=f"/srv/{number}")
    for seconds in BACK_OFF_SECONDS[:4]:
        world.turn(seconds)
    world.receiver.is_up = True
    world.receiver.refuses = {"poison"}
    world.put("poison", subject="/srv/poison")
    world.put("new", subject="/srv/new")
    world.turn(1.0, turns=8)
    assert sorted(world.receiver.took) == ["m0", "m1", "m2", "new"]
    assert world.receiver.refused == ["poison"] * 2  # beside the new one, and when the others were taken
    world.turn(1.0, turns=8)
    assert world.receiver.refused == ["poison"] * 2


def test_a_week_of_sleep_gives_nothing_up(world):
    """Nobody tried meanwhile: it is sent when the machine wakes."""
    world.receiver.is_up = False
    world.put("raised")
    world.turn()
    world.now += 7 * 86_400
    world.turn()
    assert list(world.sending.waiting) == [("webhook", "raised")]
    world.receiver.is_up = True
    world.turn(HOUR)
    assert world.receiver.took == ["raised"]


def test_what_nobody_takes_for_three_days_is_given_up_one_after_the_other(world):
    """What waited behind it has waited for as long as it is old, and not for three days from then on."""
    world.receiver.is_up = False
    world.put("raised")
    world.turn(HOUR)
    world.put("repeated", what=Happening.REPEATED)
    hours = 0
    while world.sending.waiting:
        world.turn(HOUR)
        hours += 1
    assert 72 <= hours <= 80
    assert world.receiver.tried <= hours + 3


def test_a_message_of_a_clock_that_was_ahead_grows_old(world):
    """Its age counts from when the clock was right again."""
    world.now += 400 * 86_400
    world.receiver.is_up = False
    world.put("raised")
    world.now -= 400 * 86_400
    for _ in range(GIVE_UP_FAILURES + 1):
        world.turn(HOUR)
    assert world.sending.waiting == {}


def test_what_somebody_wrote_into_the_outbox_by_hand_stands_in_nobodys_way(world):
    """It is about itself."""
    world.sending.load([Waiting("webhook", str(number), "nonsense", NOW) for number in range(3)])
    world.put("raised")
    world.receiver.is_up = False
    world.turn()
    assert {one.failures for one in world.sending.waiting.values()} == {1}


@pytest.mark.parametrize("then", ["exit 0", "exec sleep 600"])
def test_what_was_taken_before_the_end_is_not_sent_again(world, monkeypatch, then):
    """Whether its delivery has ended by itself or is ended here.  That nothing came of the rest is no failure of theirs."""
    start, started = world.receiver.start, []

    def deliver(*errand):
        output = start(*errand).output
        words = ["/bin/sh", "-c", f'printf %s "$1"; {then}', "sh", output[: output.rindex("message")]]
        started.append(Running(words, b"", {"PATH": "/bin:/usr/bin"}, grace_seconds=0.5))
        return started[-1]

    monkeypatch.setattr(world.receiver, "start", deliver)
    world.sending = world.make()
    world.receiver.refuses = {"refused"}
    for number in ("taken", "refused", "unanswered"):
        world.put(number, subject=f"/srv/{number}")
    world.sending.step()
    assert select.select(started[0].fds, [], [], 60.0)[0]
    world.sending.close()
    assert {key[1]: one.failures for key, one in world.sending.waiting.items()} == {"refused": 0, "unanswered": 0}


@pytest.mark.parametrize(
    ("failures", "age", "again"),
    [
        (1, 0.0, 10.0),
        (5, HOUR, HOUR),
        (99, HOUR, HOUR),
        (GIVE_UP_FAILURES - 1, 2 * GIVE_UP_SECONDS, HOUR),
        (GIVE_UP_FAILURES, GIVE_UP_SECONDS, HOUR),
        (GIVE_UP_FAILURES, GIVE_UP_SECONDS + 1, None),
    ],
)
def test_a_message_is_given_up_by_its_age_and_its_tries(failures, age, again):
    """By both: a clock that jumped makes it old, and a channel that is hurried makes many tries."""
    at = find_next_delivery(failures, NOW - age, NOW)
    assert at == (None if again is None else NOW + again)
