"""Read pickles out of a file: one whose length is known, or several in a row whose lengths nobody wrote down."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ckptd.checkpoint.budgets import Budgets
from ckptd.checkpoint.contents import Contents
from ckptd.checkpoint.harvest import dangerous_names
from ckptd.checkpoint.opcodes import PickleError, run
from ckptd.checkpoint.source import Source
from ckptd.text import escape

#: The first look at pickles of unknown length, and how much more the next look takes.
_FIRST_BYTES = 1 << 20
_GROWTH = 4

T = TypeVar("T")


def read_object(contents: Contents, data: bytes, budgets: Budgets, *, python2: bool = False) -> None:
    """Read the one pickle that `data` is into `contents`; what breaks it is a problem."""
    try:
        root, end = run(data, 0, contents.builder, budgets, python2=python2)
    except PickleError as error:
        note_failure(contents, error, data)
        return
    contents.root, contents.is_read = root, True
    if end != len(data):
        contents.problem("bytes-after-pickle", f"{len(data) - end:,} bytes follow the end of the pickle")
        note_dangerous(contents, data[end:])


def note_failure(contents: Contents, error: PickleError, data: bytes) -> None:
    """Note why a pickle could not be read, and what it would have run before or behind the break."""
    contents.problem(error.code, f"{error.what}: {error.why}")
    note_dangerous(contents, data)


def note_dangerous(contents: Contents, data: bytes) -> None:
    """Note the dangerous names in bytes that were not read as a pickle."""
    for name in dangerous_names(data):
        contents.problem("dangerous-global", f"it names {escape(name, 80)}, which no model needs")


def read_growing(source: Source, budgets: Budgets, read: Callable[[bytes], T]) -> T:
    """Call `read` with the beginning of the file; with more of it, as long as it fails and there is more.

    Pickles tell their end only to who reads them, and what follows them may be gigabytes of storages.

    Raises:
        PickleError: all that may be looked at does not help.
    """
    most = min(source.size, budgets.pickle_bytes)
    length = min(most, _FIRST_BYTES)
    while True:
        try:
            return read(source.read(0, length))
        except PickleError:
            if length >= most:
                raise
            length = min(most, length * _GROWTH)
