"""What can't work is refused before anything is touched, in one sentence with its cure."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from ckptd.service.drop_in import HOMES, with_targets
from ckptd.service.faults import ServiceError
from ckptd.service.places import Places
from ckptd.service.stamp import Standing
from ckptd.service.surroundings import TEMPORARY, Surroundings, find_hidden, is_in_temporary
from ckptd.storage.ways import find_writers, walk


def check_authority(places: Places, around: Surroundings, what: str) -> None:
    """Refuse who may not change this service manager, and where there is none.

    Raises:
        ServiceError: not root, or root for a user's service, or no service manager.
    """
    if places.is_system and not around.is_root:
        raise ServiceError(
            what, why="only root can change the system's services", cure="use sudo, or --user for one of your own"
        )
    if not places.is_system and around.is_root:
        raise ServiceError(what, why="a user's service is for an ordinary user", cure="leave --user out, or ask as that user")
    if not around.has_manager and places.is_system:
        raise ServiceError(
            what, why="this machine was not started by systemd", cure='start "ckptd run" by what starts services here'
        )
    if not around.has_manager:
        cure = "log in as that user, not by su or sudo; or loginctl enable-linger USER"
        raise ServiceError(what, why="no service manager runs for this user ($XDG_RUNTIME_DIR)", cure=cure)


def check_runtime(places: Places, around: Surroundings, what: str) -> None:
    """Refuse an interpreter that the service could not run, and units that a package brought.

    Raises:
        ServiceError: it would be hidden or closed, or another unit of the name is there.
    """
    if places.is_system:
        concealed = find_hidden([*around.runtime, places.config])
        if concealed is not None:
            why = "the service sees no home and no temporary directory (ProtectHome=, PrivateTmp=)"
            raise ServiceError(
                what, path=concealed, why=why, cure="install ckptd elsewhere, such as /opt/ckptd: make install-service"
            )
        if around.closed is not None:
            why = "the user ckptd may not enter it"
            raise ServiceError(
                what, path=around.closed, why=why, cure=f"chmod o+rx {around.closed}, or install ckptd elsewhere"
            )
    if around.packaged:
        why = "a package brought this unit, and ours would hide it"
        raise ServiceError(what, path=around.packaged[0], why=why, cure="systemctl enable --now ckptd starts that one")


def check_config(places: Places, users: Sequence[int], what: str) -> None:
    """Refuse settings that somebody else can change: they say whose code runs, and which groups root lets the service into.

    Args:
        places: where they lie.
        users: who may own them.
        what: is to be done.

    Raises:
        ServiceError: somebody else can.
    """
    stranger = next(find_writers(places.config, users), None) if places.is_system else None
    if stranger is not None:
        place = stranger.place
        why = f"others than root and the user ckptd can change {place}, and so say what ckptd removes, runs and may enter"
        cure = f"{stranger.cure}; or keep the settings in /etc/ckptd"
        raise ServiceError(what, path=places.config, why=why, cure=cure)


def check_paths(writable: Iterable[Path], what: str) -> None:
    """Refuse paths that mean something else wherever a program is started.

    Raises:
        ServiceError: one is relative.
    """
    for path in writable:
        if not path.is_absolute():
            why = "it is relative, and a service is started nowhere in particular"
            raise ServiceError(what, path=path, why=why, cure="write the whole path into the settings")


def check_roots(places: Places, writable: Iterable[Path], what: str) -> None:
    """Refuse directories that a confined service can't have.

    Raises:
        ServiceError: one is in a temporary directory, or is all of somebody's homes.
    """
    for path in writable if places.is_system else ():
        if is_in_temporary(path):
            why = "the service has temporary directories of its own (PrivateTmp=)"
            raise ServiceError(what, path=path, why=why, cure="name another directory in the settings")
        if any(home.is_relative_to(path) for home in with_targets(HOMES)):
            why = "home directories lie in it, and the service is to see none as a whole"
            raise ServiceError(what, path=path, why=why, cure="name the directory of the checkpoints in the settings")


def check_links(places: Places, paths: Iterable[Path], what: str) -> None:
    """Refuse paths that go by a link which the service does not see.

    Raises:
        ServiceError: a link on the way lies in a home or a temporary directory.
    """
    for path in paths if places.is_system else ():
        link = find_unseen_link(Path(os.path.abspath(path)), with_targets((*HOMES, *TEMPORARY)))
        if link is not None:
            why = f"it goes by the link {link}, and of home and temporary directories the service sees only what is named"
            cure = f"write the real path into the settings: {os.path.realpath(path)}"
            raise ServiceError(what, path=path, why=why, cure=cure)


def find_unseen_link(path: Path, hiding: Iterable[Path]) -> Path | None:
    """Give the first link on the way to a path that lies in a directory which the service sees another one in place of."""
    hiding = tuple(hiding)
    for entry, found in walk(path):
        if stat.S_ISLNK(found.st_mode) and any(place in entry.parents for place in hiding):
            return entry
    return None


def check_standings(standings: Iterable[tuple[Path, Standing]], what: str) -> None:
    """Refuse to replace what ckptd did not write, and what a person changed.

    Raises:
        ServiceError: such a file lies where one of ours belongs.
    """
    for path, standing in standings:
        if standing is Standing.FOREIGN:
            why = "ckptd did not write this file"
            raise ServiceError(what, path=path, why=why, cure="look at it and move it away")
        if standing is Standing.CHANGED:
            why = "it was changed by hand since ckptd wrote it"
            raise ServiceError(
                what, path=path, why=why, cure="move the changes into a drop-in (systemctl edit), then remove the file"
            )
