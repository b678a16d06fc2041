"""What a hostile `create_model` would try.  A test copies this file into a trusted directory and has it run by an export.

Each function first does its worst; what it could do, it says by raising `Done`, and by what it left behind.  Where nothing
stops it in time it gives an honest module, so that the export would go on.
"""

import ctypes
import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import torch


class Done(Exception):  # noqa: N818 — it is no error, from its point of view
    """The attack worked."""


def honest():
    """Give a module that fits the weights."""
    return torch.nn.Linear(3, 2)


def good():
    """Do nothing wrong."""
    return honest()


def fork_bomb():
    """Fork until something says no."""
    for _ in range(200):
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
    raise Done("200 processes were started")


def thread_bomb():
    """Start threads until something says no."""
    for _ in range(100_000):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    raise Done("100,000 threads were started")


def thread_bomb_of_small_stacks():
    """Start threads that take no memory, and wait for somebody to count them."""
    threading.stack_size(64 << 10)
    for _ in range(5_000):
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    time.sleep(600)


def execute():
    """Become another program."""
    os.execv("/bin/sh", ["sh", "-c", "true"])


def endless():
    """Never come back."""
    while True:
        pass


def asleep():
    """Never come back, and use no processor."""
    while True:
        time.sleep(60)


def allocate():
    """Take 100 GB and write to all of it."""
    taken = []
    for _ in range(100):
        taken.append(bytearray(1 << 30))
    raise Done("100 GB were taken")


def allocate_torch():
    """Take 100 GB by torch."""
    torch.zeros(25_000_000_000)
    raise Done("100 GB were taken")


def read_passwd():
    """Read a file that is none of its business."""
    raise Done(Path("/etc/passwd").read_text()[:4])


def read_checkpoint_directory():
    """List the directory of the models."""
    raise Done(str(os.listdir(CANARIES)))


def write_models():
    """Write into the directory of the models, and over another model."""
    for name in ("planted.pth", "victim.pth", "model.pth"):
        try:
            (CANARIES / name).write_bytes(b"owned")
        except PermissionError:
            continue
        raise Done("the models were written to")
    (CANARIES / "victim_metadata.json").write_bytes(b"owned")
    raise Done("the models were written to")


def remove_models():
    """Remove another model."""
    for name in ("victim.pth", "victim_metadata.json"):
        (CANARIES / name).unlink()
    raise Done("the models were removed")


def write_through_descriptors():
    """Write through every descriptor that is open."""
    written = []
    for fd in range(256):
        try:
            os.pwrite(fd, b"owned", 0)
            written.append(fd)
        except OSError:
            pass
    return honest()


def open_socket():
    """Talk to the network."""
    with socket.create_connection(("127.0.0.1", PORT), timeout=2) as sock:
        sock.sendall(b"owned")
    raise Done("a connection was made")


def open_unix_socket():
    """Talk to a neighbour."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect("\0" + NEIGHBOUR)
        sock.sendall(b"owned")
    raise Done("a connection was made")


def kill_parent():
    """Kill everybody around."""
    for pid in (os.getppid(), DAEMON, -1):
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            continue
    return honest()


def trace_parent():
    """Look into the memory of the parent."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(0x4206, os.getppid(), 0, 0) == 0:
        raise Done("the parent was seized")
    return honest()


def print_much():
    """Print a gigabyte."""
    line = b"x" * (1 << 20)
    for _ in range(1024):
        os.write(1, line)
    print("owned\x1b[2J", file=sys.stderr, flush=True)
    return honest()


def forge_answer():
    """Answer in the place of our own code: everything was verified."""
    forged = {"verdict": "verified", "reason": "", "specs": [{"name": "x", "shape": [1, 3], "dtype": "float32"}], "sizes": {}}
    for line in (
        {"id": 0, "answer": forged},
        {"answer": forged},
        {"layers": {"applied": [], "missing": [], "landlock_abi": 99}},
    ):
        data = json.dumps(line).encode() + b"\n"
        for fd in range(3, 64):
            try:
                os.write(fd, data)
            except OSError:
                continue
    os._exit(0)


def flood_answer():
    """Answer a gigabyte without an end of line."""
    for fd in range(3, 64):
        try:
            for _ in range(1024):
                os.write(fd, b"[" * (1 << 20))
        except OSError:
            continue
    os._exit(0)


class _Swapper(torch.nn.Module):
    """An honest module whose export swaps the file for something else once it is written."""

    def __init__(self, swap):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(2, 3))
        self.bias = torch.nn.Parameter(torch.zeros(2))
        _at_exit(swap)

    def forward(self, x):
        return torch.nn.functional.linear(x, self.weight, self.bias)


def _at_exit(swap):
    """Run when our own code saves the module: the last moment in which the model's code runs."""
    save = torch.jit.save

    def swapped(*args, **kwargs):
        save(*args, **kwargs)
        swap()

    torch.jit.save = swapped


def leave_symlink():
    """Leave a link to somebody's file as the output."""

    def swap():
        name = next(name for name in os.listdir(".") if name.endswith(".pt"))
        os.unlink(name)
        os.symlink("/etc/passwd", name)

    return _Swapper(swap)


def leave_fifo():
    """Leave a pipe as the output, on which a careless reader would hang."""

    def swap():
        name = next(name for name in os.listdir(".") if name.endswith(".pt"))
        os.unlink(name)
        os.mkfifo(name)

    return _Swapper(swap)


def leave_garbage():
    """Leave another program's file as the output."""

    def swap():
        name = next(name for name in os.listdir(".") if name.endswith(".pt"))
        Path(name).write_bytes(b"owned" * 1000)

    return _Swapper(swap)


def fill_disk():
    """Write files until something says no."""
    number = 0
    block = b"x" * (1 << 24)
    while True:
        Path(f"ballast{number}").write_bytes(block * 8)
        number += 1


def fill_disk_by_many():
    """Write small files until something says no: no limit on one of them is met."""
    number = 0
    while True:
        Path(f"grain{number}").write_bytes(b"x" * (1 << 16))
        number += 1


def fill_disk_unseen():
    """Write files that no directory lists until something says no, or 4 GiB are full."""
    block, held = b"x" * (1 << 20), []
    for _ in range(40):
        held.append(os.open("ballast", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.unlink("ballast")
        for _ in range(100):
            os.write(held[-1], block)
    time.sleep(2)
    raise Done("4 GiB were written unseen")


def write_sidecar():
    """Write the sidecar of another model, with a recipe in it."""
    text = json.dumps({"recipe": {"callable": "hostile_models:read_passwd"}})
    (CANARIES / "victim_metadata.json").write_text(text)
    raise Done("a sidecar was written")


def import_more():
    """Load a module from a directory that nobody trusts."""
    sys.path.insert(0, "/tmp")
    raise Done(str(os.listdir("/tmp")))


CANARIES = Path("/nonexistent")
PORT = 0
NEIGHBOUR = ""
DAEMON = 0
