"""Facts with something in each part, and names that want to be more than names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ckptd.report.facts import (
    Disk,
    Duplicates,
    DuplicateSet,
    Facts,
    File,
    Forecast,
    Series,
    Totals,
)
from ckptd.report.growth import day_name
from ckptd.report.shares import Breakdown, Share
from ckptd.report.upkeep import (
    Archives,
    Health,
    JobResult,
    PlanAlert,
    PlannedAction,
    PlannedFile,
    PlanSummary,
    Trash,
    Trouble,
)

DAY = 86_400.0
NOW = 1_795_000_000.0  # 2026-11-18 11:06 UTC
TODAY = int(NOW // DAY)
ROOT = "/srv/models"
GIB = 1 << 30

#: What a name may try: markup of HTML and Markdown, a link, a terminal's control, another direction, half a character, length.
HOSTILE = (
    "<script>alert(1)</script>.pth",
    "</title></style><img src=http://evil.example/x onerror=alert(1)>.pth",
    "a|b`c``d\\|e.pth",
    "[click](http://evil.example) ![x](y) *b* _i_ ~~s~~ # h.pth",
    "www.evil.example and me@evil.example &lt;b&gt; &#60;.pth",
    "\x1b[31mred\x07\r\n\u202egnp.pth\u202c\u200b",
    "not utf-8 \udcff\udc80.pth",
    "x" * 3_000 + "/epoch_0099.pth",
    "- begins a list",
    "1. begins another",
    '" onmouseover="alert(1)',
)


def series(*levels: int) -> Series:
    """Make a series that ends today."""
    return Series(day_name(TODAY - len(levels) + 1), levels)


def breakdown(*names: str | None) -> Breakdown:
    """Make a breakdown with these names, each smaller than the one before."""
    rows = tuple(Share(name, 10 - place, (20 - place) * GIB, (5 - min(place, 5)) * GIB) for place, name in enumerate(names))
    return Breakdown(rows, len(rows) + 3, Share(None, 30, 3 * GIB, 0))


def facts(names: tuple[str, ...] = ("net_a", "net_b"), **changes: Any) -> Facts:
    """Make a report's facts; `names` are used wherever a file has a say."""
    first, second = names[0], names[1 % len(names)]
    forecast = Forecast("", 90, 2.0 * GIB, 1.0 * GIB, 3.0 * GIB, 41.0, 27.3, 82.0, from_survivors=True)
    levels = tuple(10 * GIB + index * GIB // 2 for index in range(200))
    disk = Disk(ROOT, (ROOT,), 500 * GIB, 82 * GIB, 100 * GIB, 5 * GIB, 4 * GIB, series(*levels), forecast)
    base = Facts(
        at=NOW,
        zone="Europe/Berlin",
        host="gpu-box",
        version="0.1.0",
        known_since_at=NOW - 150 * DAY,
        roots=Breakdown((Share(ROOT, 2_184, 1_500 * GIB, 600 * GIB),), 1),
        totals=Totals(2_184, 1_990, 1_500 * GIB, 12, 900, 600 * GIB, 880, 590 * GIB),
        largest=tuple(File(ROOT, name, 9 * GIB, NOW - 3 * DAY, "ok", "checkpoint", first, second, 6 * GIB) for name in names),
        models=breakdown(*names, None),
        datasets=breakdown(*names),
        months=Breakdown((Share("2026-08", 3, GIB), Share("2026-10", 9, 4 * GIB), Share(None, 1, 5)), 3),
        kinds=Breakdown((Share("checkpoint", 900, 900 * GIB), Share(None, 2, 5)), 2),
        dtypes=Breakdown((Share("float32", 900, 900 * GIB), Share("float16", 2, 5)), 2),
        duplicates=Duplicates(3, 5, 7 * GIB, tuple(DuplicateSet("ab" * 32, 3, GIB, (name, second, first)) for name in names)),
        disks=(disk,),
        exports=4,
        export_bytes=GIB,
        trash=(Trash(ROOT, 7, 5 * GIB, NOW - 9 * DAY),),
        archives=Archives(2, 40, 4 * GIB, 6 * GIB, 1, 1, 0, NOW - 90 * DAY, NOW - 2 * DAY, NOW - 5 * DAY),
        plan=PlanSummary(
            "3fa91c0b77de",
            NOW,
            12 * GIB,
            (PlannedAction("keep", 50, 40 * GIB, 0), PlannedAction("archive", 9, 12 * GIB, 12 * GIB)),
            (("last", 30), ("best", 20)),
            tuple(PlannedFile(ROOT, name, "trash", GIB, (f"worse than {second}",)) for name in names),
            len(names) + 5,
            3 * GIB,
            (PlanAlert("brake-group", ROOT, second, f"too much of {second} would go"),),
        ),
        health=Health(
            (Share("ok", 2_000, 1_400 * GIB), Share("damaged", 2, GIB), Share(None, 1, 5)),
            (
                *(Trouble(ROOT, name, "damaged", GIB, "the CRC is wrong") for name in names),
                Trouble(ROOT, "nan.pth", "non-finite-weights", GIB, "weights hold NaN"),
            ),
            len(names) + 1,
            1,
            (second,),
            1,
            1_000,
            NOW - 60 * DAY,
            ("the index was built anew",),
        ),
        jobs=(
            JobResult("purge", "ok", NOW - DAY, NOW - DAY + 3, NOW - DAY, "", {"purged": 3, "freed_bytes": 5 * GIB}),
            JobResult("retention", "failed", NOW - DAY, NOW - DAY + 70, None, f"it met {first}", {}),
        ),
    )
    return replace(base, **changes)


def empty_facts() -> Facts:
    """Make the facts of a root in which nothing lies."""
    return Facts(NOW, "UTC", "gpu-box", "0.1.0", None, Breakdown(), Totals())
