"""What is to be written down: collected, committed in one transaction, and told in the log only once it is.

While the index can't be written nothing is forgotten: the entries wait, and the loop stops reading files until there is
room for what it already knows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

from ckptd.errors import IndexUnavailableError, StorageError
from ckptd.index.batch import Batch
from ckptd.index.store import Store
from ckptd.storage.journal import Journal

#: Entries in one transaction, and how long the first may wait for company.  A commit costs about a millisecond.
MOST_ENTRIES = 128
LONGEST_WAIT_SECONDS = 0.05
#: Entries that may wait while the index is unavailable, before files are left unread.
MOST_WAITING = 1_024
#: Seconds between tries while the index is unavailable.
RETRY_SECONDS = 1.0

_log = structlog.get_logger()

#: What one entry does inside of a transaction.
Write = Callable[[Batch], None]


class Recording:
    """Collect writes and commit them together.

    Threading: belongs to the loop.
    """

    def __init__(self, store: Store, journal: Journal) -> None:
        self._store = store
        self._journal = journal
        self._writes: list[Write] = []
        self._lines: list[dict[str, Any]] = []
        self._events: list[tuple[str, str, dict[str, Any]]] = []
        self._calls: list[Callable[[], None]] = []
        self._since: float | None = None
        self._retry_at: float | None = None

    def __len__(self) -> int:
        return len(self._writes)

    @property
    def has_room(self) -> bool:
        """Say whether more may be put in without fear for the memory."""
        return len(self._writes) < MOST_WAITING

    @property
    def is_in_trouble(self) -> bool:
        """Say whether the last try to write failed."""
        return self._retry_at is not None

    def write(self, write: Write, now: float) -> None:
        """Put one entry into the next transaction."""
        self._writes.append(write)
        if self._since is None:
            self._since = now

    def remember(self, line: dict[str, Any]) -> None:
        """Put one line into the journal, before the transaction is committed."""
        self._lines.append(line)

    def tell(self, level: str, event: str, **values: Any) -> None:
        """Log an event once the transaction is committed."""
        self._events.append((level, event, values))

    def then(self, call: Callable[[], None]) -> None:
        """Call something once the transaction is committed, so that what it asks the index about is there."""
        self._calls.append(call)

    def next_due(self) -> float | None:
        """Say when a flush is due."""
        if self._retry_at is not None:
            return self._retry_at
        return None if self._since is None else self._since + LONGEST_WAIT_SECONDS

    def flush_if_due(self, now: float, *, idle: bool) -> None:
        """Commit when enough has come together, when it waited long enough, or when nothing else is on its way."""
        if not self._writes and not self._lines:
            self._tell_all()
            return
        if self._retry_at is not None and now < self._retry_at:
            return
        due = self.next_due()
        if idle or len(self._writes) >= MOST_ENTRIES or (due is not None and now >= due):
            self.flush(now)

    def flush(self, now: float) -> bool:
        """Commit, and say whether all is written; trouble is logged, and everything stays for the next try."""
        if not self._writes and not self._lines:
            return True
        try:
            if self._lines:
                self._journal.append(self._lines)
                self._lines = []
            with self._store.batch() as batch:
                for write in self._writes:
                    write(batch)
        except (IndexUnavailableError, StorageError) as error:
            if self._retry_at is None:
                _log.error("index.unavailable", reason=str(error), waiting=len(self._writes))
            self._retry_at = now + RETRY_SECONDS
            return False
        if self._retry_at is not None:
            _log.info("index.available", written=len(self._writes))
        self._writes, self._since, self._retry_at = [], None, None
        self._tell_all()
        return True

    def _tell_all(self) -> None:
        events, self._events = self._events, []
        log = _log.bind() if events else None  # once: each call of the lazy logger binds anew
        for level, event, values in events:
            getattr(log, level)(event, **values)
        calls, self._calls = self._calls, []
        for call in calls:
            call()
