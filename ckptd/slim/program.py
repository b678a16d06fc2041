"""A pickle as a text: where each expression begins and ends, what is remembered where, and where it is used.

A pickle is a program for a stack machine.  Cutting an item out of a dict takes knowing which bytes push its key and its value;
cutting it out so that the rest still runs takes knowing what those bytes remember (PUT, MEMOIZE) that others use (GET).
Nothing is built here: the stack holds offsets.  A file comes here only after `checkpoint.reader` has read it, so that what does
not fit is a file that it took and we don't understand, and is refused.

Source: CPython, Lib/pickletools.py, for the opcodes; `checkpoint.opcodes` for which of them occur.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from enum import IntEnum
from itertools import pairwise
from struct import Struct
from struct import error as struct_error
from typing import NamedTuple, NoReturn

from ckptd.slim.refusal import SlimError

_u4 = Struct("<I").unpack_from
_u8 = Struct("<Q").unpack_from

PROTO, FRAME, STOP, MARK = 0x80, 0x95, 0x2E, 0x28
BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET = 0x71, 0x72, 0x94, 0x68, 0x6A
BINUNICODE, SHORT_BINUNICODE, NONE, SETITEM, SETITEMS = 0x58, 0x8C, 0x4E, 0x73, 0x75


class Kind(IntEnum):
    """What happens at one place of the text; the order is that of events at the same place."""

    #: The key of a storage.  Argument: index into `Program.keys`.
    KEY = 0
    #: A definition begins here (only where `pruning` asks for it).  Argument: its number, counted down from `LAST`.
    START = 1
    #: A value is remembered.  Argument: number of the definition.
    PUT = 2
    #: A value is used.  Argument: number of the definition.
    GET = 3
    #: Bytes that are left out.  Argument: index into `Program.cuts`.
    CUT = 4


#: An event is one number, since there are millions: its place, its kind and its argument.
_ARGUMENT_BITS, _KIND_BITS = 31, 3
LAST = (1 << _ARGUMENT_BITS) - 1


def pack(at: int, kind: Kind, argument: int) -> int:
    """Make an event; events sort by their place."""
    return (at << _KIND_BITS | kind) << _ARGUMENT_BITS | argument


def unpack(event: int) -> tuple[int, int, int]:
    """Give place, kind and argument of an event."""
    rest = event >> _ARGUMENT_BITS
    return rest >> _KIND_BITS, rest & ((1 << _KIND_BITS) - 1), event & LAST


class Key(NamedTuple):
    """The key of a storage in a persistent id.

    Attributes:
        end: offset behind the expression that pushes it.
        text: the key.
    """

    end: int
    text: str


class Pair(NamedTuple):
    """One item of the outermost dict: the bytes that push its key and its value.

    Attributes:
        batch: which of `Program.batches` it belongs to; -1 when it is set alone, its bytes then hold the opcode for that, too.
    """

    start: int
    end: int
    batch: int


class Batch(NamedTuple):
    """Items that are set together, MARK and opcode included."""

    start: int
    end: int


class Program(NamedTuple):
    """One pickle.

    Attributes:
        data: it stands from `start` to `end` in there, from its PROTO to its STOP.
        events: PUT, GET, KEY and CUT, in the order of the text.
        begins, ends: of the expression that made each definition's value, by the number of the definition.
        keys: of storages.
        cuts: ends of what is left out.
        pairs: the items of the outermost dict, in the order of the text.
    """

    data: bytes
    start: int
    end: int
    events: array[int]
    begins: array[int]
    ends: array[int]
    keys: list[Key]
    cuts: list[int]
    pairs: list[Pair]
    batches: list[Batch]


def read_program(data: bytes, start: int = 0) -> Program:
    """Read the text of the pickle that begins at `start`.

    Raises:
        SlimError: it is none that `checkpoint.opcodes` takes, or is written as torch never writes one.
    """
    reader = _Reader(data, start)
    try:
        if data[start] != PROTO:
            not_understood(start)
        reader.pos = start + 2
        while (op := data[reader.pos]) != STOP:
            _ACTS[op](reader)
    except (IndexError, KeyError, struct_error, UnicodeDecodeError):
        not_understood(reader.pos)
    if len(reader.starts) != 1 or reader.outer:
        not_understood(reader.pos)
    reader.settle(0)
    return Program(
        data,
        start,
        reader.pos + 1,
        array("Q", sorted(reader.events)),
        reader.begins,
        reader.ends,
        reader.keys,
        reader.cuts,
        reader.pairs,
        reader.batches,
    )


def read_text(data: bytes, at: int) -> str | None:
    """Give the text that the opcode at an offset pushes; None when it pushes something else."""
    if data[at] == BINUNICODE:
        return data[at + 5 : at + 5 + _u4(data, at + 1)[0]].decode("utf-8", "surrogatepass")
    if data[at] == SHORT_BINUNICODE:
        return data[at + 2 : at + 2 + data[at + 1]].decode("utf-8", "surrogatepass")
    return None


def not_understood(at: int) -> NoReturn:
    """Refuse a pickle that can't be cut."""
    raise SlimError(f"its pickle is written in a way that ckptd can't cut, at byte {at:,}")


