"""A plan in short."""

from __future__ import annotations

from ckptd.model import Status
from ckptd.policy.retention.facts import Fact
from ckptd.policy.retention.plan import Action, Alert, Decision, Plan, Reason
from ckptd.report.planned import MOST_HELD, summarise
from tests.report.making import NOW


def decision(number: int, action: Action, wanted: Action | None = None, *, frees: int = 0, codes: tuple[str, ...] = ("last",)):
    fact = Fact(number, "/srv", f"{number}.pth", "a" * 64, Status.OK, None, 100 + number, 100 + number, (1, number))
    return Decision(fact, action, wanted or action, tuple(Reason(code, f"because of {code}") for code in codes), frees)


def test_a_plan_is_summed_up():
    """What is held is not in what it frees; each reason of a kept file counts once."""
    plan = Plan(
        "3fa91c0b77de",
        NOW,
        (
            decision(1, Action.KEEP, codes=("last", "best", "best")),
            decision(2, Action.KEEP),
            decision(3, Action.SLIM, frees=40),
            decision(4, Action.TRASH, frees=104),
            decision(5, Action.HOLD, Action.ARCHIVE, frees=105),
        ),
        (Alert("budget", "the budget can't be met", "/srv", None),),
    )
    found = summarise(plan)
    assert (found.id, found.at, found.frees_bytes, found.held_bytes, found.held_files) == ("3fa91c0b77de", NOW, 144, 105, 1)
    assert [(one.action, one.files, one.size_bytes, one.frees_bytes) for one in found.actions] == [
        ("keep", 2, 203, 0), ("slim", 1, 103, 40), ("trash", 1, 104, 104), ("hold", 1, 105, 105),
    ]  # fmt: skip
    assert found.reasons == (("last", 2), ("best", 1))
    assert [(one.path, one.action, one.reasons) for one in found.held] == [("5.pth", "archive", ("because of last",))]
    assert [(one.code, one.group, one.message) for one in found.alerts] == [("budget", None, "the budget can't be met")]


def test_the_largest_held_ones_are_named():
    held = tuple(decision(number, Action.HOLD, Action.TRASH) for number in range(MOST_HELD + 20))
    found = summarise(Plan("x", NOW, held))
    assert found.held_files == MOST_HELD + 20
    assert [one.path for one in found.held[:2]] == [f"{MOST_HELD + 19}.pth", f"{MOST_HELD + 18}.pth"]
    assert len(found.held) == MOST_HELD


def test_an_empty_plan_has_nothing():
    found = summarise(Plan("x", NOW, ()))
    assert (found.actions, found.held, found.frees_bytes) == ((), (), 0)
