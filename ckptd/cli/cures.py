"""What a person can do about each finding; docs/findings.md says the same, and a test compares them."""

from __future__ import annotations

from typing import Final

CURES: Final[dict[str, str]] = {}


def find_cure(code: str) -> str:
    """Give the cure for a finding's code; empty when there is nothing to do."""
    return CURES.get(code, "")
