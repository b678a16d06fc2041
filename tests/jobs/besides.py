"""A loop for one side: a real index, a real selector, real processes, and clocks that a test sets."""

from __future__ import annotations

import selectors
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from ckptd.index.ledger import put_freeze
from ckptd.index.store import Store
from ckptd.jobs.replaying import REINDEXED
from ckptd.jobs.sides import Beside
from ckptd.jobs.standing import Board, Phase, Standing
from ckptd.settings import load_settings

#: No job has a time but those that a test gives one: the jobs of the night would be due, or overdue, at some hours of the day.
_NO_SCHEDULE = dict.fromkeys(("retention", "purge", "scrub", "drill", "report"), "")


@dataclass
class Clock:
    """Seconds since the epoch and monotonic ones; both go on by themselves, and both can be moved.

    Attributes:
        ahead: of the real ones.
        slept: how long the machine did, which the monotonic ones do not count.
    """

    ahead: float = 0.0
    slept: float = 0.0

    def wall(self) -> float:
        return time.time() + self.ahead + self.slept

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead

    def pass_by(self, seconds: float) -> None:
        self.ahead += seconds


@dataclass
class Loop:
    """What stands around a side.

    Attributes:
        values: of the settings, nested like the file.
        open_side: makes the side.
    """

    directory: Any
    values: dict[str, Any]
    open_side: Any
    clock: Clock = field(default_factory=Clock)
    side: Any = None

    def __post_init__(self) -> None:
        self.root = self.directory / "models"
        self.root.mkdir(exist_ok=True)
        self.state = self.directory / "state"
        self.state.mkdir(exist_ok=True)
        self.board = Board()
        self.store = Store.open(self.state / "index.sqlite")
        self.started_at = self.clock.wall()
        self.start()

    def start(self) -> None:
        """Open the side, as a daemon does when it starts."""
        schedule = {**_NO_SCHEDULE, **self.values.get("schedule", {})}
        values = {"roots": [str(self.root)], "state_dir": str(self.state), **self.values, "schedule": schedule}
        settings = load_settings(None, values, {})
        root = SimpleNamespace(path=str(self.root), incident=None, number=0)
        engine: Any = SimpleNamespace(store=self.store, roots=[root], state_dir=self.state, started_at=self.started_at)
        self.selector = selectors.DefaultSelector()
        controls: Any = None
        self.side = self.open_side(
            Beside(settings, engine, self.selector, self.board, controls, self.clock.wall, self.clock.monotonic)
        )

    def stop(self) -> None:
        """Close it, as a daemon does that ends."""
        self.side.close()
        assert not self.selector.get_map()
        self.selector.close()

    def restart(self) -> None:
        """End and start again."""
        self.stop()
        self.start()

    def lose_index(self) -> None:
        """Start again with an index that was made anew, because the old one is gone."""
        self.stop()
        with self.store.batch() as batch:
            batch.tell(lambda connection, _: connection.exec_driver_sql("DELETE FROM cursors"))
            batch.tell(put_freeze, REINDEXED, "made anew", self.clock.wall())
        self.start()

    def forget(self) -> None:
        """Let the side go without a word, as a kill does; what it started ends with it."""
        programs = self.side._programs if hasattr(self.side, "_programs") else self.side._sending._programs
        programs.close()
        self.selector.close()

    def turn(self) -> None:
        """Go round once."""
        due = self.side.next_due()
        wait = 0.05 if due is None else min(0.05, max(0.0, due - self.clock.monotonic()))
        for key, _ in self.selector.select(wait):
            key.data()
        self.side.step()

    def until(self, condition: Any, what: str, patience: float = 60.0) -> Any:
        """Go round until a condition holds."""
        deadline = time.monotonic() + patience
        while not (value := condition()):
            assert time.monotonic() < deadline, f"waited in vain for {what}"
            self.turn()
        return value

    def go_on(self, seconds: float = 0.0, turns: int = 5) -> None:
        """Let time pass, and go round a few times."""
        self.clock.pass_by(seconds)
        for _ in range(turns):
            self.turn()

    def stand(self, **values: Any) -> None:
        """Say how the daemon stands."""
        self.board.publish(Standing(self.clock.wall(), Phase.RUNNING, "0", 1, self.started_at, **values))


@contextmanager
def loop(directory: Any, open_side: Any, **values: Any) -> Any:
    """Run one side for as long as the block lasts."""
    made = Loop(directory, values, open_side)
    try:
        yield made
    finally:
        made.stop()
        made.store.close()
