"""The inbox folds what comes from many threads into one look."""

import os
import select
import threading

import pytest

from ckptd.jobs.inbox import Inbox


@pytest.fixture
def inbox():
    box = Inbox()
    yield box
    box.close()


def is_readable(inbox):
    return bool(select.select([inbox], [], [], 0)[0])


def test_a_burst_of_hints_is_one_entry_a_file_and_a_close_is_never_forgotten(inbox):
    """Two thousand events about two files are two entries; once closed stays closed."""
    for number in range(1000):
        inbox.hint(0, "a.pth", closed=number == 3)
        inbox.hint(0, "b.pth", closed=False)
    assert is_readable(inbox)
    assert inbox.take().hints == {(0, "a.pth"): True, (0, "b.pth"): False}
    assert not is_readable(inbox)
    assert inbox.take().hints == {}


def test_every_look_is_followed_by_the_next_wake(inbox):
    """One byte wakes for all that came since the last look, and never for less."""
    for number in range(3):
        inbox.hint(0, str(number), closed=False)
        inbox.guard()
        assert is_readable(inbox)
        assert set(inbox.take().hints) == {(0, str(number))}
        assert not is_readable(inbox)


def test_the_first_reason_for_a_rescan_is_kept(inbox):
    """What follows is the same wish."""
    inbox.rescan(0, "overflow")
    inbox.rescan(0, "schedule")
    assert inbox.take().rescans == {0: "overflow"}


def test_nothing_is_lost_between_threads(inbox):
    """What four threads put in while the loop takes out comes out, each once or more."""
    total, seen = 2000, set()

    def put(thread):
        for number in range(total):
            inbox.hint(thread, str(number), closed=True)

    threads = [threading.Thread(target=put, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        seen |= set(inbox.take().hints)
    seen |= set(inbox.take().hints)
    assert len(seen) == 4 * total


def test_a_stop_wakes_the_loop(inbox):
    """And stays until it is taken."""
    inbox.stop()
    assert is_readable(inbox)
    assert inbox.take().stop
    assert not inbox.take().stop


def test_hints_in_no_hurry_come_together_a_moment_later(inbox, monkeypatch):
    """The first wakes the loop, which then knows until when it may sleep; nothing of them is lost."""
    now = 10.0
    monkeypatch.setattr("ckptd.jobs.inbox.time.monotonic", lambda: now)
    inbox.hint_later(0, "a_metadata.json", closed=True)
    assert is_readable(inbox)
    inbox.hint(0, "a.pth", closed=True)
    mail = inbox.take()
    assert (set(mail.hints), mail.patient) == ({(0, "a.pth")}, {})
    inbox.hint_later(0, "b_metadata.json", closed=False)
    assert not is_readable(inbox)
    now = inbox.next_due()
    assert inbox.take().patient == {(0, "a_metadata.json"): True, (0, "b_metadata.json"): False}
    assert inbox.next_due() is None


def test_a_reload_forgets_what_is_about_roots_and_no_wish():
    """Numbers of roots mean others afterwards; a second SIGHUP, and SIGTERM above all, must not get lost."""
    inbox = Inbox()
    inbox.hint(3, "a.pth", closed=True)
    inbox.hint_later(3, "a.json", closed=True)
    inbox.rescan(3, "doubt")
    inbox.reread()
    inbox.stop()
    inbox.forget()
    mail = inbox.take()
    assert (mail.hints, mail.patient, mail.rescans) == ({}, {}, {})
    assert mail.settings
    assert mail.stop
    assert inbox.next_due() is None


def test_after_the_end_nothing_is_written_to_whoever_has_the_number_of_the_pipe_by_then(tmp_path):
    """The handlers of SIGTERM and SIGHUP stay; by then the number may be that of a file."""
    inbox = Inbox()
    writer = inbox._writer
    inbox.close()
    other = os.open(tmp_path / "other", os.O_CREAT | os.O_WRONLY)
    os.dup2(other, writer)
    try:
        inbox.stop()
        inbox.reread()
    finally:
        for number in {other, writer}:
            os.close(number)
    assert (tmp_path / "other").read_bytes() == b""
