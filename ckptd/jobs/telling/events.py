"""Rows of the audit as alerts.  Pure."""

from __future__ import annotations

from collections.abc import Mapping

from ckptd.index.following import Event
from ckptd.model import Json, Status
from ckptd.notify.folding import Seen

#: Rows that may be an alert, and those by which a group is known to live.
WANTED = ("checkpoint.ready", "checkpoint.rejected", "export.failed", "export.error")

_REJECTED = {
    Status.UNSAFE.value: "checkpoint-unsafe",
    Status.DAMAGED.value: "checkpoint-damaged",
    Status.UNREADABLE.value: "checkpoint-unread",
    Status.FAILED.value: "checkpoint-unread",
}
_NOT_FINITE = "non-finite-weights"


def read_event(event: Event) -> Seen | None:
    """Say which alert a row of the audit is; None for none.

    What was known already (recalled, moved) is no news, and an inspection that is tried again is no failure yet.
    """
    kind = None if event.why.get("how") else _find_kind(event)
    if kind is None or event.root is None:
        return None
    return Seen(kind, event.root, event.at, _describe(event))


def is_arrival(event: Event) -> bool:
    """Say whether a row is about a checkpoint that came, or was saved again, and is good."""
    return event.what == "checkpoint.ready" and not event.why.get("how")


def _find_kind(event: Event) -> str | None:
    match event.what:
        case "checkpoint.rejected":
            return _REJECTED.get(str(event.why.get("status")))
        case "checkpoint.ready":
            findings = event.why.get("findings")
            return "weights-not-finite" if isinstance(findings, list) and _NOT_FINITE in findings else None
        case "export.failed" | "export.error":
            return "export-failed"
        case _:
            return None


def _describe(event: Event) -> str:
    target, reason = _text(event.why, "target"), _text(event.why, "reason")
    if event.what == "checkpoint.ready":  # the alert is about one of its findings, and the reason may be another's
        told = event.why.get("told")
        reason = (_text(told, _NOT_FINITE) if isinstance(told, dict) else "") or reason
    return f"{event.path or ''}{f' as {target}' if target else ''}{f': {reason}' if reason else ''}"


def _text(why: Mapping[str, Json], key: str) -> str:
    value = why.get(key)
    return value if isinstance(value, str) else ""
