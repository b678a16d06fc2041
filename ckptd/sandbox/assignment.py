"""The lines between a nursery and its zygote, and between a nursery and a job: made here, read here, and believed nowhere.

nursery → zygote   {"job": N, "function": NAME, "request": {…}, "jail": {…}, "fds": COUNT, "readable": […], "writable": […]}
                       with the job's channel, the pipe for what it prints, and the job's own descriptors
                   {"kill": N}
zygote → nursery   {"ready": true}                          first
                   {"job": N, "pid": PID}                   when it was forked
                   {"job": N, "exit": CODE, "peak_bytes": BYTES}
                                                            when it is dead and collected; negative for a signal
job → nursery      {"layers": {…}}                          first, when it is confined
                   {"refused": TEXT, "cure": TEXT}          instead, when a wall is missing and all are required
                   {"note": TEXT}                           any number of times
                   {"answer": {…}}                          last
                   {"error": TEXT}                          instead
"""

from __future__ import annotations

import os
import sysconfig
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import ckptd
from ckptd.errors import CkptdError, WorkerError
from ckptd.model import Json
from ckptd.sandbox.channel import MAX_FDS, encode
from ckptd.sandbox.jail import Jail
from ckptd.text import escape

#: Descriptors that a job may be given: what one message carries, the channel and the pipe left out.
MAX_JOB_FDS = MAX_FDS - 2
#: Characters of a sentence that are passed on.
_MAX_TEXT = 1000
_MAX_NOTE = 200


class Job(NamedTuple):
    """One call of a function in a process of its own.

    Attributes:
        id: the caller's, comes back in the result; of no other job that runs.
        function: its name in the zygote.
        request: plain JSON.
        fds: what it gets, in this order; they stay the caller's, the job gets duplicates that share offset and flags.
        writable, readable: indexes into `fds` of directories in which it may make files, or open them to read.
        jail: what else it may do.
        seconds: wall-clock time.
    """

    id: int
    function: str
    request: dict[str, Json]
    fds: tuple[int, ...]
    writable: tuple[int, ...]
    readable: tuple[int, ...]
    jail: Jail
    seconds: float


class Forked(NamedTuple):
    """A job has a process."""

    job: int
    pid: int


class Ended(NamedTuple):
    """A job's process is dead and collected."""

    job: int
    code: int
    peak_bytes: int


class Noted(NamedTuple):
    """A job says what it is at."""

    text: str


class Answered(NamedTuple):
    """A job is done."""

    answer: dict[str, Json]


def write_job(job: Job) -> bytes:
    """Write a job's line; ValueError or TypeError when it is no JSON or has too many descriptors."""
    if len(job.fds) > MAX_JOB_FDS:
        raise ValueError(f"{len(job.fds)} descriptors, of {MAX_JOB_FDS} at most")
    return encode(
        {
            "job": job.id,
            "function": job.function,
            "request": job.request,
            "jail": job.jail.to_json(),
            "fds": len(job.fds),
            "readable": list(job.readable),
            "writable": list(job.writable),
        }
    )


def write_kill(job: int) -> bytes:
    """Write a line that asks a zygote to end a job."""
    return encode({"kill": job})


def write_note(text: str) -> bytes:
    """Write what a job is at."""
    return encode({"note": escape(str(text), _MAX_NOTE)})


def write_job_answer(answer: dict[str, Json]) -> bytes:
    """Write a job's answer; ValueError or TypeError when it is no JSON object or too long."""
    if type(answer) is not dict:
        raise TypeError(f"an answer is an object, and no {type(answer).__name__}")
    return encode({"answer": answer})


def write_job_error(error: BaseException) -> bytes:
    """Write why there is no answer: type, text and place, escaped."""
    return encode({"error": describe_error(error)})


def read_from_zygote(message: dict[str, Json]) -> Forked | Ended:
    """Read a zygote's line, the first one left out.

    Raises:
        WorkerError: it is something else.
    """
    match message:
        case {"job": int(job), "pid": int(pid)}:
            return Forked(job, pid)
        case {"job": int(job), "exit": int(code), "peak_bytes": int(peak)}:
            return Ended(job, code, peak)
    raise WorkerError("a worker's answer was refused", why="it does not have the agreed keys")


def read_from_job(message: dict[str, Json]) -> Noted | Answered:
    """Read a job's line, the first one left out.

    Raises:
        WorkerError: the job failed, or it said something else.
    """
    if len(message) == 1:
        match message:
            case {"note": str(text)}:
                return Noted(escape(text, _MAX_NOTE))
            case {"answer": dict(answer)}:
                return Answered(answer)
            case {"error": str(text)}:
                raise WorkerError("a worker failed", why=escape(text, _MAX_TEXT))
    raise WorkerError("a worker's answer was refused", why="it does not have the agreed keys")


def describe_error(error: BaseException) -> str:
    """Say what was raised and where, as a person who wrote the model's code would look for it."""
    if isinstance(error, CkptdError):
        return escape(str(error), _MAX_TEXT)
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - an exception may have a __str__ that fails
        text = ""
    name = type(error).__name__
    what = "more memory was needed than a worker may use" if isinstance(error, MemoryError) else f"{name}: {text}"
    place = _find_place(error)
    return escape(what.strip(": "), _MAX_TEXT - 200) + (f" ({escape(place, 190)})" if place else "")


def _find_place(error: BaseException) -> str:
    """Give file and line of the innermost frame that is neither ours nor a library's; of the innermost, where all are."""
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    if not frames:
        return ""
    libraries = _library_directories()
    foreign = [place for place in frames if not place[0].startswith(libraries)]
    file, line = (foreign or frames)[-1]
    return f"{file}:{line}"


def _library_directories() -> tuple[str, ...]:
    names: Sequence[str] = ("stdlib", "platstdlib", "purelib", "platlib")
    found = [*(sysconfig.get_path(name) for name in names), str(Path(ckptd.__file__).parent)]
    return (*(path + os.sep for path in found), "<frozen ")
