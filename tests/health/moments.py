"""Moments of a daemon, good and bad, for the tests of this room."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from ckptd.health.disks import Disk, Survey
from ckptd.health.figures import ArchiveFigures, Durations, Figures, JobFigures, PlaceFigures
from ckptd.health.view import View
from ckptd.jobs.standing import Phase, RootStanding, Sign, Standing

ROOT = "/srv/models"
NOW = 1_700_000_000.0


def root(**changes: Any) -> RootStanding:
    """Make a root in good times."""
    values = {"path": ROOT, "incident": None, "frozen": 0, "files": 3, "watched_by": "kernel"}
    values |= {"events": 12, "overflows": 1, "rescans": 2, "rescanned_at": NOW - 60}
    return RootStanding(**(values | changes))


def standing(**changes: Any) -> Standing:
    """Make a daemon in good times."""
    values: dict[str, Any] = {"at": NOW, "phase": Phase.RUNNING, "version": "0.1.0", "pid": 42, "started_at": NOW - 3600}
    values |= {"roots": (root(),), "signs": (Sign("loop", ok=True), Sign("pool", ok=True)), "has_reconciled": True}
    values |= {"counts": {"read": 7, "rejected": 1}, "settings_at": NOW - 3600}
    return Standing(**(values | changes))


def figures(**changes: Any) -> Figures:
    """Make what an index said, with something of each kind."""
    values: dict[str, Any] = {"at": NOW, "cost_seconds": 0.02}
    values |= {"places": [PlaceFigures(ROOT, "ready", 3, 3000, NOW - 5), PlaceFigures(ROOT, "rejected", 1, 10, NOW - 9)]}
    values |= {"rejected": {(ROOT, "unsafe"): 1}, "rotten": {(ROOT, "rotten"): 2}, "exports": {("onnx", "verified"): 4}}
    values |= {"archives": [ArchiveFigures("verified", 2, 500)], "freezes": 1, "events": {"scrub.rotten": 2}}
    job = JobFigures("scrub", "ok", NOW - 100, 12.5, NOW - 87, NOW + 50, 86_400.0, is_overdue=True)
    values |= {
        "jobs": [job, JobFigures("purge", is_running=True)],
        "durations": {"scrub": Durations().add(0.5).add(12.5).add(1e6)},
    }
    values |= {"rejections": {"unsafe": 1}, "findings": {"non-finite-weights": 3}, "verdicts": {("onnx", "failed"): 1}}
    return Figures(**(values | changes))


def survey() -> Survey:
    """Make what disks said."""
    return Survey(NOW, (Disk("root", ROOT, 1000, 400, 99),), {ROOT: 70}, {"index": 11, "journal": 5})


def view(**changes: Any) -> View:
    """Make a moment in which all is well."""
    values: dict[str, Any] = {"standing": standing(), "figures": figures(), "survey": survey(), "silent_seconds": 0.5}
    return View(**(values | changes))


def find_tool(name: str) -> str:
    """Give the path of a tool of Prometheus; CI has it, and lets no test be skipped."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"there is no {name} here; Debian has it in the package prometheus")
    return path
