"""The socket of people, by a real daemon and real users of the machine: who may ask what, and what a hostile guest gets."""

from __future__ import annotations

import array
import grp
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.corpus import asm, zips
from tests.e2e.running import Daemon, ckptd, run_ckptd, running, wait_for
from tests.e2e.test_jobs import SCRUB, SlowDaemon

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it becomes other users"),
]

PROJECT = Path(__file__).parents[2]
QUICK = {"CKPTD_WATCH__SETTLE_SECONDS": "0.05", "CKPTD_WATCH__GUARD_SECONDS": "0.2"}
MEMBER, STRANGER, GROUP, ADMINS = 61_001, 65_534, 61_900, 61_901


def save(path, seed=0, owner=0):
    path.write_bytes(zips.checkpoint(asm.program(asm.state_dict()), {"0": struct.pack("<4f", seed, 1, 2, 3)}))
    os.chown(path, owner, GROUP)


def as_user(uid, groups, *arguments):
    """Run a command as another user."""
    command = [sys.executable, "-m", "tests.e2e.as_user", str(uid), ",".join(map(str, groups)), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=PROJECT)


@pytest.fixture
def open_place():
    """A directory that every user can reach; those of pytest are closed to others."""
    with tempfile.TemporaryDirectory(prefix="ckptd-test-", dir="/var/tmp") as place:
        os.chmod(place, 0o755)
        yield Path(place)


@pytest.fixture(autouse=True)
def _same_socket(monkeypatch, open_place):
    (open_place / "run").mkdir(mode=0o755)
    monkeypatch.setenv("CKPTD_CONTROL__SOCKET", str(open_place / "run" / "ctl"))


@pytest.fixture
def shared(open_place):
    """A root that a group writes to, as teams have it, and a daemon on it."""
    root = open_place / "models"
    root.mkdir()
    os.chown(root, -1, GROUP)
    root.chmod(0o2775)
    with running(root, env=QUICK) as daemon:
        daemon.socket = open_place / "run" / "ctl"
        wait_for(daemon.socket.exists, "the socket")
        yield daemon


def test_a_member_of_the_group_reads_and_marks_and_no_more(shared):
    """By the group that may write to the root; the pin bears his name, and the index is closed to him all the same."""
    root = shared.roots[0]
    save(root / "a.pth")
    shared.wait_record("a.pth", status="ok")
    listed = as_user(MEMBER, [GROUP], "--root", root, "ls", "--json")
    assert listed.returncode == 0, listed.stderr
    assert [record["path"] for record in json.loads(listed.stdout)] == ["a.pth"]
    pinned = as_user(MEMBER, [GROUP], "--root", root, "pin", "a.pth")
    assert pinned.returncode == 0, pinned.stderr
    assert str(MEMBER) in (root / ".ckptd" / "journal.jsonl").read_text()
    for refused in (["apply"], ["jobs", "run", "report"], ["trash", "purge", "--all"], ["archive"], ["archive", "write", "a"]):
        done = as_user(MEMBER, [GROUP], "--root", root, *refused)
        assert done.returncode == 4, (refused, done.stdout, done.stderr)
        assert "read and mark, and no more" in done.stderr
    for refused in ("pause", "resume", "reload"):
        done = as_user(MEMBER, [GROUP], "--root", root, refused)
        assert (done.returncode, done.stdout) == (4, ""), refused
    assert shared.has("daemon.paused") is None
    assert not (root / ".ckptd").stat().st_mode & 0o077


def test_a_stranger_learns_nothing(shared):
    """Neither by the socket nor past it."""
    root = shared.roots[0]
    save(root / "a.pth")
    shared.wait_record("a.pth", status="ok")
    for command in (["ls"], ["status"], ["pin", "a.pth"], ["show", "a.pth"]):
        done = as_user(STRANGER, [], "--root", root, *command)
        assert done.returncode == 4, (command, done.stdout, done.stderr)
        assert done.stdout == ""
    assert not ckptd("--root", root, "show", "a.pth").get("marks")


def test_a_member_brings_back_what_is_his_and_nothing_of_others(shared):
    """SO_PEERCRED says who he is, the file in the trash whose it is."""
    root = shared.roots[0]
    save(root / "mine.pth", 1, MEMBER)
    save(root / "theirs.pth", 2, MEMBER + 1)
    for name in ("mine.pth", "theirs.pth"):
        shared.wait_record(name, status="ok")
    assert run_ckptd("--root", root, "archive", "write", "status=ok", "--remove").returncode == 0
    assert not (root / "mine.pth").exists()
    refused = as_user(MEMBER, [GROUP], "--root", root, "restore", "theirs.pth")
    assert refused.returncode == 2, refused.stderr
    assert "belongs to somebody else" in refused.stderr
    done = as_user(MEMBER, [GROUP], "--root", root, "restore", "mine.pth")
    assert done.returncode == 0, done.stderr
    assert (root / "mine.pth").stat().st_uid == MEMBER
    assert not (root / "theirs.pth").exists()
    purged = run_ckptd("--root", root, "trash", "purge", "--all")
    assert purged.returncode == 0, purged.stderr
    refused = as_user(MEMBER, [GROUP], "--root", root, "restore", "theirs.pth")  # now only an archive has it
    assert refused.returncode == 2
    assert "only out of the trash" in refused.stderr


