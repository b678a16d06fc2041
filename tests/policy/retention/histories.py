"""Any set of facts and any policy, for the laws: small worlds in which names, links, copies, runs and ties meet often.

Each checkpoint is made of one number, and so is each policy: hypothesis draws numbers, which is quick, and shrinks a world by
leaving checkpoints out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

from hypothesis import strategies as st

from ckptd.model import Openness, Status
from ckptd.policy.retention.facts import Disk, Fact, Removal
from ckptd.policy.retention.plan import Action
from ckptd.policy.retention.rules import Policy
from tests.policy.retention.making import DAY, NOW, digest

ROOTS = ("/a", "/b")
METRICS = ("accuracy", "loss")
SEEDS = st.integers(0, (1 << 32) - 1)

_STATUSES = [Status.OK] * 8 + [Status.NEEDS_CODE, Status.DAMAGED, Status.UNSAFE, Status.FAILED]
_OPENNESS = [Openness.CLOSED] * 9 + [Openness.OPEN, Openness.UNKNOWN]
_FEW = [0, 0, 0, 1, 2, 3]
_LADDERS = [
    (Action.TRASH,),
    (Action.TRASH,),
    (Action.ARCHIVE,),
    (Action.SLIM,),
    (Action.SLIM, Action.ARCHIVE),
    (Action.SLIM, Action.ARCHIVE, Action.TRASH),
]


def _draw_days(random):
    return random.choice([random.randint(-2, 6), random.randint(0, 400), random.randint(0, 400)])


def _draw_rarely(random):
    return ("x",) if random.random() < 0.08 else ()


def _draw_fact(number, seed):
    random = Random(seed)
    size_bytes = random.randint(0, 5) * 100
    optimizer_bytes = random.choice([0, 0, 60, 150])
    saved = _draw_days(random)
    scores = {metric: random.choice([0.0, 0.25, 0.5, 1.0, float("nan")]) for metric in METRICS if random.random() < 0.5}
    return Fact(
        id=number,
        root=random.choice(ROOTS),
        path=f"{number}.pth",
        sha256=random.choice([digest(str(number))] * 8 + [digest("copy"), digest("copy"), None]),
        status=random.choice(_STATUSES),
        kind=None,
        size_bytes=size_bytes,
        allocated_bytes=size_bytes,
        inode=random.choice([(1, number)] * 8 + [(1, 1000), (1, 1000), (2, 1000), (2, number)]),
        group=random.choice(["G", "G", "H", "H", None]),
        stored_group=random.choice([None] * 14 + ["G", ""]),
        run=random.choice(["", "", "run_9", "run_10"]),
        step=random.choice([None, random.randint(0, 4)]),
        epoch=random.choice([None, random.randint(0, 4)]),
        modified_at=NOW - saved * DAY,
        first_seen_at=NOW - random.choice([saved, saved, _draw_days(random)]) * DAY,
        dated_at=random.choice([None, None, NOW - _draw_days(random) * DAY]),
        slimmed_at=random.choice([None, None, None, NOW - _draw_days(random) * DAY]),
        scores=scores,
        optimizer_bytes=optimizer_bytes,
        can_slim=optimizer_bytes > 0,
        pins=_draw_rarely(random),
        tags=_draw_rarely(random),
        aliases=_draw_rarely(random),
        archives=_draw_rarely(random),
        openness=random.choice(_OPENNESS),
        holds=_draw_rarely(random),
    )


def _agree(facts, unseen):
    """Let the names of one file agree about it; it may have more of them than are seen."""
    first = {one.inode: one for one in reversed(facts)}
    names = Counter(one.inode for one in facts)
    return [
        replace(
            one,
            size_bytes=first[one.inode].size_bytes,
            allocated_bytes=first[one.inode].allocated_bytes,
            optimizer_bytes=first[one.inode].optimizer_bytes,
            can_slim=first[one.inode].can_slim,
            links=names[one.inode] + (unseen if names[one.inode] > 1 else 0),
        )
        for one in facts
    ]


def _draw_facts(seeds, unseen):
    return _agree([_draw_fact(number, seed) for number, seed in enumerate(seeds)], unseen)


many_facts = st.builds(_draw_facts, st.lists(SEEDS, max_size=16), st.sampled_from([0, 0, 1]))


def _draw_policy(seed, brakes, pressure):
    random = Random(seed)
    return Policy(
        keep_last=random.choice(_FEW),
        keep_best=random.choice(_FEW),
        best_by=random.choice([METRICS, ("loss",), ("loss", "accuracy"), ()]),
        directions={"accuracy": "max", "loss": "min"},
        keep_within_seconds=random.choice([1.0, DAY, 30 * DAY, 300 * DAY]),
        keep_hourly=random.choice(_FEW),
        keep_daily=random.choice(_FEW),
        keep_weekly=random.choice(_FEW),
        keep_monthly=random.choice(_FEW),
        keep_yearly=random.choice(_FEW),
        keep_every_epochs=random.choice(_FEW),
        keep_every_steps=random.choice(_FEW),
        keep_tags=random.choice([(), ("*",), ("x",), ("y",)]),
        min_age_seconds=random.choice([0.0, DAY, 3 * DAY]),
        below=random.choice([{}, {}, {"accuracy": 0.5}, {"loss": 0.25}]),
        ladder=random.choice(_LADDERS),
        max_fraction=random.choice([0.1, 0.25, 0.5, 1.0]) if brakes else 1.0,
        total_bytes=random.choice([None, 0, 300, 700, 1500]) if pressure else None,
        free_bytes=random.choice([None, None, 300, 900]) if pressure else None,
        time_zone=random.choice(["UTC", "Europe/Berlin"]),
    )


def policies(*, brakes=True, pressure=True):
    """Give any policy that `check_policy` passes."""
    return st.builds(_draw_policy, SEEDS, st.just(brakes), st.just(pressure))


def _draw_disks(seed):
    """Make no disks, one for each root, or one that both share."""
    random = Random(seed)
    device, roots = random.choice([None, None, 1]), random.choice([ROOTS, ROOTS, ()])
    return [Disk(root, random.choice([0, 100, 250, 800]), random.choice([0, 0, 100]), device) for root in roots]


def _draw_removal(seed):
    random = Random(seed)
    return Removal(
        root=random.choice(ROOTS),
        group=random.choice(["G", "H", None, "gone"]),
        size_bytes=random.choice([0, 100, 500]),
        at=NOW - random.choice([1, 6, 9]) * DAY,
        action=random.choice(["trash", "archive", "slim"]),
    )


disk_lists = SEEDS.map(_draw_disks)
removal_lists = st.lists(SEEDS.map(_draw_removal), max_size=3)
#: Facts, policy, what went before, disks.
worlds = st.tuples(many_facts, policies(), removal_lists, disk_lists)
