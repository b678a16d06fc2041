"""The steps of an install or uninstall: values, each of which says in words what it does."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class WriteFile:
    """Write a file of ours; where an older one of ours lies, replace it.

    Attributes:
        replaces: SHA-256 of what lies there; None when nothing may lie there.
    """

    path: Path
    text: str
    replaces: str | None = None


@dataclass(frozen=True, slots=True)
class RemoveFile:
    """Remove a file of ours, and its directory when nothing else is in it.

    Attributes:
        sha256: of what lies there.
    """

    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class MakeDirectory:
    """Make a directory; for a root that people share, of the group of the service, which files in it take over."""

    path: Path
    is_shared: bool = False


@dataclass(frozen=True, slots=True)
class MakeUser:
    """Have systemd make the user of the service, where there is none, and let it into groups."""

    sysusers: Path
    groups: tuple[str, ...] = ()


class Ask(StrEnum):
    """What the service manager is asked for."""

    RELOAD = "daemon-reload"
    ENABLE = "enable"
    RESTART = "restart"
    DISABLE = "disable"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class AskManager:
    """Ask the service manager for something; `unit` is empty for what concerns all."""

    ask: Ask
    unit: str = ""


_ASKED = {
    Ask.RELOAD: "have the service manager read its units again (daemon-reload)",
    Ask.ENABLE: "start {}, now and at each boot",
    Ask.RESTART: "start {} again, with what is new",
    Ask.DISABLE: "stop {}, now and at each boot",
    Ask.STOP: "stop {}",
}

_DONE = {
    "write": "wrote",
    "replace": "replaced",
    "remove": "removed",
    "make": "made",
    "have": "had",
    "start": "started",
    "stop": "stopped",
}

Step = WriteFile | RemoveFile | MakeDirectory | MakeUser | AskManager


class Plan(NamedTuple):
    """What is to be done, in its order, and what is to be said beside it.

    Attributes:
        steps: empty when all is as it should be.
        notes: sentences about what stays, and about what a person has to do.
    """

    steps: tuple[Step, ...]
    notes: tuple[str, ...] = ()


def describe(step: Step) -> str:
    """Say in words what a step does; paths in it are not escaped yet."""
    match step:
        case WriteFile(path, _, None):
            return f"write {path}"
        case WriteFile(path):
            return f"replace {path}"
        case RemoveFile(path):
            return f"remove {path}"
        case MakeDirectory(path, True):
            return f"make {path} (group ckptd, mode 2775: who saves checkpoints there has to be in that group)"
        case MakeDirectory(path):
            return f"make {path}"
        case MakeUser(_, ()):
            return "make the system user ckptd where there is none (systemd-sysusers)"
        case MakeUser(_, groups):
            return f"make the system user ckptd where there is none, a member of {', '.join(groups)} (systemd-sysusers)"
        case AskManager(ask, unit):
            return _ASKED[ask].format(unit)


def describe_done(step: Step) -> str:
    """Say in words what a step did."""
    verb, space, rest = describe(step).partition(" ")
    return _DONE[verb] + space + rest
