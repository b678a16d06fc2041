"""The socket of people: what hostile, silent, slow and vanishing guests get, and that nobody else suffers by them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from tests.e2e.control.people import GROUP, MEMBER, PROJECT, QUICK, STRANGER, as_user, crowd, find_asked, save, talk
from tests.e2e.running import run_ckptd, wait_for
from tests.e2e.test_life import BreakableDaemon

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it becomes other users"),
]


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
    with crowd(program, shared.socket):
        save(shared.roots[0] / "a.pth")
        shared.wait_event("checkpoint.indexed", path="a.pth")
        assert talk(shared.socket, {"what": "status"})["status"] == 0

        def count():
            return sum(one.laddr.endswith("/ctl") for one in psutil.Process(shared.pid).net_connections("unix"))

        wait_for(lambda: 1 < count() < 20, "those of one user to be bounded")


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
    ends[-1].sendmsg([WORDS], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [one.fileno()]))], FLAGS)
    if FLAGS: ends[-1].send(b'{"what": ')
    one.close()
print("sent", flush=True); sys.stdin.read()
"""


#: As a part of a request; and as urgent, which one looks past, before that part.
WAYS = {"plainly": (b'{"what": ', 0), "as urgent": (b"x", socket.MSG_OOB)}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("who", ["a member", "a stranger"])
def test_a_descriptor_that_takes_its_time_to_close_holds_up_nobody_else(shared, who, way):
    """A socket that lingers is closed by whoever has it last: the daemon goes on indexing, and others are heard at once.

    A stranger is let in no further than to be refused, and what he sent is closed then; the mode that would keep him out is
    opened for that.  The first file has a worker started in the same moment, which has a copy of every end until it runs.
    """
    uid, groups = (MEMBER, str(GROUP)) if who == "a member" else (STRANGER, "")
    shared.socket.chmod(0o666)
    shared.process.send_signal(signal.SIGSTOP)  # until he has closed his own: else it is he whom it holds up
    wait_for(lambda: psutil.Process(shared.pid).status() == psutil.STATUS_STOPPED, "the daemon to stand still")
    words, flags = WAYS[way]
    program = LINGER.replace("WORDS", repr(words)).replace("FLAGS", str(int(flags)))
    arguments = [sys.executable, "-c", program, str(shared.socket), str(uid), groups, "8"]
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
    with crowd(program, shared.socket):
        member = as_user(MEMBER + 20, [GROUP], "--root", shared.roots[0], "status")
        answer = talk(shared.socket, {"what": "status"})
        assert answer["status"] == 0
        assert (member.returncode, "too many ask at once" in member.stderr) in {(4, True), (0, False)}


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
