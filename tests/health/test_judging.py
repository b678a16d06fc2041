"""Health and readiness: each no comes with its reason."""

from __future__ import annotations

import pytest

from ckptd import daemon
from ckptd.health.about_daemon import PHASES, WATCHED_BY
from ckptd.health.about_files import OUTCOMES
from ckptd.health.judging import SILENCE_SECONDS, find_illness, find_unreadiness
from ckptd.index.runs import RunOutcome
from ckptd.jobs.standing import Phase, Sign
from tests.health.moments import root, standing, view


def test_a_daemon_in_good_times_is_healthy_and_ready():
    """Nothing to say."""
    assert find_illness(view()) == find_unreadiness(view()) == []


def test_a_daemon_that_starts_is_healthy_and_not_ready():
    """Systemd must not restart it for that."""
    moment = view(standing=None)
    assert find_illness(moment) == []
    assert find_unreadiness(moment) == ["the daemon is starting"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"silent_seconds": SILENCE_SECONDS + 1}, "the loop has not come round for 91 seconds"),
        ({"standing": standing(signs=(Sign("pool", ok=False, why="no answer"),))}, "pool: no answer"),
    ],
)
def test_what_does_not_answer_is_ill_and_not_ready(changes, reason):
    """And is named."""
    assert find_illness(view(**changes)) == [reason]
    assert find_unreadiness(view(**changes))[0] == reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"phase": Phase.PAUSED}, "the daemon is paused"),
        ({"phase": Phase.STARTING, "has_reconciled": False}, "the daemon is starting"),
        ({"has_reconciled": False}, "the first look at the roots has not begun"),
        ({"unwritten": 3}, "the index can't be written, 3 entries wait"),
        ({"roots": (root(incident="it is not there"),)}, "/srv/models: it is not there"),
    ],
)
def test_what_takes_no_files_in_is_healthy_and_not_ready(changes, reason):
    """A restart would not help."""
    moment = view(standing=standing(**changes))
    assert find_illness(moment) == []
    assert find_unreadiness(moment) == [reason]


def test_a_reason_is_one_line_whatever_a_path_holds():
    """A root whose name has a line end forges no second reason."""
    (reason,) = find_unreadiness(view(standing=standing(roots=(root(path="a\nok"),), unwritten=0, phase=Phase.PAUSED)))
    assert reason == "the daemon is paused"
    (reason,) = find_unreadiness(view(standing=standing(roots=(root(path="a\nok", incident="gone"),))))
    assert reason == "a\\x0aok: gone"


def test_the_words_are_those_of_the_rooms_above():
    """This room lies below those that have them, and can't import them."""
    assert set(PHASES) == set(Phase)
    unfinished = (RunOutcome.SCHEDULED, RunOutcome.RUNNING)
    assert set(OUTCOMES) == {outcome.value for outcome in RunOutcome if outcome not in unfinished}
    assert SILENCE_SECONDS == 3 * daemon.LONGEST_SLEEP_SECONDS
    assert WATCHED_BY == ("kernel", "polling", "both", "nothing")
