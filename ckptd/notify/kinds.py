"""Every kind of alert: how much it matters, what it means, what to do; docs/alerts.md says more, and a test compares."""

from __future__ import annotations

from typing import NamedTuple

from ckptd.model import Severity

_E, _W = Severity.ERROR, Severity.WARNING


class Kind(NamedTuple):
    """One kind of alert.

    Attributes:
        title: what it is, in a few words; the subject follows it.
        cure: what to do, in one sentence.
        lasts: True for a state, which ends and is then told as resolved; False for what happens and is over.
    """

    severity: Severity
    title: str
    cure: str
    lasts: bool


def _state(severity: Severity, title: str, cure: str) -> Kind:
    return Kind(severity, title, cure, lasts=True)


def _event(severity: Severity, title: str, cure: str) -> Kind:
    return Kind(severity, title, cure, lasts=False)


KINDS: dict[str, Kind] = {
    "checkpoint-unsafe": _event(
        _E, "unsafe checkpoint", "load it nowhere, and find out who put it there; `ckptd show` says what is in it"
    ),
    "checkpoint-damaged": _event(
        _E, "damaged checkpoint", "save it again, or bring a good copy back; `ckptd show` says which part is damaged"
    ),
    "checkpoint-unread": _event(
        _W, "checkpoint that could not be inspected", "look at its rights, its disk and the log; `ckptd show` says why"
    ),
    "weights-not-finite": _event(
        _W, "weights that hold NaN or infinity", "look at the training that saved it; `ckptd show` names the tensors"
    ),
    "bit-rot": _state(
        _E, "checkpoints whose bytes changed by themselves", "`ckptd doctor` says where a good copy is; look at the disk"
    ),
    "job-failed": _state(_E, "job failed", "`ckptd jobs` says why; its next run that is fine ends this"),
    "job-overdue": _state(_E, "job did not run in time", "`ckptd jobs` says what it waits for"),
    "root-lost": _state(
        _E, "root lost", "mount it again, or correct `roots`; nothing was marked missing and nothing is removed meanwhile"
    ),
    "root-frozen": _state(
        _E, "many files gone at once", "bring them back, or say that it is meant so: `ckptd scan --believe-losses`"
    ),
    "disk-low": _state(_E, "disk nearly full", "make room; `ckptd report` says what takes it, `ckptd plan` what could go"),
    "plan-held": _state(
        _W, "removal waits for a person", "look at it with `ckptd plan`, and confirm it with `ckptd apply --confirm`"
    ),
    "export-failed": _event(
        _W, "export failed", "`ckptd exports` says how it differs; the failed file lies aside and is used by nobody"
    ),
    "no-new-checkpoint": _state(
        _W, "no new checkpoint", "look whether the training runs, and whether it still saves here under that name"
    ),
    "archive-damaged": _state(
        _E, "archive that is not whole", "`ckptd archives` says what is lost; archive again what is still there"
    ),
    "settings-refused": _state(
        _W, "settings not taken over", "`ckptd config check` names every problem; the settings before are in use"
    ),
    "index-unavailable": _state(
        _E,
        "index can't be written",
        "make room in the state directory; what is known waits in memory and is lost by a kill",
    ),
}
