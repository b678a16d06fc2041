"""The model: every setting with its type, unit, bounds, default and description.  The rest is generated from it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ckptd.settings.control import ControlSettings
from ckptd.settings.exporting import ExportSettings, InputSettings, RecipeBody, Recipes, RecipeSettings, TrustSettings
from ckptd.settings.health import HealthSettings
from ckptd.settings.kinds import Bytes, NamedPath, Paths, Seconds, Section, Words
from ckptd.settings.notify import Hooks, HookSettings, NotifySettings
from ckptd.settings.retention import (
    ArchiveSettings,
    PolicySettings,
    ReportSettings,
    ScheduleSettings,
    ScrubSettings,
    TrashSettings,
)

__all__ = [
    "ArchiveSettings",
    "ControlSettings",
    "ExportSettings",
    "HealthSettings",
    "HookSettings",
    "InputSettings",
    "InspectSettings",
    "LogSettings",
    "NotifySettings",
    "PolicySettings",
    "RecipeBody",
    "RecipeSettings",
    "ReportSettings",
    "ScheduleSettings",
    "ScrubSettings",
    "Section",
    "Settings",
    "SidecarSettings",
    "TrashSettings",
    "TrustSettings",
    "WatchSettings",
]

#: Endings of files that ckptd or the people around it write beside checkpoints; watching them would chase our own tail.
_NEVER_SUFFIXES = frozenset({".json", ".tmp", ".part", ".partial", ".lock", ".swp"})


def _count_workers() -> int:
    """Give one worker per core this process may use, at most 4: the machine belongs to the training."""
    return min(4, len(os.sched_getaffinity(0)))


class WatchSettings(Section):
    """How new files are noticed, and when one is taken for finished."""

    backend: Annotated[
        Literal["auto", "inotify", "polling"],
        Field(description="where events come from; auto takes polling on network file systems"),
    ] = "auto"
    reconcile_seconds: Annotated[Seconds, Field(gt=0, description="rescan everything at least this often, seconds")] = 600.0
    guard_seconds: Annotated[
        Seconds, Field(gt=0, description="look this often whether a root is still the same root, seconds")
    ] = 5.0
    polling_seconds: Annotated[Seconds, Field(gt=0, description="rescan interval of the polling backend, seconds")] = 30.0
    settle_seconds: Annotated[
        Seconds, Field(ge=0, description="quiet time after which a file whose end cannot be told counts as written, seconds")
    ] = 2.0
    incomplete_seconds: Annotated[
        Seconds, Field(gt=0, description="a file without an end that is quiet this long is damaged, seconds")
    ] = 600.0


class InspectSettings(Section):
    """Workers that read checkpoints."""

    workers: Annotated[
        int,
        Field(
            ge=1,
            le=256,
            description="inspection workers",
            json_schema_extra={"shown_default": "one per core, at most 4", "example": 2},
        ),
    ] = Field(default_factory=_count_workers)
    memory_bytes: Annotated[
        Bytes,
        Field(ge=128 << 20, description="address space of one worker, bytes", json_schema_extra={"example": "2GiB"}),
    ] = 2 << 30
    structure_seconds: Annotated[Seconds, Field(gt=0, description="limit for reading the structure of one file, seconds")] = (
        20.0
    )
    idle_seconds: Annotated[Seconds, Field(gt=0, description="idle workers end after this, seconds")] = 60.0
    sandbox: Annotated[
        Literal["required", "best_effort"],
        Field(description="required refuses to inspect where a worker cannot be confined, best_effort reports it as a finding"),
    ] = "best_effort"


class SidecarSettings(Section):
    """The JSON beside a checkpoint."""

    enabled: Annotated[bool, Field(description="write the JSON file NAME_metadata.json where it is missing")] = True


class LogSettings(Section):
    """What ckptd says while it runs."""

    format: Annotated[Literal["auto", "console", "json"], Field(description="auto: console on a terminal, else JSON lines")] = (
        "auto"
    )
    level: Annotated[Literal["debug", "info", "warning", "error"], Field(description="least severity that is logged")] = "info"


class Settings(BaseSettings):
    """Everything ckptd can be told."""

    model_config = SettingsConfigDict(env_prefix="CKPTD_", env_nested_delimiter="__", extra="forbid", frozen=True)

    roots: Annotated[
        Paths, Field(description="directories to look after; relative ones from where ckptd is started, none inside another")
    ] = (Path("trained_models"),)
    state_dir: Annotated[
        NamedPath | None,
        Field(
            description="index, journal and lock; on a local file system",
            json_schema_extra={"shown_default": ".ckptd in the first root", "example": "/var/lib/ckptd"},
        ),
    ] = None
    suffixes: Annotated[
        Words, Field(description="endings of checkpoint files; usual ones are .pth .pt .ckpt .pth.tar .bin .th")
    ] = (".pth",)
    ignore: Annotated[
        Words,
        Field(
            description="glob patterns, relative to a root, that are never looked at",
            json_schema_extra={"example": ["scratch/**"]},
        ),
    ] = ()
    functions: Annotated[
        Paths,
        Field(
            description="directories with training-function JSON files, read as data; only one that is trusted is ever run",
            json_schema_extra={"example": ["functions"]},
        ),
    ] = ()
    recipe: Annotated[
        Recipes,
        Field(
            description="how to build the modules of the checkpoints that match, the first that fits; JSON in the environment",
            json_schema_extra={"example": [{"match": "BiLSTM_*", "callable": "models:BiLSTM"}]},
        ),
    ] = ()
    hook: Annotated[
        Hooks,
        Field(
            description="commands that are run when something happened; JSON in the environment",
            json_schema_extra={"example": [{"on": "checkpoint.ready", "command": ["/usr/local/bin/publish"]}]},
        ),
    ] = ()
    hook_processes: Annotated[int, Field(ge=1, le=64, description="so many commands of hooks run at once")] = 2
    watch: WatchSettings = WatchSettings()
    inspect: InspectSettings = Field(default_factory=InspectSettings)
    sidecar: SidecarSettings = SidecarSettings()
    export: ExportSettings = Field(default_factory=ExportSettings)
    trust: TrustSettings = TrustSettings()
    policy: PolicySettings = PolicySettings()
    trash: TrashSettings = TrashSettings()
    archive: ArchiveSettings = ArchiveSettings()
    scrub: ScrubSettings = ScrubSettings()
    report: ReportSettings = ReportSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    control: ControlSettings = ControlSettings()
    health: HealthSettings = HealthSettings()
    notify: NotifySettings = NotifySettings()
    log: LogSettings = LogSettings()

    @field_validator("roots")
    @classmethod
    def _check_roots(cls, roots: tuple[Path, ...]) -> tuple[Path, ...]:
        if not roots:
            raise ValueError("name at least one directory")
        expanded = tuple(root.expanduser() for root in roots)
        _refuse_nested(expanded)
        return expanded

    @field_validator("suffixes")
    @classmethod
    def _check_suffixes(cls, suffixes: tuple[str, ...]) -> tuple[str, ...]:
        if not suffixes:
            raise ValueError('name at least one ending, such as ".pth"')
        for suffix in suffixes:
            if not re.fullmatch(r"(\.[A-Za-z0-9_-]+)+", suffix):
                raise ValueError(f'{suffix!r} is not a file name ending; write it with its dot: ".pth"')
            if "." + suffix.lower().rpartition(".")[2] in _NEVER_SUFFIXES:
                raise ValueError(f"{suffix!r} is an ending of sidecars or temporary files, which are no checkpoints")
        return tuple(dict.fromkeys(suffixes))

    @field_validator("ignore")
    @classmethod
    def _check_ignore(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            if not pattern.strip("/") or pattern.startswith("/") or ".." in pattern.split("/"):
                raise ValueError(f'{pattern!r} is not relative to a root; write "scratch/**" or "*_tmp.pth"')
        return patterns

    @field_validator("state_dir")
    @classmethod
    def _expand(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser()

    @field_validator("functions")
    @classmethod
    def _expand_all(cls, paths: tuple[Path, ...]) -> tuple[Path, ...]:
        return tuple(path.expanduser() for path in paths)


def _refuse_nested(roots: Sequence[Path]) -> None:
    """Refuse a root inside another: each file would have two homes, and two rules for its end."""
    real = [os.path.realpath(root) for root in roots]
    for i, inner in enumerate(real):
        for j, outer in enumerate(real):
            if i != j and (inner == outer) and i > j:
                raise ValueError(f"{roots[i]} and {roots[j]} are the same directory; name it once")
            if i != j and inner.startswith(outer.rstrip("/") + "/"):
                raise ValueError(f"{roots[i]} lies inside {roots[j]}; roots must not be nested, keep the outer one")
