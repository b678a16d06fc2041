"""What a container reader hands on: the object, where its storages lie, and what was wrong on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from ckptd.checkpoint.findings import Problem
from ckptd.checkpoint.tensors import Builder
from ckptd.checkpoint.values import Value
from ckptd.model import Container


class Span(NamedTuple):
    """A run of bytes in the file.

    Attributes:
        offset, length: in bytes.
        crc: CRC-32 that was saved with it; None where none was.
    """

    offset: int
    length: int
    crc: int | None


class View(NamedTuple):
    """A storage that is a part of another one, as torch wrote them until 0.3.

    Attributes:
        root: key of the storage whose bytes it shares.
        offset, length: in bytes, inside of the root.
    """

    root: str
    offset: int
    length: int


@dataclass(slots=True)
class Contents:
    """One container, read to where it could be read.

    Attributes:
        builder: knows every name and every storage that was mentioned.
        root: the object; None also where it could not be read (`is_read` tells).
        is_read: True when the pickle of the object was read to its end.
        spans: key of a storage → its bytes.  What the object refers to and the file does not hold is missing here.
        records: name of a record that is no storage → its bytes, for the CRC.
        views: key of a storage → the part of another one that it is; such keys are not in `spans`.
        problems: beside those of the builder.
        byteorder: "little" or "big"; empty where the container does not say.
        checked: True when a CRC vouches for the pickle.
        foreign: what the file is, when it is no checkpoint; everything else is empty then.
    """

    container: Container
    builder: Builder = field(default_factory=Builder)
    root: Value = None
    is_read: bool = False
    spans: dict[str, Span] = field(default_factory=dict)
    records: dict[str, Span] = field(default_factory=dict)
    views: dict[str, View] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    byteorder: str = ""
    checked: bool = False
    foreign: str = ""

    def problem(self, code: str, message: str, subject: object = None) -> None:
        """Note what is wrong; more than enough is left out."""
        if len(self.problems) < 100:
            self.problems.append(Problem(code, message, subject))
