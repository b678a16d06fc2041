"""Programs beside us: their input, a clean environment, a bound on their output, and an end with all their children."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ckptd.notify.delivering import start_delivery
from ckptd.notify.running import MOST_OUTPUT, run_command, start_command
from tests.e2e.running import has_ended
from tests.notify.making import message
from tests.notify.receivers import until

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def script(tmp_path):
    def write(text, name="script"):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return [str(path)]

    return write


def test_a_command_gets_json_on_its_input_and_nothing_else(script, tmp_path, monkeypatch):
    """No variable of ours, no descriptor, no argument that is not in the settings; a session of its own, and / below it."""
    monkeypatch.setenv("CKPTD_LOG__LEVEL", "debug")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/secret")
    monkeypatch.setenv("LD_PRELOAD", "")
    held = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(held, True)  # noqa: FBT003 — the standard library's own
    command = script(
        f'cat > {tmp_path}/in; env > {tmp_path}/env; ls /proc/self/fd > {tmp_path}/fds; echo "$# $PWD $$ $(ps -o sid= -p $$)"'
    )
    ended = run_command([*command, "a b", "$HOME"], b'{"x": 1}', 20.0)
    os.close(held)
    assert (ended.status, ended.trouble) == (0, "")
    assert json.loads((tmp_path / "in").read_text()) == {"x": 1}
    names = {line.partition("=")[0] for line in (tmp_path / "env").read_text().splitlines()}
    assert names <= {"PATH", "LANG", "HOME", "TZ", "PWD", "OLDPWD", "SHLVL", "_"}
    assert set((tmp_path / "fds").read_text().split()) <= {"0", "1", "2", "3"}
    count, directory, pid, session = ended.output.split()
    assert (count, directory, session) == ("2", "/", pid)


def test_the_time_limit_ends_the_whole_group(script, tmp_path):
    """A child that sleeps in the background, too."""
    command = script(f"sleep 600 & echo $! > {tmp_path}/child; sleep 600")
    ended = run_command(command, b"", 10.0)
    assert ended.trouble == "it did not end within 10 seconds"
    child = int((tmp_path / "child").read_text())
    until(lambda: has_ended(child), "its child to end")


def test_what_a_command_leaves_behind_ends_with_it(script, tmp_path):
    """It came to its end; its child in the background does too."""
    command = script(f"sleep 600 & echo $! > {tmp_path}/child")
    assert run_command(command, b"", 20.0).status == 0
    child = int((tmp_path / "child").read_text())
    until(lambda: has_ended(child), "its child to end")


def test_the_output_is_bounded_and_nobody_waits_for_us(script):
    """Ten megabytes are read and dropped."""
    ended = run_command(script("head -c 10000000 /dev/zero | tr '\\0' x; echo end >&2"), b"", 60.0)
    assert ended.status == 0
    assert len(ended.output) == MOST_OUTPUT


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        ("echo 'no room' >&2; exit 3", "exit status 3: no room"),
        ("kill -TERM $$", "ended by signal 15"),
        ("printf 'evil\\033[2J' >&2; exit 1", r"exit status 1: evil\x1b[2J"),
    ],
)
def test_how_it_ended_is_told(script, text, trouble):
    """With its last words, escaped."""
    assert run_command(script(text), b"", 20.0).trouble == trouble


def test_a_command_that_is_not_there_is_told():
    """By the name of what is wrong."""
    assert "it can't be run: No such file or directory" in run_command(["/no/such/program"], b"", 20.0).trouble


def test_no_input_is_read_by_nobody(script):
    """A command that does not read its input is none the worse: it lies in memory, not in a pipe."""
    assert run_command(script("exit 0"), b"x" * (8 << 20), 20.0).status == 0


def test_a_command_ends_when_we_are_killed(script, tmp_path):
    """The kernel sees to it."""
    command = script(f"echo $$ > {tmp_path}/pid; exec sleep 600")
    code = (
        "import sys, time; from ckptd.notify.running import start_command\n"
        "running = start_command(sys.argv[1:], b''); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, *command], cwd=PROJECT)
    pid = until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip(), "the command to start")
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait(30)
    until(lambda: has_ended(int(pid)), "its end")


def test_a_command_of_a_channel_leaves_nothing_behind_when_its_sender_is_to_end(script, tmp_path):
    """Its group is not that of the sender: that one is asked to end, and ends it before."""
    command = script(f"sleep 600 & echo $! > {tmp_path}/part; mv {tmp_path}/part {tmp_path}/child; sleep 600")
    running = start_delivery("command", {"command": command, "timeout_seconds": 600}, [message().to_json()])
    child = int(until(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text(), "the command to start"))
    running.ask()
    until(running.has_ended, "the sender to end")
    running.finish()
    until(lambda: has_ended(child), "its child to end")


def test_nothing_waits_but_who_asks_for_it(script, tmp_path):
    """A loop sees by the descriptors when there is something to do."""
    running = start_command(script(f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo done"), b"")
    assert not running.has_ended()
    (tmp_path / "go").touch()
    while not running.has_ended():
        assert select.select(running.fds, [], [], 60.0)[0]
        running.read()
    assert running.finish().output == "done\n"
