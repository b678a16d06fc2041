"""Every way to make a file appear, or a root go, ends in a hint or a doubt: the real kernel, no fakes."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from watchdog.observers.inotify import InotifyWatchGroup
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent

from ckptd.storage.atomic import write_new
from ckptd.watch import observer as observing
from ckptd.watch.observer import Observer
from ckptd.watch.source import Losses, Source
from tests.watch.limited import run_limited
from tests.watch.watching import PATIENCE_SECONDS, Watching, kernel_limit, needs_root, wait_until, watching


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside"
    path.mkdir()
    return path


def write(path: Path, data: bytes = b"weights") -> Path:
    path.write_bytes(data)
    return path


def test_plain_save_ends_in_a_closed_hint(root):
    """open, write, close: what torch.save does."""
    with watching(root) as seen:
        write(root / "a.pth")
        seen.wait_hint("a.pth", closed=True)


def test_start_raises_a_doubt_after_the_watches_are_set(root):
    """A file written before the start is the business of the scan that the first doubt asks for."""
    with watching(root) as seen:
        assert seen.doubts == ["start"]


def test_atomic_rename_hints_at_the_final_name(root):
    """A temporary file that is renamed is a move: the new name is as closed as can be, the old one is to be looked at."""
    with watching(root) as seen:
        write(root / ".a.pth.tmp").rename(root / "a.pth")
        seen.wait_hint("a.pth", closed=True)
        assert (".a.pth.tmp", False) in seen.hints


def test_rename_over_an_old_file_hints_at_it(root):
    """The usual way to replace a checkpoint."""
    write(root / "a.pth", b"old")
    with watching(root) as seen:
        write(root / "new").rename(root / "a.pth")
        seen.wait_hint("a.pth", closed=True)


def test_rename_from_outside_is_a_closed_hint(root, outside):
    """Only a move from nowhere is seen of it, and that is a MOVED_TO: nobody writes any more."""
    with watching(root) as seen:
        write(outside / "a.pth").rename(root / "a.pth")
        seen.wait_hint("a.pth", closed=True)


def test_rename_to_outside_and_removal_are_hints(root, outside):
    """What went away is looked at soon, not at the next rescan."""
    write(root / "a.pth")
    write(root / "b.pth")
    with watching(root) as seen:
        (root / "b.pth").unlink()
        seen.wait_hint("b.pth")
        (root / "a.pth").rename(outside / "a.pth")
        seen.wait_hint("a.pth")


def test_hard_link_is_a_hint_without_a_close(root, outside):
    """Whoever wrote the file may still be writing it under its other name."""
    write(outside / "a.pth")
    with watching(root) as seen:
        (root / "a.pth").hardlink_to(outside / "a.pth")
        seen.wait_hint("a.pth", closed=False)


def test_file_written_without_a_name_is_one_hint_at_the_name_it_gets(root):
    """Our own sidecars are: its close would be told of under a number."""
    with watching(root) as seen:
        directory = os.open(root, os.O_RDONLY)
        write_new(directory, "a_metadata.json", b"{}", durable=False)
        os.close(directory)
        write(root / "z.pth")
        seen.wait_hint("z.pth", closed=True)
        assert [path for path, _ in seen.hints if path != "z.pth"] == ["a_metadata.json"]


def test_hidden_file_is_a_hint_only_when_it_comes_into_sight(root):
    """A temporary name costs nobody a look; the rename to the real one does."""
    with watching(root) as seen:
        write(root / ".a.tmp")
        (root / ".b.tmp").write_bytes(b"x")
        (root / ".b.tmp").unlink()
        (root / ".a.tmp").rename(root / "a.pth")
        seen.wait_hint("a.pth", closed=True)
        assert seen.paths() <= {".a.tmp", "a.pth"}
        (root / ".new").mkdir()
        write(root / ".new" / "c.pth")
        (root / ".new").rename(root / "new")
        seen.wait_hint("new/c.pth")


def test_300_new_nested_directories_lose_no_file(root):
    """Files written before their new directory is watched send no event of their own: 98 % of them, by close events."""
    expected = set()
    with watching(root) as seen:
        for number in range(300):
            nested = root / f"r{number}" / "b" / "c"
            nested.mkdir(parents=True)
            for name in ("1.pth", "2.pth", "3.pth"):
                write(nested / name, b"")
                expected.add(f"r{number}/b/c/{name}")
        seen.wait_paths(expected)


def test_directory_moved_in_hints_at_all_its_files_and_stays_watched(root, outside):
    """A finished run is moved into place, and goes on."""
    (outside / "run" / "deep").mkdir(parents=True)
    write(outside / "run" / "a.pth")
    write(outside / "run" / "deep" / "b.pth")
    with watching(root) as seen:
        (outside / "run").rename(root / "run")
        seen.wait_paths({"run", "run/a.pth", "run/deep/b.pth"})
        write(root / "run" / "deep" / "later.pth")
        seen.wait_hint("run/deep/later.pth", closed=True)


def test_directory_renamed_inside_hints_at_both_names(root):
    """The places under the old name are in doubt, those under the new one are to be found."""
    (root / "old").mkdir()
    write(root / "old" / "a.pth")
    with watching(root) as seen:
        (root / "old").rename(root / "new")
        seen.wait_paths({"old", "new"})
        write(root / "new" / "b.pth")
        seen.wait_hint("new/b.pth", closed=True)


def test_directory_removed_or_moved_out_is_a_hint(root, outside):
    """Watchdog says only that the directory went; the files in it follow from that."""
    for name in ("gone", "moved"):
        (root / name).mkdir()
        write(root / name / "a.pth")
    with watching(root) as seen:
        shutil.rmtree(root / "gone")
        seen.wait_hint("gone")
        (root / "moved").rename(outside / "moved")
        seen.wait_hint("moved")


def test_two_directories_that_had_one_name_and_both_go_are_no_error(root, outside):
    """In watchdog 7.1.0 they are a KeyError."""
    with watching(root) as seen:
        (root / "d").mkdir()
        seen.wait_hint("d")
        (root / "d").rename(outside / "ghost")
        seen.wait_hint("d")
        seen.hints.clear()
        (root / "d").mkdir()
        seen.wait_hint("d")
        seen.hints.clear()
        (root / "d").rmdir()
        seen.wait_hint("d")
        (outside / "ghost").rmdir()
        write(root / "a.pth")
        seen.wait_hint("a.pth", closed=True)
        assert seen.observer.alive()
        assert (seen.observer.losses.errors, seen.doubts) == (0, ["start"])


def put_in_its_place(seen: Watching, root: Path, outside: Path) -> None:
    """Do `mv a elsewhere; mv b a`, with b watched for longer than a; after each step a file tells that it was heard.

    In watchdog's book two watches stand for the name a from then on.
    """
    (root / "a").mkdir()
    seen.wait_hint("a")
    for source, target in ((root / "a", outside / "a"), (root / "b", root / "a")):
        source.rename(target)
        write(root / f"{source.name}.pth")
        seen.wait_hint(f"{source.name}.pth", closed=True)


def test_directory_that_took_the_place_of_one_moved_out_does_not_keep_the_observer_from_its_end(root, outside):
    """By itself watchdog ends in a KeyError, and leaves its threads behind."""
    threads = threading.active_count()
    (root / "b").mkdir()
    with watching(root) as seen:
        put_in_its_place(seen, root, outside)
    wait_until(lambda: threading.active_count() <= threads, "all threads to end")


def test_directory_that_took_the_place_of_one_moved_out_does_not_keep_the_observer_from_a_restart(root, outside):
    """A share that comes back calls for one."""
    (root / "b").mkdir()
    with watching(root) as seen:
        put_in_its_place(seen, root, outside)
        seen.observer.restart()
        assert seen.observer.alive()
        write(root / "a" / "later.pth")
        seen.wait_hint("a/later.pth", closed=True)


def test_directory_that_took_the_place_of_one_moved_out_does_not_deafen_after_an_overflow(root, outside):
    """All watches are removed then; by itself watchdog fails before it sets them anew, and says "alive"."""
    (root / "b").mkdir()
    with watching(root) as seen:
        put_in_its_place(seen, root, outside)
        assert seen.observer._kernel is not None
        seen.observer._kernel._source.handle_event(InotifyEvent(-1, InotifyConstants.IN_Q_OVERFLOW, 0, b""))
        assert (seen.observer.losses.errors, seen.doubts) == (0, ["start", "overflow"])
        write(root / "a" / "later.pth")
        seen.wait_hint("a/later.pth", closed=True)


def test_of_two_watches_of_one_name_that_one_keeps_it_whose_directory_it_is(root, outside):
    """The other goes without it, and a second time without a word."""
    (root / "b").mkdir()
    with watching(root) as seen:
        put_in_its_place(seen, root, outside)
        assert seen.observer._kernel is not None
        (emitter,) = seen.observer._kernel.emitters
        book, name = emitter._inotify, os.fsencode(root / "a")
        keeper = book._active_callbacks_by_path[name]
        (other,) = {wd for wd, path in book._active_callbacks_by_watch.items() if path == name} - {keeper}
        (outside / "a").rmdir()
        write(root / "c.pth")
        seen.wait_hint("c.pth", closed=True)
        book.on_watch_deleted(other)
        assert other not in book._active_callbacks_by_watch
        assert book._active_callbacks_by_path[name] == keeper


def test_watchdog_has_the_method_that_is_replaced():
    """Under another name than in 7.1.0 ours would be called by nobody."""
    assert "_remove_watch_internally" in vars(InotifyWatchGroup)


def test_error_of_watchdog_s_own_is_a_doubt_and_the_watcher_lives_on(root, monkeypatch):
    """By itself watchdog dies of it, in a thread that no `is_alive` of its own covers."""
    on_event = InotifyWatchGroup.on_event

    def fail(group: InotifyWatchGroup, event: InotifyEvent) -> None:
        if event.name == b"bad.pth":
            raise KeyError(event.wd)
        on_event(group, event)

    monkeypatch.setattr(InotifyWatchGroup, "on_event", fail)
    with watching(root) as seen:
        write(root / "bad.pth")
        seen.wait_doubt("watcher error")
        write(root / "a.pth")
        seen.wait_hint("a.pth", closed=True)
        assert seen.observer.alive()
        assert seen.observer.losses.errors >= 1


def test_symlinked_root_is_watched(root, tmp_path):
    """Watchdog sees nothing at all through a link, and says nothing about it."""
    link = tmp_path / "link"
    link.symlink_to(root)
    with watching(link) as seen:
        write(root / "a.pth")
        seen.wait_hint("a.pth", closed=True)


def test_root_deleted_and_made_again_is_watched_after_a_restart(root):
    """The emitter ends without a word to its observer; `alive` says so, and `restart` finds the new directory."""
    with watching(root) as seen:
        root.rmdir()
        seen.wait_doubt("root deleted")
        wait_until(lambda: not seen.observer.alive(), "the observer to know that it is blind")
        seen.observer.restart()
        assert not seen.observer.alive()
        assert [finding.code for finding in seen.observer.findings] == ["root-missing"]
        root.mkdir()
        seen.observer.restart()
        assert seen.observer.alive()
        assert seen.observer.findings == ()
        write(root / "a.pth")
        seen.wait_hint("a.pth", closed=True)


def test_missing_root_at_the_start_does_not_raise(root):
    """Watchdog raises FileNotFoundError at start and RuntimeError at the join; here it is a finding."""
    root.rmdir()
    with watching(root) as seen:
        assert not seen.observer.alive()
        assert [finding.code for finding in seen.observer.findings] == ["root-missing"]


def test_root_renamed_and_a_new_one_made_is_watched_after_a_restart(root, tmp_path):
    """No event tells of it (the guard does); until then hints come from the old tree, after the restart from the new."""
    with watching(root) as seen:
        root.rename(tmp_path / "old")
        root.mkdir()
        seen.observer.restart()
        write(tmp_path / "old" / "ghost.pth")
        write(root / "a.pth")
        seen.wait_hint("a.pth", closed=True)
        assert "ghost.pth" not in seen.paths()


def test_callback_that_raises_stops_nothing(root):
    """In watchdog one exception of a handler ends all events for good."""
    heard: list[str] = []

    def fail(path: str, closed: bool) -> None:
        heard.append(path)
        raise RuntimeError(path)

    observer = Observer(root, fail, fail)  # the second takes one argument less, which raises as well
    observer.start()
    try:
        write(root / "a.pth")
        wait_until(lambda: "a.pth" in heard, "the first hint")
        write(root / "b.pth")
        wait_until(lambda: "b.pth" in heard, "a hint after an exception")
        assert observer.alive()
        assert observer.counters.callback_errors >= 3
    finally:
        observer.stop()


@pytest.mark.root
@needs_root
def test_queue_overflow_is_a_doubt_and_the_watches_hold_afterwards(root):
    """By itself watchdog tells nobody; our doubt comes after the watches were set anew, so that a scan then misses nothing."""
    (root / "sub").mkdir()
    seen = Watching(root)
    with kernel_limit("max_queued_events", 16):  # taken over by the instance when it is made; lowered as briefly as can be
        seen.observer.start()
    note = seen.doubts.append

    def write_at_once(why: str) -> None:
        note(why)
        write(root / "sub" / "while-in-doubt.pth")

    seen.observer._on_doubt = write_at_once
    try:
        stall(seen.observer, root)
        seen.wait_doubt("overflow")
        seen.wait_hint("sub/while-in-doubt.pth", closed=True)
        assert seen.observer.losses.overflows >= 1
        assert seen.observer.alive()
    finally:
        seen.observer.stop()


def stall(observer: Observer, root: Path) -> None:
    """Write files, with the reader held, until the kernel's queue of 16 events is full."""
    assert observer._kernel is not None
    with observer._kernel._source._lock:
        for number in range(200):
            write(root / f"{number}.pth", b"")


