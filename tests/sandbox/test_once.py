"""One confined call by fork: answers, deaths, limits, interrupts."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ckptd.errors import WorkerError
from ckptd.sandbox.limits import ALL_LAYERS, Limits
from ckptd.sandbox.once import run_confined

SHORT = Limits(structure_seconds=0.2, base_seconds=0.4)


def call(function, *arguments, limits=SHORT, size_bytes=0):
    return run_confined(function, *arguments, limits=limits, keep_fds=(), size_bytes=size_bytes)


def add(a, b, progress):
    return {"sum": a + b}


def spin(progress):
    while True:
        pass


def end(status, progress):
    os._exit(status)


def segfault(progress):
    import ctypes

    ctypes.string_at(0)


def fail(text, progress):
    raise ValueError(text)


def creep(progress):
    for done in range(4):
        time.sleep(0.6 if done else 0.0)
        progress(done << 20)
    time.sleep(0.6)
    return {}


def flood(progress):
    fd = next(fd for fd in range(3, 100) if is_open(fd))
    while True:
        os.write(fd, b"x" * 65536)


def is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def lie(text, progress):
    os.write(next(fd for fd in range(3, 100) if is_open(fd)), text)
    spin(progress)


def test_it_answers():
    answer, layers = call(add, 1, 2)
    assert answer == {"sum": 3}
    assert layers.applied == ALL_LAYERS


def test_an_endless_loop_ends_on_the_clock():
    with pytest.raises(WorkerError, match=r"structure took longer than 0\.2 seconds"):
        call(spin)


def test_progress_renews_the_time():
    """The whole takes longer than both limits; each step does not."""
    assert call(creep, limits=Limits(structure_seconds=1.5, base_seconds=1.5), size_bytes=8 << 20)[0] == {}


@pytest.mark.parametrize(
    ("function", "arguments", "expected"),
    [
        (end, (3,), "exit status 3"),
        (segfault, (), "SIGSEGV"),
        (fail, ("\x1b[31m",), r"ValueError: \\x1b"),
        (flood, (), "longer than 8388608 bytes"),
        (lie, (b"\x80\x02garbage\n",), "not JSON"),
        (lie, (b'{"id":1,"answer":{}}\n',), "nobody asked"),
        (lie, (b'{"id":0,"answer":[]}\n',), "agreed keys"),
        (add, (1, object()), "TypeError"),
    ],
)
def test_no_answer_is_an_error(function, arguments, expected):
    """Crashes, exceptions and lies of the child are a WorkerError that says which."""
    with pytest.raises(WorkerError, match=expected):
        call(function, *arguments, limits=Limits(structure_seconds=5))


def test_nothing_is_left_behind():
    """No process and no descriptor, whatever happened."""
    before = os.listdir("/proc/self/fd")
    for function in (spin, segfault):
        with pytest.raises(WorkerError):
            call(function)
    call(add, 1, 1)
    assert os.listdir("/proc/self/fd") == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


SCRIPT = """
import os, signal, sys
from ckptd.sandbox.limits import Limits
from ckptd.sandbox.once import run_confined
def spin(progress):
    os.write(9, str(os.getpid()).encode() + b"\\n")
    while True: pass
os.dup2(1, 9)
print("buffered in the parent", end="")
try:
    run_confined(spin, limits=Limits(), keep_fds={9})
finally:
    try:
        os.waitpid(-1, 0)
    except ChildProcessError:
        print("; no child left")
"""


def test_an_interrupt_ends_the_child():
    """Ctrl-C raises here, after the child was ended and collected; its copy of our buffers is not written twice."""
    parent = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={})
    worker = int(parent.stdout.readline())
    parent.send_signal(signal.SIGINT)
    out, err = parent.communicate(timeout=20)
    assert out == "buffered in the parent; no child left\n"
    assert "KeyboardInterrupt" in err
    assert not Path(f"/proc/{worker}").exists()
