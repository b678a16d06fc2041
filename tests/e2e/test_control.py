"""The socket of people, by a real daemon and real users of the machine: who may ask what, and what a hostile guest gets."""

from __future__ import annotations

import array
import errno
import grp
import json
import os
import shutil
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
from tests.e2e.test_life import BreakableDaemon

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


def talk(path, value, fds=0, raw=None):
    """Say something to the socket with some descriptors, and give the answer."""
    end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    end.settimeout(60)
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
    """The daemon takes none, and says so: the kernel closes them."""
    talk(shared.socket, {"what": "status"})
    before = len(os.listdir(f"/proc/{shared.pid}/fd"))
    answer = talk(shared.socket, {"what": "status"}, fds=count)
    assert answer["status"] == (2 if count else 0)
    assert ("none are taken" in answer["problem"]) == bool(count)
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
            return sum(one.laddr.endswith("/ctl") for one in psutil.Process(shared.pid).net_connections("unix"))

        wait_for(lambda: 1 < count() < 20, "those of one user to be bounded")
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


#: Sends a socket that lingers for an hour to each of several ends, and closes its own copies; who is no member does so, too.
LINGER = """
import array, os, socket, struct, sys
path, uid, groups, count = sys.argv[1], int(sys.argv[2]), [int(one) for one in sys.argv[3].split(",") if one], int(sys.argv[4])
server = socket.create_server(("127.0.0.1", 0))
pairs = [(socket.create_connection(server.getsockname()), server.accept()[0]) for _ in range(count)]
os.setgroups(groups); os.setgid(uid); os.setuid(uid)
ends = []
for one, _ in pairs:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
    one.setblocking(False)
    try:
        while True: one.send(bytes(1 << 16))
    except BlockingIOError: pass
    ends.append(socket.socket(socket.AF_UNIX)); ends[-1].connect(path)
    ends[-1].sendmsg([b'{"what": '], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [one.fileno()]))])
    one.close()
print("sent", flush=True); sys.stdin.read()
"""


@pytest.mark.parametrize("who", ["a member", "a stranger"])
def test_a_descriptor_that_takes_its_time_to_close_holds_up_nobody_else(shared, who):
    """A socket that lingers is closed by whoever has it last: the daemon goes on indexing, and others are heard at once.

    A stranger is let in no further than to be refused, and what he sent is closed then; the mode that would keep him out is
    opened for that.
    """
    uid, groups = (MEMBER, str(GROUP)) if who == "a member" else (STRANGER, "")
    shared.socket.chmod(0o666)
    shared.process.send_signal(signal.SIGSTOP)  # until he has closed his own: else it is he whom it holds up
    wait_for(lambda: psutil.Process(shared.pid).status() == psutil.STATUS_STOPPED, "the daemon to stand still")
    arguments = [sys.executable, "-c", LINGER, str(shared.socket), str(uid), groups, "8"]
    guest = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert guest.stdout.readline() == "sent\n"
        shared.process.send_signal(signal.SIGCONT)
        for number in range(20):
            save(shared.roots[0] / f"{number}.pth", number)
            shared.wait_event("checkpoint.indexed", path=f"{number}.pth")
        assert talk(shared.socket, {"what": "status"})["status"] == 0
        status = as_user(MEMBER + 1, [GROUP], "--root", shared.roots[0], "status")
        assert status.returncode == 0, status.stderr
        assert shared.has("daemon.unwell") is None
        assert guest.poll() is None
    finally:
        shared.process.send_signal(signal.SIGCONT)
        guest.communicate()


