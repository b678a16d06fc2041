"""A worker for tests: does what its request says, well or badly."""

import os
import signal
import time

from ckptd.sandbox.serve import run


def echo(fd, request, progress):
    return {"pid": os.getpid(), "value": request.get("value"), "bytes": os.read(fd, 100).decode()}


def sleep(fd, request, progress):
    time.sleep(request["seconds"])
    return echo(fd, request, progress)


def spin(fd, request, progress):
    while True:
        pass


def creep(fd, request, progress):
    """Report progress for ever, as far as the request says."""
    for done in range(request["steps"]):
        time.sleep(0.3)
        progress(done * request["step_bytes"])
    return echo(fd, request, progress)


def end(fd, request, progress):
    os._exit(request["status"])


def crash(fd, request, progress):
    # A null pointer: the memory of no object is needed for a real SIGSEGV.
    import ctypes

    ctypes.string_at(0)


def hang_up(fd, request, progress):
    """Close the channel and stay."""
    os.close(0)
    while True:
        time.sleep(1)


def fail(fd, request, progress):
    raise ValueError(request["text"])


def allocate(fd, request, progress):
    return {"size": len(bytearray(request["bytes"]))}


def large(fd, request, progress):
    return {"text": "x" * request["bytes"]}


def write(fd, request, progress):
    """Say something else than an answer: each part so many times."""
    view = memoryview(b"".join(text.encode("latin-1") * times for text, times in request["parts"]))
    while view:
        view = view[os.write(0, view) :]
    return echo(fd, request, progress) if request.get("then_answer") else spin(fd, request, progress)


def fork(fd, request, progress):
    os.fork()


ACTS = {act.__name__: act for act in (echo, sleep, spin, creep, end, crash, hang_up, fail, allocate, large, write, fork)}


def main(arguments):
    import ctypes  # noqa: F401 - what an act needs must be there before the lock

    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    run(arguments, lambda fd, request, progress: ACTS[request["do"]](fd, request, progress))
