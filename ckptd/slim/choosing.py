"""Tell, from what the index knows of a checkpoint, whether a smaller one may be made of it.  No I/O, and nothing heavy."""

from __future__ import annotations

from ckptd.model import Container, Inspection, Kind, Status

_STATUSES = frozenset({Status.OK, Status.NEEDS_CODE})
_CONTAINERS = frozenset({Container.ZIP, Container.LEGACY})


def can_slim(kind: Kind | None, status: Status, container: Container, optimizer_bytes: int) -> bool:
    """Say whether it is worth a try: a whole checkpoint with weights beside the state of an optimizer.

    `slim_checkpoint` reads the file and may still find that there is nothing to drop: what is called an optimizer and has not
    the structure of one, or lies deeper than at the top of the object, stays.
    """
    return kind is Kind.CHECKPOINT and status in _STATUSES and container in _CONTAINERS and optimizer_bytes > 0


def droppable_bytes(inspection: Inspection) -> int:
    """Give how much smaller it may become; 0 for what is never made smaller."""
    optimizer_bytes = inspection.tensors.optimizer_bytes
    return optimizer_bytes if can_slim(inspection.kind, inspection.status, inspection.container, optimizer_bytes) else 0
