"""One file of the corpora: how to build it, and what an inspector must say about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ckptd.model import Container, Kind, Status


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the inspection of one file must give.

    Attributes:
        statuses: the answers that are right; more than one only where the design leaves it open.
        container, kind, tensors: None where the corpus says nothing about it.
        findings: codes of which at least one must be present.
    """

    statuses: frozenset[Status]
    container: Container | None = None
    kind: Kind | None = None
    tensors: int | None = None
    findings: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Case:
    """One file: `build(path)` writes it, `rule` is the sentence it keeps or breaks."""

    name: str
    build: Callable[[Path], object]
    expected: Expectation
    rule: str = ""

    def write(self, directory: Path) -> Path:
        """Build the file in `directory` and give its path."""
        path = directory / f"{self.name.replace('/', '_')}.pth"
        self.build(path)
        return path


def expect(
    *statuses: Status,
    container: Container | None = None,
    kind: Kind | None = None,
    tensors: int | None = None,
    findings: str = "",
) -> Expectation:
    """Write an expectation down in one line."""
    return Expectation(frozenset(statuses), container, kind, tensors, frozenset(findings.split()))


#: Whatever is wrong with it, it must not pass; which of the three it is, the design leaves open.
NOT_OK = frozenset({Status.UNSAFE, Status.DAMAGED, Status.NEEDS_CODE})
#: Whole by its checksums, or not: it says what is not so.
DECEIT = frozenset({Status.UNSAFE, Status.DAMAGED})


def raw(name: str, data: bytes, statuses: frozenset[Status], rule: str, **fields: object) -> Case:
    """Make a case of ready bytes."""
    return Case(name, lambda path: path.write_bytes(data), Expectation(statuses, **fields), rule)


def late(name: str, make: Callable[[], bytes], statuses: frozenset[Status], rule: str) -> Case:
    """Make a case of bytes that are large, and so are made when they are wanted."""
    return Case(name, lambda path: path.write_bytes(make()), Expectation(statuses), rule)
