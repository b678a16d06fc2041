"""What a smaller checkpoint will hold; done in a confined process, for here a hostile file is read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from mmap import mmap
from typing import Any, NamedTuple

from ckptd.checkpoint.budgets import BUDGETS
from ckptd.checkpoint.contents import Span
from ckptd.checkpoint.identify import identify
from ckptd.checkpoint.opcodes import PickleError, run
from ckptd.checkpoint.reader import Structure, read_source
from ckptd.checkpoint.source import ChangedError, Source
from ckptd.checkpoint.sparse import check_sparse
from ckptd.checkpoint.tensors import Builder
from ckptd.checkpoint.values import OrderedDictValue, Value
from ckptd.checkpoint.walk import walk
from ckptd.errors import WorkerError
from ckptd.model import Container, Json, Kind, Severity, Status
from ckptd.sandbox.serve import Progress
from ckptd.slim.parts import find_parts
from ckptd.slim.pickles import find_pickle
from ckptd.slim.program import read_program
from ckptd.slim.pruning import Pruned, prune
from ckptd.slim.refusal import NothingToDropError, SlimError
from ckptd.slim.writing import Draft
from ckptd.text import format_size

_LEGIBLE = frozenset({Status.OK, Status.NEEDS_CODE})
_BYTE_ORDERS = ("little", "big")


class SlimPlan(NamedTuple):
    """What is left out, and what the file will hold.

    Attributes:
        dropped: keys of the outermost dict.
    """

    dropped: tuple[str, ...]
    draft: Draft


def plan_slim(fd: int, shared: mmap, progress: Progress) -> dict[str, Json]:
    """Plan, as the function of `run_confined`; the pickle goes into memory that is shared, which it may fill.

    A refusal is an answer, `{"refused": …}`; everything else is what `read_plan` reads.
    """
    try:
        plan = _plan(Source(fd, os.fstat(fd).st_size, BUDGETS.whole_bytes), progress)
    except ChangedError:
        return {"refused": "changed", "why": "the file was cut short while it was read"}
    except NothingToDropError as error:
        return {"refused": "nothing", "why": error.why}
    except SlimError as error:
        return {"refused": "it", "why": error.why}
    shared[: len(plan.draft.pickle)] = plan.draft.pickle
    return {
        "dropped": list(plan.dropped),
        "pickle_bytes": len(plan.draft.pickle),
        "storages": [[*span] for span in plan.draft.storages],
        "byteorder": plan.draft.byteorder,
    }


def read_plan(answer: Mapping[str, Any], shared: mmap, size: int) -> SlimPlan:
    """Read what `plan_slim` answered, without trust.

    Args:
        answer: of the confined process.
        shared: the memory that it may have filled.
        size: of the source; the storages must lie in it, and be no more than it.

    Raises:
        WorkerError: it is something else.
    """
    try:
        dropped = tuple([str(name) for name in answer["dropped"] if name.isascii() and name.isprintable()])
        storages = [_read_span(*span) for span in answer["storages"]]
        length, order = _number(answer["pickle_bytes"]), answer["byteorder"]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise _lie(type(error).__name__) from error
    if not dropped or len(storages) > BUDGETS.members or length > len(shared) or order not in _BYTE_ORDERS:
        raise _lie("out of bounds")
    if any(span.offset + span.length > size for span in storages) or sum(span.length for span in storages) > size:
        raise _lie("storages that don't lie in the file")
    return SlimPlan(dropped, Draft(bytes(shared[:length]), storages, order))


def _read_span(offset: object, length: object, crc: object) -> Span:
    return Span(_number(offset), _number(length), None if crc is None else _number(crc, 1 << 32))


def _number(value: object, end: int = 1 << 63) -> int:
    if type(value) is not int or not 0 <= value < end:
        raise ValueError
    return value


def _lie(why: str) -> WorkerError:
    return WorkerError("a worker's answer was refused", why=why)


def refuse_status(structure: Structure) -> None:
    """Raise `SlimError` for what is not whole and harmless."""
    if structure.status in _LEGIBLE:
        return
    errors = [found.message for found in structure.findings if found.severity is Severity.ERROR]
    raise SlimError(f"it is {structure.status.value.replace('_', ' ')}: {errors[0] if errors else 'it cannot be read'}")


def _plan(source: Source, progress: Progress) -> SlimPlan:
    structure = read_source(source)
    progress(0)
    structure = replace(structure, findings=(*structure.findings, *check_sparse(source, structure)))
    refuse_status(structure)
    _refuse_form(structure)
    root = structure.root
    dropped = find_parts(root)
    if not dropped:
        raise NothingToDropError("nothing at its top has both the name and the structure of optimizer or scheduler state")
    pickle = find_pickle(source, structure)
    program = read_program(pickle.data, pickle.start)
    if len(program.pairs) != len(root):
        raise SlimError("its outermost dict is put together in an unusual way")
    pruned = prune(program, {number for number, key in enumerate(root) if key in dropped})
    _refuse_without_weights(pruned)
    draft = Draft(pruned.pickle, [*_spans(structure, pruned)], structure.byteorder or _BYTE_ORDERS[0])
    size = draft.plan().size
    if size >= source.size:
        raise NothingToDropError(f"without {', '.join(dropped)} it would be no smaller than {format_size(source.size)}")
    return SlimPlan(dropped, draft)


def _refuse_form(structure: Structure) -> None:
    root: Value = structure.root
    if structure.container is Container.LEGACY and structure.byteorder == "big":
        raise SlimError("it is of an old format and from a big-endian machine")
    known = identify(root, structure.tensors, structure.container)
    if known.kind is not Kind.CHECKPOINT:
        raise SlimError(f"it is no checkpoint of weights and more, but: {known.kind.value.replace('_', ' ')}")
    if type(root) is not dict and type(root) is not OrderedDictValue:
        raise SlimError("its outermost object is no plain dict")


def _refuse_without_weights(pruned: Pruned) -> None:
    """Read what is left as any reader does; there must be weights in it, and each storage under its new key."""
    builder = Builder()
    try:
        root, _ = run(pruned.pickle, 0, builder)
    except PickleError as error:
        raise SlimError(f"what would stay can't be read: {error.why}") from error
    if list(builder.storages) != [str(number) for number in range(len(pruned.storages))]:
        raise SlimError("what would stay does not refer to its storages one after the other")
    known = identify(root, walk(root).tensors, Container.ZIP)
    if not known.weights:
        raise SlimError("nothing that is known as weights would stay in it")


def _spans(structure: Structure, pruned: Pruned) -> Iterator[Span]:
    for key in pruned.storages:
        span = structure.storages.get(key)
        if span is None:
            raise SlimError("a storage that stays is not in the file by itself")
        yield span
