"""One moment of the daemon as values, and what of the loop's own word about itself is looked at.

The protocols are what `jobs.standing` has; it lies above this room, which therefore does not import it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ckptd.health.disks import Survey
from ckptd.health.figures import Figures


class SignView(Protocol):
    """Whether one part of the daemon answers."""

    @property
    def name(self) -> str:
        """Name of the part."""

    @property
    def ok(self) -> bool:
        """Whether it answers."""

    @property
    def why(self) -> str:
        """What is wrong; empty when nothing is."""


class RootView(Protocol):
    """How one root stands."""

    @property
    def path(self) -> str:
        """Absolute, links resolved."""

    @property
    def incident(self) -> str | None:
        """Why nothing below it is believed; None in good times."""

    @property
    def frozen(self) -> int:
        """How many parts of it wait for a person."""

    @property
    def watched_by(self) -> str:
        """One of `about_daemon.WATCHED_BY`."""

    @property
    def events(self) -> int:
        """Of the kernel, since the start."""

    @property
    def overflows(self) -> int:
        """How often the kernel dropped events."""

    @property
    def rescans(self) -> int:
        """How often all of it was looked at."""

    @property
    def rescanned_at(self) -> float | None:
        """When last, seconds since the epoch."""


class StandingView(Protocol):
    """How the daemon stands."""

    @property
    def at(self) -> float:
        """When, seconds since the epoch."""

    @property
    def phase(self) -> str:
        """One of `about_daemon.PHASES`."""

    @property
    def version(self) -> str:
        """Of ckptd."""

    @property
    def started_at(self) -> float:
        """When the daemon took its lock."""

    @property
    def roots(self) -> Sequence[RootView]:
        """In the order of the settings."""

    @property
    def signs(self) -> Sequence[SignView]:
        """One for each part that can fall silent."""

    @property
    def waiting(self) -> int:
        """Files that are on their way."""

    @property
    def unfinished(self) -> int:
        """Files among them whose writers are waited for."""

    @property
    def oldest_waiting_seconds(self) -> float | None:
        """How long the oldest of them has been on its way; None when there is none."""

    @property
    def exporting(self) -> int:
        """Exports that wait or run."""

    @property
    def workers(self) -> int:
        """Inspection workers that live."""

    @property
    def counts(self) -> Mapping[str, int]:
        """What was done since the start, by word."""

    @property
    def unwritten(self) -> int:
        """Entries that wait because the index can't be written."""

    @property
    def has_reconciled(self) -> bool:
        """Whether the first look at every root began."""

    @property
    def paused_until(self) -> float | None:
        """When a pause ends by itself; None while not paused."""

    @property
    def settings_at(self) -> float:
        """When the settings in use were read."""

    @property
    def settings_problem(self) -> str | None:
        """Why the last reload was refused; None when it was not."""

    @property
    def is_ready(self) -> bool:
        """Whether new files are taken in."""


@dataclass(frozen=True, slots=True)
class View:
    """Everything that health and metrics are made of.

    Attributes:
        standing: None before the loop first said how it stands.
        figures: None before the index was first asked.
        survey: None before the disks were first measured.
        silent_seconds: how long ago the loop last came round.
        floor_bytes: what shall stay free on a root's disk by the settings; None for no limit.
    """

    standing: StandingView | None
    figures: Figures | None
    survey: Survey | None
    silent_seconds: float
    floor_bytes: int | None = None
