"""Everything a file says about its object and its tensors, without a look at their values: `read_structure`.

`ckptd.load` and the inspection read files by this one function, so that what was inspected is what is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ckptd.checkpoint.budgets import BUDGETS, Budgets
from ckptd.checkpoint.container import read_contents
from ckptd.checkpoint.contents import Contents, Span, View
from ckptd.checkpoint.findings import Problem, finding, judge
from ckptd.checkpoint.globals import Meaning
from ckptd.checkpoint.source import Source
from ckptd.checkpoint.tensors import storages_of
from ckptd.checkpoint.values import TensorValue, Value
from ckptd.checkpoint.walk import Walk, walk
from ckptd.model import Container, Finding, Status
from ckptd.text import escape

#: Names in one message.
_MOST_NAMES = 5


@dataclass(frozen=True, slots=True)
class Structure:
    """What a file holds.

    Attributes:
        root: the object, inert; None where it could not be read.
        tensors: (dotted name, tensor), in the file's order; one tensor under two names stands there twice.
        storages: key → where its bytes lie, of every storage that tensors need and the file holds.
        views: key → the part of another storage that it is.
        records: name → where it lies, of everything else that has a CRC.
        findings: of all that was looked at; values are not.
        byteorder: "little" or "big"; empty where the file does not say.
        checked: True when a CRC vouches for the pickle.
    """

    container: Container
    root: Value
    tensors: Sequence[tuple[str, TensorValue]] = ()
    storages: Mapping[str, Span] = field(default_factory=dict)
    views: Mapping[str, View] = field(default_factory=dict)
    records: Mapping[str, Span] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    byteorder: str = ""
    checked: bool = False

    @property
    def status(self) -> Status:
        """What follows from the findings so far."""
        return judge(self.findings, checked=self.checked)

    def names_of(self, storage: str) -> list[str]:
        """Give the names of the tensors that look into a storage, its views included."""
        keys = {storage, *(key for key, view in self.views.items() if view.root == storage)}
        return [name for name, tensor in self.tensors if any(held.key in keys for held in storages_of(tensor))]


def read_structure(fd: int, budgets: Budgets = BUDGETS) -> Structure:
    """Read the structure of an open file.

    Raises:
        ChangedError: the file became shorter while it was read.
        OSError: the disk says no.
    """
    return read_source(Source(fd, os.fstat(fd).st_size, budgets.whole_bytes), budgets)


def read_source(source: Source, budgets: Budgets = BUDGETS) -> Structure:
    """Read the structure of a file whose size is known; see `read_structure`."""
    contents = read_contents(source, budgets)
    if contents.foreign:
        return Structure(contents.container, None, findings=(finding("not-a-checkpoint", f"it is {contents.foreign}"),))
    walked = walk(contents.root, budgets)
    return Structure(
        contents.container,
        contents.root,
        walked.tensors,
        contents.spans,
        contents.views,
        contents.records,
        tuple(_findings(contents, walked)),
        contents.byteorder,
        contents.checked,
    )


def _findings(contents: Contents, walked: Walk) -> Iterable[Finding]:
    names = _Names(walked.tensors)
    for problem in (*contents.problems, *contents.builder.problems):
        yield finding(problem.code, problem.message, names.of(problem))
    yield from _of_globals(contents)
    if walked.too_deep is not None:
        yield finding("pickle-bomb", walked.too_deep)
    if contents.container is Container.TORCHSCRIPT:
        yield finding("torchscript", "it is TorchScript: torch.jit.load runs the program in it")
    elif walked.not_rebuilt:
        listed = ", ".join(walked.not_rebuilt[:_MOST_NAMES])
        yield finding("not-rebuilt", f"loading it without running code would leave out: {listed}")
    if contents.builder.is_changed:
        yield finding("not-rebuilt", "an object in it is given its content before that is whole, which ckptd does not repeat")
    if contents.container in {Container.LEGACY, Container.TAR, Container.PICKLE}:
        yield finding("no-crc", f"a {contents.container.value} file has no CRCs: flipped bits in it cannot be found")
    if contents.byteorder == "big":
        yield finding("byte-order", "it was written on a big-endian machine")


def _of_globals(contents: Contents) -> Iterable[Finding]:
    """Say which names are dangerous, and which need code."""
    meanings = contents.builder.meanings
    dangerous = sorted({name.dotted for name, meaning in meanings.items() if meaning is Meaning.DANGER})
    code = sorted({name.dotted for name, meaning in meanings.items() if meaning is Meaning.CODE})
    if dangerous:
        yield finding("dangerous-global", f"it names {_listed(dangerous)}, which no model needs")
    if code and contents.container is not Container.TORCHSCRIPT:
        yield finding("needs-code", f"loading it would run code: it names {_listed(code)}")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(escape(name, 80) for name in names[:_MOST_NAMES]) + more


class _Names:
    """The names of what a problem is about: a tensor, or all tensors in a storage.  Made when first asked."""

    def __init__(self, tensors: Sequence[tuple[str, TensorValue]]) -> None:
        self._tensors = tensors
        self._by_identity: dict[int, list[str]] | None = None

    def of(self, problem: Problem) -> Sequence[str]:
        if problem.subject is None:
            return ()
        if self._by_identity is None:
            self._by_identity = self._collect()
        return self._by_identity.get(id(problem.subject), ())

    def _collect(self) -> dict[int, list[str]]:
        found: dict[int, list[str]] = {}
        for name, tensor in self._tensors:
            subjects: list[object] = [tensor, *storages_of(tensor)]
            if type(tensor.extra) is tuple:
                subjects += [part for part in tensor.extra if type(part) is TensorValue]
            for subject in subjects:
                found.setdefault(id(subject), []).append(name)
        return found
