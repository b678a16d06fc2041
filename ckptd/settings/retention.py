"""The settings of what is done by the clock: policy, trash, archives, scrubbing, the report, and when each job runs."""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator
from pydantic_settings import NoDecode

from ckptd.settings.kinds import Bytes, NamedPath, Seconds, Section, Words, read_table
from ckptd.settings.when import check_time_zone, check_when

#: Settings that one checkpoint's group can be made of.
GROUP_FIELDS = ("model", "dataset", "architecture", "quantization", "stage", "directory")
#: Steps of the ladder, in the only order that makes sense.
STEPS = ("slim", "archive", "trash")
#: Archive formats; each is one file of `ckptd.archive`, and a test holds this against them.
ARCHIVE_FORMATS = ("tar.gz", "tar.zst", "pack")
#: Metrics by which the best are found, the most telling first.
BEST_BY = (
    "accuracy", "f1", "auc", "map", "miou", "dice", "r2", "bleu", "psnr",
    "wer", "cer", "perplexity", "rmse", "mae", "mse", "log_loss", "loss",
)  # fmt: skip

_METRIC = re.compile(r"[a-z0-9_@.]{1,80}")

Count = Annotated[int, Field(ge=0, le=1_000_000)]
When = Annotated[str, AfterValidator(check_when)]
Limits = Annotated[dict[str, float], NoDecode, BeforeValidator(read_table)]
Directions = Annotated[dict[str, Literal["min", "max"]], NoDecode, BeforeValidator(read_table)]


