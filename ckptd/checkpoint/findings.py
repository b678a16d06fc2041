"""Every finding the engine can have: its code, its weight, what it means, and what it does to the status.

One table, so that docs/findings.md and the verdict can't drift apart.  `judge` is the only place where findings become a
status.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ckptd.model import Finding, Severity, Status
from ckptd.text import escape

_E, _W, _I = Severity.ERROR, Severity.WARNING, Severity.INFO

#: A finding names at most so many tensors (`ckptd.wire.MAX_NAMES`).
_MOST_NAMES = 100


class Meaning(NamedTuple):
    """What one code stands for.

    Attributes:
        weight: what it does to the status: "danger" makes the file unsafe whatever else is true of it; "deceit" makes it
            unsafe unless there is damage too, which explains it better; "odd" is deceit where the CRC of the pickle holds
            and damage where there is no CRC; "damage", "code", "foreign", "unreadable" and "failed" give the status of
            that name; "note" gives none.
    """

    severity: Severity
    weight: str
    description: str


FINDINGS: dict[str, Meaning] = {
    # Code that no model needs
    "dangerous-global": Meaning(_E, "danger", "The pickle names a function that runs commands, opens files or builds code."),
    "dangerous-attribute": Meaning(
        _E, "danger", "The pickle reaches for a dangerous attribute by name, through getattr or the like."
    ),
    # A pickle that torch.save does not write
    "forbidden-opcode": Meaning(_E, "odd", "The pickle holds an opcode that torch.save never writes."),
    "code-opcode": Meaning(_E, "deceit", "The pickle holds an opcode that calls code and that torch.save never writes."),
    "pickle-bomb": Meaning(_E, "odd", "The pickle goes beyond a limit that no real checkpoint comes near."),
    "odd-dict-key": Meaning(_E, "odd", "A dict or set holds a key that no checkpoint has and that is slow to hash."),
    "duplicate-key": Meaning(_E, "odd", "A dict names the same key twice, so that readers may differ on its value."),
    "odd-global-name": Meaning(_E, "odd", "A global has a name that is no name in Python."),
    "bytes-after-pickle": Meaning(_E, "odd", "Bytes follow the end of the pickle."),
    "malformed-pickle": Meaning(_E, "damage", "The pickle contradicts itself or ends too early."),
    # What tensors say of themselves
    "tensor-malformed": Meaning(_E, "damage", "A tensor is described in a way that torch.save never does."),
    "tensor-out-of-bounds": Meaning(_E, "damage", "A tensor reaches beyond its storage."),
    "tensor-expanded": Meaning(_E, "damage", "A view repeats its storage more often than any real one."),
    "storage-conflict": Meaning(_E, "damage", "One storage is described in two ways."),
    "storage-size-mismatch": Meaning(_E, "damage", "A storage has not as many bytes as its tensors need."),
    "storage-missing": Meaning(_E, "damage", "A storage that a tensor needs is not in the file."),
    "storage-unreferenced": Meaning(_E, "deceit", "The file holds a storage that nothing in it refers to."),
    # The zip
    "truncated": Meaning(_E, "damage", "The file ends before its content does."),
    "crc-mismatch": Meaning(_E, "damage", "Bytes of a record do not match the CRC-32 that was saved with them."),
    "header-mismatch": Meaning(_E, "damage", "A header in the zip is damaged: it differs in single bits from its second copy."),
    "end-record": Meaning(_E, "damage", "The end record of the zip contradicts the file."),
    "trailing-bytes": Meaning(_E, "damage", "Bytes follow the end of the file's content."),
    "member-missing": Meaning(_E, "damage", "A record that every checkpoint has is not in the zip."),
    "bad-record": Meaning(_E, "damage", "A small record of the zip (version, byteorder) does not say what it should."),
    "header-forged": Meaning(_E, "deceit", "Two headers of one zip member tell different stories."),
    "duplicate-member": Meaning(
        _E, "deceit", "The zip holds two members of the same name, of which readers see different ones."
    ),
    "several-folders": Meaning(_E, "deceit", "The zip holds more than the one folder that torch.save writes."),
    "hidden-bytes": Meaning(_E, "deceit", "The zip holds bytes that belong to no member."),
    "overlapping-members": Meaning(_E, "deceit", "Two members of the zip share bytes."),
    "compressed-member": Meaning(_E, "deceit", "A member is compressed or encrypted, which torch.save never does."),
    "unknown-member": Meaning(_E, "deceit", "The zip holds a member that torch.save does not write."),
    "zip-comment": Meaning(_E, "deceit", "The zip carries a comment, in which a second archive could hide."),
    "two-containers": Meaning(_E, "deceit", "The file is two containers at once, of which readers see different ones."),
    "zip-bomb": Meaning(_E, "deceit", "The zip goes beyond a limit that no real checkpoint comes near."),
    "crc-not-computed": Meaning(_I, "note", "The file was saved without CRCs, so flipped bits cannot be found in it."),
    "unused-bytes": Meaning(_I, "note", "Bytes that no reader uses (padding, time stamps) are not what torch.save writes."),
    # The older containers
    "no-crc": Meaning(_I, "note", "This container has no CRCs, so flipped bits cannot be found in it."),
    "byte-order": Meaning(_I, "note", "The file was written on a machine of the other byte order."),
    "malformed-container": Meaning(_E, "damage", "The container contradicts itself."),
    # Loading would run code
    "needs-code": Meaning(_W, "code", "Loading the file would run code of the classes and functions it names."),
    "torchscript": Meaning(_W, "code", "The file is TorchScript: a program with its weights."),
    "not-rebuilt": Meaning(_W, "code", "The file holds something that ckptd does not rebuild without running code."),
    # Values
    "non-finite-weights": Meaning(_W, "note", "Weights hold NaN or infinity."),
    # No checkpoint at all
    "not-a-checkpoint": Meaning(_E, "foreign", "The file is something else."),
    # Nothing could be said
    "unreadable": Meaning(_E, "unreadable", "The file could not be opened or read."),
    "file-too-large": Meaning(_E, "failed", "The file is larger than ckptd inspects."),
    "changed-while-reading": Meaning(_E, "failed", "The file was changed while it was read, again and again."),
    "inspector-error": Meaning(_E, "failed", "The inspector itself failed; please report it."),
}


class Problem(NamedTuple):
    """A finding before tensors have names: `subject` is the value it is about, compared by identity."""

    code: str
    message: str
    subject: object = None


def finding(code: str, message: str, tensors: Iterable[str] = ()) -> Finding:
    """Make a finding of a known code; names of tensors are escaped here, text in the message by the caller."""
    names = tuple([escape(name) for _, name in zip(range(_MOST_NAMES), tensors, strict=False)])
    return Finding(code, FINDINGS[code].severity, message, names)


def judge(findings: Sequence[Finding], *, checked: bool) -> Status:
    """Conclude from findings, strongest first.

    Args:
        findings: everything that was found.
        checked: True when CRCs vouch for the pickle, so that what is odd in it was put there.
    """
    weights = {FINDINGS[f.code].weight for f in findings}
    for weight, status in _WITHOUT_CONTENT:
        if weight in weights:
            return status
    if "danger" in weights:
        return Status.UNSAFE
    if "damage" in weights:
        return Status.DAMAGED
    if "deceit" in weights:
        return Status.UNSAFE
    if "odd" in weights:
        return Status.UNSAFE if checked else Status.DAMAGED
    return Status.NEEDS_CODE if "code" in weights else Status.OK


_WITHOUT_CONTENT = (
    ("unreadable", Status.UNREADABLE),
    ("failed", Status.FAILED),
    ("foreign", Status.NOT_A_CHECKPOINT),
)
