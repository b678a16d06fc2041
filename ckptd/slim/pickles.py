"""Where the pickle of the object lies in a file, and what it says when nothing of it is understood.

`record` runs a pickle with a host that knows no name: every call stays a call, with its arguments as they were written.  So two
pickles whose records are equal make Python do the same, whatever the names in them stand for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ckptd.checkpoint.budgets import BUDGETS
from ckptd.checkpoint.opcodes import PickleError, run
from ckptd.checkpoint.reader import Structure
from ckptd.checkpoint.source import Source
from ckptd.checkpoint.tensors import Builder
from ckptd.checkpoint.values import Global, Opaque, Value
from ckptd.model import Container
from ckptd.slim.comparing import Reference
from ckptd.slim.program import read_program
from ckptd.slim.refusal import SlimError

#: Pickles in front of that of the object in a legacy file: a magic number, a protocol number, a dict about the machine.
_HEADS = 3
#: In front of each storage of a legacy file stands its number of elements.
_COUNT_BYTES = 8


class Pickle(NamedTuple):
    """A pickle in the bytes of a file; it begins at `start`, and may end before `data` does."""

    data: bytes
    start: int


def find_pickle(source: Source, structure: Structure) -> Pickle:
    """Read the pickle of the object.

    Args:
        source: of the file.
        structure: what `read_source` said about it.

    Raises:
        SlimError: the container is none that is made smaller.
        ChangedError: the file became shorter.
        OSError: the disk says no.
    """
    if structure.container is Container.ZIP:
        span = structure.records["data.pkl"]
        return Pickle(source.read(span.offset, span.length), 0)
    if structure.container is not Container.LEGACY:
        raise SlimError(f"it is a {structure.container.value} file, and only zip and legacy files are made smaller")
    begin = min((span.offset - _COUNT_BYTES for span in structure.storages.values()), default=source.size)
    data = source.read(0, min(begin, BUDGETS.pickle_bytes))
    start = 0
    for _ in range(_HEADS):
        start = read_program(data, start).end
    return Pickle(data, start)


def record(pickle: Pickle) -> Value:
    """Run a pickle without understanding it: each call is an `Opaque`, each persistent id a `Reference`.

    Raises:
        SlimError: it can't be read so, though the reader took it.
    """
    try:
        return run(pickle.data, pickle.start, _Host())[0]
    except PickleError as error:
        raise SlimError(f"its pickle can't be read as calls: {error.why}") from error


class _Host:
    """A host that knows no name."""

    def __init__(self) -> None:
        self.calls: dict[Global, Callable[[tuple[Value, ...]], Value]] = {}
        self._names: dict[tuple[str, str], Global] = {}
        self._keys = Builder()

    def find_global(self, module: str, name: str) -> Global:
        """Give the one `Global` of this name, spelt as the file spells it."""
        found = self._names.get((module, name))
        if found is None:
            found = self._names[module, name] = Global(module, name)
        return found

    def call(self, callee: Value, args: Value) -> Value:
        """Describe the call."""
        return Opaque(callee, args)

    def hold(self, state: Value) -> None:
        """Take no notice: nothing is copied here."""

    def persistent(self, key: Value) -> Value:
        """Describe a storage; a legacy file says in one item more that it is no part of another."""
        if type(key) is not tuple or not (len(key) == 5 or (len(key) == 6 and key[5] is None)):
            raise PickleError("malformed-pickle", "a persistent id is no storage")
        return Reference(key[:5])

    def problem(self, code: str, message: str, subject: object = None) -> None:
        """Take no notice: the reader has said it."""

    def is_key(self, key: Value) -> bool:
        """See `Builder.is_key`."""
        return self._keys.is_key(key)

    def hashes(self, keys: Sequence[Value], size: int) -> bool:
        """See `Builder.hashes`."""
        return self._keys.hashes(keys, size)
