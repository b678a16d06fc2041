"""What stands beside the loop and is stepped by it: health, alerts, hooks; and the socket of people (`controlling`).

A side is opened only when the settings want it, and imported only then: what is switched off weighs nothing.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

from ckptd.errors import IndexUnavailableError
from ckptd.index.alerting import drop_alerts
from ckptd.index.following import keep_cursors
from ckptd.index.hooked import keep_hooks
from ckptd.jobs.engine import Engine
from ckptd.jobs.standing import Board
from ckptd.settings import Settings


class Side(Protocol):
    """Something beside the loop.

    Threading: every method is called by the loop.  None of them may wait for anything; what takes time is done in another
    process or thread, whose answers come by the selector.
    """

    def step(self) -> None:
        """Do what is due.  Trouble is logged, never raised: a side must not end the daemon."""

    def next_due(self) -> float | None:
        """Say when `step` has something to do, monotonic seconds; None when only the selector will tell."""

    def close(self) -> None:
        """End in good order, within a second."""


class Controls(Protocol):
    """What people may ask of the loop; called by the loop only.

    Attributes:
        config: absolute path of the settings file that it reads; "" for none.
    """

    config: str

    def pause(self, seconds: float) -> None:
        """Begin nothing new for so long."""

    def resume(self) -> None:
        """Go on after a pause."""

    def reload(self) -> str | None:
        """Read the settings anew; give why they can't be used, else None."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What a side is made of.

    Attributes:
        engine: the index and the roots; only within `step`.
        selector: of the loop; what is registered has a callable as data.
        board: how the daemon stands.
        controls: what people may ask of the loop.
        wall: seconds since the epoch.
        monotonic: seconds that nobody sets.
    """

    settings: Settings
    engine: Engine
    selector: selectors.BaseSelector
    board: Board
    controls: Controls
    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic


def _is_wanted_health(settings: Settings) -> bool:
    return settings.health.is_wanted


def _is_wanted_alerts(settings: Settings) -> bool:
    return settings.notify.is_wanted


def _is_wanted_hooks(settings: Settings) -> bool:
    return bool(settings.hook)


#: Sides that follow the audit, with the name under which the index knows how far they have come.
_FOLLOWERS = {"ckptd.jobs.alerting": "alerts", "ckptd.jobs.hooking": "hooks"}

#: Module with an `open_side(beside) -> Side`, and whether the settings want it.
_SIDES: tuple[tuple[str, Callable[[Settings], bool]], ...] = (
    ("ckptd.jobs.serving_health", _is_wanted_health),
    ("ckptd.jobs.alerting", _is_wanted_alerts),
    ("ckptd.jobs.hooking", _is_wanted_hooks),
)


def open_sides(beside: Beside) -> list[Side]:
    """Open every side that the settings want.

    Raises:
        CkptdError: one of them can't be had as it is set, such as an address in use.
    """
    sides: list[Side] = []
    try:
        for module, is_wanted in _SIDES:
            if is_wanted(beside.settings):
                sides.append(import_module(module).open_side(beside))
    except BaseException:
        for side in sides:
            side.close()
        raise
    return sides


def forget_followers(beside: Beside) -> None:
    """Forget how far those came that are switched off, and what waited: nothing of it is news when they are back.

    Call it once the settings are sure to be used: those of before follow on where they were.
    """
    wanted = [name for module, is_wanted in _SIDES if is_wanted(beside.settings) and (name := _FOLLOWERS.get(module))]
    with suppress(IndexUnavailableError), beside.engine.store.batch() as batch:
        batch.tell(keep_cursors, wanted)
        if "alerts" not in wanted:
            batch.tell(drop_alerts)
        if "hooks" not in wanted:
            batch.tell(keep_hooks, ())
