"""The loop in this process: what it does when a part fails it, and when its settings are read anew."""

from __future__ import annotations

import gc
import selectors
import socket
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import structlog
from apscheduler.schedulers.background import BackgroundScheduler

from ckptd import daemon
from ckptd.daemon import Course, Daemon
from ckptd.errors import AlreadyRunningError, IndexUnavailableError, StorageError
from ckptd.index.following import Cursor, load_cursor, put_cursor
from ckptd.index.store import Store
from ckptd.jobs import roots
from ckptd.jobs.exporting import Exporting
from ckptd.jobs.inbox import Inbox
from ckptd.jobs.ingest import Ingest
from ckptd.jobs.rescans import REST, Rescans
from ckptd.jobs.standing import Sign
from ckptd.opening import INDEX_NAME, find_state_dir, open_engine
from ckptd.settings import load_settings
from ckptd.storage.lock import hold, is_held

PATIENCE_SECONDS = 60.0
NO_SCHEDULE = dict.fromkeys(("retention", "purge", "scrub", "drill", "report"), "")


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)
    return value


@pytest.fixture
def make_settings(tmp_path):
    """Give settings for one root, and more of them."""
    (tmp_path / "models").mkdir()

    def make(**values):
        return load_settings(None, {"roots": [str(tmp_path / "models")], "schedule": NO_SCHEDULE, **values}, {})

    return make


class Manager:
    """The service manager, as the loop speaks to it."""

    def __init__(self, watchdog_seconds=None):
        self.watchdog_seconds = watchdog_seconds
        self.said = []

    def __getattr__(self, name):
        return lambda *words: self.said.append((name, *words))


@contextmanager
def standing_loop(settings, manager=None):
    """Give a daemon that was built and does not run."""
    with selectors.DefaultSelector() as selector:
        inbox = Inbox()
        with open_engine(settings, selector, want_rescan=inbox.rescan, next_try=lambda *_: None) as engine:
            yield Daemon(Course(settings, 0.0), engine, selector, inbox, manager or Manager())
        inbox.close()


class Running:
    """A daemon in a thread of this process; its log, and the way to end it."""

    def __init__(self, monkeypatch, settings, *later, log):
        self.later = list(later)
        self.log = log
        self.used = []
        self.error = self.status = None
        self.inboxes = []
        monkeypatch.setattr(daemon, "take_signals", lambda *_: None)
        monkeypatch.setattr(daemon, "hear_signals", lambda: None)
        monkeypatch.setattr(daemon, "open_store_lean", Store.open)  # it forks, which this process must not
        monkeypatch.setattr(daemon, "Inbox", self._make_inbox)
        self.thread = threading.Thread(target=self._run, args=(settings,))
        self.thread.start()

    def _make_inbox(self):
        self.inboxes.append(Inbox())
        return self.inboxes[-1]

    def _run(self, settings):
        try:
            self.status = daemon.run(settings, lambda: self.later.pop(0), self.used.append)
        except Exception as error:  # for the test to look at
            self.error = error

    def count(self, event):
        return sum(entry["event"] == event for entry in self.log)

    def wait_started(self, times):
        wait_for(lambda: self.count("daemon.started") == times or not self.thread.is_alive(), f"start {times}")
        assert self.thread.is_alive(), self.error

    def reload(self):
        started = self.count("daemon.started")
        self.inboxes[0].reread()
        self.wait_started(started + 1)

    def stop(self):
        if self.thread.is_alive():
            self.inboxes[0].stop()
        self.thread.join(PATIENCE_SECONDS)
        assert not self.thread.is_alive()


@pytest.fixture
def run(monkeypatch):
    """Run daemons, and end them."""
    running, thresholds = [], gc.get_threshold()
    with structlog.testing.capture_logs() as log:

        def run(settings, *later):
            running.append(Running(monkeypatch, settings, *later, log=log))
            return running[-1]

        yield run
        for one in running:
            one.stop()
    gc.unfreeze()
    gc.set_threshold(*thresholds)


# — walks —


def test_a_walk_rests_whatever_became_of_it(make_settings, monkeypatch):
    """The index would not take what it found: the next one is wanted at once, and waits three times as long as this took."""
    clock = SimpleNamespace(now=1_000.0)
    with standing_loop(make_settings()) as made:
        made._rescans = Rescans(lambda: clock.now)

        def walk(*_args, **_options):
            clock.now += 10.0
            raise IndexUnavailableError("use the index", why="disk I/O error")

        monkeypatch.setattr(daemon, "reconcile_root", walk)
        made._rescans.want(0, "start")
        ((number, why),) = made._rescans.take()
        with pytest.raises(IndexUnavailableError):
            made._rescan(number, why)
        made._rescans.want(0, "index", delay=1.0)
        assert made._rescans.next_due() == clock.now + REST * 10.0
        assert list(made._rescans.take()) == []


