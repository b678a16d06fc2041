"""The lines between a worker and its parent: made here, read here, and believed nowhere.

worker → parent   {"layers": {…}}                      first, when it is locked up
                  {"refused": TEXT, "cure": TEXT}      instead, when a wall is missing and all are required
                  {"id": N, "progress": BYTES}         any number of times
                  {"id": N, "answer": {…}}             once for each request, in their order
                  {"id": N, "error": TEXT}             instead; the worker is replaced
parent → worker   {"id": N, "request": {…}}            with one descriptor
"""

from __future__ import annotations

from typing import NamedTuple

from ckptd.errors import CkptdError, WorkerError
from ckptd.model import Json
from ckptd.sandbox.channel import encode
from ckptd.sandbox.confine import Layers, RefusedError
from ckptd.text import escape

#: Characters of a worker's sentence that are passed on.
_MAX_TEXT = 1000


class Progressed(NamedTuple):
    """So many bytes are read."""

    done_bytes: int


class Answered(NamedTuple):
    """A request is answered."""

    answer: dict[str, Json]


def write_request(number: int, request: dict[str, Json]) -> bytes:
    """Write a request's line; ValueError or TypeError when it is no JSON."""
    return encode({"id": number, "request": request})


def write_layers(layers: Layers) -> bytes:
    """Write a worker's first line."""
    return encode({"layers": layers.to_json()})


def write_refusal(error: WorkerError) -> bytes:
    """Write a worker's first and last line."""
    return encode({"refused": error.why, "cure": error.cure})


def write_progress(number: Json, done_bytes: int) -> bytes:
    """Write a report of progress."""
    return encode({"id": number, "progress": done_bytes})


def write_answer(number: Json, answer: dict[str, Json]) -> bytes:
    """Write an answer; ValueError or TypeError when it is no JSON or too long."""
    return encode({"id": number, "answer": answer})


def write_error(number: Json, error: BaseException) -> bytes:
    """Write why there is no answer; text in it may come from a file, so it is escaped."""
    return encode({"id": number, "error": _describe(error)})


def read_first(message: dict[str, Json]) -> Layers:
    """Read a worker's first line.

    Raises:
        RefusedError: it can't be confined, and must be.
        WorkerError: it said something else.
    """
    if message.keys() == {"refused", "cure"}:
        why, cure = (escape(str(message[key]), _MAX_TEXT) for key in ("refused", "cure"))
        raise RefusedError("a worker cannot be confined on this machine", why=why, cure=cure)
    if message.keys() != {"layers"}:
        raise WorkerError("a worker did not say how it is confined")
    return Layers.from_json(message["layers"])


def read_message(message: dict[str, Json], number: int | None) -> Progressed | Answered:
    """Read a later line, which has to be about request `number` (None: nothing was asked).

    Raises:
        WorkerError: the worker failed, or it said something that nobody asked for.
    """
    if len(message) != 2 or number is None or type(message.get("id")) is not int or message["id"] != number:
        raise WorkerError("a worker's answer was refused", why="nobody asked for it")
    match message:
        case {"answer": dict(answer)}:
            return Answered(answer)
        case {"progress": int(done)}:
            return Progressed(done)
        case {"error": str(text)}:
            raise WorkerError("a worker failed", why=escape(text, _MAX_TEXT))
    raise WorkerError("a worker's answer was refused", why="it does not have the agreed keys")


def _describe(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "more memory was needed than a worker may use"
    if isinstance(error, CkptdError):
        return escape(str(error), _MAX_TEXT)
    try:
        return escape(f"{type(error).__name__}: {error}", _MAX_TEXT)
    except Exception:  # noqa: BLE001 - an exception may have a __str__ that fails
        return type(error).__name__
