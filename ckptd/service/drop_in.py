"""The drop-in that lets a confined service reach what its settings name, and nothing else: ReadWritePaths= and groups."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ckptd.service.units import quote
from ckptd.settings import Settings
from ckptd.settings.health import SocketAddress

#: What ProtectHome= hides.  Source: systemd.exec(5).
HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
_RUN = Path("/run")


@dataclass(frozen=True, slots=True)
class Reach:
    """What a service has to reach; every path is absolute, links resolved.

    Attributes:
        writable: directories.
        readable: files and directories beyond what anybody may read.
        groups: of those that may write there; plain names, and numbers where a name is none.
    """

    writable: tuple[Path, ...]
    readable: tuple[Path, ...] = ()
    groups: tuple[str, ...] = ()


def find_writable(settings: Settings) -> tuple[Path, ...]:
    """Give the directories that settings have written to: roots, state, archives, reports, metrics and sockets."""
    address = settings.health.address
    files = [
        settings.health.textfile,
        settings.control.socket,
        Path(address.path) if isinstance(address, SocketAddress) else None,
    ]
    further = [settings.state_dir, settings.archive.directory, settings.report.directory]
    further += [None if file is None or is_runtime(file) else file.parent for file in files]
    return tuple(dict.fromkeys([*settings.roots, *(path for path in further if path is not None)]))


def is_runtime(path: Path) -> bool:
    """Say whether a path lies in what systemd makes with a service of ours or an instance, and lets be written.

    Source: RuntimeDirectory= of the units.
    """
    first = path.relative_to(_RUN).parts[:1] if path.is_relative_to(_RUN) else ()
    return first == ("ckptd",) or (bool(first) and first[0].startswith("ckptd-"))


def find_readable(settings: Settings) -> tuple[Path, ...]:
    """Give what settings have read beside the roots: training functions, trusted code, and the commands that are run."""
    commands = [settings.notify.command.command, *(hook.command for hook in settings.hook)]
    programs = [Path(command[0]) for command in commands if command and os.path.isabs(command[0])]
    return tuple(dict.fromkeys([*settings.functions, *settings.trust.directories, *programs]))


def render_drop_in(reach: Reach) -> str:
    """Write the drop-in.

    A path that is missing must not keep the service from starting: it then says itself which root is lost.
    """
    lines = [
        '# What the settings name, as "ckptd service install" found it. Install again when they name other directories.',
        "[Service]",
        *(f"ReadWritePaths={quote(f'-{path}')}" for path in reach.writable),
    ]
    in_homes = [path for path in reach.writable if _is_in_homes(path)]
    read_in_homes = [path for path in reach.readable if _is_in_homes(path) and path not in in_homes]
    if in_homes or read_in_homes:
        lines += ["# Home directories stay hidden, but for these.", "ProtectHome=tmpfs"]
        lines += [f"BindPaths={quote(f'-{path}')}" for path in in_homes]
        lines += [f"BindReadOnlyPaths={quote(f'-{path}')}" for path in read_in_homes]
    if reach.groups:
        lines += ["# The groups that share the directories.", f"SupplementaryGroups={' '.join(reach.groups)}"]
    return "\n".join(lines) + "\n"


def hidden(paths: Iterable[Path], hiding: Iterable[Path]) -> tuple[Path, ...]:
    """Give those paths that lie in directories which the service can't see."""
    places = with_targets(hiding)
    return tuple(path for path in paths if any(path.is_relative_to(place) for place in places))


def with_targets(places: Iterable[Path]) -> tuple[Path, ...]:
    """Give directories, and where they really are: on some machines /home is a link, and systemd hides what it leads to."""
    return tuple(dict.fromkeys(one for place in places for one in (place, Path(os.path.realpath(place)))))


def _is_in_homes(path: Path) -> bool:
    return bool(hidden([path], HOMES))