class _Reader:
    """The stack while the text is read: of each item where its expression begins, and as what it is remembered (-1: not).

    An expression ends where the next item on the stack begins, or at the opcode that takes it.
    """

    def __init__(self, data: bytes, start: int) -> None:
        self.data = data
        self.pos = start
        self.starts: list[int] = []
        self.named: list[int] = []
        self.outer: list[tuple[list[int], list[int], int]] = []
        self.memo: dict[int, int] = {}
        self.events: array[int] = array("Q")
        self.begins: array[int] = array("Q")
        self.ends: array[int] = array("Q")
        self.keys: list[Key] = []
        self.cuts: list[int] = []
        self.pairs: list[Pair] = []
        self.batches: list[Batch] = []
        #: The tuple that was made last: where each item begins, where the opcode stands, and the offset behind it.
        self.tuple_items: list[int] = []
        self.tuple_op = self.tuple_end = -1

    def push(self, length: int) -> None:
        """Let the opcode here, `length` bytes long, push a value."""
        self.starts.append(self.pos)
        self.named.append(-1)
        self.pos += length

    def settle(self, first: int) -> None:
        """Note where the expressions of the items from `first` on end: the opcode here takes them."""
        starts, named = self.starts, self.named
        end = self.pos
        for at in range(len(starts) - 1, first - 1, -1):
            if named[at] >= 0:
                self.ends[named[at]] = end
            end = starts[at]

    def take(self, count: int) -> int:
        """Take so many items off the stack; give where the first of them begins."""
        first = len(self.starts) - count
        if first < 0:
            raise IndexError
        self.settle(first)
        start = self.starts[first]
        del self.starts[first:], self.named[first:]
        return start

    def take_mark(self) -> tuple[list[int], int]:
        """Take all items above the last mark; give where each begins, and where the mark stands."""
        self.settle(0)
        items = self.starts
        self.starts, self.named, mark = self.outer.pop()
        return items, mark

    def give(self, start: int, length: int = 1) -> None:
        """Push what the opcode here makes out of what it took."""
        self.starts.append(start)
        self.named.append(-1)
        self.pos += length


def _pushing(length: int) -> Callable[[_Reader], None]:
    return lambda reader: reader.push(length)


def _push_counted(width: int) -> Callable[[_Reader], None]:
    def act(reader: _Reader) -> None:
        at = reader.pos + 1
        reader.push(1 + width + int.from_bytes(reader.data[at : at + width], "little"))

    return act


def _global(reader: _Reader) -> None:
    first = reader.data.index(b"\n", reader.pos)
    reader.push(reader.data.index(b"\n", first + 1) + 1 - reader.pos)


def _put(width: int) -> Callable[[_Reader], None]:
    def act(reader: _Reader) -> None:
        at = reader.pos + 1
        slot = int.from_bytes(reader.data[at : at + width], "little") if width else len(reader.memo)
        if reader.named[-1] >= 0:  # pickle never remembers a value twice
            not_understood(reader.pos)
        number = reader.memo[slot] = reader.named[-1] = len(reader.begins)
        reader.begins.append(reader.starts[-1])
        reader.ends.append(0)
        reader.events.append(pack(reader.pos, Kind.PUT, number))
        if reader.pos == reader.tuple_end:
            reader.tuple_end += 1 + width
        reader.pos += 1 + width

    return act


def _get(width: int) -> Callable[[_Reader], None]:
    def act(reader: _Reader) -> None:
        at = reader.pos + 1
        number = reader.memo[int.from_bytes(reader.data[at : at + width], "little")]
        reader.events.append(pack(reader.pos, Kind.GET, number))
        reader.push(1 + width)

    return act


def _mark(reader: _Reader) -> None:
    reader.outer.append((reader.starts, reader.named, reader.pos))
    reader.starts, reader.named = [], []
    reader.pos += 1


