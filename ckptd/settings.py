"""Settings: one model gives validation, the environment, the sample file and the schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Section(BaseModel):
    """A table of the settings file; a key it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class WatchSettings(Section):
    """How new files are noticed, and when one is taken for finished."""

    backend: Annotated[
        Literal["auto", "inotify", "polling"], Field(description="auto takes polling on network file systems")
    ] = "auto"
    reconcile_seconds: Annotated[float, Field(gt=0, description="full rescan at least this often, seconds")] = 600.0
    guard_seconds: Annotated[float, Field(gt=0, description="look whether the root is still the root this often, seconds")] = (
        5.0
    )
    polling_seconds: Annotated[float, Field(gt=0, description="rescan interval of the polling backend, seconds")] = 30.0
    settle_seconds: Annotated[float, Field(ge=0, description="quiet time after which a file counts as written, seconds")] = 2.0
    incomplete_seconds: Annotated[
        float, Field(gt=0, description="a file without an end that is quiet this long is damaged, seconds")
    ] = 600.0


class InspectSettings(Section):
    """Workers that read checkpoints."""

    workers: Annotated[
        int, Field(ge=1, le=256, description="inspection workers; 0 is not allowed, the default is one per core, at most 4")
    ] = 2
    memory_bytes: Annotated[int, Field(ge=128 << 20, description="address space of one worker, bytes")] = 2 << 30
    structure_seconds: Annotated[float, Field(gt=0, description="limit for reading the structure of one file, seconds")] = 20.0
    idle_seconds: Annotated[float, Field(gt=0, description="idle workers end after this, seconds")] = 60.0
    sandbox: Annotated[
        Literal["required", "best_effort"], Field(description="required refuses to inspect where a worker cannot be confined")
    ] = "best_effort"


class SidecarSettings(Section):
    """The JSON beside a checkpoint."""

    enabled: Annotated[bool, Field(description="write <stem>_metadata.json where it is missing")] = True


class LogSettings(Section):
    """What ckptd says while it runs."""

    format: Annotated[Literal["auto", "console", "json"], Field(description="auto: console on a terminal, else JSON lines")] = (
        "auto"
    )
    level: Annotated[Literal["debug", "info", "warning", "error"], Field(description="least severity that is logged")] = "info"


class Settings(BaseSettings):
    """Everything ckptd can be told."""

    model_config = SettingsConfigDict(env_prefix="CKPTD_", env_nested_delimiter="__", extra="forbid", frozen=True)

    roots: Annotated[tuple[Path, ...], Field(description="directories to look after")] = (Path("trained_models"),)
    state_dir: Annotated[Path | None, Field(description="index, journal and lock; default: .ckptd in the first root")] = None
    suffixes: Annotated[tuple[str, ...], Field(description="file name endings of checkpoints")] = (".pth",)
    ignore: Annotated[tuple[str, ...], Field(description="glob patterns, relative to a root, never looked at")] = ()
    functions: Annotated[
        tuple[Path, ...], Field(description="directories with training-function JSON files, read as data")
    ] = ()
    watch: WatchSettings = WatchSettings()
    inspect: InspectSettings = InspectSettings()
    sidecar: SidecarSettings = SidecarSettings()
    log: LogSettings = LogSettings()