def test_an_option_with_a_path_is_not_for_others(shared):
    """A daemon's user may write where the asker may not."""
    root = shared.roots[0]
    save(root / "a.pth", owner=MEMBER)
    shared.wait_record("a.pth", status="ok")
    for refused in (["report", "--html", "/tmp/x.html"], ["restore", "a.pth", "--to", "/tmp/x"]):
        done = as_user(MEMBER, [GROUP], "--root", root, *refused)
        assert done.returncode != 0, refused
        assert not Path("/tmp/x.html").exists()
        raw = talk(shared.socket, {"what": "run", "arguments": refused})
        assert raw["status"] == 4, raw


def test_members_of_the_admin_group_steer(open_place):
    """Named in the settings: they pause, run jobs and reload."""
    group = grp.getgrgid(1)
    root = open_place / "models"
    with running(root, env={**QUICK, "CKPTD_CONTROL__ADMIN_GROUP": group.gr_name}) as daemon:
        assert as_user(MEMBER, [1], "--root", root, "pause").returncode == 0
        daemon.wait_event("daemon.paused")
        ran = as_user(MEMBER, [1], "--root", root, "jobs", "run", "report")
        assert ran.returncode == 0, ran.stderr


def test_the_owner_writes_through_the_daemon_and_without_it(open_place):
    """While it runs it does the work, and else the command does it itself: the result is the same."""
    root = open_place / "models"
    with running(root, env=QUICK) as daemon:
        save(root / "a.pth")
        daemon.wait_record("a.pth", status="ok")
        assert run_ckptd("--root", root, "pin", "a.pth").stdout == "pinned a.pth\n"
        daemon.wait_event("control.asked")
    assert run_ckptd("--root", root, "unpin", "a.pth").returncode == 0
    assert run_ckptd("--root", root, "status").returncode == 4


def test_an_answer_is_written_to_the_askers_own_streams(open_place):
    """Complaints go to stderr, the exit status is the verb's, Ctrl-C ends it."""
    root = open_place / "models"
    with running(root, env=QUICK):
        done = run_ckptd("--root", root, "pin", "no-such")
        assert done.returncode == 2
        assert done.stdout == ""
        assert "no-such" in done.stderr


def test_another_daemon_is_not_asked(open_place):
    """Who names other roots than the daemon's is told which those are, and nothing is done."""
    root, other = open_place / "models", open_place / "others"
    other.mkdir()
    with running(root, env=QUICK):
        done = run_ckptd("--root", other, "status")
        assert done.returncode == 4
        assert str(root) in done.stderr


def talk(path, value, fds=2, raw=None):
    """Say something to the socket with some descriptors, and give the answer."""
    end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    end.settimeout(30)
    end.connect(str(path))
    pipes: list[int] = []
    sink = [os.open("/dev/null", os.O_WRONLY) for _ in range(fds)]
    try:
        line = raw if raw is not None else json.dumps(value).encode() + b"\n"
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", sink))] if sink else []
        end.sendmsg([line], rights)
        data = b""
        while True:
            more, taken, _, _ = socket.recv_fds(end, 1 << 16, 2)
            if not more:
                return None
            data += more
            pipes += taken
            answers = [json.loads(line) for line in data.split(b"\n")[:-1]]
            last = [answer for answer in answers if not answer["value"].get("streams")]
            if last:
                return last[0]
    finally:
        for fd in (*sink, *pipes):
            os.close(fd)
        end.close()


