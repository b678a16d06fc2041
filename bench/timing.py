"""Repeat, pair and summarise; medians, because shared machines are noisy."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table: what was done, what it cost, what it is held against, and what is owed."""

    work: str
    measured: str
    peer: str
    ratio: str
    owed: str
    met: bool | None

    def render(self) -> str:
        """Give the row as Markdown."""
        met = {True: "yes", False: "**no**", None: "—"}[self.met]
        return f"| {self.work} | {self.measured} | {self.peer} | {self.ratio} | {self.owed} | {met} |"


def time_call(call: Callable[[], object]) -> float:
    """Give the seconds one call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def time_pairs(mine: Callable[[], object], peer: Callable[[], object], rounds: int = 5) -> tuple[float, float, float]:
    """Run both in turn; median seconds of each, and the median of the pairwise ratios."""
    mine(), peer()
    pairs = [(time_call(mine), time_call(peer)) for _ in range(rounds)]
    return (
        statistics.median(a for a, _ in pairs),
        statistics.median(b for _, b in pairs),
        statistics.median(a / b for a, b in pairs),
    )


def run(command: Sequence[str]) -> None:
    """Run a command to its end, its output thrown away; statuses up to 3 are answers."""
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    if done.returncode not in {0, 1, 3}:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr[-500:]!r}")
