"""Programs beside the loop: what happens between two looks at one, and no descriptor is left to another by its number."""

from __future__ import annotations

import os
import select
import selectors
import signal
import time

import pytest

from ckptd.errors import WorkerError
from ckptd.jobs.programs import Programs
from ckptd.notify.running import Ended, Running
from tests.notify.receivers import until


class Fake:
    """A program whose end a test chooses; like the real one it closes its pipe when it reads its end."""

    grace_seconds = 0.0
    is_watched = True

    def __init__(self):
        self.output_fd, self.theirs = os.pipe2(os.O_NONBLOCK)
        self.is_open = True
        self.is_over = False
        self.calls = []

    @property
    def fds(self):
        return (self.output_fd,) if self.is_open else ()

    def end(self):
        os.close(self.theirs)
        self.is_over = True

    def read(self):
        try:
            is_end = self.is_open and not os.read(self.output_fd, 9)
        except BlockingIOError:
            is_end = False
        if is_end:
            self.is_open = False
            os.close(self.output_fd)

    def has_ended(self):
        return self.is_over

    def ask(self):
        self.calls.append("ask")

    def ask_late(self):
        self.calls.append("ask late")

    def end_late(self):
        self.calls.append("end late")
        self.end()

    def kill(self):
        self.calls.append("kill")

    def wait_grace(self, _deadline):
        self.calls.append("wait")

    def finish(self, _seconds=0.0):
        if self.is_open:
            self.is_open = False
            os.close(self.output_fd)
        return Ended(0, "", "")


class Sudden(Running):
    """A real program that gives up its output between our read and our question whether it has ended, and ends later.

    So does each one at its end, for the moment that the kernel takes from the first to the second.
    """

    def __init__(self, directory):
        self.go, self.over = directory / "go", directory / "over"
        waiting = "while [ ! -e {} ]; do sleep 0.02; done"
        text = f"{waiting.format(self.go)}; exec > /dev/null 2>&1; {waiting.format(self.over)}"
        super().__init__(["/bin/sh", "-c", text], b"", {"PATH": "/bin:/usr/bin"})

    def read(self):
        super().read()
        if not self.go.exists():
            self.go.touch()
            assert select.select([self.fds[0]], [], [], 60.0)[0]


@pytest.fixture
def selector():
    with selectors.DefaultSelector() as made:
        yield made


def test_a_program_that_ends_between_two_looks_leaves_no_descriptor_in_the_selector(selector, tmp_path):
    """Its number is the next program's: that one could not be registered, and the daemon would end."""
    programs = Programs(selector, time.monotonic)
    first = Sudden(tmp_path)
    programs.watch("first", first, 600.0)
    assert programs.collect() == []
    second = Fake()
    programs.watch("second", second, 600.0)
    assert set(selector.get_map()) == {*first.fds, *second.fds}
    first.over.touch()
    second.end()
    ended = []
    until(lambda: ended.extend(key for key, _ in programs.collect()) or len(ended) == 2, "both to end")
    assert not selector.get_map()


def test_asking_whether_a_program_has_ended_closes_nothing(tmp_path):
    """Who watches its pipe has to forget it before."""
    running = Sudden(tmp_path)
    before = running.fds
    running.read()
    assert not running.has_ended()
    assert running.fds == before
    running.finish()


def test_a_program_that_can_not_be_watched_is_ended_and_is_not_there(selector):
    """Half of it would be looked for at each step; the next one is watched as any other."""
    programs = Programs(selector, time.monotonic)
    fake = Fake()
    selector.register(fake.output_fd, selectors.EVENT_READ)
    with pytest.raises(WorkerError, match="could not be watched"):
        programs.watch("one", fake, 60.0)
    assert "one" not in programs
    assert not fake.is_open
    assert programs.collect() == []
    selector.unregister(fake.output_fd)
    fake.end()


def test_a_program_with_a_grace_is_asked_before_it_is_ended(selector):
    """Once; the loop does not come round for nothing meanwhile, and waits for nobody."""
    now = [0.0]
    programs = Programs(selector, lambda: now[0])
    fake = Fake()
    fake.grace_seconds = 5.0
    programs.watch("one", fake, 60.0)
    now[0] = 60.0
    assert programs.collect() == []
    assert programs.collect() == []
    assert fake.calls == ["ask late"]
    assert programs.next_due() == 65.0
    now[0] = 65.0
    programs.collect()
    assert fake.calls == ["ask late", "end late"]
    assert [key for key, _ in programs.collect()] == ["one"]


def test_a_killed_program_that_does_not_end_makes_nobody_spin(selector):
    """The kernel holds it, as on a dead share: its time stays over, and it is looked at now and then all the same."""
    now = [0.0]
    programs = Programs(selector, lambda: now[0])
    fake = Fake()
    fake.end = lambda: None
    programs.watch("one", fake, 60.0)
    for looked_at in (60.0, 61.0, 3600.0):
        now[0] = looked_at
        assert programs.collect() == []
        assert programs.next_due() > now[0]
    assert set(fake.calls) == {"end late"}
    del fake.end
    fake.end()
    assert [key for key, _ in programs.collect()] == ["one"]


def test_at_the_end_it_is_said_what_became_of_each(selector):
    """What one wrote before it was ended may be an answer."""
    programs = Programs(selector, time.monotonic)
    fakes = [Fake(), Fake()]
    for number, fake in enumerate(fakes):
        programs.watch(number, fake, 60.0)
    fakes[1].end()
    assert programs.close() == [(0, Ended(0, "", "")), (1, Ended(0, "", ""))]
    assert len(programs) == 0
    fakes[0].end()


def test_at_the_end_all_are_asked_before_one_is_waited_for(selector):
    """Their graces run at once."""
    programs = Programs(selector, time.monotonic)
    fakes = [Fake(), Fake()]
    for number, fake in enumerate(fakes):
        programs.watch(number, fake, 60.0)
    programs.close()
    assert [fake.calls for fake in fakes] == [["ask", "wait"]] * 2
    assert not selector.get_map()
    for fake in fakes:
        fake.end()


def test_a_real_program_without_a_grace_is_killed_at_once():
    """A hook has nothing to end by itself: its group is ended for it."""
    running = Running(["/bin/sh", "-c", "trap '' TERM; sleep 600"], b"", {"PATH": "/bin:/usr/bin"})
    running.ask()
    assert running.finish().status == -signal.SIGKILL
