"""What people do with the socket of a real daemon: as themselves, as a crowd, and word by word."""

from __future__ import annotations

import array
import json
import os
import socket
import struct
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.corpus import asm, zips

PROJECT = Path(__file__).parents[3]
QUICK = {"CKPTD_WATCH__SETTLE_SECONDS": "0.05", "CKPTD_WATCH__GUARD_SECONDS": "0.2"}
MEMBER, STRANGER, GROUP, ADMINS = 61_001, 65_534, 61_900, 61_901


def save(path, seed=0, owner=0):
    path.write_bytes(zips.checkpoint(asm.program(asm.state_dict()), {"0": struct.pack("<4f", seed, 1, 2, 3)}))
    os.chown(path, owner, GROUP)


def as_user(uid, groups, *arguments):
    """Run a command as another user."""
    command = [sys.executable, "-m", "tests.e2e.as_user", str(uid), ",".join(map(str, groups)), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=PROJECT)


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


@contextmanager
def crowd(program, place):
    """Run a program that connects to a socket often and says nothing, for as long as the block lasts."""
    words = [sys.executable, "-c", program, str(place)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "connected\n"
            yield
        finally:
            process.communicate()


def find_asked(pid):
    """Find the processes of commands that somebody asked for."""
    found = []
    for one in psutil.Process(pid).children():
        with suppress(psutil.NoSuchProcess):  # it ends in this moment, or has ended and nobody collected it yet
            found += [one] if "asked" in one.cmdline() else []
    return found
