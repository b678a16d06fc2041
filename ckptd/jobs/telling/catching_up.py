"""Whether what lay in the roots at some moment was read: before that, what is missing in the index is missing nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ckptd.index.following import load_cursor
from ckptd.index.ledger import load_freezes
from ckptd.index.store import Store
from ckptd.jobs.replaying import REINDEXED
from ckptd.jobs.standing import Standing

#: How long is waited for the reading of files at most where it does not come to an end: somebody may write for hours.
CATCH_UP_SECONDS = 600.0


def has_caught_up(standing: Standing | None, since: float) -> bool:
    """Say whether all that lay there at a moment was read and written down.

    Args:
        standing: of the daemon; None before it has one.
        since: the moment, seconds since the epoch.
    """
    if standing is None or not standing.has_reconciled or standing.waiting or standing.unwritten:
        return False
    return all(root.incident is not None or (root.rescanned_at or 0.0) >= since for root in standing.roots)


def _is_at_work(standing: Standing) -> bool:
    """Say whether what lies there is being read: else that nothing comes of it says nothing."""
    return standing.has_reconciled and not standing.unwritten and standing.paused_until is None


class Beginning:
    """Say when a follower of the audit may begin that the index does not know.

    An index that was made anew, because the old one is gone, is filled by the first look with what was there before: that is
    history.  One that never was any other has none.

    Args:
        follower: its name in the index.
        monotonic: seconds that nobody sets.
    """

    def __init__(self, follower: str, monotonic: Callable[[], float]) -> None:
        self._follower = follower
        self._monotonic = monotonic
        self._done: Mapping[str, int] | None = None
        self._since = monotonic()

    def may_begin(self, store: Store, standing: Standing | None) -> bool:
        """Say whether it may begin now: it is known, or nothing of the past is written down any more.

        Raises:
            IndexUnavailableError: the index can't be asked just now.
        """
        if store.ask(load_cursor, self._follower) is not None or REINDEXED not in store.ask(load_freezes):
            return True
        if standing is None or not _is_at_work(standing) or standing.counts != self._done:
            self._done, self._since = None if standing is None else standing.counts, self._monotonic()
        return has_caught_up(standing, 0.0) or self._monotonic() - self._since >= CATCH_UP_SECONDS