def test_a_long_walk_says_that_the_daemon_lives(make_settings, monkeypatch):
    """With every directory, as long as every part answers; and ends when the daemon is to end."""
    manager = Manager(watchdog_seconds=0.0)
    with standing_loop(make_settings(), manager) as made:
        made._breathe()
        assert manager.said == [("alive",)]
        assert made._board.beat_at > 0
        monkeypatch.setattr(made._watching, "signs", lambda: [Sign("observer", ok=False, why="silent")])
        made._breathe()
        assert manager.said == [("alive",)]
        made._inbox.stop()
        with pytest.raises(daemon._EndingError):
            made._breathe()


def test_between_two_long_walks_the_second_is_measured_by_itself(make_settings, monkeypatch, tmp_path):
    """Its rest is three times its own time, not that of the walk before it as well."""
    clock = SimpleNamespace(now=1_000.0)
    (tmp_path / "other").mkdir()
    settings = make_settings(roots=[str(tmp_path / "models"), str(tmp_path / "other")])
    with standing_loop(settings) as made:
        made._rescans = Rescans(lambda: clock.now)
        times, breaths = {0: 100.0, 1: 1.0}, []

        def walk(root, *_args, breathe, **_options):
            breaths.append(made._board.beat_at)
            breathe()
            clock.now += times[root.number]

        monkeypatch.setattr(daemon, "reconcile_root", walk)
        for number in (0, 1):
            made._inbox.rescan(number, "start")
        made._read_mail(made._inbox.take())
        for number in (0, 1):
            made._rescans.want(number, "losses")
        assert made._rescans.next_due() == clock.now + REST * 1.0
        assert made._board.beat_at > breaths[0]


def test_what_stands_there_before_the_first_look_says_that_there_was_none(make_settings):
    """Who reads it must not take parts that are not known to be frozen yet for parts that are not."""
    manager = Manager()
    with standing_loop(make_settings(), manager) as made:
        seen = []
        publish = made._board.publish
        made._board.publish = lambda standing: (seen.append(standing), publish(standing))
        made._rescan(0, "start")
        made._publish(time.monotonic())
    assert [name for name, *_ in manager.said if name == "ready"] == ["ready"]
    first, last = seen[0].roots[0], seen[-1].roots[0]
    assert (first.rescanned_at, first.rescans, seen[0].has_reconciled) == (None, 0, False)
    assert last.rescanned_at is not None
    assert seen[-1].has_reconciled


def test_the_loop_does_not_spin_while_a_part_keeps_silent(make_settings):
    """No sign of life is due then, so that the time of the next one, long past, wakes nobody."""
    with standing_loop(make_settings(), Manager(watchdog_seconds=3.0)) as made:
        made._clockwork = made._engine.exporting = SimpleNamespace(next_due=lambda: None)  # nothing else is to be done
        made._alive_at = time.monotonic() - 100.0
        assert made._find_pause() == 0.0
        made._signs = (Sign("observer", ok=False, why="silent"),)
        assert made._find_pause() > 0.0


def test_mail_about_a_root_that_is_looked_after_no_more_is_passed_over(make_settings):
    """Who watched it for the settings of before may tell of it a moment late."""
    with standing_loop(make_settings()) as made:
        made._inbox.rescan(1, "watcher error")
        made._inbox.hint(1, "a.pth", closed=True)
        made._inbox.hint_later(1, "a_metadata.json", closed=True)
        made._inbox._patient_at = 0.0
        made._read_mail(made._inbox.take())
        assert made._rescans.next_due() is None
        assert made._engine.ingest.waiting == 0
        made._engine.ingest.step()


# — the end —


@pytest.mark.parametrize(
    ("part", "owner", "end"),
    [
        ("scheduler", BackgroundScheduler, "shutdown"),
        ("observers", daemon.Watching, "stop"),
        ("controlling", daemon.Controlling, "close"),
        ("job", daemon.Clockwork, "stop"),
        ("exporters", Exporting, "close"),
    ],
)
def test_a_part_that_fails_at_the_end_keeps_no_other_from_it(make_settings, run, monkeypatch, part, owner, end):
    """What went wrong is told with the place in the code, and by the exit status."""
    settings, ended = make_settings(), []
    real, close = getattr(owner, end), Ingest.close

    def fail(self, *args, **options):
        real(self, *args, **options)
        raise KeyError("a watch")

    monkeypatch.setattr(owner, end, fail)
    monkeypatch.setattr(Ingest, "close", lambda self: (ended.append(self), close(self)))
    running = run(settings)
    running.wait_started(1)
    running.stop()
    (told,) = [entry for entry in running.log if entry["event"] == "daemon.unwell"]
    assert (told["part"], told["reason"]) == (part, "it did not end: KeyError: 'a watch'")
    assert isinstance(told["exc_info"], KeyError)
    assert (running.error, running.status) == (None, 1)
    assert running.count("daemon.stopped") == 1
    assert ended
    assert not (find_state_dir(settings) / "ctl").exists()


