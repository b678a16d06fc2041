"""The socket of people as a file: lost, taken, left over, in a strange place."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.e2e.control.people import QUICK, STRANGER, save
from tests.e2e.running import Daemon, ckptd, run_ckptd, running, wait_for

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it becomes other users"),
]


def test_a_socket_that_was_removed_is_made_anew_by_a_reload(configured, open_place):
    """Somebody tidied up: SIGHUP brings it back, and the log has it."""
    (open_place / "run" / "ctl").unlink()
    assert run_ckptd("status").returncode == 4
    configured.process.send_signal(signal.SIGHUP)
    wait_for(lambda: run_ckptd("status").returncode == 0, "the socket")
    configured.wait_event("control.lost")


def test_a_second_daemon_does_not_take_the_socket_of_the_first(configured, open_place):
    """It says in one sentence who is there, and ends; the first one is heard as before."""
    done = run_ckptd("--root", open_place / "run" / ".." / "second", "run")
    assert done.returncode == 1
    second = open_place / "second"
    second.mkdir()
    done = run_ckptd("--root", second, "run")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "another daemon listens there" in done.stderr
    assert [root["path"] for root in ckptd("status")["roots"]] == [str(configured.roots[0])]


def test_a_socket_that_new_settings_cannot_have_leaves_the_old_one(open_place, tmp_path, monkeypatch):
    """The reload is refused with its reason, and the daemon goes on and is reached where it was."""
    monkeypatch.delenv("CKPTD_CONTROL__SOCKET")
    root, config = open_place / "models", tmp_path / "ckptd.toml"
    root.mkdir()
    settings = f'roots = ["{root}"]\n[control]\nsocket = "%s"\n'
    config.write_text(settings % (open_place / "run" / "ctl"))
    monkeypatch.setenv("CKPTD_CONFIG", str(config))
    daemon = Daemon(root, env=QUICK)
    daemon.names_roots = False
    daemon.start()
    try:
        config.write_text(settings % (open_place / "nowhere" / "ctl"))
        daemon.process.send_signal(signal.SIGHUP)
        assert "control.socket" in daemon.wait_event("settings.rejected")["reason"]
        config.write_text(settings % (open_place / "run" / "ctl"))
        wait_for(lambda: run_ckptd("status").returncode == 0, "the daemon at its old place")
        config.write_text(settings % (open_place / "run" / "other"))
        before = len(os.listdir(f"/proc/{daemon.pid}/fd"))
        daemon.process.send_signal(signal.SIGHUP)
        wait_for(lambda: run_ckptd("status").returncode == 0, "the daemon at its new place")
        assert not (open_place / "run" / "ctl").exists()
        wait_for(lambda: len(os.listdir(f"/proc/{daemon.pid}/fd")) <= before, "no descriptor more than before")
    finally:
        daemon.stop()


def test_who_only_claims_to_be_the_daemon_is_not_believed(open_place, monkeypatch):
    """A root of somebody else's with a socket of his in it: his words do not come to the terminal of who looks."""
    monkeypatch.delenv("CKPTD_CONTROL__SOCKET")
    state = open_place / "models" / ".ckptd"
    state.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as trap:
        trap.bind(str(state / "ctl"))
        for path in (state.parent, state, state / "ctl"):
            os.chown(path, STRANGER, STRANGER)
        state.chmod(0o700)
        program = (
            "import os, socket, sys\n"
            f"os.setgroups([]); os.setgid({STRANGER}); os.setuid({STRANGER})\n"
            "end = socket.socket(socket.AF_UNIX, fileno=int(sys.argv[1])); end.listen()\n"
            "print('listening', flush=True)\n"
            "guest, _ = end.accept()\n"
            'guest.sendall(b\'{"status": 0, "problem": "\\\\u001b[2J", "value": {}}\\n\'); sys.stdin.read()\n'
        )
        liar = subprocess.Popen(
            [sys.executable, "-c", program, str(trap.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[trap.fileno()],
        )
        try:
            assert liar.stdout.readline() == "listening\n"
            done = run_ckptd("--root", state.parent, "status")
            assert done.returncode == 4
            assert "neither you, nor root, nor the service" in done.stderr
        finally:
            liar.communicate()


def test_a_socket_that_a_kill_left_is_taken_over(open_place):
    """After SIGKILL the old socket lies there; the next daemon listens in its place."""
    root = open_place / "models"
    root.mkdir()
    daemon = Daemon(root, env=QUICK).start()
    wait_for(lambda: run_ckptd("--root", root, "status").returncode == 0, "the daemon to answer")
    daemon.kill()
    assert run_ckptd("--root", root, "status").returncode == 4
    daemon.start()
    wait_for(lambda: run_ckptd("--root", root, "status").returncode == 0, "the next one to answer")
    daemon.process.send_signal(signal.SIGTERM)
    daemon.process.wait(30)
    assert not (open_place / "run" / "ctl").exists()


def test_something_else_at_the_place_of_the_socket_is_left_alone(open_place):
    """A file of somebody is no socket of ours: the daemon says so and does not start."""
    root = open_place / "models"
    root.mkdir()
    (open_place / "run" / "ctl").write_text("mine")
    done = run_ckptd("--root", root, "run")
    assert done.returncode == 1
    assert "control.socket" in done.stderr
    assert (open_place / "run" / "ctl").read_text() == "mine"


def test_where_no_socket_can_be_made_the_daemon_does_without(open_place, monkeypatch):
    """A file system may take none; checkpoints are looked after all the same, and the log says so."""
    monkeypatch.delenv("CKPTD_CONTROL__SOCKET")
    root = open_place / "models"
    (root / ".ckptd" / "ctl").mkdir(parents=True)
    (root / ".ckptd").chmod(0o700)
    with running(root, env=QUICK) as daemon:
        assert "control.socket" in daemon.wait_event("control.closed")["reason"]
        save(root / "a.pth")
        daemon.wait_record("a.pth", status="ok")
        assert run_ckptd("--root", root, "pin", "a.pth").returncode == 0
        assert (root / ".ckptd" / "ctl").is_dir()


def test_a_path_longer_than_a_socket_may_have_works(open_place, monkeypatch):
    """107 bytes are the kernel's limit; the state directory of a deep root has more."""
    monkeypatch.delenv("CKPTD_CONTROL__SOCKET")
    root = open_place / ("d" * 60) / ("e" * 60) / "models"
    root.mkdir(parents=True)
    with running(root, env=QUICK):
        status = ckptd("--root", root, "status")
        assert status["phase"] == "running"
        assert time.time() >= status["started_at"]
