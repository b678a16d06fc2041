"""The life of a daemon as a service manager sees it: ready, alive, reloaded, stopped; by the real socket of sd_notify."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import struct
import threading
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from tests.corpus import asm, zips
from tests.e2e.running import Daemon, ckptd, run_ckptd, running, wait_for
from tests.e2e.test_jobs import SCRUB, SlowDaemon

PROJECT = Path(__file__).parents[2]
QUICK = {"CKPTD_WATCH__SETTLE_SECONDS": "0.05", "CKPTD_WATCH__GUARD_SECONDS": "0.2", "CKPTD_INSPECT__IDLE_SECONDS": "1"}
#: systemd would wait so long; a sign of life comes three times as often.
WATCHDOG_SECONDS = 1.5


class BreakableDaemon(Daemon):
    """A daemon that stops one of its parts when it gets SIGUSR1."""

    module = "tests.e2e.breaking"


class Systemd:
    """The end of the notification socket that systemd has: keeps every message with its time."""

    def __init__(self, path):
        self.messages = []
        self.end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.end.bind(str(path))
        self.env = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": str(int(WATCHDOG_SECONDS * 1e6))}
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def _listen(self):
        while True:
            try:
                data = self.end.recv(1 << 16)
            except OSError:
                return
            self.messages.append(dict(line.split("=", 1) for line in data.decode().split("\n")))

    def said(self, key, since=0):
        """Every value of a variable, in order."""
        return [message[key] for message in self.messages[since:] if key in message]

    def wait(self, key, since=0):
        return wait_for(lambda: self.said(key, since), f"{key} from the daemon")

    def close(self):
        self.end.close()


@pytest.fixture
def systemd(tmp_path):
    end = Systemd(tmp_path / "notify")
    yield end
    end.close()


@pytest.fixture
def models(tmp_path):
    root = tmp_path / "models"
    root.mkdir()
    return root


def save(path, seed=0):
    path.write_bytes(zips.checkpoint(asm.program(asm.state_dict()), {"0": struct.pack("<4f", seed, 1, 2, 3)}))


def test_it_is_ready_once_the_first_look_began_and_says_what_it_does(models, systemd):
    """READY comes with the index open; STATUS is a sentence for `systemctl status`; the end is announced."""
    save(models / "a.pth")
    with running(models, env={**QUICK, **systemd.env}) as daemon:
        systemd.wait("READY")
        assert (models / ".ckptd" / "index.sqlite").exists()
        wait_for(lambda: "idle, 1 checkpoint" in systemd.said("STATUS"), "the status of an idle daemon")
        since = len(systemd.messages)
        systemd.wait("WATCHDOG", since)
        assert daemon.stop() == 0
        systemd.wait("STOPPING")
        assert systemd.said("STOPPING") == ["1"]
        assert systemd.said("READY") == ["1"]


@pytest.mark.parametrize(("part", "shown"), [("observer", "observer of "), ("scheduler", "scheduler"), ("pool", "pool")])
def test_a_part_that_stops_ends_the_signs_of_life(models, systemd, part, shown):
    """Each part is stopped on purpose: it is named in the log and the status, and the watchdog is fed no more."""
    daemon = BreakableDaemon(models, env={**QUICK, **systemd.env, "CKPTD_SOAK_BREAK": part}, cwd=PROJECT).start()
    try:
        save(models / "a.pth")
        daemon.wait_event("checkpoint.indexed")
        systemd.wait("WATCHDOG", len(systemd.messages))
        told, said = len(daemon.events()), len(systemd.said("STATUS"))
        daemon.process.send_signal(signal.SIGUSR1)
        save(models / "b.pth", 1)  # so that the pool has something to do, and the observer to hear
        wait_for(lambda: any(shown in event.get("part", "") for event in daemon.events()[told:]), f"{part} to be named")
        assert daemon.wait_event("daemon.unwell", told)["level"] == "critical"
        wait_for(lambda: any(shown in words for words in systemd.said("STATUS")[said:]), "the status to name it")
        since = len(systemd.messages)
        time.sleep(2 * WATCHDOG_SECONDS)  # systemd would have acted by now
        assert "WATCHDOG" not in {key for message in systemd.messages[since:] for key in message}
        assert run_ckptd("--root", models, "status").returncode == 1
    finally:
        daemon.kill()


def test_a_thread_that_hears_nobody_any_more_is_told(models, systemd):
    """Else nobody could ask the daemon anything, and nothing would say so."""
    daemon = BreakableDaemon(models, env={**QUICK, **systemd.env, "CKPTD_SOAK_BREAK": "control"}, cwd=PROJECT).start()
    try:
        daemon.process.send_signal(signal.SIGUSR1)

        def knock():
            with closing(socket.socket(socket.AF_UNIX)) as end:
                end.settimeout(0)  # once the thread has ended the queue may be full
                end.connect_ex(str(models / ".ckptd" / "ctl"))
            return daemon.has("daemon.unwell", part="control")

        wait_for(knock, "the thread to be missed")
    finally:
        daemon.kill()


def test_a_loop_that_stands_still_ends_the_signs_of_life(models, systemd):
    """It can't even say so."""
    daemon = BreakableDaemon(models, env={**QUICK, **systemd.env, "CKPTD_SOAK_BREAK": "loop"}, cwd=PROJECT).start()
    try:
        systemd.wait("WATCHDOG")
        daemon.process.send_signal(signal.SIGUSR1)

        def says_nothing():
            since = len(systemd.messages)
            time.sleep(2 * WATCHDOG_SECONDS)
            return systemd.messages[since:] == []

        wait_for(says_nothing, "its silence")  # one more sign may be on its way
    finally:
        daemon.kill()