def test_watch_limit_is_a_finding_and_the_clock_takes_over(root):
    """By itself watchdog starts without a word and sees half of the directories."""
    answer = run_limited("few_watches", root)
    assert answer["refused"] > 0
    assert answer == {
        "alive": True,
        "polling": True,
        "findings": ["watch-limit"],
        "refused": answer["refused"],
        "limit_doubts": 1,
    }


def test_watch_limit_hit_later_by_a_new_directory_is_noticed(root):
    """A tree that grows into the limit loses its new directories, in silence as far as watchdog goes."""
    answer = run_limited("few_watches_later", root)
    assert (answer["polling"], answer["findings"], answer["limit_doubts"]) == (True, ["watch-limit"], 1)


def test_no_watch_left_for_the_root_itself_means_polling(root):
    """The only case in which watchdog raises: OSError 28."""
    answer = run_limited("no_watch", root)
    assert (answer["alive"], answer["polling"], answer["findings"]) == (True, True, ["watch-limit"])


def test_no_inotify_instance_left_means_polling(root):
    """OSError 24, by the limit of instances of one user."""
    answer = run_limited("no_instance", root)
    assert (answer["alive"], answer["polling"], answer["findings"]) == (True, True, ["watch-instances"])


def test_restarts_give_their_inotify_instances_back(root):
    """A daemon whose share comes and goes must not use up the 128 of its user."""
    answer = run_limited("many_restarts", root)
    assert (answer["alive"], answer["polling"], answer["findings"]) == (True, False, [])


