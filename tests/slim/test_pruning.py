"""Cutting pickles: what is left is what pickle itself would have written without the part."""

from __future__ import annotations

import io
import pickle
import pickletools
import random
from collections import OrderedDict
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptd.slim.comparing import Comparison
from ckptd.slim.pickles import Pickle, record
from ckptd.slim.program import read_program
from ckptd.slim.pruning import prune
from ckptd.slim.refusal import SlimError
from tests.corpus import asm


def unframed(data: bytes) -> bytes:
    """Leave out the frames of a pickle."""
    places = [(op.name, at) for op, _, at in pickletools.genops(data)] + [("END", len(data))]
    pairs = pairwise(places)
    return b"".join([data[start:end] for (name, start), (_, end) in pairs if name != "FRAME"])


def cut(data: bytes, *dropped: int) -> bytes:
    """Cut items out of the outermost dict of a pickle, by their positions."""
    return prune(read_program(data), set(dropped)).pickle


class Box:
    """An object with attributes, which pickle finds in this module."""


def make(rng: random.Random, pool: list[Any], depth: int, *, rings: bool) -> Any:
    """Make a value; one in three was made before, and with rings it may be one that holds this one."""
    if pool and rng.random() < 0.35:
        return rng.choice(pool)
    kind = rng.randrange(6)
    if depth == 0 or kind == 0:
        words = ["a", "cpu", "key0", "word"]
        made = rng.choice([None, True, 3, 700, 1 << 70, 2.5, b"x", 1j, (), frozenset("q"), float, {1, 2}, *words])
        pool.append(made)
        return made
    count = rng.randrange(5)
    if kind == 1:
        tuple_made = tuple(make(rng, pool, depth - 1, rings=rings) for _ in range(count))
        pool.append(tuple_made)
        return tuple_made
    holder: Any = [[], {}, OrderedDict(), Box()][kind - 2]
    if rings:
        pool.append(holder)
    for number in range(count):
        part = make(rng, pool, depth - 1, rings=rings)
        if kind == 2:
            holder.append(part)
        else:
            (vars(holder) if kind == 5 else holder)[rng.choice(["a", "cpu", f"n{number}"])] = part
    if not rings:
        pool.append(holder)
    return holder


def make_root(rng: random.Random, *, rings: bool) -> tuple[Any, list[int]]:
    """Make a dict of values that share parts, and choose items of it."""
    pool: list[Any] = []
    root: Any = rng.choice((dict, OrderedDict))()
    for number in range(rng.randrange(1, 7)):
        root[rng.choice(["cpu", "a", f"key{number}", number])] = make(rng, pool, 3, rings=rings)
    return root, [number for number in range(len(root)) if rng.random() < 0.4]


def without(root: Any, dropped: list[int]) -> Any:
    """Leave out items by their positions."""
    return type(root)(item for number, item in enumerate(root.items()) if number not in dropped)


@settings(max_examples=400)
@given(st.integers(0, 2**32), st.sampled_from([2, 3, 4, 5]))
def test_what_is_left_is_what_pickle_writes_without_it(seed, protocol):
    """For objects that share parts in any way but in rings, byte for byte, and nothing is ever refused."""
    root, dropped = make_root(random.Random(seed), rings=False)
    assert cut(pickle.dumps(root, protocol), *dropped) == unframed(pickle.dumps(without(root, dropped), protocol))


@settings(max_examples=400)
@given(st.integers(0, 2**32), st.sampled_from([2, 3, 4, 5]))
def test_rings_are_kept_or_refused(seed, protocol):
    """For objects that hold themselves the outcome makes the same calls and the same object, or there is none."""
    root, dropped = make_root(random.Random(seed), rings=True)
    data = pickle.dumps(root, protocol)
    try:
        left = cut(data, *dropped)
    except SlimError:
        return
    keys = [key for number, key in enumerate(root) if number in dropped]
    if all(type(key) is str for key in keys):
        Comparison().compare(record(Pickle(data, 0)), record(Pickle(left, 0)), keys)
    assert isomorphic(without(pickle.loads(data), dropped), pickle.loads(left))


def isomorphic(one: Any, other: Any) -> bool:
    """Compare two objects by type, value and identity; the plain way, to hold the other one against."""
    partners: dict[int, int] = {}
    back: dict[int, int] = {}
    pending, alive = [(one, other)], []
    while pending:
        left, right = pending.pop()
        alive.append((left, right))
        if type(left) is not type(right):
            return False
        if isinstance(left, (list, tuple, dict, Box)) and left != ():
            if id(left) in partners or id(right) in back:
                if partners.get(id(left)) != id(right) or back.get(id(right)) != id(left):
                    return False
                continue
            partners[id(left)], back[id(right)] = id(right), id(left)
            ours, theirs = (
                [part for item in vars(side).items() for part in item]
                if isinstance(side, Box)
                else [part for item in side.items() for part in item]
                if isinstance(side, dict)
                else list(side)
                for side in (left, right)
            )
            if len(ours) != len(theirs):
                return False
            pending += zip(ours, theirs, strict=True)
        elif left != right:
            return False
    return True


@pytest.mark.parametrize("protocol", [2, 4])
def test_more_items_than_one_batch(protocol):
    """Pickle sets a thousand items at a time: one may go as a whole, and one item alone is set in another way."""
    root = {f"k{number}": [number] for number in range(2001)}
    data = pickle.dumps(root, protocol)
    assert pickle.loads(cut(data, *range(1000))) == without(root, [*range(1000)])
    assert pickle.loads(cut(data, 2000)) == without(root, [2000])
    assert pickle.loads(cut(data, *range(2001))) == {}
    left = cut(data, *range(1, 1000), *range(1001, 2000))
    assert pickle.loads(left) == {"k0": [0], "k1000": [1000], "k2000": [2000]}
    assert [op.name for op, _, _ in pickletools.genops(left)].count("SETITEM") == 3


