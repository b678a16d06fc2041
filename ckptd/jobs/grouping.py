"""Which group a checkpoint belongs to, by the settings: for the policy, and for whoever waits for the next one of a group."""

from __future__ import annotations

from typing import Protocol

from ckptd.settings.retention import PolicySettings

#: Between the parts of a group's name.
SEPARATOR = " · "


class Named(Protocol):
    """What a group can be made of."""

    @property
    def model(self) -> str | None:
        """The model's name."""

    @property
    def path(self) -> str:
        """Relative to the root."""


def find_group(one: Named, confidence: float, settings: PolicySettings) -> str | None:
    """Name the group of a checkpoint; None where the name of its model is not sure enough.

    Args:
        one: has an attribute for each of `GROUP_FIELDS` but the directory.
        confidence: how sure the model's name is, 0 to 1.
        settings: which fields make a group.
    """
    if one.model is None or confidence < settings.min_confidence:
        return None
    parts = []
    for name in settings.group_by:
        part = one.path.rpartition("/")[0] if name == "directory" else getattr(one, name)
        if part:
            parts.append(part)
    return SEPARATOR.join(parts) or one.model