def test_with_two_groups_strangers_cannot_even_connect(open_place):
    """The file names both groups, as no mode can; members of either are heard."""
    root = open_place / "models"
    names = {"CKPTD_CONTROL__GROUP": grp.getgrgid(1).gr_name, "CKPTD_CONTROL__ADMIN_GROUP": grp.getgrgid(2).gr_name}
    with running(root, env={**QUICK, **names}) as daemon:
        assert not (open_place / "run" / "ctl").stat().st_mode & 0o007
        for group in (1, 2):
            assert as_user(MEMBER, [group], "--root", root, "status").returncode == 0
        program = (
            "import os, socket, sys\n"
            f"os.setgroups([]); os.setgid({STRANGER}); os.setuid({STRANGER})\n"
            "print(socket.socket(socket.AF_UNIX).connect_ex(sys.argv[1]))\n"
        )
        done = subprocess.run([sys.executable, "-c", program, str(open_place / "run" / "ctl")], capture_output=True, text=True)
        assert done.stdout == f"{errno.EACCES}\n", done.stderr
        assert daemon.has("control.open") is None


def test_an_administrator_finds_a_chair_where_members_took_all(shared):
    """Nine members with eight silent connections each: another member is told to come again, and root is heard."""
    program = (
        "import os, socket, sys, time\n"
        "ends = []\n"
        f"os.setgroups([{GROUP}])\n"
        f"for uid in range({MEMBER}, {MEMBER} + 9):\n"
        "    os.seteuid(0); os.setegid(uid); os.seteuid(uid)\n"
        "    for _ in range(8):\n"
        "        ends.append(socket.socket(socket.AF_UNIX)); ends[-1].connect(sys.argv[1])\n"
        "print('connected', flush=True)\n"
        "sys.stdin.read()\n"
    )
    crowd = subprocess.Popen(
        [sys.executable, "-c", program, str(shared.socket)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert crowd.stdout.readline() == "connected\n"
        member = as_user(MEMBER + 20, [GROUP], "--root", shared.roots[0], "status")
        answer = talk(shared.socket, {"what": "status"})
        assert answer["status"] == 0
        assert (member.returncode, "too many ask at once" in member.stderr) in {(4, True), (0, False)}
    finally:
        crowd.communicate()


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


@pytest.fixture
def configured(open_place, tmp_path, monkeypatch):
    """A daemon that has its root, and all else, from a file of settings; `write` changes the file."""
    root, config = open_place / "models", tmp_path / "ckptd.toml"
    root.mkdir()
    monkeypatch.delenv("CKPTD_CONTROL__SOCKET")
    monkeypatch.setenv("CKPTD_CONFIG", str(config))
    daemon = Daemon(root, env=dict(QUICK))
    daemon.names_roots = False
    daemon.config = config

    def write(roots=(root,), socket=open_place / "run" / "ctl", more=""):
        config.write_text(f'roots = {[str(one) for one in roots]}\n{more}\n[control]\nsocket = "{socket}"\n')

    write()
    daemon.write = write
    daemon.start()
    yield daemon
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


def test_status_says_that_the_loop_hangs(open_place):
    """It is asked in vain, and yet `status` ends, with 1, and names it; what only the loop can do says so after a while."""
    root = open_place / "models"
    root.mkdir()
    daemon = BreakableDaemon(root, env={**QUICK, "CKPTD_SOAK_BREAK": "loop"}, cwd=PROJECT).start()
    try:
        wait_for(lambda: run_ckptd("--root", root, "status").returncode == 0, "the first answer")
        daemon.process.send_signal(signal.SIGUSR1)
        done = wait_for(lambda: (done := run_ckptd("--root", root, "status")).returncode == 1 and done, "the loop to hang")
        assert "loop: it has not come round for" in done.stdout
        program = "from ckptd.cli import steering, main; steering._PATIENCE_SECONDS = 0.5; raise SystemExit(main())"
        for word in ("pause", "reload"):
            asked = subprocess.run(
                [sys.executable, "-c", program, "--root", str(root), word], capture_output=True, text=True, timeout=120
            )
            assert asked.returncode == 1, asked.stderr
            assert "has not answered within" in asked.stderr
    finally:
        daemon.kill()


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
