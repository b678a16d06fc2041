"""When each group that somebody waits for last got a checkpoint: asked of the index once, and then followed by the audit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from ckptd.index.following import Event
from ckptd.index.store import Store
from ckptd.index.troubles import Arrival, load_arrivals
from ckptd.jobs.grouping import find_group
from ckptd.jobs.telling.events import is_arrival
from ckptd.settings.retention import PolicySettings


class Freshness:
    """Remember when the last checkpoint of each group came.

    Args:
        groups: which are waited for; without any, nothing is asked at all.
        settings: what makes a group.
    """

    def __init__(self, groups: Iterable[str], settings: PolicySettings) -> None:
        self._groups = frozenset(groups)
        self._settings = settings
        self._by_path = "directory" in settings.group_by
        self._newest: dict[str, float] = {}
        self._is_known = False

    @property
    def newest(self) -> Mapping[str, float]:
        """Group → when its last one came, seconds since the epoch; a group that never got one is not in it."""
        return self._newest

    def believe(self, now: float) -> None:
        """Let nothing have come later than now: it came under a clock that was ahead, and would silence its group till then.

        Args:
            now: seconds since the epoch.
        """
        self._newest = {group: min(at, now) for group, at in self._newest.items()}

    def learn(self, store: Store, events: Iterable[Event]) -> None:
        """Take in what came.

        Raises:
            IndexUnavailableError: it can't be asked just now; nothing is forgotten by that, since the caller asks again.
        """
        if not self._groups:
            return
        if not self._is_known:
            confidence = self._settings.min_confidence
            self._note(store.ask(partial(load_arrivals, by_path=self._by_path), confidence))
            self._is_known = True
        came = {(event.root, event.path): event.at for event in events if event.root and event.path and is_arrival(event)}
        if came:
            self._note(store.ask(self._find, came))

    def _find(self, connection: Any, host: str, came: Mapping[tuple[str, str], float]) -> list[Arrival]:
        found = []
        for place, at in came.items():
            arrivals = load_arrivals(connection, host, self._settings.min_confidence, by_path=self._by_path, at=place)
            found += [one._replace(at=at) for one in arrivals]
        return found

    def _note(self, arrivals: Iterable[Arrival]) -> None:
        for one in arrivals:
            group = find_group(one, 1.0, self._settings)  # the index was asked for those that are sure enough
            if group in self._groups:
                self._newest[group] = max(one.at, self._newest.get(group, 0.0))
