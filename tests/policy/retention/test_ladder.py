"""What happens to a checkpoint that nothing keeps: the first step of the ladder that fits."""

from __future__ import annotations

import pytest

from ckptd.policy.retention.plan import Action
from tests.policy.retention.making import DAY, NOW, fact, fates, plan

SLIM, ARCHIVE, TRASH = Action.SLIM, Action.ARCHIVE, Action.TRASH
NEWEST = fact("newest", 50)
HEAVY = {"can_slim": True, "optimizer_bytes": 60}


@pytest.mark.parametrize(
    ("ladder", "options", "expected"),
    [
        ((SLIM,), HEAVY, "slim unkept can-slim"),
        ((SLIM,), {}, "keep ladder-ends"),
        ((SLIM,), HEAVY | {"slimmed_at": NOW - 9 * DAY}, "keep ladder-ends"),
        ((SLIM,), {"archives": ("old.tar.gz",)}, "keep ladder-ends"),
        ((ARCHIVE,), {}, "archive unkept"),
        ((ARCHIVE,), HEAVY, "archive unkept"),
        ((ARCHIVE,), {"archives": ("old.tar.gz",)}, "trash unkept archived-already"),
        ((TRASH,), {}, "trash unkept"),
        ((TRASH,), HEAVY, "trash unkept"),
        ((TRASH,), {"archives": ("old.tar.gz",)}, "trash unkept"),
        ((SLIM, ARCHIVE), HEAVY, "slim unkept can-slim"),
        ((SLIM, ARCHIVE), HEAVY | {"slimmed_at": NOW - 9 * DAY}, "archive unkept"),
        ((SLIM, ARCHIVE), HEAVY | {"slimmed_at": NOW - DAY / 2}, "keep young"),
        ((SLIM, ARCHIVE), {}, "archive unkept"),
        ((SLIM, ARCHIVE), HEAVY | {"archives": ("old.tar.gz",)}, "slim unkept can-slim"),
        ((SLIM, TRASH), HEAVY, "slim unkept can-slim"),
        ((SLIM, TRASH), {}, "trash unkept"),
        ((ARCHIVE, TRASH), {}, "archive unkept"),
        ((ARCHIVE, TRASH), {"archives": ("old.tar.gz",)}, "trash unkept archived-already"),
        ((SLIM, ARCHIVE, TRASH), HEAVY, "slim unkept can-slim"),
        ((SLIM, ARCHIVE, TRASH), HEAVY | {"slimmed_at": NOW - 9 * DAY}, "archive unkept"),
        (
            (SLIM, ARCHIVE, TRASH),
            HEAVY | {"slimmed_at": NOW - 9 * DAY, "archives": ("old.tar.gz",)},
            "trash unkept archived-already",
        ),
    ],
)
def test_steps(ladder, options, expected):
    """One step at a time: a slimmed one waits the minimum age, what an archive holds goes into the trash."""
    assert fates([fact("a", **options), NEWEST], ladder=ladder)["a"] == expected


def test_what_is_kept_meets_no_ladder():
    """Slimming is a step like the others."""
    assert fates([fact("a", pins=("pinned",), **HEAVY), NEWEST], ladder=(SLIM, TRASH))["a"] == "keep pin"


def test_wanted_is_the_action_where_nothing_is_held():
    """For what is kept too."""
    made = plan([fact("a"), NEWEST])
    assert [(one.action, one.wanted) for one in made.decisions] == [(TRASH, TRASH), (Action.KEEP, Action.KEEP)]


def test_messages():
    """What is shown to people."""
    facts = [
        NEWEST,
        fact("slim", 90, can_slim=True, optimizer_bytes=3 << 20, size_bytes=9 << 20),
        fact("held", 80, archives=("models_archive_20250101.tar.gz", "b.tar.gz")),
    ]
    made = plan(facts, ladder=(SLIM, ARCHIVE))
    assert [[reason.message for reason in decision.reasons] for decision in made.decisions[:2]] == [
        ["no rule keeps it", "3.0 MiB of optimizer state go, the weights stay"],
        ["no rule keeps it", "models_archive_20250101.tar.gz, b.tar.gz holds it already"],
    ]
    made = plan([fact("a"), NEWEST], ladder=(SLIM,))
    assert made.decisions[0].reasons[0].message == "no rule keeps it, but no step of the ladder is left for it"
