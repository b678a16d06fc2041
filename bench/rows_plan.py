"""Rows about the policy: a plan over 100,000 checkpoints, with and without what it is made of."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

from bench.rows_report import describe_checkpoint
from bench.timing import Row, time_call
from ckptd.app import App
from ckptd.index.store import Store
from ckptd.jobs.gathering import gather_facts, make_policy
from ckptd.model import Identity
from ckptd.policy.retention.make import make_plan
from ckptd.settings import load_settings

_DAY = 86_400.0


def make_root(root: Path, count: int) -> None:
    """Make `count` files without a byte, and an index that knows each as a checkpoint of the last two years."""
    (root / ".ckptd").mkdir(parents=True, mode=0o700)
    store = Store.open(root / ".ckptd" / "index.sqlite")
    now = time.time()
    for start in range(0, count, 2_000):
        with store.batch() as batch:
            for number in range(start, min(start + 2_000, count)):
                path = f"runs/{number % 400:03d}/net{number % 137}_set{number % 11}_epoch_{number // 400}.pth"
                file = root / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
                made_at = now - (number * 7919 % 700) * _DAY
                os.utime(file, (made_at, made_at))
                identity = Identity.of(file.stat())
                inspection = describe_checkpoint(f"{number:064x}", 1_000_000, number, made_at)
                batch.record_ready(str(root), path, identity, inspection, now=made_at + 1)
    store.save_root(str(root), None)
    store.close()


def measure_plan(place: Path, quick: bool) -> list[Row]:
    """`ckptd plan` over 100,000 records: the decision alone, and with reading the index and walking the root."""
    count = 10_000 if quick else 100_000
    root = place / "root"
    make_root(root, count)
    settings = load_settings(overrides={"roots": [root], "policy": {"max_fraction": 1.0}}, environ={})
    app = App(settings)
    policy = make_policy(settings.policy, "UTC")
    with app.working(None) as context:
        now = context.now()
        gathered = gather_facts(settings, context.store, context.roots, now)
        pure = [time_call(lambda: make_plan(gathered.facts, policy, now, disks=gathered.disks)) for _ in range(3)]
        gather = [time_call(lambda: gather_facts(settings, context.store, context.roots, now)) for _ in range(3)]
    whole = [time_call(app.plan) for _ in range(3)]
    kept = sum(1 for decision in app.plan().plan.decisions if decision.action.value == "keep")
    app.close()
    decided, asked, all_of_it = (statistics.median(seconds) for seconds in (pure, gather, whole))
    note = f"{count - kept:,} of them would go, and each of those was opened and looked at"
    return [
        Row(f"plan over {count:,} records, the decision", f"{decided:.2f} s", "-", "-", "1 s", decided <= 1.0 or None),
        Row(f"the facts for it: index, walk of {count:,} files", f"{asked:.2f} s", "-", "-", "-", None),
        Row(f"`ckptd plan` as a whole ({note})", f"{all_of_it:.2f} s", "-", "-", "-", None),
    ]
