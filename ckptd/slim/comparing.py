"""Compare two objects of the machine, to the last bit and by identity, with no trust in either.

Two objects are equal when one walk through both at once meets the same types and values at every step, and meets a thing again
on one side exactly where it meets its partner on the other: so what is shared, and what holds itself, is so in both.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from itertools import zip_longest
from struct import pack
from typing import Any

from ckptd.checkpoint.values import Global, Opaque, OrderedDictValue, StorageValue, TensorValue, Value

#: Stands where one side has nothing more.
_NOTHING = object()
_PLAIN = frozenset({type(None), bool, int, str, bytes})
#: How deep, and how many parts of, an item of a set are looked at to find its partner.
_SIGN_DEPTH, _SIGN_PARTS = 4, 8

_Pairs = Iterator[tuple[Value, Value]]


class Reference:
    """A persistent id as the file has it: the description of a storage.

    Attributes:
        parts: (word, class, key, location, elements).
    """

    __slots__ = ("parts",)

    def __init__(self, parts: tuple[Value, ...]) -> None:
        self.parts = parts


class DifferenceError(Exception):
    """Two objects differ; the text says in what, without a word out of the file."""


class Comparison:
    """One walk through two objects.

    Attributes:
        keys: key of a storage in the first → its key in the second.
    """

    def __init__(self) -> None:
        self.keys: dict[str, str] = {}
        self._back: dict[str, str] = {}
        self._partners: dict[int, Value] = {}
        self._reverse: dict[int, Value] = {}

    def compare(self, one: Value, other: Value, without: Collection[str] = ()) -> None:
        """Compare; what differs is a `DifferenceError`.

        Args:
            one: the first; both must live until this comparison is over.
            other: the second.
            without: keys of the first, a dict, that the second must not have.
        """
        if without:
            self._meet(one, other)
            pending = [self._roots(one, other, frozenset(without))]
        else:
            pending = [iter([(one, other)])]
        while pending:
            pair = next(pending[-1], None)
            if pair is None:
                pending.pop()
            else:
                parts = self._step(*pair)
                if parts is not None:
                    pending.append(parts)

    def _step(self, one: Value, other: Value) -> _Pairs | None:
        """Compare two things by themselves; give their parts, None where there are none or they were met before."""
        kind = type(one)
        if kind is not type(other):
            raise DifferenceError(f"something is of another type: {_name(one)} and {_name(other)}")
        if kind in _PLAIN:
            if one != other:
                raise DifferenceError(f"a value of the type {kind.__name__} differs")
            return None
        if kind is float or kind is complex:
            if _bits(one) != _bits(other):
                raise DifferenceError("a number differs")
            return None
        parts = _PARTS.get(kind)
        if parts is None:
            raise DifferenceError(f"there is something of the type {kind.__name__}, which ckptd can't compare")
        return parts(self, one, other) if self._meet(one, other) else None

    def _meet(self, one: Value, other: Value) -> bool:
        """Make partners of two things; False when they are partners already."""
        held, back = self._partners.get(id(one), _NOTHING), self._reverse.get(id(other), _NOTHING)
        if held is _NOTHING and back is _NOTHING:
            self._partners[id(one)], self._reverse[id(other)] = other, one
            return True
        if held is not other or back is not one:
            raise DifferenceError("what is one thing in one file are two in the other")
        return False

    def _roots(self, one: Value, other: Value, without: frozenset[str]) -> _Pairs:
        """Give the parts of the outermost objects, some items of the first left out."""
        if type(one) is not type(other) or not (isinstance(one, dict) or type(one) is Opaque):
            raise DifferenceError("the outermost object is of another type")
        ours, theirs = _items(one), _items(other)
        kept = [item for item in ours if not (type(item[0]) is str and item[0] in without)]
        if len(kept) + len(without) != len(ours):
            raise DifferenceError("other parts are gone than those that should be")
        yield from _flat(kept, theirs)
        if type(one) is Opaque:
            yield from _of_call(one, other)
        elif type(one) is OrderedDictValue:
            yield one.state, other.state

    def meet_keys(self, one: Value, other: Value) -> None:
        """Compare keys of storages: they may be called otherwise, but each in one way."""
        if type(one) is not str or type(other) is not str:
            raise DifferenceError("the key of a storage is no text")
        if self.keys.setdefault(one, other) != other or self._back.setdefault(other, one) != one:
            raise DifferenceError("a storage is another one")


def _each(one: Collection[Value], other: Collection[Value]) -> _Pairs:
    if len(one) != len(other):
        raise DifferenceError("something has more parts in one file than in the other")
    return zip_longest(one, other, fillvalue=_NOTHING)


def _items(value: Value) -> list[tuple[Value, Value]]:
    return list(value.items) if type(value) is Opaque else [*value.items()]


def _flat(one: Collection[tuple[Value, Value]], other: Collection[tuple[Value, Value]]) -> _Pairs:
    """Pair keys with keys and values with values."""
    return _each([part for item in one for part in item], [part for item in other for part in item])


def _bits(number: complex) -> bytes:
    return pack("<dd", number.real, number.imag) if type(number) is complex else pack("<d", number)


def _name(value: Value) -> str:
    return type(value).__name__


# — the parts of each type —


def _of_sequence(_: Comparison, one: Any, other: Any) -> _Pairs:
    return _each(one, other)


def _of_dict(_: Comparison, one: Any, other: Any) -> _Pairs:
    yield from _flat(one.items(), other.items())
    if type(one) is OrderedDictValue:
        yield one.state, other.state


def _of_bytearray(_: Comparison, one: Any, other: Any) -> _Pairs:
    if one != other:
        raise DifferenceError("a bytearray differs")
    return iter(())


def _of_set(_: Comparison, one: Any, other: Any) -> _Pairs:
    """Pair the items by what they look like: their order says nothing."""
    ours, theirs = ({_sign(part, _SIGN_DEPTH): part for part in side} for side in (one, other))
    if not len(one) == len(other) == len(ours) == len(theirs):
        raise DifferenceError("the items of a set can't be told apart, or are more in one file than in the other")
    if ours.keys() != theirs.keys():
        raise DifferenceError("a set holds something else")
    return iter([(part, theirs[sign]) for sign, part in ours.items()])


def _sign(value: Value, depth: int) -> str:
    """Write down what a value looks like from the outside."""
    kind = type(value)
    if kind in _PLAIN or kind is float or kind is complex:
        return f"{kind.__name__} {_bits(value).hex() if kind in (float, complex) else value!r}"
    if kind is Global:
        return f"global {value.module!r} {value.name!r}"
    if depth == 0:
        return kind.__name__
    if kind is tuple:
        return f"({','.join([_sign(part, depth - 1) for part in value[:_SIGN_PARTS]])},{len(value)})"
    if kind is Opaque:
        return f"{value.dotted!r}{_sign(value.args, depth - 1)}"
    return kind.__name__


def _of_global(_: Comparison, one: Global, other: Global) -> _Pairs:
    if (one.module, one.name) != (other.module, other.name):
        raise DifferenceError("another name stands where a name stood")
    return iter(())


def _of_opaque(_: Comparison, one: Opaque, other: Opaque) -> _Pairs:
    yield from _of_call(one, other)
    yield from _flat(one.items, other.items)


def _of_call(one: Opaque, other: Opaque) -> _Pairs:
    if one.new is not other.new:
        raise DifferenceError("an object is made in another way")
    yield one.callee, other.callee
    yield one.args, other.args
    yield one.state, other.state
    yield from _each(one.elements, other.elements)


def _of_storage(comparison: Comparison, one: StorageValue, other: StorageValue) -> _Pairs:
    if (one.dtype, one.numel, one.location) != (other.dtype, other.numel, other.location):
        raise DifferenceError("a storage has another type, size or place")
    comparison.meet_keys(one.key, other.key)
    return iter(())


def _of_reference(comparison: Comparison, one: Reference, other: Reference) -> _Pairs:
    comparison.meet_keys(one.parts[2], other.parts[2])
    return _each(one.parts[:2] + one.parts[3:], other.parts[:2] + other.parts[3:])


def _of_tensor(_: Comparison, one: TensorValue, other: TensorValue) -> _Pairs:
    if any(getattr(one, name) != getattr(other, name) for name in _OF_A_TENSOR):
        raise DifferenceError("a tensor is described in another way")
    return iter([(one.storage, other.storage), (one.extra, other.extra), (one.attributes, other.attributes)])


_OF_A_TENSOR = ("dtype", "shape", "stride", "offset", "layout", "requires_grad", "parameter", "conjugate", "negative")
_PARTS: dict[type, Callable[[Comparison, Any, Any], _Pairs]] = {
    **dict.fromkeys((list, tuple), _of_sequence),
    **dict.fromkeys((dict, OrderedDictValue), _of_dict),
    **dict.fromkeys((set, frozenset), _of_set),
    bytearray: _of_bytearray,
    Global: _of_global,
    Opaque: _of_opaque,
    StorageValue: _of_storage,
    Reference: _of_reference,
    TensorValue: _of_tensor,
}