def test_a_healthy_daemon_never_misses_a_sign_while_it_works(models, systemd):
    """200 files arrive, and every part goes on answering."""
    with running(models, env={**QUICK, **systemd.env}) as daemon:
        systemd.wait("WATCHDOG")
        for number in range(200):
            save(models / f"{number}.pth", number % 250)
        wait_for(lambda: len(daemon.records()) == 200, "200 records")
        systemd.wait("WATCHDOG", len(systemd.messages))
        assert daemon.has("daemon.unwell") is None


def write_config(path, root, suffixes):
    path.write_text(f'roots = ["{root}"]\nsuffixes = {suffixes}\n[watch]\nsettle_seconds = 0.05\n')


def test_sighup_takes_new_settings_and_leaves_bad_ones(models, systemd, tmp_path):
    """A good file counts at once; a bad one is refused with its reason, and what counted before goes on counting."""
    config = tmp_path / "ckptd.toml"
    write_config(config, models, '[".pth"]')
    with running(models, env={**QUICK, **systemd.env, "CKPTD_CONFIG": str(config)}) as daemon:
        systemd.wait("READY")
        save(models / "a.pt")
        write_config(config, models, '[".pth", ".pt"]')
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_event("checkpoint.indexed", path="a.pt")
        wait_for(lambda: systemd.said("READY") == ["1", "1"], "ready again")
        assert systemd.said("RELOADING") == ["1"]
        assert int(systemd.said("MONOTONIC_USEC")[0]) > 0

        config.write_text("suffixes = 7\n")
        since = len(systemd.messages)
        daemon.process.send_signal(signal.SIGHUP)
        refused = daemon.wait_event("settings.rejected")
        assert "suffixes" in refused["reason"]
        systemd.wait("READY", since)
        assert any("not in use" in words and "suffixes" in words for words in systemd.said("STATUS", since))
        save(models / "b.pt", 1)
        daemon.wait_event("checkpoint.indexed", path="b.pt")


def test_settings_that_can_be_read_and_not_used_are_taken_back(models, tmp_path):
    """A root that is not there is found out only when it is opened: the daemon goes on with the one before."""
    config = tmp_path / "ckptd.toml"
    write_config(config, models, '[".pth"]')
    daemon = Daemon(models, env={**QUICK, "CKPTD_CONFIG": str(config)})
    daemon.names_roots = False
    daemon.start()
    try:
        write_config(config, tmp_path / "nowhere", '[".pth"]')
        daemon.process.send_signal(signal.SIGHUP)
        assert "nowhere" in daemon.wait_event("settings.rejected")["reason"]
        save(models / "a.pth")
        daemon.wait_event("checkpoint.indexed", path="a.pth")
        status = ckptd("status", check=False, env={"CKPTD_ROOTS": str(models)})
        assert "nowhere" in status["settings_problem"]
    finally:
        daemon.stop()