def test_a_word_that_is_also_the_key_of_a_storage():
    """Storages are counted anew; a text that pickle remembered as the same word keeps its own."""
    key = asm.text("7") + asm.put(9)
    first = asm.tensor(
        asm.sequence(asm.text("storage"), asm.named("torch", "FloatStorage"), key, asm.text("cpu"), asm.integer(4))
        + asm.BINPERSID
    )
    again = asm.tensor(
        asm.sequence(asm.text("storage"), asm.named("torch", "FloatStorage"), asm.get(9), asm.text("cpu"), asm.integer(4))
        + asm.BINPERSID
    )
    body = asm.EMPTY_DICT + asm.MARK
    body += asm.text("gone") + first + asm.text("kept") + again + asm.text("word") + asm.get(9) + asm.text("more") + again
    pruned = prune(read_program(asm.program(body + asm.SETITEMS)), {0})
    assert pruned.storages == ["7"]
    left = record(Pickle(pruned.pickle, 0))
    assert left["word"] == "7"
    assert [left[name].args[0].parts[2] for name in ("kept", "more")] == ["0", "0"]


def test_a_word_that_is_the_key_of_a_storage_that_stays():
    """The same when both stay, and the word comes first or last."""

    def storage(key):
        return asm.sequence(asm.text("storage"), asm.named("torch", "FloatStorage"), key, asm.text("cpu"), asm.integer(4))

    for kept in (
        asm.text("a") + asm.tensor(storage(asm.text("5") + asm.put(3)) + asm.BINPERSID) + asm.text("b") + asm.get(3),
        asm.text("b") + asm.text("5") + asm.put(3) + asm.text("a") + asm.tensor(storage(asm.get(3)) + asm.BINPERSID),
    ):
        body = asm.EMPTY_DICT + asm.MARK + asm.text("gone") + asm.EMPTY_LIST + kept + asm.SETITEMS
        left = record(Pickle(cut(asm.program(body), 0), 0))
        assert (left["b"], left["a"].args[0].parts[2]) == ("5", "0")


def test_a_ring_through_a_tuple_is_refused():
    """What goes holds a tuple that holds what goes: no order of opcodes makes it the same."""
    ring: list[Any] = []
    ring.append((ring,))
    with pytest.raises(SlimError, match="ring that can't be cut"):
        cut(pickle.dumps({"gone": ring, "kept": ring[0]}, 2), 0)
    assert pickle.loads(cut(pickle.dumps({"gone": ring, "kept": ring}, 2), 0))["kept"][0][0][0]


def test_what_is_put_into_a_kept_thing_by_a_part_that_goes_is_noticed():
    """A list is filled by code inside of the part that goes: cutting loses that, and the comparison says so."""
    filling = asm.get(1) + asm.text("late") + b"a"
    body = (
        asm.EMPTY_DICT + asm.MARK + asm.text("kept") + asm.EMPTY_LIST + asm.put(1) + asm.text("gone") + filling + asm.SETITEMS
    )
    data = asm.program(body)
    one, other = record(Pickle(data, 0)), record(Pickle(cut(data, 1), 0))
    assert (one["kept"], other["kept"]) == (["late"], [])
    with pytest.raises(Exception, match="more parts"):
        Comparison().compare(one, other, ["gone"])


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (asm.EMPTY_LIST + asm.put(1) + asm.put(2), "can't cut"),  # one value remembered twice
        (asm.get(7), "can't cut"),
        (b"U\x01a", "can't cut"),  # Python 2
        (b"\x92", "can't cut"),
        (b"X\xff\xff\xff\x7fabc", "can't cut"),
        (asm.MARK, "can't cut"),
        (asm.integer(1) + asm.integer(2), "can't cut"),
        (
            asm.sequence(asm.text("a"), asm.text("b"), asm.integer(3), asm.text("c"), asm.integer(4)) + asm.BINPERSID,
            "can't cut",
        ),
        (asm.sequence(asm.text("module"), asm.NONE, asm.text("x"), asm.text("y")) + asm.BINPERSID, "source of classes"),
        (asm.sequence(*[asm.text("a")] * 5, asm.EMPTY_TUPLE) + asm.BINPERSID, "parts of others"),
    ],
)
def test_what_is_not_understood_is_refused(body, why):
    """Whatever torch.save does not write is no error of ours, but a refusal."""
    with pytest.raises(SlimError, match=why):
        read_program(asm.program(body))


def test_no_byte_of_a_pickle_can_break_more_than_the_reading():
    """Every cut and every flipped byte is read or refused."""
    data = pickle.dumps({"a": [1, ("x", 2.5)], "b": {"c": {1, 2}}, "d": OrderedDict(e=b"f")}, 4)
    for at in range(len(data)):
        for bent in (data[:at], data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]):
            try:
                program = read_program(bent)
                prune(program, {0} if program.pairs else set())
            except SlimError:
                continue


def test_the_pickles_of_torch_are_cut_to_what_torch_writes():
    """Weights behind an optimizer: their storages are counted from 0, as in a file that never held the optimizer."""
    import zipfile

    import torch

    from tests.corpus import objects

    model, optimizer = objects.trained("Adam")

    def saved(value):
        held = io.BytesIO()
        torch.save(value, held)
        return zipfile.ZipFile(held).read("archive/data.pkl")

    kept = {"model": model.state_dict(), "device": "cpu"}
    whole = {"optimizer": optimizer.state_dict(), **kept}
    pruned = prune(read_program(saved(whole)), {0})
    assert pruned.pickle == saved(kept)
    assert pruned.storages == [str(number) for number in range(24, 33)]
