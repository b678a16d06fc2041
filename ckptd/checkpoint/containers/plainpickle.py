"""Read a bare pickle: what pickle.dump writes.  torch.load would not take it, people save it all the same."""

from __future__ import annotations

from ckptd.checkpoint.budgets import BUDGETS, Budgets
from ckptd.checkpoint.containers.pickled import note_dangerous, read_object
from ckptd.checkpoint.contents import Contents
from ckptd.checkpoint.source import Source
from ckptd.model import Container
from ckptd.text import escape

#: How far into a file without a mark a pickle of the text protocols is searched for.
_TEXT_BYTES = 1 << 20
#: Nobody's checkpoint is one of these.
_SINGLE = frozenset({type(None), bool, int, float, complex, str, bytes, bytearray})


def is_pickle(head: bytes) -> bool:
    """Tell whether a file begins as a pickle of protocol 2 or later."""
    return len(head) >= 2 and head[0] == 0x80 and 2 <= head[1] <= 5


def read_plain_pickle(source: Source, budgets: Budgets = BUDGETS) -> Contents:
    """Read the whole file as one pickle."""
    contents = Contents(Container.PICKLE)
    if source.size > budgets.pickle_bytes:
        contents.problem("pickle-bomb", f"the pickle has {source.size:,} bytes, more than {budgets.pickle_bytes:,}")
        note_dangerous(contents, source.read(0, budgets.pickle_bytes))
        return contents
    read_object(contents, source.read(0, source.size), budgets)
    for key, storage in contents.builder.storages.items():
        contents.problem("storage-missing", f"storage {escape(key, 40)} cannot be in a plain pickle", storage)
    if contents.is_read and not contents.problems and type(contents.root) in _SINGLE:
        contents.foreign = f"a pickle of a single {type(contents.root).__name__}"
    return contents


def read_text_pickle(source: Source) -> Contents | None:
    """Read a file that may be a pickle without its first opcode, which torch.load would run too; None when it names nothing.

    Protocols 0 and 1 have none, and readers want none of the others.  torch.save never wrote such a file, so it is enough to
    see what it names; what follows, as the storages of a legacy file, may be anything.
    """
    data = source.read(0, min(source.size, _TEXT_BYTES))
    contents = Contents(Container.PICKLE)
    note_dangerous(contents, data)
    if not contents.problems:
        return None
    contents.problem("forbidden-opcode", "the file is a pickle of a text protocol, which torch.save never writes")
    return contents
