"""What a check of `ckptd doctor` found."""

from __future__ import annotations

from dataclasses import dataclass

from ckptd.model import Severity


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found.

    Attributes:
        name: what was looked at, in a few words.
        ok: False wants a person.
        cure: what to do; empty when ok.
    """

    name: str
    ok: bool
    severity: Severity
    message: str
    cure: str = ""


def good(name: str, message: str) -> Check:
    """Say that all is well."""
    return Check(name, ok=True, severity=Severity.INFO, message=message)


def bad(name: str, message: str, cure: str, severity: Severity = Severity.ERROR) -> Check:
    """Say what is wrong, and what to do about it."""
    return Check(name, ok=False, severity=severity, message=message, cure=cure)