def test_a_part_that_fails_in_a_reload_ends_no_daemon(make_settings, run, monkeypatch):
    """The new settings are used; what is told of it then is enough."""
    settings = make_settings()
    real, left = daemon.Watching.stop, [KeyError("a watch")]

    def fail_once(self):
        real(self)
        if left:
            raise left.pop()

    monkeypatch.setattr(daemon.Watching, "stop", fail_once)
    running = run(settings, settings)
    running.wait_started(1)
    running.reload()
    assert running.count("daemon.unwell") == 1
    running.stop()
    assert (running.error, running.status) == (None, 0)


# — roots —


def test_a_read_only_share_that_is_away_at_the_start_comes_back(make_settings, run, monkeypatch, tmp_path):
    """No mark can be written there, and it is known by its place alone: it is back when something lies there again."""

    def refuse(_fd):
        raise StorageError("mark the root", why="Read-only file system")

    monkeypatch.setattr(roots, "mark_root", refuse)
    share = tmp_path / "share"
    share.mkdir()
    for number in range(5):
        (share / f"{number}.pth").write_bytes(b"no checkpoint")
    watched = [str(tmp_path / "models"), str(share)]
    settings = make_settings(roots=watched, state_dir=str(tmp_path / "state"), watch={"guard_seconds": 0.1})
    first = run(settings)
    wait_for(lambda: first.count("checkpoint.rejected") == 5, "five files")
    first.stop()
    share.rename(tmp_path / "elsewhere")
    second = run(settings)
    second.wait_started(2)
    assert second.count("root.lost") == 1
    share.mkdir()  # the place where it is mounted: not yet
    share.rmdir()
    (tmp_path / "elsewhere").rename(share)
    wait_for(lambda: second.count("root.returned"), "the share to be back")
    wait_for(lambda: any(e["event"] == "scan.finished" and e["unchanged"] == 5 for e in second.log), "a look at it")
    second.stop()
    with closing_store(settings) as store:
        assert [place.is_missing for place in store.load_places(str(share)).values()] == [False] * 5


# — reloads —


def test_nobody_gets_the_locks_while_the_settings_are_read_anew(make_settings, run, monkeypatch, tmp_path):
    """A timer's `ckptd scan` in the gap would end the daemon: there is none, neither for new settings nor for the old ones."""
    state, root = tmp_path / "state", tmp_path / "models" / ".ckptd"
    settings = make_settings(state_dir=str(state))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = make_settings(state_dir=str(state), health={"listen": f"127.0.0.1:{taken.getsockname()[1]}"})
        running = run(settings, settings, refused)
        running.wait_started(1)
        tried = []

        def open_later(*args, **options):
            for place in (state, root):
                try:
                    hold(place)  # and kept, as by somebody who is quicker
                except AlreadyRunningError:
                    tried.append(place)
            return open_engine(*args, **options)

        monkeypatch.setattr(daemon, "open_engine", open_later)
        running.reload()
        assert tried == [state, root]
        running.reload()
        assert tried == [state, root] * 3
    assert running.count("settings.rejected") == 1
    running.stop()
    assert running.error is None
    assert not is_held(state)
    assert not is_held(root)


def test_a_root_that_another_has_by_now_ends_no_daemon_that_reads_its_settings(make_settings, run, tmp_path):
    """It was away when the other one began; the reload is refused, and the rest is looked after as before."""
    other = tmp_path / "other"
    other.mkdir()
    settings = make_settings(roots=[str(tmp_path / "models"), str(other)], watch={"guard_seconds": 0.1})
    running = run(settings, settings)
    running.wait_started(1)
    wait_for(lambda: running.count("scan.finished") >= 2, "the first look")
    other.rename(tmp_path / "elsewhere")
    wait_for(lambda: running.count("root.lost"), "the root to be lost")
    (tmp_path / "elsewhere" / ".ckptd" / "lock").unlink()
    with hold(tmp_path / "elsewhere" / ".ckptd"):
        (tmp_path / "elsewhere").rename(other)
        wait_for(lambda: running.count("root.lost") == 2, "the root to be another's")
        running.reload()
        assert running.count("settings.rejected") == 1
        assert running.count("root.returned") == 0
    wait_for(lambda: running.count("root.returned"), "the root to be given back")


@contextmanager
def closing_store(settings):
    store = Store.open(find_state_dir(settings) / INDEX_NAME)
    try:
        yield store
    finally:
        store.close()