def _collect(reader: _Reader) -> None:
    """TUPLE and FROZENSET."""
    items, mark = reader.take_mark()
    reader.tuple_items, reader.tuple_op, reader.tuple_end = items, reader.pos, reader.pos + 1
    reader.give(mark)


def _combine(count: int) -> Callable[[_Reader], None]:
    """Make one value out of the topmost ones."""
    return lambda reader: reader.give(reader.take(count))


def _add(count: int) -> Callable[[_Reader], None]:
    """Put the topmost values into the one below."""

    def act(reader: _Reader) -> None:
        start = reader.take(count)
        reader.pos += 1
        if not reader.starts:
            raise IndexError
        if count == 2 and not reader.outer and len(reader.starts) == 1:
            reader.pairs.append(Pair(start, reader.pos, -1))

    return act


def _add_marked(reader: _Reader) -> None:
    items, mark = reader.take_mark()
    if not reader.starts:
        raise IndexError
    end = reader.pos
    reader.pos += 1
    if reader.data[end] == SETITEMS and not reader.outer and len(reader.starts) == 1:
        batch = len(reader.batches)
        reader.batches.append(Batch(mark, reader.pos))
        bounds = [*items[::2], end]
        reader.pairs += [Pair(one, other, batch) for one, other in pairwise(bounds)]


def _pop(reader: _Reader) -> None:
    reader.take(1)
    reader.pos += 1


def _pop_mark(reader: _Reader) -> None:
    reader.take_mark()
    reader.pos += 1


def _frame(reader: _Reader) -> None:
    # Frames only say how far a reader may read ahead: without them a pickle means the same.
    _cut(reader, reader.pos, reader.pos + 9)
    reader.pos += 9


def _cut(reader: _Reader, start: int, end: int) -> None:
    reader.events.append(pack(start, Kind.CUT, len(reader.cuts)))
    reader.cuts.append(end)


def _persistent(reader: _Reader) -> None:
    """Find the key of a storage: the third item of the tuple that was just made."""
    items = reader.tuple_items
    if len(items) == 4:
        raise SlimError("it is of an old format and holds the source of classes")
    if reader.tuple_end != reader.pos or len(items) not in (5, 6):
        not_understood(reader.pos)
    if len(items) == 6:  # a legacy file says of a view what it is a part of, and of everything else None
        if reader.data[items[5] : reader.tuple_op] != bytes([NONE]):
            raise SlimError("it is of an old format and has storages that are parts of others")
        _cut(reader, items[5], reader.tuple_op)
    at = items[2]
    text = read_text(reader.data, _definition(reader, at))
    if text is None:
        not_understood(at)
    reader.events.append(pack(at, Kind.KEY, len(reader.keys)))
    reader.keys.append(Key(items[3], text))
    reader.give(reader.take(1))


def _definition(reader: _Reader, at: int) -> int:
    """Give where the value begins that the opcode at an offset pushes, looking through one GET."""
    op = reader.data[at]
    if op == BINGET:
        return reader.begins[reader.memo[reader.data[at + 1]]]
    if op == LONG_BINGET:
        return reader.begins[reader.memo[_u4(reader.data, at + 1)[0]]]
    return at


def _refuse(reader: _Reader) -> None:
    not_understood(reader.pos)


_TABLE: dict[int, Callable[[_Reader], None]] = {
    **dict.fromkeys(b"N)]}\x88\x89\x8f", _pushing(1)),
    ord("K"): _pushing(2),
    ord("M"): _pushing(3),
    ord("J"): _pushing(5),
    ord("G"): _pushing(9),
    **dict.fromkeys((SHORT_BINUNICODE, 0x43, 0x8A), _push_counted(1)),
    **dict.fromkeys((BINUNICODE, 0x42), _push_counted(4)),
    0x96: _push_counted(8),
    ord("c"): _global,
    BINPUT: _put(1),
    LONG_BINPUT: _put(4),
    MEMOIZE: _put(0),
    BINGET: _get(1),
    LONG_BINGET: _get(4),
    MARK: _mark,
    **dict.fromkeys(b"t\x91", _collect),
    0x85: _combine(1),
    **dict.fromkeys(b"\x86R\x81\x93", _combine(2)),
    0x87: _combine(3),
    **dict.fromkeys(b"ab", _add(1)),
    SETITEM: _add(2),
    **dict.fromkeys((*b"e\x90", SETITEMS), _add_marked),
    ord("0"): _pop,
    ord("1"): _pop_mark,
    FRAME: _frame,
    ord("Q"): _persistent,
}
_ACTS: list[Callable[[_Reader], None]] = [_TABLE.get(op, _refuse) for op in range(256)]