def test_a_job_goes_on_over_a_reload(tmp_path):
    """Its process is the same afterwards, it ends well, and it is not run a second time for that."""
    root = tmp_path / "models"
    root.mkdir()
    daemon = SlowDaemon(root, env=SCRUB, cwd=PROJECT).start()
    try:
        pid = daemon.wait_story("started")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_event("settings.reloaded")
        wait_for(lambda: sum(event["event"] == "daemon.started" for event in daemon.events()) == 2, "the daemon to go on")
        assert psutil.pid_exists(pid)
        daemon.let_go()
        wait_for(lambda: daemon.story[1:2] == [("finished", str(pid))], "the job to end")
        wait_for(lambda: daemon.has("job.finished", job="scrub"), "its end to be written down")
        assert not daemon.has("job.interrupted")
    finally:
        daemon.stop()


@pytest.mark.parametrize("busy", ["reading", "walking", "job"])
def test_it_ends_within_ten_seconds_whatever_it_does(tmp_path, busy):
    """SIGTERM in the middle of a file that takes a minute, of a walk through 3,000 directories, of a job."""
    root = tmp_path / "models"
    root.mkdir()
    env = {**QUICK, "CKPTD_INSPECT__WORKERS": "2"}
    if busy == "walking":
        for number in range(3_000):
            (root / str(number)).mkdir()
    kind = SlowDaemon if busy == "job" else Daemon
    daemon = kind(root, env={**env, **(SCRUB if busy == "job" else {})}, cwd=PROJECT).start()
    try:
        if busy == "reading":
            for number in range(40):
                with (root / f"{number}.pth").open("wb") as file:
                    file.write(zips.checkpoint(asm.program(asm.state_dict())))
                    file.truncate(2 << 30)
            daemon.wait_event("checkpoint.seen")
        elif busy == "job":
            daemon.wait_story("started")
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(60) == 0  # and not SIGALRM's, which comes after the ten seconds
        assert daemon.has("daemon.stopped")
        wait_for(lambda: not [child for child in psutil.process_iter() if _is_of(child, daemon.pid)], "its children to be gone")
    finally:
        if daemon.process.poll() is None:
            daemon.kill()


def test_it_ends_even_when_a_thread_of_it_does_not(models):
    """A thread of the kernel's events hangs for ever; a kill costs nothing, so the process ends as by one, in time."""
    daemon = BreakableDaemon(models, env={**QUICK, "CKPTD_SOAK_BREAK": "observer"}, cwd=PROJECT).start()
    try:
        save(models / "a.pth")
        daemon.wait_event("checkpoint.indexed")
        told = len(daemon.events())
        daemon.process.send_signal(signal.SIGUSR1)
        daemon.wait_event("daemon.unwell", told, part=f"observer of {models}")
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(60) == -signal.SIGALRM
        daemon.start()
        assert set(daemon.records()) == {"a.pth"}
    finally:
        daemon.kill()


def wait_starts(daemon, count):
    """Wait until a daemon began so often, reloads included."""
    wait_for(lambda: sum(event["event"] == "daemon.started" for event in daemon.events()) == count, f"start {count}")


def wait_ready(systemd, count):
    """Wait until it said so often that it is ready."""
    wait_for(lambda: len(systemd.said("READY")) == count, f"READY {count}")


def test_a_reload_that_takes_roots_away_forgets_what_was_told_of_them(models, tmp_path):
    """Mail names roots by their number: after a reload with fewer of them, none may be left that means another or none."""
    config, second = tmp_path / "ckptd.toml", tmp_path / "second"
    second.mkdir()
    both, one = (
        f"roots = {[str(root) for root in roots]}\n[watch]\nsettle_seconds = 0.05\n" for roots in ([models, second], [models])
    )
    config.write_text(both)
    daemon = Daemon(models, env={"CKPTD_CONFIG": str(config)})
    daemon.names_roots = False
    daemon.start()
    try:
        for number in range(5):
            config.write_text(one if number % 2 == 0 else both)
            for root in (models, second):
                for file in range(20):
                    save(root / f"{number}-{file}.pth", file)
            daemon.process.send_signal(signal.SIGHUP)
            wait_starts(daemon, number + 2)
        assert daemon.process.poll() is None
        wait_for(lambda: len(daemon.records()) >= 100, "the files of the root that stayed")
    finally:
        assert daemon.stop() == 0


