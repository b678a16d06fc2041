"""What a budget or a floor needs: bytes that are to come free, in a root or on a file system."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ckptd.policy.retention.blocks import count_freed, count_total
from ckptd.policy.retention.codes import AlertCode, ReasonCode
from ckptd.policy.retention.draft import Draft, Group, split_by_root
from ckptd.policy.retention.facts import Disk, Fact
from ckptd.policy.retention.phrases import say_size
from ckptd.policy.retention.plan import Action, Alert
from ckptd.policy.retention.rules import Policy

#: (root, number of the file system) → bytes.
Freed = Mapping[tuple[str, int], int]


@dataclass(frozen=True, slots=True)
class Need:
    """How much is to come free, and where.

    Attributes:
        code: of the reason for what goes because of it.
        message: the first half of that reason.
        missing_bytes: 0 or less when there is enough.
        roots: whose checkpoints help.
        device: number of the file system that they must lie on; None where it does not matter.
    """

    code: ReasonCode
    message: str
    missing_bytes: int
    roots: frozenset[str]
    device: int | None = None

    def is_served_by(self, fact: Fact) -> bool:
        """Say whether the blocks of a checkpoint count."""
        return fact.root in self.roots and self.device in (None, fact.inode[0])


def find_needs(groups: Sequence[Group], policy: Policy, disks: Iterable[Disk]) -> list[Need]:
    """Say what is missing after everything that the rules let go, held or not, and after a purge of the trash."""
    return list(_find_needs(groups, policy, disks, lambda draft: draft.wanted is not Action.KEEP))


def find_missing(groups: Sequence[Group], policy: Policy, disks: Sequence[Disk]) -> list[Alert]:
    """Say what is missing after what really goes."""
    alerts = []
    for need in _find_needs(groups, policy, disks, lambda draft: draft.wanted is not Action.KEEP and not draft.holds):
        if need.missing_bytes > 0:
            is_budget = need.code is ReasonCode.OVER_BUDGET
            code = AlertCode.BUDGET_NOT_MET if is_budget else AlertCode.FLOOR_NOT_MET
            message = f"{need.message}: {say_size(need.missing_bytes)} are missing, and nothing else may go for it"
            alerts += [Alert(code, message, root) for root in sorted(need.roots)]
    if policy.free_bytes is not None:
        known = {disk.root for disk in disks}
        message = "nobody could say how much is free, so nothing goes for the floor"
        unknown = sorted({group.root for group in groups} - known)
        alerts += [Alert(AlertCode.FLOOR_UNKNOWN, message, root) for root in unknown]
    return alerts


def _find_needs(
    groups: Sequence[Group], policy: Policy, disks: Iterable[Disk], goes: Callable[[Draft], bool]
) -> Iterator[Need]:
    if policy.total_bytes is None and policy.free_bytes is None:
        return
    freed: Counter[tuple[str, int]] = Counter()
    for root, inside in split_by_root(groups):
        drafts = [draft for group in inside for draft in group.drafts]
        going = [draft for draft in drafts if goes(draft)]
        count_freed(going)
        for draft in going:
            freed[root, draft.fact.inode[0]] += draft.frees_bytes
        if policy.total_bytes is not None:
            missing = (
                count_total(draft.fact for draft in drafts) - sum(draft.frees_bytes for draft in going) - policy.total_bytes
            )
            message = f"the budget of {say_size(policy.total_bytes)} is exceeded"
            yield Need(ReasonCode.OVER_BUDGET, message, missing, frozenset((root,)))
    if policy.free_bytes is not None:
        yield from _find_floors(policy.free_bytes, disks, freed)


def _find_floors(floor_bytes: int, disks: Iterable[Disk], freed: Freed) -> Iterator[Need]:
    """Take the roots of one file system together: what one of them gives serves the others."""
    shared: dict[tuple[int | None, str], list[Disk]] = {}
    for disk in sorted(disks, key=lambda disk: disk.root):
        shared.setdefault((disk.device, disk.root if disk.device is None else ""), []).append(disk)
    for (device, _), together in shared.items():
        roots = frozenset(disk.root for disk in together)
        free = min(disk.free_bytes for disk in together) + sum(disk.trash_bytes for disk in together)
        free += sum(amount for (root, place), amount in freed.items() if root in roots and device in (None, place))
        yield Need(
            ReasonCode.BELOW_FLOOR, f"less than {say_size(floor_bytes)} would be free", floor_bytes - free, roots, device
        )
