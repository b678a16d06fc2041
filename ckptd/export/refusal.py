"""How the rooms of exports say that something can't be done as things are."""

from __future__ import annotations


class TargetError(Exception):
    """A module can't be built or a format can't hold it; one sentence for a person, and the verdict is `unavailable`."""
