"""The socket of people, while settings change: reloads, what goes on over them, and how a daemon of before is reached."""

from __future__ import annotations

import grp
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.control.people import GROUP, MEMBER, PROJECT, QUICK, STRANGER, as_user, save
from tests.e2e.running import Daemon, ckptd, run_ckptd, wait_for
from tests.e2e.test_jobs import SCRUB, SlowDaemon

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it becomes other users"),
]


def test_a_command_goes_on_over_a_reload(tmp_path, open_place):
    """What somebody asked for is not ended because the settings are read anew."""
    root = open_place / "models"
    root.mkdir()
    daemon = SlowDaemon(root, env=SCRUB | {"CKPTD_SCHEDULE__SCRUB": ""}, cwd=PROJECT).start()
    try:
        asked = subprocess.Popen(
            [sys.executable, "-m", "ckptd", "--root", str(root), "jobs", "run", "report", "--json"],
            stdout=subprocess.PIPE,
            text=True,
        )
        daemon.wait_event("control.asked")
        for _ in range(3):
            assert run_ckptd("--root", root, "reload").returncode == 0
        output, _ = asked.communicate(timeout=60)
        assert asked.returncode == 0
        assert json.loads(output)["outcome"] == "ok"
    finally:
        daemon.stop()


def test_a_reload_that_comes_to_nothing_says_so(tmp_path, open_place, monkeypatch):
    """The settings can be read, and what they want can't be had: that is known only afterwards, and waited for."""
    root, config = open_place / "models", tmp_path / "ckptd.toml"
    root.mkdir()
    config.write_text(f'roots = ["{root}"]\n')
    monkeypatch.setenv("CKPTD_CONFIG", str(config))
    daemon = Daemon(root, env=QUICK)
    daemon.names_roots = False
    daemon.start()
    try:
        assert run_ckptd("reload").stdout == "the new settings are in use\n"
        with socket.create_server(("127.0.0.1", 0)) as taken:
            config.write_text(f'roots = ["{root}"]\n[health]\nlisten = "127.0.0.1:{taken.getsockname()[1]}"\n')
            done = run_ckptd("reload")
        assert done.returncode == 2
        assert "health.listen" in done.stderr
        config.write_text(f'roots = ["{root}"]\n')
        assert run_ckptd("reload").returncode == 0
    finally:
        daemon.stop()


def test_a_reload_takes_another_root(configured, open_place):
    """The file has one more: the daemon that has only the old one is meant all the same, and looks after both."""
    root, other = configured.roots[0], open_place / "others"
    other.mkdir()
    configured.write([root, other])
    assert [one["path"] for one in ckptd("status")["roots"]] == [str(root)]
    done = run_ckptd("reload")
    assert (done.returncode, done.stdout) == (0, "the new settings are in use\n"), done.stderr
    assert [one["path"] for one in ckptd("status")["roots"]] == [str(root), str(other)]
    for number, place in enumerate((root, other)):
        save(place / f"{number}.pth", number)
        configured.wait_event("checkpoint.indexed", path=f"{number}.pth")


def test_a_pause_and_a_resume_reach_a_daemon_with_roots_of_before(configured, open_place):
    """The same for both; who names a root means that of the daemon, and no other."""
    (open_place / "others").mkdir()
    configured.write([configured.roots[0], open_place / "others"])
    assert run_ckptd("pause").returncode == 0
    configured.wait_event("daemon.paused")
    assert run_ckptd("--root", open_place / "others", "resume").returncode == 4
    assert run_ckptd("--root", configured.roots[0], "resume").returncode == 0


def test_a_reload_takes_another_place_for_the_socket(configured, open_place):
    """Only that has changed, and nobody listens at the new place yet: the daemon is found by its state."""
    for place in (open_place / "run" / "other", configured.roots[0] / ".ckptd" / "ctl", open_place / "run" / "ctl"):
        configured.write(socket=place)
        done = run_ckptd("reload")
        assert done.returncode == 0, done.stderr
        assert place.is_socket()
        assert not place.is_symlink()
        assert run_ckptd("status").returncode == 0
    assert sorted(os.listdir(open_place / "run")) == ["ctl"]


def test_new_roots_that_cannot_be_had_are_refused_with_their_reason(configured, open_place):
    """At once, and for `status` afterwards; the daemon goes on with those that it has."""
    configured.write([configured.roots[0], open_place / "nowhere"])
    done = run_ckptd("reload")
    assert done.returncode == 2
    assert "nowhere" in done.stderr
    assert "has not gone on" not in done.stderr
    status = ckptd("status", check=False)
    assert "nowhere" in status["settings_problem"]
    assert [root["path"] for root in status["roots"]] == [str(configured.roots[0])]


#: `ckptd reload` that asks how it went only when the socket is gone.
LATE = """
import os, sys, time
from ckptd.cli import main, steering

wait = steering._wait_for_settings

def wait_late(settings, place):
    while os.path.lexists(place):
        time.sleep(0.02)
    return wait(settings, place)

steering._wait_for_settings = wait_late
sys.exit(main(["reload"]))
"""


