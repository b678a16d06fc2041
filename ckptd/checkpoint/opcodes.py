"""A closed virtual machine for pickles: it knows the opcodes torch.save writes, builds inert values, and calls nothing.

`run` reads one pickle.  Names go to a `Host`, which says what a name means and what calling it would describe; nothing is
ever imported or resolved.  The loop is one long function on purpose: a dispatch by calls costs three times as much, and a
file of 2,000 tensors has 90,000 opcodes.  Rare opcodes live in `_RARE`.

Source: CPython, Lib/pickletools.py, for the opcodes; torch/serialization.py for which of them occur.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress
from struct import Struct
from struct import error as struct_error
from typing import Any, NoReturn, Protocol

from ckptd.checkpoint.budgets import BUDGETS, Budgets
from ckptd.checkpoint.values import Global, Opaque, OrderedDictValue, Value
from ckptd.errors import FormatError
from ckptd.text import escape


class PickleError(FormatError):
    """A pickle that cannot be read on; `code` is that of the finding it becomes, `at` the offset, None where unknown."""

    def __init__(self, code: str, why: str, at: int | None = None) -> None:
        super().__init__("the pickle cannot be read", why=why if at is None else f"{why} at byte {at:,}")
        self.code = code
        self.at = at


class Host(Protocol):
    """What a machine asks about names.

    Attributes:
        calls: for each inert `Global`, by identity, the function that makes a value of the arguments.
    """

    calls: dict[Global, Callable[[tuple[Value, ...]], Value]]

    def find_global(self, module: str, name: str) -> Global:
        """Give the one `Global` of this name."""

    def call(self, callee: Value, args: Value) -> Value:
        """Describe a call that no entry of `calls` takes."""

    def hold(self, state: Value) -> None:
        """Remember what is copied into an object at this moment."""

    def persistent(self, key: Value) -> Value:
        """Give the storage, tensor or class that a persistent id refers to."""

    def problem(self, code: str, message: str, subject: object = None) -> None:
        """Note what is wrong without being in the way of reading on."""

    def is_key(self, key: Value) -> bool:
        """Tell whether a value may be a key of a dict or an item of a set."""

    def hashes(self, keys: Sequence[Value], size: int) -> bool:
        """Tell whether the numbers among the keys may go into a dict or set that then has `size` items."""


_u2 = Struct("<H").unpack_from
_u4 = Struct("<I").unpack_from
_i4 = Struct("<i").unpack_from
_u8 = Struct("<Q").unpack_from
_f8 = Struct(">d").unpack_from

#: How many opcodes run between two looks at the sizes of stack and memo.
_BATCH = 4096

#: Keys whose hash is keyed or fixed; numbers hash to themselves, so that a file can make them collide.
_CHEAP_KEYS = frozenset({str, bool, type(None), bytes})
_NUMBERS = frozenset({int, float})

#: Named for the message; every other byte is "unknown".
_FORBIDDEN = {
    0x32: "DUP",
    0x69: "INST",
    0x6F: "OBJ",
    0x92: "NEWOBJ_EX",
    0x82: "EXT1",
    0x83: "EXT2",
    0x84: "EXT4",
    0x50: "PERSID",
    0x49: "INT",
    0x4C: "LONG",
    0x46: "FLOAT",
    0x53: "STRING",
    0x56: "UNICODE",
    0x67: "GET",
    0x70: "PUT",
    0x64: "DICT",
    0x6C: "LIST",
    0x8B: "LONG4",
    0x8D: "BINUNICODE8",
    0x8E: "BINBYTES8",
    0x97: "NEXT_BUFFER",
    0x98: "READONLY_BUFFER",
    0x54: "BINSTRING",
    0x55: "SHORT_BINSTRING",
    0x80: "PROTO",
}
#: Those of them that call what they name.
_CALLING = frozenset((0x69, 0x6F, 0x92, 0x82, 0x83, 0x84))


class _State:
    """What rare opcodes may touch; the loop keeps its own copies and puts them here before such a call."""

    __slots__ = ("budgets", "data", "host", "memo", "metastack", "pos", "python2", "sets", "stack")

    def __init__(self, data: bytes, host: Host, budgets: Budgets, *, python2: bool) -> None:
        self.data = data
        self.host = host
        self.budgets = budgets
        self.python2 = python2
        self.pos = 0
        self.sets = 0
        self.stack: list[Value] = []
        self.metastack: list[list[Value]] = []
        self.memo: dict[int, Value] = {}


def run(data: bytes, start: int, host: Host, budgets: Budgets = BUDGETS, *, python2: bool = False) -> tuple[Value, int]:
    """Read the pickle that begins at `start`; give its value and the offset behind its STOP.

    Args:
        data: holds the whole pickle; it may go on behind it.
        start: where its PROTO opcode stands.
        host: what knows about names.
        budgets: limits.
        python2: take the string opcodes that Python 2 wrote (old containers only).

    Raises:
        PickleError: it is not one that torch.save writes, or is cut off.
    """
    state = _State(data, host, budgets, python2=python2)
    try:
        if data[start] != 0x80:
            raise PickleError("forbidden-opcode", "the pickle does not begin with its protocol", start)
        if not 2 <= data[start + 1] <= 5:
            raise PickleError("forbidden-opcode", f"the pickle says protocol {data[start + 1]}, which is none of 2 to 5", start)
        state.pos = start + 2
        for _ in range(budgets.opcodes // _BATCH + 1):
            if _run_batch(state):
                break
            _check_sizes(state)
        else:
            raise PickleError("pickle-bomb", f"it has more than {budgets.opcodes:,} opcodes", state.pos)
    except PickleError as error:
        if error.at is not None:
            raise
        raise PickleError(error.code, error.why, state.pos) from None
    except (IndexError, struct_error):
        raise PickleError("malformed-pickle", "it ends too early or takes from an empty stack", state.pos) from None
    except KeyError:
        raise PickleError("malformed-pickle", "it refers to something it never remembered", state.pos) from None
    except (UnicodeDecodeError, ValueError, TypeError, AttributeError):
        raise PickleError("malformed-pickle", "it puts together what does not fit", state.pos) from None
    if len(state.stack) != 1 or state.metastack:
        raise PickleError("malformed-pickle", "it leaves more or less than one object", state.pos)
    return state.stack[0], state.pos


def _check_sizes(state: _State) -> None:
    budgets = state.budgets
    if len(state.stack) + sum(map(len, state.metastack)) > budgets.stack:
        raise PickleError("pickle-bomb", f"it piles up more than {budgets.stack:,} objects", state.pos)
    if len(state.memo) > budgets.memo:
        raise PickleError("pickle-bomb", f"it remembers more than {budgets.memo:,} objects", state.pos)


def _run_batch(state: _State) -> bool:
    """Run `_BATCH` opcodes; True when STOP came."""
    data, host, memo, metastack, stack, pos = state.data, state.host, state.memo, state.metastack, state.stack, state.pos
    calls = host.calls
    push, most_text, most_marks, rare = stack.append, state.budgets.text_bytes, state.budgets.marks, _RARE
    try:
        for _ in range(_BATCH):
            op = data[pos]
            pos += 1
            if op == 0x71:  # BINPUT
                memo[data[pos]] = stack[-1]
                pos += 1
            elif op == 0x72:  # LONG_BINPUT
                memo[_u4(data, pos)[0]] = stack[-1]
                pos += 4
            elif op == 0x68:  # BINGET
                push(memo[data[pos]])
                pos += 1
            elif op == 0x94:  # MEMOIZE
                memo[len(memo)] = stack[-1]
            elif op == 0x4B:  # BININT1
                push(data[pos])
                pos += 1
            elif op == 0x58 or op == 0x8C:  # BINUNICODE, SHORT_BINUNICODE
                if op == 0x8C:
                    length = data[pos]
                    pos += 1
                else:
                    length = _u4(data, pos)[0]
                    pos += 4
                end = pos + length
                if end > len(data):
                    raise IndexError
                if length > most_text:
                    raise PickleError("pickle-bomb", f"it holds a text of {length:,} bytes", pos)
                try:
                    push(data[pos:end].decode())
                except UnicodeDecodeError:
                    push(data[pos:end].decode("utf-8", "surrogatepass"))  # as pickle itself does
                pos = end
            elif op == 0x28:  # MARK
                metastack.append(stack)
                stack = []
                push = stack.append
                if len(metastack) > most_marks:
                    raise PickleError("pickle-bomb", f"it nests deeper than {most_marks:,} marks", pos)
            elif op == 0x74:  # TUPLE
                items = stack
                stack = metastack.pop()
                push = stack.append
                push(tuple(items))
            elif op == 0x52:  # REDUCE
                args = stack.pop()
                callee = stack[-1]
                make = calls.get(callee) if type(callee) is Global and type(args) is tuple else None
                stack[-1] = make(args) if make is not None else host.call(callee, args)
            elif op == 0x51:  # BINPERSID
                stack[-1] = host.persistent(stack[-1])
            elif op == 0x6A:  # LONG_BINGET
                push(memo[_u4(data, pos)[0]])
                pos += 4
            elif op == 0x86:  # TUPLE2
                last = stack.pop()
                stack[-1] = (stack[-1], last)
            elif op == 0x85:  # TUPLE1
                stack[-1] = (stack[-1],)
            elif op == 0x89:  # NEWFALSE
                push(False)  # noqa: FBT003 — the value that the opcode means
            elif op == 0x29:  # EMPTY_TUPLE
                push(())
            elif op == 0x4D:  # BININT2
                push(_u2(data, pos)[0])
                pos += 2
            elif op == 0x4A:  # BININT
                push(_i4(data, pos)[0])
                pos += 4
            elif op == 0x7D:  # EMPTY_DICT
                push({})
            elif op == 0x4E:  # NONE
                push(None)
            elif op == 0x88:  # NEWTRUE
                push(True)  # noqa: FBT003 — the value that the opcode means
            elif op == 0x47:  # BINFLOAT
                push(_f8(data, pos)[0])
                pos += 8
            elif op == 0x87:  # TUPLE3
                last, middle = stack.pop(), stack.pop()
                stack[-1] = (stack[-1], middle, last)
            elif op == 0x5D:  # EMPTY_LIST
                push([])
            elif op == 0x2E:  # STOP
                return True
            else:
                state.pos, state.stack = pos, stack
                act = rare[op]
                if act is None:
                    _refuse(op, pos - 1)
                act(state)
                pos, stack = state.pos, state.stack
                push = stack.append
    finally:
        state.pos, state.stack = pos, stack
    return False


def _refuse(op: int, at: int) -> NoReturn:
    name = _FORBIDDEN.get(op)
    if op in _CALLING:
        raise PickleError("code-opcode", f"the opcode {name} calls code; torch.save never writes it", at)
    if name is not None:
        raise PickleError("forbidden-opcode", f"torch.save never writes the opcode {name}", at)
    raise PickleError("malformed-pickle", f"the byte 0x{op:02x} is no opcode", at)


def _take_mark(state: _State) -> list[Value]:
    items = state.stack
    state.stack = state.metastack.pop()
    return items


def _take_bytes(state: _State, length: int, most: int) -> bytes:
    end = state.pos + length
    if end > len(state.data):
        raise IndexError
    if length > most:
        raise PickleError("pickle-bomb", f"it holds {length:,} bytes in one piece", state.pos)
    raw = state.data[state.pos : end]
    state.pos = end
    return raw


def _frame(state: _State) -> None:
    if _u8(state.data, state.pos)[0] > len(state.data) - state.pos - 8:
        raise PickleError("malformed-pickle", "a frame reaches beyond the end", state.pos)
    state.pos += 8


def _pop(state: _State) -> None:
    # Recursive tuples end in POPs, or in one POP_MARK; only protocols 0 and 1 pop a mark by POP.
    state.stack.pop()


def _pop_mark(state: _State) -> None:
    _take_mark(state)


def _long1(state: _State) -> None:
    length = state.data[state.pos]
    if length > state.budgets.long_bytes:
        raise PickleError("pickle-bomb", f"it holds an integer of {length} bytes", state.pos)
    state.pos += 1
    state.stack.append(int.from_bytes(_take_bytes(state, length, length), "little", signed=True))


def _short_binbytes(state: _State) -> None:
    state.pos += 1
    state.stack.append(_take_bytes(state, state.data[state.pos - 1], 255))


def _binbytes(state: _State) -> None:
    length = _u4(state.data, state.pos)[0]
    state.pos += 4
    state.stack.append(_take_bytes(state, length, state.budgets.raw_bytes))


def _bytearray8(state: _State) -> None:
    length = _u8(state.data, state.pos)[0]
    state.pos += 8
    state.stack.append(bytearray(_take_bytes(state, length, state.budgets.raw_bytes)))


def _string2(state: _State) -> None:
    at = state.pos - 1
    if not state.python2:
        _refuse(state.data[at], at)
    if state.data[at] == 0x54:
        length = _i4(state.data, state.pos)[0]
        state.pos += 4
        if length < 0:
            raise PickleError("malformed-pickle", "a string has a negative length", at)
    else:
        length = state.data[state.pos]
        state.pos += 1
    raw = _take_bytes(state, length, state.budgets.text_bytes)
    try:
        state.stack.append(raw.decode())
    except UnicodeDecodeError:
        state.stack.append(raw)


def _global(state: _State) -> None:
    data, pos, most = state.data, state.pos, state.budgets.name_bytes
    first = data.find(b"\n", pos, pos + most + 2)
    second = data.find(b"\n", first + 1, pos + most + 2) if first >= 0 else -1
    if second < 0:
        if len(data) - pos < most:
            raise IndexError
        raise PickleError("pickle-bomb", f"a name is longer than {most} bytes", pos)
    state.pos = second + 1
    state.stack.append(state.host.find_global(data[pos:first].decode(), data[first + 1 : second].decode()))


def _stack_global(state: _State) -> None:
    name, module = state.stack.pop(), state.stack.pop()
    if type(name) is not str or type(module) is not str:
        raise PickleError("malformed-pickle", "a global's name is no text", state.pos)
    if len(name) + len(module) > state.budgets.name_bytes:
        raise PickleError("pickle-bomb", f"a name is longer than {state.budgets.name_bytes} characters", state.pos)
    state.stack.append(state.host.find_global(module, name))


def _newobj(state: _State) -> None:
    args, cls = state.stack.pop(), state.stack[-1]
    make = state.host.calls.get(cls) if type(cls) is Global and args == () and type(args) is tuple else None
    if type(cls) not in {Global, Opaque}:
        raise PickleError("forbidden-opcode", "NEWOBJ is given something that is no class", state.pos)
    state.stack[-1] = make(()) if make is not None else Opaque(cls, args, new=True)


def _build(state: _State) -> None:
    value, target = state.stack.pop(), state.stack[-1]
    if type(target) not in {OrderedDictValue, Opaque} or target.state is not None:
        raise PickleError("forbidden-opcode", "BUILD sets the state of something that takes none", state.pos)
    if type(target) is OrderedDictValue and type(value) is not dict:
        raise PickleError("forbidden-opcode", "BUILD gives an OrderedDict a state that is no dict", state.pos)
    target.state = value
    state.host.hold(value)


def _setitem(state: _State) -> None:
    value, key = state.stack.pop(), state.stack.pop()
    _set_items(state, [key, value])


def _setitems(state: _State) -> None:
    _set_items(state, _take_mark(state))


def _set_items(state: _State, items: Sequence[Value]) -> None:
    target = state.stack[-1]
    keys, values = items[::2], items[1::2]
    if len(keys) != len(values):
        raise PickleError("malformed-pickle", "a dict is given a key without a value", state.pos)
    if type(target) is Opaque:
        target.items.extend(zip(keys, values, strict=True))
        return
    if type(target) is not dict and type(target) is not OrderedDictValue:
        raise PickleError("forbidden-opcode", "SETITEM is used on something that is no dict", state.pos)
    before = len(target)
    good = _good_keys(state, keys, before, "a dict")
    if good is not None:
        target.update((k, v) for k, v, fine in zip(keys, values, good, strict=True) if fine)
        return
    target.update(zip(keys, values, strict=True))
    if len(target) != before + len(keys):
        state.host.problem("duplicate-key", f"a dict names a key twice (around {_one(keys)})")


def _one(keys: Sequence[Value]) -> str:
    return escape(keys[0], 60) if keys and type(keys[0]) is str else "another kind of key"


def _good_keys(state: _State, keys: Sequence[Value], held: int, where: str) -> list[bool] | None:
    """Tell which of these may be hashed, into something that holds `held` already; None when all may."""
    if {type(key) for key in keys} <= _CHEAP_KEYS:
        return None
    host = state.host
    good = [type(key) in _CHEAP_KEYS or type(key) is float or host.is_key(key) for key in keys]
    if not all(good):
        host.problem("odd-dict-key", f"{where} has a key that is neither text, number, bool nor None")
    if not host.hashes(keys, held + len(keys)):
        host.problem("not-rebuilt", f"{where} has more large numbers as keys than ckptd hashes")
        good = [fine and type(key) not in _NUMBERS for key, fine in zip(keys, good, strict=True)]
    return None if all(good) else good


def _append(state: _State) -> None:
    _append_all(state, [state.stack.pop()])


def _appends(state: _State) -> None:
    _append_all(state, _take_mark(state))


def _append_all(state: _State, items: list[Value]) -> None:
    target = state.stack[-1]
    if type(target) is list:
        target.extend(items)
    elif type(target) is Opaque:
        target.elements.extend(items)
    else:
        raise PickleError("forbidden-opcode", "APPEND is used on something that is no list", state.pos)


def _empty_set(state: _State) -> None:
    state.sets += 1
    if state.sets > state.budgets.sets:
        raise PickleError("pickle-bomb", f"it makes more than {state.budgets.sets:,} sets", state.pos)
    state.stack.append(set())


def _additems(state: _State) -> None:
    items = _take_mark(state)
    target = state.stack[-1]
    if type(target) is Opaque:
        target.elements.extend(items)
        return
    if type(target) is not set:
        raise PickleError("forbidden-opcode", "ADDITEMS is used on something that is no set", state.pos)
    good = _good_keys(state, items, len(target), "a set")
    target.update(items if good is None else compress(items, good))


def _frozenset(state: _State) -> None:
    items = _take_mark(state)
    _empty_set(state)
    state.stack.pop()
    good = _good_keys(state, items, 0, "a set")
    state.stack.append(frozenset(items if good is None else compress(items, good)))


def _table(entries: dict[int, Callable[[_State], None]]) -> list[Any]:
    return [entries.get(op) for op in range(256)]


_RARE = _table(
    {
        0x95: _frame,
        0x30: _pop,
        0x31: _pop_mark,
        0x8A: _long1,
        0x43: _short_binbytes,
        0x42: _binbytes,
        0x96: _bytearray8,
        0x54: _string2,
        0x55: _string2,
        0x63: _global,
        0x93: _stack_global,
        0x81: _newobj,
        0x62: _build,
        0x73: _setitem,
        0x75: _setitems,
        0x61: _append,
        0x65: _appends,
        0x8F: _empty_set,
        0x90: _additems,
        0x91: _frozenset,
    }
)
