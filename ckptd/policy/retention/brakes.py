"""Too much at once: a plan that would take a large share of a group or a root waits for a person.

Counted is what goes by this plan and what went within the window before it, of the good ones that are there and what went.
What leaves its place (archive, trash) counts once and with its bytes.  Slimming leaves the checkpoint, so it counts with no
more than the bytes that it drops: they are lost as well when the trash is purged.  What is held for another reason counts too,
and what is not good counts nowhere: else a broken newcomer would make room for the removal of good ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ckptd.policy.retention.codes import AlertCode, ReasonCode
from ckptd.policy.retention.draft import Draft, Group
from ckptd.policy.retention.facts import Removal
from ckptd.policy.retention.phrases import say_span
from ckptd.policy.retention.plan import Action, Alert, Reason
from ckptd.policy.retention.rules import Policy


@dataclass(slots=True)
class Share:
    """How much of something goes, counted together."""

    gone_count: int = 0
    gone_bytes: int = 0
    all_count: int = 0
    all_bytes: int = 0

    def add_present(self, drafts: Sequence[Draft], steps: Sequence[Draft]) -> None:
        """Count checkpoints that are there, and those of them that something would happen to."""
        slims = [draft.fact for draft in steps if draft.wanted is Action.SLIM]
        goes = [draft.fact for draft in steps if draft.wanted is not Action.SLIM]
        sizes = [draft.fact.size_bytes for draft in drafts if draft.good]
        self.all_count += len(sizes)
        self.all_bytes += sum(sizes)
        self.gone_count += len(goes)
        self.gone_bytes += sum([fact.size_bytes for fact in goes])
        self.gone_bytes += sum([min(fact.optimizer_bytes, fact.size_bytes) for fact in slims])

    def add_recent(self, removals: Iterable[Removal]) -> None:
        """Count what went before."""
        for removal in removals:
            count = 0 if removal.action == Action.SLIM else 1
            self.gone_count += count
            self.all_count += count
            self.gone_bytes += removal.size_bytes
            self.all_bytes += removal.size_bytes

    def add_share(self, share: Share) -> None:
        """Count what another one counted."""
        self.gone_count += share.gone_count
        self.gone_bytes += share.gone_bytes
        self.all_count += share.all_count
        self.all_bytes += share.all_bytes

    @property
    def by_count(self) -> float:
        """Give the share of the checkpoints, 0 to 1."""
        return self.gone_count / self.all_count if self.all_count else 0.0

    @property
    def by_bytes(self) -> float:
        """Give the share of the bytes, 0 to 1."""
        return self.gone_bytes / self.all_bytes if self.all_bytes else 0.0


def apply_brakes(root: str, groups: Sequence[Group], policy: Policy, now: float, recent: Iterable[Removal]) -> list[Alert]:
    """Hold what would take too large a share of its group, and everything in a root of which too large a share would go.

    Args:
        root: of all of the groups.
        groups: all that there are in the root.
        policy: how much is too much.
        now: end of the window; what is said to have gone later still counts, for a clock that was set back.
        recent: what went before, in any root.
    """
    planned = [[draft for draft in group.drafts if draft.wanted is not Action.KEEP] for group in groups]
    if not any(planned):
        return []
    before: dict[str | None, list[Removal]] = {}
    for removal in recent:
        if removal.root == root and removal.at >= now - policy.window_seconds:
            before.setdefault(removal.group, []).append(removal)
    whole, alerts, held = Share(), [], []
    for group, steps in zip(groups, planned, strict=True):
        share = Share()
        share.add_present(group.drafts, steps)
        share.add_recent(before.pop(group.name, ()))
        whole.add_share(share)
        message = _say_excess(share, "its group", policy) if steps else ""
        held.append((Reason(ReasonCode.BRAKE_GROUP, message),) if message else ())
        if message:
            alerts.append(Alert(AlertCode.BRAKE_GROUP, message, root, group.name))
    for removals in before.values():  # of groups of which nothing is left
        whole.add_recent(removals)
    message = _say_excess(whole, "its root", policy)
    everywhere = (Reason(ReasonCode.BRAKE_ROOT, message),) if message else ()
    if message:
        alerts.append(Alert(AlertCode.BRAKE_ROOT, message, root))
    for steps, here in zip(planned, held, strict=True):
        holds = here + everywhere
        for draft in steps:
            draft.holds += holds
    return alerts


def _say_excess(share: Share, of_what: str, policy: Policy) -> str:
    """Say that a share is too large; "" when it is not."""
    if not (share.by_count > policy.max_fraction or share.by_bytes > policy.max_fraction):
        return ""
    return (
        f"{share.by_count:.1%} of {of_what} by count and {share.by_bytes:.1%} by bytes would be gone"
        f" within {say_span(policy.window_seconds)}; more than {policy.max_fraction:.1%} waits for a person"
    )