def test_a_reload_that_turns_the_socket_off_has_done_what_it_should(configured):
    """Nobody is heard any more, as the settings say; SIGHUP turns it on again."""
    configured.config.write_text(configured.config.read_text() + "enabled = false\n")
    done = run_ckptd("reload")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert run_ckptd("status").returncode == 4
    configured.write()
    configured.process.send_signal(signal.SIGHUP)
    wait_for(lambda: run_ckptd("status").returncode == 0, "the socket")
    configured.config.write_text(configured.config.read_text() + "enabled = false\n")
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_settings_that_make_no_sense_are_told_by_the_daemon(configured, open_place, monkeypatch):
    """It is found where a daemon can be without settings, and says what is wrong; where none is found, the command does."""
    configured.stop()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(open_place))
    (open_place / "ckptd").mkdir()
    configured.env["RUNTIME_DIRECTORY"] = str(open_place / "ckptd")
    configured.config.write_text(f'roots = ["{configured.roots[0]}"]\n')
    configured.start()
    configured.config.write_text("rots = 1\n")
    for word in ("reload", "pause"):
        done = run_ckptd(word)
        assert done.returncode == (2 if word == "reload" else 0), done.stderr
        assert ("rots" in done.stderr) == (word == "reload")
    assert "rots" in ckptd("status", check=False)["settings_problem"]
    configured.stop()
    done = run_ckptd("reload")
    assert (done.returncode, "rots" in done.stderr) == (2, True)


def test_who_may_not_read_the_settings_asks_the_daemon(configured, tmp_path):
    """They are for the daemon's group alone; its socket lies where no settings have to say it, and hears members."""
    name = f"test-{os.getpid()}"
    config, place = configured.roots[0].parent / f"{name}.toml", Path(f"/run/ckptd-{name}")
    configured.stop()
    config.write_text(f'roots = ["{configured.roots[0]}"]\n')
    config.chmod(0o640)
    place.mkdir(mode=0o755)
    configured.env |= {"CKPTD_CONFIG": str(config), "RUNTIME_DIRECTORY": str(place)}
    os.chown(configured.roots[0], -1, GROUP)
    configured.roots[0].chmod(0o2775)
    try:
        configured.start()
        save(configured.roots[0] / "a.pth")
        configured.wait_event("checkpoint.indexed", path="a.pth")
        for verb in (["status"], ["ls"], ["pin", "a.pth"]):
            done = as_user(MEMBER, [GROUP], "--config", config, *verb)
            assert done.returncode == 0, done.stderr
            refused = as_user(STRANGER, [], "--config", config, *verb)
            assert (refused.returncode, refused.stdout) == (4, "")
        other = configured.roots[0].parent / "other" / config.name
        other.parent.mkdir()
        other.touch(0o600)
        done = as_user(MEMBER, [GROUP], "--config", other, "status")  # of the same name, so that the same place is asked
        assert done.returncode == 4
        assert "this daemon looks after" in done.stderr
    finally:
        configured.stop()
        shutil.rmtree(place)


def test_a_command_goes_on_where_the_socket_moves_or_goes(configured, open_place):
    """It is served to its end by the old one; meanwhile the new one hears others."""
    configured.stop()
    slow = SlowDaemon(*configured.roots, env=QUICK | SCRUB | {"CKPTD_SCHEDULE__SCRUB": ""}, cwd=PROJECT)
    slow.names_roots = False
    slow.start()
    try:
        command = [sys.executable, "-m", "ckptd", "jobs", "run", "report", "--json"]
        for more in ({"socket": open_place / "run" / "other"}, None):
            since = len(slow.events())
            asked = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            slow.wait_event("control.asked", since)
            if more is None:
                configured.config.write_text(configured.config.read_text() + "enabled = false\n")
            else:
                configured.write(**more)
            done = run_ckptd("reload")
            assert done.returncode == 0, done.stderr
            output, _ = asked.communicate(timeout=60)
            assert asked.returncode == 0
            assert json.loads(output)["outcome"] == "ok"
        assert run_ckptd("status").returncode == 4
    finally:
        slow.stop()


def test_a_reload_lets_another_group_in(open_place, monkeypatch):
    """`control.group` counts from then on, for who asks and for who can connect at all."""
    root, config = open_place / "models", open_place / "ckptd.toml"
    root.mkdir()
    monkeypatch.setenv("CKPTD_CONFIG", str(config))
    settings = f'roots = ["{root}"]\n[control]\ngroup = "%s"\n'
    groups = [grp.getgrgid(number) for number in (1, 2)]
    config.write_text(settings % groups[0].gr_name)
    daemon = Daemon(root, env=QUICK)
    daemon.names_roots = False
    daemon.start()
    try:
        seen = (open_place / "run" / "ctl").stat()
        assert (seen.st_gid, seen.st_mode & 0o777) == (groups[0].gr_gid, 0o660)
        config.write_text(settings % groups[1].gr_name)
        assert run_ckptd("reload").returncode == 0
        assert (open_place / "run" / "ctl").stat().st_gid == groups[1].gr_gid
        assert as_user(MEMBER, [2], "--root", root, "ls").returncode == 0
        assert as_user(MEMBER, [1], "--root", root, "ls").returncode == 4
    finally:
        daemon.stop()