def test_polling_backend_doubts_by_the_clock_and_ends(root):
    """Where no event can come, the whole picture is asked for every so often."""
    with watching(root, backend="polling", polling_seconds=0.01) as seen:
        assert seen.observer.is_polling
        seen.wait_doubt("polling", times=3)
        write(root / "a.pth")
    assert seen.hints == []
    assert not seen.observer.alive()


class Turnstile:
    """A lock that tells when a second thread comes to it."""

    def __init__(self, second: threading.Event) -> None:
        self._lock = threading.Lock()
        self._second = second

    def __enter__(self) -> None:
        if self._lock.locked():
            self._second.set()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_two_threads_that_start_the_clock_start_one(root, monkeypatch):
    """The reader at the watch limit and the owner at its start, at once: of two, one would go on after the end."""
    first, second = threading.Event(), threading.Event()
    made = []

    class Pulse(observing._Pulse):
        def __init__(self, *options: Any) -> None:
            super().__init__(*options)
            made.append(self)
            (first if len(made) == 1 else second).set()
            assert second.wait(PATIENCE_SECONDS)  # until the other one is on its way, too

    monkeypatch.setattr(observing, "_Pulse", Pulse)
    seen = Watching(root, polling_seconds=1_000.0)
    monkeypatch.setattr(seen.observer, "_pulse_lock", Turnstile(second), raising=False)
    reader = threading.Thread(target=seen.observer._lose, args=("watch limit",))
    reader.start()
    assert first.wait(PATIENCE_SECONDS)
    seen.observer._start_pulse()
    reader.join()
    assert seen.observer.is_polling
    seen.observer.stop()
    assert [each.is_alive() for each in made] == [False]


