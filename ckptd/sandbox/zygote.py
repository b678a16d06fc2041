"""The zygote's side: import once, then fork a confined process for each job, and say how each one went.

A `Nursery` starts it with a module that has `main(arguments)`, which imports all that the jobs need and calls `run`.  It runs
no foreign code itself, and has one thread, so that the process of a job has one when it locks itself in.  A job can't speak
to the nursery in the name of the zygote, since it has no descriptor of the zygote's.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import os
import select
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from ckptd.errors import WorkerError
from ckptd.model import Json
from ckptd.sandbox.assignment import write_job_answer, write_job_error, write_note
from ckptd.sandbox.channel import WorkerEnd, encode
from ckptd.sandbox.child import open_exit
from ckptd.sandbox.confine import die_with
from ckptd.sandbox.jail import Jail, confine_job
from ckptd.sandbox.limits import lower_priority
from ckptd.sandbox.protocol import write_layers, write_refusal

#: Looking for ended jobs where the kernel has no descriptor that tells.
_POLL_MILLISECONDS = 20
#: A note goes out at most this often.
_NOTE_SECONDS = 0.1


class Task(NamedTuple):
    """What a job's function is called with.

    Attributes:
        request: plain JSON.
        fds: descriptors, in the order in which the nursery was given them.
        progress: tells the nursery in a few words what the job is at; may be called often.
    """

    request: dict[str, Json]
    fds: list[int]
    progress: Callable[[str], None]


#: What a job does; its answer is plain JSON.
Function = Callable[[Task], dict[str, Json]]


class _Jobs(NamedTuple):
    """Processes that run: by the job's number, and by the descriptor that tells of their end."""

    pids: dict[int, int]
    exits: dict[int, int]


def run(arguments: Sequence[str], functions: Mapping[str, Function]) -> NoReturn:
    """Be a zygote on descriptor 0, as the nursery starts it, until the parent is gone.

    Args:
        arguments: the last one is the nursery's.
        functions: what jobs can be, by name; all that they import should be imported.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # A service manager sends these to the whole group; the daemon decides what becomes of its jobs.
        signal.signal(number, signal.SIG_IGN)
    options = json.loads(arguments[-1])
    with contextlib.suppress(OSError):
        die_with(options["parent"])
    with contextlib.suppress(OSError):
        lower_priority(options["nice"])
    # What was imported lives as long as the process; a collection in a job would copy the pages that it shares.
    gc.freeze()
    end = WorkerEnd(socket.socket(fileno=0))
    jobs = _Jobs({}, {})
    with contextlib.suppress(OSError):  # the parent is gone
        end.send(encode({"ready": True}))
        while _serve(end, jobs, functions):
            pass
    for pid in jobs.pids.values():
        os.kill(pid, signal.SIGKILL)
    for pid in jobs.pids.values():
        os.waitpid(pid, 0)
    os._exit(0)


def _serve(end: WorkerEnd, jobs: _Jobs, functions: Mapping[str, Function]) -> bool:
    """Wait for a line or the end of a job, and see to it; False when the parent is gone."""
    if not end.pending:
        poll = select.poll()
        for fd in (end.fileno(), *jobs.exits):
            poll.register(fd, select.POLLIN)
        ready = dict(poll.poll(None if len(jobs.exits) == len(jobs.pids) else _POLL_MILLISECONDS))
        _collect(end, jobs)
        if end.fileno() not in ready:
            return True
    message = end.receive_line()
    if message is None:
        return False
    match message:
        case {"kill": int(number)}:
            if number in jobs.pids:  # not collected yet, so the process id is its own
                os.kill(jobs.pids[number], signal.SIGKILL)
        case _:
            _start(end, jobs, functions, message)
    return True


def _collect(end: WorkerEnd, jobs: _Jobs) -> None:
    for number, pid in [*jobs.pids.items()]:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if not ended:
            continue
        del jobs.pids[number]
        for fd in [fd for fd, owner in jobs.exits.items() if owner == number]:
            del jobs.exits[fd]
            os.close(fd)
        # All that was ever in memory at once, what it shared with this process included.
        peak_bytes = usage.ru_maxrss * 1024
        end.send(encode({"job": number, "exit": os.waitstatus_to_exitcode(status), "peak_bytes": peak_bytes}))


def _start(end: WorkerEnd, jobs: _Jobs, functions: Mapping[str, Function], message: dict[str, Any]) -> None:
    fds = end.take_fds(message["fds"] + 2)
    zygote = os.getpid()
    number = message["job"]
    try:
        pid = os.fork()
        if pid == 0:
            _be_job(functions, message, fds, zygote)
    except OSError:  # no memory, or no process, to be had
        end.send(encode({"job": number, "exit": os.EX_OSERR, "peak_bytes": 0}))
        return
    finally:
        for fd in fds:
            os.close(fd)
    jobs.pids[number] = pid
    exit_fd = open_exit(pid)
    if exit_fd >= 0:
        jobs.exits[exit_fd] = number
    end.send(encode({"job": number, "pid": pid}))


def _be_job(functions: Mapping[str, Function], message: dict[str, Any], received: list[int], zygote: int) -> NoReturn:
    code = os.EX_SOFTWARE
    try:
        faulthandler.disable()
        gc.enable()
        with contextlib.suppress(OSError):  # `confine_job` tries again and reports it
            die_with(zygote)
        channel, words, *fds = received
        _replace_streams(words)
        _do_job(functions, message, channel, fds)
        code = os.EX_OK
    except BaseException:  # noqa: BLE001 - the nursery is gone, or the job could not be set up
        with contextlib.suppress(BaseException):
            traceback.print_exc()
    finally:
        # No destructor, no handler at exit: nothing that ran here is trusted with the rest of a normal end.
        os._exit(code)


def _replace_streams(words: int) -> None:
    """Put nothing in the place of the zygote's channel, and a pipe in that of its output."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for source, stream in ((null, 0), (words, 1), (words, 2)):
        os.dup2(source, stream)
    # What is printed before a crash is to be seen.
    for file in (sys.stdout, sys.stderr):
        if file is not None:
            file.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # typed as any text stream


def _do_job(functions: Mapping[str, Function], message: dict[str, Any], channel: int, fds: list[int]) -> None:
    readable, writable = ([fds[index] for index in message[name]] for name in ("readable", "writable"))
    end = WorkerEnd(socket.socket(fileno=channel))
    os.chdir(writable[0] if writable else "/")
    _name_scratch(bool(writable))
    try:
        layers = confine_job(
            Jail.from_json(message["jail"]), keep_fds={0, 1, 2, channel, *fds}, readable_fds=readable, writable_fds=writable
        )
    except WorkerError as error:
        end.send(write_refusal(error))
        return
    end.send(write_layers(layers))
    try:
        line = write_job_answer(functions[message["function"]](Task(message["request"], fds, _reporter(end))))
    except BaseException as error:  # noqa: BLE001 - whatever it was, the parent is told
        line = write_job_error(error)
    with contextlib.suppress(BaseException):
        sys.stdout.flush()
    end.send(line)


def _name_scratch(is_writable: bool) -> None:
    """Let temporary files come into the scratch, whatever was settled before the fork."""
    if is_writable:
        os.environ["TMPDIR"] = os.getcwd()
    tempfile.tempdir = None


def _reporter(end: WorkerEnd) -> Callable[[str], None]:
    last = -_NOTE_SECONDS

    def progress(text: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _NOTE_SECONDS:
            last = now
            end.send(write_note(text))

    return progress