def test_a_locked_index_does_not_delay_the_end(models):
    """Another process has it locked for minutes: each try of the loop waits for seconds, and yet the end comes in time."""
    with running(models, env=QUICK) as daemon:
        save(models / "a.pth")
        daemon.wait_record("a.pth", status="ok")
        with closing(sqlite3.connect(models / ".ckptd" / "index.sqlite", isolation_level=None)) as index:
            index.execute("BEGIN IMMEDIATE")
            for number in range(20):
                save(models / f"{number}.pth", number)
            daemon.wait_event("index.unavailable")
            daemon.process.send_signal(signal.SIGTERM)
            assert daemon.process.wait(60) in (0, -signal.SIGALRM)


def test_a_root_that_is_away_keeps_the_others_from_nothing(tmp_path):
    """At a start and at a reload: a root that was there before is waited for; one that nobody ever saw is a slip."""
    here, away = tmp_path / "here", tmp_path / "away"
    with running(here, away, env=QUICK) as daemon:
        save(away / "b.pth")
        daemon.wait_record("b.pth", status="ok")
        away.rename(tmp_path / "elsewhere")
        daemon.wait_event("root.lost")
        daemon.process.send_signal(signal.SIGHUP)
        wait_for(lambda: sum(event["event"] == "daemon.started" for event in daemon.events()) == 2, "the daemon to go on")
        save(here / "a.pth", 1)
        daemon.wait_event("checkpoint.indexed", path="a.pth")
        daemon.kill()
        daemon.start()
        save(here / "c.pth", 2)
        daemon.wait_event("checkpoint.indexed", path="c.pth")
        assert not daemon.has("checkpoint.vanished")
        (tmp_path / "elsewhere").rename(away)
        daemon.wait_event("root.returned")
        save(away / "d.pth", 3)
        daemon.wait_event("checkpoint.indexed", path="d.pth")
    assert run_ckptd("--root", here, "--root", tmp_path / "slip", "run").returncode == 1


def test_reloads_leave_no_daemons_behind(models):
    """Each one is a ring of parts: what came before is given back."""
    daemon = Daemon(models, env=QUICK, cwd=PROJECT)
    daemon.module = "tests.e2e.counting"
    daemon.start()
    for number in range(4):
        daemon.process.send_signal(signal.SIGHUP)
        wait_starts(daemon, number + 2)
    assert daemon.stop() == 0
    assert 1 <= int(Path(f"{models}.alive").read_text()) <= 2


def test_a_pause_that_ends_during_a_reload_does_not_keep_it_from_being_ready(models, systemd):
    """For each RELOADING there is a READY."""
    with running(models, env={**QUICK, **systemd.env}) as daemon:
        systemd.wait("READY")
        for number in range(5):
            assert run_ckptd("--root", models, "pause", "--for", "10ms").returncode == 0
            daemon.process.send_signal(signal.SIGHUP)
            wait_ready(systemd, number + 2)
        assert len(systemd.said("RELOADING")) == 5
        wait_for(lambda: ckptd("--root", models, "status")["phase"] == "running", "the end of the last pause")


def _is_of(process, pid):
    try:
        return os.getsid(process.pid) == pid and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


def test_a_pause_begins_nothing_and_loses_nothing(models):
    """What is saved meanwhile is indexed afterwards, and `status` says that it is paused and until when."""
    with running(models, env=QUICK) as daemon:
        assert run_ckptd("--root", models, "pause", "--for", "1h").returncode == 0
        save(models / "a.pth")
        daemon.wait_event("checkpoint.seen")
        status = ckptd("--root", models, "status")
        assert status["phase"] == "paused"
        assert status["paused_until"] > time.time()
        assert not daemon.has("checkpoint.indexed")
        assert run_ckptd("--root", models, "resume").returncode == 0
        daemon.wait_event("checkpoint.indexed", path="a.pth")


def test_a_pause_ends_by_itself(models):
    """Nobody has to remember it."""
    with running(models, env=QUICK) as daemon:
        assert run_ckptd("--root", models, "pause", "--for", "500ms").returncode == 0
        save(models / "a.pth")
        daemon.wait_event("daemon.resumed")
        daemon.wait_event("checkpoint.indexed", path="a.pth")


def test_a_second_daemon_is_told_who_is_there(models):
    """One daemon for each root, by the kernel's lock; the sentence names the process."""
    with running(models, env=QUICK) as daemon:
        second = run_ckptd("--root", models, "run")
        assert second.returncode == 4
        assert str(daemon.pid) in second.stderr
