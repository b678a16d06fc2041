"""Cut items out of the outermost dict of a pickle, so that the rest still runs and says the same.

What stays is copied, byte for byte, but for three things that no reader can see: the numbers under which values are remembered
are counted anew, the keys of storages too, and frames go.  What was remembered inside of a part that goes and is used by what
stays (mostly words such as "cpu", sometimes a shared list) moves to where it is used first.  So the outcome is what torch.save
would have written without that part.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from struct import Struct
from typing import NamedTuple

from ckptd.checkpoint.budgets import BUDGETS
from ckptd.slim.program import (
    BINGET,
    BINPUT,
    BINUNICODE,
    LAST,
    LONG_BINGET,
    LONG_BINPUT,
    MEMOIZE,
    SETITEM,
    SHORT_BINUNICODE,
    Kind,
    Program,
    not_understood,
    pack,
    unpack,
)
from ckptd.slim.refusal import SlimError

_u4 = Struct("<I").pack
_LENGTHS = {BINPUT: 2, LONG_BINPUT: 5, MEMOIZE: 1, BINGET: 2, LONG_BINGET: 5}


class Pruned(NamedTuple):
    """A pickle without some items.

    Attributes:
        storages: old keys of the storages it still refers to; the new key of each is its position.
    """

    pickle: bytes
    storages: list[str]


class _Cut(NamedTuple):
    """A range of the text that goes, and what comes into its place."""

    start: int
    end: int
    instead: bytes = b""


def prune(program: Program, dropped: Collection[int]) -> Pruned:
    """Leave out items of the outermost dict.

    Args:
        program: the pickle.
        dropped: their positions in `program.pairs`.

    Raises:
        SlimError: what stays is woven into what goes so that they can't be parted.
    """
    cuts = list(_cuts(program, dropped))
    writer = _Writer(program, _events_inside(program, cuts))
    at = program.start
    for cut in [*cuts, _Cut(program.end, program.end)]:
        writer.write(at, cut.start)
        writer.out += cut.instead
        at = cut.end
    return Pruned(bytes(writer.out), list(writer.keys))


def _cuts(program: Program, dropped: Collection[int]) -> Iterator[_Cut]:
    """Give the ranges of the text that go, in its order."""
    left = Counter(pair.batch for number, pair in enumerate(program.pairs) if number not in dropped)
    batch = -1
    for number, pair in enumerate(program.pairs):
        if pair.batch < 0:
            if number in dropped:
                yield _Cut(pair.start, pair.end)
            continue
        whole = program.batches[pair.batch]
        is_first, batch = batch != pair.batch, pair.batch
        is_last = pair.end == whole.end - 1
        if not left[batch]:
            if is_first:
                yield _Cut(*whole)
            continue
        if left[batch] == 1 and is_first:  # pickle marks no single item
            yield _Cut(whole.start, whole.start + 1)
        if number in dropped:
            yield _Cut(pair.start, pair.end)
        if left[batch] == 1 and is_last:
            yield _Cut(pair.end, whole.end, bytes([SETITEM]))


def _events_inside(program: Program, cuts: Sequence[_Cut]) -> array[int]:
    """Give the events where definitions may have to be taken out of their place, with the beginning of each among them.

    That is what goes, and the old keys of storages: "5" may also be a word of somebody's.
    """
    found: list[int] = []
    ranges = iter([*cuts, _Cut(program.end, program.end)])
    start, end, _ = next(ranges)
    key_end = program.start
    for event in program.events:
        at, kind, argument = unpack(event)
        while at >= end and end < program.end:
            start, end, _ = next(ranges)
        if kind == Kind.KEY:
            key_end = program.keys[argument].end
        if at < start and at >= key_end:
            continue
        found.append(event)
        if kind == Kind.PUT:
            # Of definitions that begin at one place the later one holds the earlier one, and comes first.
            found.append(pack(program.begins[argument], Kind.START, LAST - argument))
    return array("Q", sorted(found))


class _Frame:
    """A range of the text that is being written.

    Attributes:
        start, end: where it lies.
        at: up to where it is written.
        next: index of the next event.
        number: of the definition that it is; -1 for what stays in its place.
    """

    __slots__ = ("at", "end", "events", "next", "number", "start")

    def __init__(self, start: int, end: int, events: array[int], number: int = -1) -> None:
        self.start = self.at = start
        self.end = end
        self.events = events
        self.next = bisect_left(events, pack(start, Kind.KEY, 0))
        self.number = number


class _Writer:
    """Writes ranges of a program one behind the other.

    Attributes:
        keys: old key of a storage → as what the new one is remembered.
    """

    def __init__(self, program: Program, inside: array[int]) -> None:
        self._program = program
        self._data = program.data
        self._inside = inside
        self._numbers = array("q", [-1]) * len(program.begins)
        self._moving: set[int] = set()
        self._count = 0
        self._is_by_order = self._data[program.start + 1] >= 4  # MEMOIZE came with protocol 4
        self.keys: dict[str, int] = {}
        self.out = bytearray()

    def write(self, start: int, end: int) -> None:
        """Write a range of what stays; what it needs of the rest is written where it is used first."""
        frames = [_Frame(start, end, self._program.events)]
        while frames:
            frame = frames[-1]
            if frame.next < len(frame.events):
                at, kind, argument = unpack(frame.events[frame.next])
                if at < frame.end:
                    frame.next += 1
                    if at >= frame.at:
                        self._act(frames, at, kind, argument)
                    continue
            self._finish(frames.pop())

    def _act(self, frames: list[_Frame], at: int, kind: int, argument: int) -> None:
        frame = frames[-1]
        match kind:
            case Kind.KEY:
                if at > frame.start:  # else it is the word by itself that is wanted
                    key = self._program.keys[argument]
                    self._copy(frame, at, key.end)
                    self._write_key(key.text)
            case Kind.START:
                number = LAST - argument
                if self._numbers[number] >= 0 and self._program.ends[number] <= frame.end:  # it was moved away from here
                    self._copy(frame, at, self._program.ends[number])
                    self._use(self._numbers[number])
            case Kind.PUT:
                self._copy(frame, at, at + _LENGTHS[self._data[at]])
                if self._numbers[argument] >= 0:
                    raise _woven()
                self._numbers[argument] = self._remember(is_by_order=self._data[at] == MEMOIZE)
            case Kind.GET:
                self._copy(frame, at, at + _LENGTHS[self._data[at]])
                if self._numbers[argument] >= 0:
                    self._use(self._numbers[argument])
                else:
                    frames.append(self._move(argument))
            case Kind.CUT:
                self._copy(frame, at, self._program.cuts[argument])

    def _move(self, number: int) -> _Frame:
        """Begin to write a definition in another place than its own."""
        if number in self._moving:
            raise _woven()
        self._moving.add(number)
        return _Frame(self._program.begins[number], self._program.ends[number], self._inside, number)

    def _finish(self, frame: _Frame) -> None:
        self.out += self._data[frame.at : frame.end]
        if len(self.out) > BUDGETS.pickle_bytes:
            raise SlimError(f"what stays would have a pickle of more than {BUDGETS.pickle_bytes:,} bytes")
        if frame.number >= 0:
            self._moving.remove(frame.number)
            if self._numbers[frame.number] < 0:
                not_understood(frame.start)

    def _copy(self, frame: _Frame, to: int, behind: int) -> None:
        """Copy the text of a frame up to an offset, and go on behind another."""
        self.out += self._data[frame.at : to]
        frame.at = behind

    def _remember(self, *, is_by_order: bool) -> int:
        number = self._count
        self._count += 1
        if is_by_order:
            self.out.append(MEMOIZE)
        elif number < 256:
            self.out += bytes((BINPUT, number))
        else:
            self.out.append(LONG_BINPUT)
            self.out += _u4(number)
        return number

    def _use(self, number: int) -> None:
        if number < 256:
            self.out += bytes((BINGET, number))
        else:
            self.out.append(LONG_BINGET)
            self.out += _u4(number)

    def _write_key(self, old: str) -> None:
        """Push the new key of a storage, as torch.save counts them: in the order in which they are first referred to."""
        if old in self.keys:
            self._use(self.keys[old])
            return
        raw = str(len(self.keys)).encode()
        if self._is_by_order:
            self.out += bytes((SHORT_BINUNICODE, len(raw))) + raw
        else:
            self.out.append(BINUNICODE)
            self.out += _u4(len(raw)) + raw
        self.keys[old] = self._remember(is_by_order=self._is_by_order)


def _woven() -> SlimError:
    return SlimError("what would stay and what would go hold each other in a ring that can't be cut")
