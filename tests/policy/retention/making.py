"""Facts, policies and plans in few words."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256

from ckptd.model import Kind, Status
from ckptd.policy.retention.facts import Fact
from ckptd.policy.retention.make import make_plan
from ckptd.policy.retention.plan import Action
from ckptd.policy.retention.rules import Policy

DAY = 86400.0
HOUR = 3600.0
#: A Tuesday.
NOW = datetime(2025, 7, 1, 12, tzinfo=UTC).timestamp()
ROOT = "/models"

#: Keeps nothing but what a rule that the test switches on keeps, and never brakes.
BARE = Policy(
    keep_last=0,
    keep_best=0,
    best_by=("accuracy", "loss"),
    directions={"accuracy": "max", "f1": "max", "loss": "min"},
    keep_within_seconds=1.0,
    ladder=(Action.TRASH,),
    max_fraction=1.0,
)


def at(text, zone=UTC):
    """Read a time of a calendar as seconds since the epoch."""
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=time.tzinfo or zone).timestamp()


def digest(name):
    """Give the digest of a content that bears this name."""
    return sha256(name.encode()).hexdigest()


def fact(name, days=100.0, **options):
    """Make a good checkpoint of the group "G" that was saved so many days before NOW; `name` is its path without the ending.

    `scores` may be given as accuracy=0.9, f1=…, loss=…; `content` names what its bytes are, where two have the same.
    """
    scores = {metric: options.pop(metric) for metric in ("accuracy", "f1", "loss") if metric in options}
    number = int(digest(name)[:8], 16)
    known = Fact(
        id=number,
        root=ROOT,
        path=f"{name}.pth",
        sha256=digest(options.pop("content", name)),
        status=Status.OK,
        kind=Kind.CHECKPOINT,
        size_bytes=100,
        allocated_bytes=options.get("size_bytes", 100),
        inode=(1, number),
        group="G",
        modified_at=NOW - days * DAY,
        first_seen_at=NOW - days * DAY,
        scores=scores,
    )
    return replace(known, **options)


def policy(**options):
    """Give the bare policy with these fields."""
    return replace(BARE, **options)


def plan(facts, *, now=NOW, recent=(), disks=(), confirmed=None, **options):
    """Make a plan of the bare policy with these fields."""
    return make_plan(facts, policy(**options), now, recent=recent, disks=disks, confirmed=confirmed)


def name_of(one):
    """Give the name that `fact` made it of."""
    return one.path.removesuffix(".pth")


def tell(made):
    """Give a plan as name → "action code code …"."""
    return {
        name_of(decision.fact): " ".join([decision.action.value, *(reason.code for reason in decision.reasons)])
        for decision in made.decisions
    }


def fates(facts, **options):
    """Make a plan and give it as name → "action code code …"."""
    return tell(plan(facts, **options))


def kept(facts, **options):
    """Make a plan and give the names of what it keeps, in the order of the plan."""
    return [name_of(decision.fact) for decision in plan(facts, **options).decisions if decision.action is Action.KEEP]


def gone(facts, **options):
    """Make a plan and give the names of what does not stay as it is."""
    return [name_of(decision.fact) for decision in plan(facts, **options).decisions if decision.action is not Action.KEEP]


def codes(made, name):
    """Give the codes of the reasons for one checkpoint."""
    return tell(made)[name].split()[1:]
