"""Sockets that linger for an hour, sent to somebody who does not take them; and who may have to close them in the end."""

from __future__ import annotations

import array
import os
import signal
import socket
import struct
import time
from contextlib import contextmanager


def send(his, lingers, flags=0):
    """Send so many lingering sockets, a message for each, and give the others of all pairs."""
    kept = []
    for _ in range(lingers):
        with socket.create_server(("127.0.0.1", 0)) as server:
            one = socket.create_connection(server.getsockname())
            kept.append(server.accept()[0])
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3_600))
        one.settimeout(0)
        try:
            while True:
                one.send(bytes(1 << 16))
        except BlockingIOError:
            pass
        his.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [one.fileno()]))], flags)
        one.close()  # not the last: it does not linger
    return kept


@contextmanager
def started(end):
    """Have a process that is being started, and has a copy of an end until the block is left; it is waited for then."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(writer)
        os.read(reader, 1)
        os.close(end.fileno())  # as `exec` does
        os._exit(0)
    os.close(reader)
    try:
        yield
    finally:
        os.close(writer)
        deadline = time.monotonic() + 60
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise AssertionError("it waits for somebody else's socket")
            time.sleep(0.01)