HOSTILE = {
    "no JSON": b"hello\n",
    "another type": b"[1]\n",
    "nesting": b"[" * 60_000 + b"\n",
    "not finite": b'{"what": "pause", "seconds": NaN}\n',
    "another word": b'{"what": "shutdown"}\n',
    "a number for a text": b'{"what": "run", "arguments": [1]}\n',
    "a text for a list": b'{"what": "run", "arguments": "ls"}\n',
    "a zero byte": b'{"what": "run", "arguments": ["a\\u0000b"]}\n',
    "not ASCII": b'{"what": "run", "zone": "\xff"}\n',
    "a line too long": b"x" * 70_000 + b"\n",
    "two requests": b'{"what": "status"}\n{"what": "reload"}\n',
    "too many arguments": json.dumps({"what": "run", "arguments": ["a"] * 1_001}).encode() + b"\n",
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_no_request_gets_a_sentence(shared, raw):
    """And the daemon goes on, with as many descriptors as before."""
    talk(shared.socket, {"what": "status"})
    before = len(os.listdir(f"/proc/{shared.pid}/fd"))
    answer = talk(shared.socket, None, raw=raw)
    assert answer["status"] == 2, answer
    assert answer["problem"]
    assert talk(shared.socket, {"what": "status"})["status"] == 0
    wait_for(lambda: len(os.listdir(f"/proc/{shared.pid}/fd")) <= before, "the descriptors to be closed")


@pytest.mark.parametrize("count", [0, 1, 3, 16])
def test_descriptors_that_were_not_asked_for_are_closed(shared, count):
    """The daemon takes none: the kernel closes them."""
    talk(shared.socket, {"what": "status"})
    before = len(os.listdir(f"/proc/{shared.pid}/fd"))
    assert talk(shared.socket, {"what": "status"}, fds=count)["status"] == 0
    wait_for(lambda: len(os.listdir(f"/proc/{shared.pid}/fd")) <= before, "the descriptors to be closed")


def test_silent_guests_do_not_keep_others_out(shared):
    """200 connections of a member that say nothing: the daemon goes on indexing, and root is heard all the same."""
    program = (
        "import os, socket, sys\n"
        f"os.setgroups([{GROUP}]); os.setgid({MEMBER}); os.setuid({MEMBER})\n"
        "ends = [socket.socket(socket.AF_UNIX) for _ in range(200)]\n"
        "for end in ends: end.connect(sys.argv[1])\n"
        "print('connected', flush=True)\n"
        "sys.stdin.read()\n"
    )
    crowd = subprocess.Popen(
        [sys.executable, "-c", program, str(shared.socket)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert crowd.stdout.readline() == "connected\n"
        save(shared.roots[0] / "a.pth")
        shared.wait_event("checkpoint.indexed", path="a.pth")
        assert talk(shared.socket, {"what": "status"})["status"] == 0

        def count():
            return sum(one.laddr == str(shared.socket) for one in psutil.Process(shared.pid).net_connections("unix"))

        wait_for(lambda: count() < 20, "those of one user to be bounded")
    finally:
        crowd.communicate()


def find_asked(pid):
    """Find the processes of commands that somebody asked for."""
    found = []
    for one in psutil.Process(pid).children():
        with suppress(psutil.NoSuchProcess):  # it ends in this moment, or has ended and nobody collected it yet
            found += [one] if "asked" in one.cmdline() else []
    return found


def test_who_goes_away_ends_what_he_asked_for(shared):
    """The process of the command is told to end, and nothing of it is left."""
    root = shared.roots[0]
    save(root / "a.pth")
    shared.wait_record("a.pth", status="ok")
    end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    end.connect(str(shared.socket))
    end.sendall(json.dumps({"what": "run", "arguments": ["ls"]}).encode() + b"\n")
    shared.wait_event("control.asked")
    end.close()
    wait_for(lambda: not find_asked(shared.pid), "its end")


def test_one_who_hangs_up_as_his_command_ends_does_no_harm(shared):
    """The end of the command and that of its asker may be told in one round of the loop, in either order."""
    for number in range(30):
        end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        end.connect(str(shared.socket))
        end.sendall(json.dumps({"what": "run", "arguments": ["--version"]}).encode() + b"\n")
        time.sleep(0.01 * number)
        end.close()
    assert talk(shared.socket, {"what": "status"})["status"] == 0
    wait_for(lambda: not find_asked(shared.pid), "their ends")


def test_a_descriptor_that_takes_its_time_to_close_holds_up_nobody_else(shared):
    """A socket that lingers for a minute is closed by whoever receives it: the daemon goes on indexing all the while."""
    program = (
        "import array, os, socket, struct, sys\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "one = socket.create_connection(server.getsockname()); other, _ = server.accept()\n"
        f"os.setgroups([{GROUP}]); os.setgid({MEMBER}); os.setuid({MEMBER})\n"
        "one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 60))\n"
        "one.setblocking(False)\n"
        "try:\n"
        "    while True: one.send(bytes(1 << 16))\n"
        "except BlockingIOError: pass\n"
        "end = socket.socket(socket.AF_UNIX); end.connect(sys.argv[1])\n"
        "end.sendmsg([b'{\"what\": '], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [one.fileno()]))])\n"
        "one.close(); print('sent', flush=True); sys.stdin.read()\n"
    )
    guest = subprocess.Popen(
        [sys.executable, "-c", program, str(shared.socket)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert guest.stdout.readline() == "sent\n"
        for number in range(20):
            save(shared.roots[0] / f"{number}.pth", number)
            shared.wait_event("checkpoint.indexed", path=f"{number}.pth")
        assert shared.has("daemon.unwell") is None
        assert guest.poll() is None  # he still lingers
    finally:
        guest.communicate()


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