def test_alive_covers_the_reader_the_emitter_and_the_dispatcher(root):
    """Each of the three threads can die alone, and each leaves the others running blind."""
    for victim in ("source", "emitter", "dispatcher"):
        with watching(root) as seen:
            kernel = seen.observer._kernel
            assert kernel is not None
            assert seen.observer.alive()
            match victim:
                case "source":
                    kernel._source.stop()
                    thread = kernel._source
                case "emitter":
                    thread = next(iter(kernel.emitters))
                    thread.stop()
                case _:
                    thread = kernel
                    threading.Thread(target=kernel.stop).start()
            thread.join(10)
            assert not seen.observer.alive(), victim


def test_stop_gives_threads_and_descriptors_back(root):
    """A daemon that restarts its observer each night must not run out of either."""
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
    with watching(root) as seen:
        for _ in range(5):
            seen.observer.restart()
        assert seen.observer.counters.restarts == 5
    wait_until(lambda: threading.active_count() <= threads, "all threads to end")
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors, "all descriptors to be closed")


def test_an_end_before_the_reader_began_gives_its_descriptors_back():
    """A thread that is started may come to its first step after it was told to end."""
    descriptors, may_begin = len(os.listdir("/proc/self/fd")), threading.Event()

    class LateSource(Source):
        def run(self) -> None:
            may_begin.wait(60)
            super().run()

    source = LateSource(Losses(), lambda _: None)
    source.start()
    source.stop()
    may_begin.set()
    source.join()
    assert len(os.listdir("/proc/self/fd")) <= descriptors


def test_names_that_are_not_utf8_come_through(root):
    """A path is bytes; what is no UTF-8 is surrogate-escaped as everywhere else."""
    name = os.fsdecode(b"\xff\xfe.pth")
    with watching(root) as seen:
        write(root / name)
        seen.wait_hint(name, closed=True)
