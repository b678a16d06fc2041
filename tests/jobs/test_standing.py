"""How the daemon stands, in words and as a yes or no."""

from __future__ import annotations

import pytest

from ckptd.jobs.standing import Phase, RootStanding, Sign, Standing

ROOT = RootStanding("/models", None, 0, 7, "kernel", 0, 0, 1, 100.0)
LOST = RootStanding("/share", "it is not mounted", 0, 7, "nothing", 0, 0, 1, 100.0)


def stand(phase=Phase.RUNNING, **fields):
    return Standing(
        at=0.0, phase=phase, version="1", pid=1, started_at=0.0, **{"roots": (ROOT,), "has_reconciled": True, **fields}
    )


@pytest.mark.parametrize(
    ("standing", "words"),
    [
        (stand(), "idle, 7 checkpoints"),
        (stand(waiting=118, done=2, exporting=1), "indexing 3 of 120, exporting 1"),
        (stand(job="retention"), "running retention"),
        (stand(Phase.PAUSED, waiting=3), "paused, indexing 1 of 3"),
        (stand(Phase.STARTING, waiting=3), "starting"),
        (stand(roots=(ROOT, LOST)), "idle, 14 checkpoints; /share: it is not mounted"),
        (stand(unwritten=5), "idle, 7 checkpoints; the index can't be written, 5 entries wait"),
        (stand(signs=(Sign("pool", ok=False, why="stuck"),)), "idle, 7 checkpoints; pool: stuck"),
        (stand(settings_problem="no such key"), "idle, 7 checkpoints; newer settings are not in use: no such key"),
    ],
)
def test_the_words_say_what_goes_on_and_what_is_wrong(standing, words):
    """One line, as `systemctl status` shows it."""
    assert standing.words == words


@pytest.mark.parametrize(
    "fields",
    [
        {"phase": Phase.PAUSED},
        {"phase": Phase.STARTING},
        {"roots": (ROOT, LOST)},
        {"unwritten": 1},
        {"has_reconciled": False},
        {"signs": (Sign("pool", ok=False, why="stuck"),)},
    ],
)
def test_ready_is_who_takes_in_new_files(fields):
    """Any of these keeps it from that."""
    assert stand().is_ready
    assert not stand(**fields).is_ready