@pytest.mark.parametrize("part", ["open_engine", "open_sides", "start_schedule", "open_control"])
@pytest.mark.parametrize(
    "error", [OSError(24, "Too many open files"), RuntimeError("can't start new thread")], ids=["descriptors", "threads"]
)
def test_whatever_goes_wrong_in_a_reload_the_settings_of_before_go_on(make_settings, run, monkeypatch, part, error):
    """Descriptors or threads may be used up for a moment; the daemon says why, and looks after its roots."""
    settings = make_settings()
    running = run(settings, settings, settings)
    running.wait_started(1)
    real, left = getattr(daemon, part), [error]

    def fail_once(*args, **options):
        if left:
            raise left.pop()
        return real(*args, **options)

    monkeypatch.setattr(daemon, part, fail_once)
    running.reload()
    (rejected,) = [entry for entry in running.log if entry["event"] == "settings.rejected"]
    assert str(error.args[-1]) in rejected["reason"]
    running.reload()
    running.stop()
    assert running.error is None
    assert running.count("settings.rejected") == 1


def test_what_watchers_of_settings_that_came_to_nothing_told_is_forgotten(make_settings, run, monkeypatch, tmp_path):
    """They tell of roots by number, and the settings of before have fewer."""
    (tmp_path / "other").mkdir()
    settings, both = make_settings(), make_settings(roots=[str(tmp_path / "models"), str(tmp_path / "other")])
    running = run(settings, both, settings)
    running.wait_started(1)
    real = daemon.open_control

    def fail(beside, kept):
        monkeypatch.setattr(daemon, "open_control", real)
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(daemon, "open_control", fail)
    running.reload()
    running.reload()  # so that the loop came round
    assert [entry["roots"] for entry in running.log if entry["event"] == "daemon.started"] == [[str(tmp_path / "models")]] * 3


def test_a_root_that_is_looked_after_no_more_is_free_for_others(make_settings, run, tmp_path):
    """At once, and not only at the end of the daemon."""
    (tmp_path / "other").mkdir()
    both = make_settings(roots=[str(tmp_path / "models"), str(tmp_path / "other")])
    running = run(both, make_settings())
    running.wait_started(1)
    assert is_held(tmp_path / "other" / ".ckptd")
    running.reload()
    with hold(tmp_path / "other" / ".ckptd"):
        assert is_held(tmp_path / "models" / ".ckptd")


def test_a_start_that_fails_is_told_by_its_own_error(make_settings, run, monkeypatch):
    """There is nothing to fall back on."""

    def fail(*_args, **_options):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(daemon, "start_schedule", fail)
    running = run(make_settings())
    running.thread.join(PATIENCE_SECONDS)
    assert isinstance(running.error, RuntimeError)
    assert not is_held(find_state_dir(make_settings()))


def test_settings_of_before_that_can_not_be_used_any_more_leave_no_socket(make_settings, run, monkeypatch):
    """The daemon ends, and who asks it is told that it does not run."""
    settings = make_settings()
    running = run(settings, settings)
    running.wait_started(1)
    path = find_state_dir(settings) / "ctl"
    assert path.is_socket()

    def fail(*_args, **_options):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(daemon, "open_engine", fail)
    running.inboxes[0].reread()
    running.thread.join(PATIENCE_SECONDS)
    assert isinstance(running.error, OSError)
    assert not path.exists()
    assert not is_held(find_state_dir(settings))


def test_a_refused_reload_leaves_the_log_as_it_was(make_settings, run):
    """What is in use is told each time: the new settings, and those of before when the new ones come to nothing."""
    settings = make_settings()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = make_settings(health={"listen": f"127.0.0.1:{taken.getsockname()[1]}"}, log={"format": "json"})
        running = run(settings, refused)
        running.wait_started(1)
        running.reload()
    assert [one.log.format for one in running.used] == [settings.log.format, "json", settings.log.format]


HOOK = {"on": "checkpoint.ready", "command": ["/bin/true"]}


def test_a_refused_reload_forgets_nothing_of_those_who_follow(make_settings, run):
    """The new settings have no hooks, and an address that is taken: the hooks of before miss nothing."""
    settings = make_settings(hook=[HOOK])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = make_settings(health={"listen": f"127.0.0.1:{taken.getsockname()[1]}"})
        running = run(settings, refused, make_settings())
        running.wait_started(1)
        with closing_store(settings) as store:
            wait_for(lambda: store.ask(load_cursor, "hooks"), "the hooks to begin")
            with store.batch() as batch:
                batch.tell(put_cursor, "hooks", Cursor(0, 7.0))
            running.reload()
            assert store.ask(load_cursor, "hooks").since == 7.0
            running.reload()
            assert store.ask(load_cursor, "hooks") is None