class PolicySettings(Section):
    """What is kept, and what happens to the rest: docs/policy.md. A checkpoint stays when any of the rules keeps it."""

    mode: Annotated[
        Literal["off", "plan", "apply"],
        Field(description="plan only says what it would do, apply does it at the scheduled times, off does neither"),
    ] = "plan"
    group_by: Annotated[
        Words, Field(description="what makes a group, within which checkpoints compete, of " + " ".join(GROUP_FIELDS))
    ] = ("model", "dataset")
    min_confidence: Annotated[
        float,
        Field(ge=0.0, le=1.0, description="a model name that is less sure, 0 to 1, makes no group; its file is never touched"),
    ] = 0.6
    keep_last: Annotated[Count, Field(description="keep so many of each group, the latest by run, step or epoch, and age")] = 3
    keep_best: Annotated[Count, Field(description="keep so many of each group, the best by a metric; equals all stay")] = 3
    best_by: Annotated[
        Words, Field(description="metrics for keep_best; each checkpoint is ranked by the first of them that it has")
    ] = BEST_BY
    directions: Annotated[
        Directions,
        Field(
            description="for metrics of your own: min or max is better",
            json_schema_extra={"example": {"my_score": "max"}},
        ),
    ] = Field(default_factory=dict)
    keep_within_seconds: Annotated[
        Seconds,
        Field(ge=0, description="keep everything younger, seconds", json_schema_extra={"example": "30d"}),
    ] = 30 * 86400.0
    keep_hourly: Annotated[Count, Field(description="keep the last one of each of so many hours")] = 0
    keep_daily: Annotated[Count, Field(description="keep the last one of each of so many days")] = 0
    keep_weekly: Annotated[Count, Field(description="keep the last one of each of so many weeks")] = 0
    keep_monthly: Annotated[Count, Field(description="keep the last one of each of so many months")] = 0
    keep_yearly: Annotated[Count, Field(description="keep the last one of each of so many years")] = 0
    keep_every_epochs: Annotated[Count, Field(description="keep every checkpoint whose epoch is a multiple of this")] = 0
    keep_every_steps: Annotated[Count, Field(description="keep every checkpoint whose step is a multiple of this")] = 0
    keep_tags: Annotated[
        Words,
        Field(description='keep what bears one of these tags; "*" is any'),
    ] = ("*",)
    min_age_seconds: Annotated[
        Seconds,
        Field(
            ge=0,
            description="nothing younger is ever touched, seconds; after slimming it is waited for as long",
            json_schema_extra={"example": "1d"},
        ),
    ] = 86400.0
    below: Annotated[
        Limits,
        Field(
            description="age keeps none that is worse than this, where its group has a better one; metric and limit",
            json_schema_extra={"example": {"accuracy": 0.7}},
        ),
    ] = Field(default_factory=dict)
    ladder: Annotated[Words, Field(description="steps for what nothing keeps, the first that fits, of " + " ".join(STEPS))] = (
        "archive",
    )
    exports: Annotated[
        Literal["stay", "follow"],
        Field(description="exports of what goes: stay where they are, or follow into archive and trash"),
    ] = "stay"
    max_fraction: Annotated[
        float,
        Field(
            gt=0.0,
            le=1.0,
            description="share of a group or a root, by count and bytes, that may go in 7 days; more waits for a confirmation",
        ),
    ] = 0.25
    total_bytes: Annotated[
        Bytes | None,
        Field(
            description="what the checkpoints of a root may take, bytes",
            json_schema_extra={"shown_default": "no limit", "example": "2TiB"},
        ),
    ] = None
    free_bytes: Annotated[
        Bytes | None,
        Field(
            description="what shall stay free on a root's disk, bytes",
            json_schema_extra={"shown_default": "no limit", "example": "100GiB"},
        ),
    ] = None

    @field_validator("group_by")
    @classmethod
    def _check_group(cls, fields: tuple[str, ...]) -> tuple[str, ...]:
        return _known(fields, GROUP_FIELDS, least=1)

    @field_validator("ladder")
    @classmethod
    def _check_ladder(cls, steps: tuple[str, ...]) -> tuple[str, ...]:
        _known(steps, STEPS, least=1)
        if list(steps) != sorted(set(steps), key=STEPS.index):
            raise ValueError(f"{list(steps)} is out of order; write it as {sorted(set(steps), key=STEPS.index)}")
        return steps

    @field_validator("best_by")
    @classmethod
    def _check_metrics(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        for metric in metrics:
            _check_metric(metric)
        return metrics

    @field_validator("below")
    @classmethod
    def _check_below(cls, limits: dict[str, float]) -> dict[str, float]:
        for metric, limit in limits.items():
            _check_metric(metric)
            if not math.isfinite(limit):
                raise ValueError(f"the limit of {metric} must be a finite number")
        return limits

    @field_validator("directions")
    @classmethod
    def _check_directions(cls, directions: dict[str, Literal["min", "max"]]) -> dict[str, Literal["min", "max"]]:
        for metric in directions:
            _check_metric(metric)
        return directions


class TrashSettings(Section):
    """Where removed checkpoints wait: .ckptd/trash of their root."""

    grace_seconds: Annotated[
        Seconds, Field(ge=0, description="what lies in the trash so long is removed for good by the purge job, seconds")
    ] = 14 * 86400.0
    purge_when_full: Annotated[
        bool,
        Field(description="purge the oldest earlier than that when less than policy.free_bytes is free"),
    ] = False


class ArchiveSettings(Section):
    """Where checkpoints go that a policy archives."""

    directory: Annotated[
        NamedPath | None,
        Field(
            description="directory of the archives",
            json_schema_extra={"shown_default": "archives in each root", "example": "/mnt/archives"},
        ),
    ] = None
    format: Annotated[
        Literal["tar.gz", "tar.zst", "pack"],
        Field(description="tar.gz is read everywhere; pack stores equal weights once and needs ckptd to be read"),
    ] = "tar.gz"
    max_bytes: Annotated[
        Bytes,
        Field(
            ge=1 << 20,
            description="what one archive holds at most, bytes of its members; a larger file is alone",
            json_schema_extra={"example": "50GiB"},
        ),
    ] = 50 << 30


class ScrubSettings(Section):
    """Reading checkpoints again, before somebody needs one that is no longer whole."""

    seconds: Annotated[
        Seconds,
        Field(
            gt=0,
            description="time for one run, seconds; the longest unchecked come first",
            json_schema_extra={"example": "10m"},
        ),
    ] = 600.0


class ReportSettings(Section):
    """The size report."""

    directory: Annotated[
        NamedPath | None,
        Field(
            description="directory of the reports",
            json_schema_extra={"shown_default": "reports in the first root", "example": "/var/www/ckptd"},
        ),
    ] = None
    keep: Annotated[int, Field(ge=1, le=10_000, description="so many reports stay, the latest ones")] = 30


class ScheduleSettings(Section):
    """When each job runs: a cron line (minute hour day month weekday), "every 6h", or nothing for never."""

    time_zone: Annotated[
        str,
        AfterValidator(check_time_zone),
        Field(description='zone of the cron lines and of days in rules ("Europe/Berlin")'),
    ] = "UTC"
    catch_up: Annotated[
        Literal["once", "skip"],
        Field(description="a run that was missed while ckptd was down: once after the start, however many, or skip"),
    ] = "once"
    retention: Annotated[When, Field(description="slim, archive and remove by the policy")] = "30 3 * * *"
    purge: Annotated[When, Field(description="remove for good what waited long enough in the trash")] = "0 5 * * *"
    scrub: Annotated[When, Field(description="read checkpoints again and compare their digests")] = "0 2 * * *"
    drill: Annotated[When, Field(description="restore a random member of an archive and compare its digest")] = "0 6 * * sun"
    report: Annotated[When, Field(description="write the size report")] = "0 7 * * *"


def _known(words: tuple[str, ...], known: tuple[str, ...], *, least: int) -> tuple[str, ...]:
    for word in words:
        if word not in known:
            raise ValueError(f"{word!r} is not one of {' '.join(known)}")
    if len(words) < least:
        raise ValueError(f"name at least one of {' '.join(known)}")
    return words


def _check_metric(metric: str) -> None:
    if _METRIC.fullmatch(metric) is None:
        raise ValueError(f"{metric!r} is no metric as ckptd names them; `ckptd show` says which a checkpoint has")
