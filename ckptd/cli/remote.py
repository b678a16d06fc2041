"""Which verbs can be asked of the daemon, who may, and when that is done.

The daemon is asked when it runs and the verb writes, so that one process looks after the index; and when the state belongs
to somebody else, so that nobody beside the daemon's user has to read it.  Else a verb does its work itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ckptd.errors import CkptdError

if TYPE_CHECKING:
    from ckptd.cli.asker import Asker
    from ckptd.cli.request import Request
    from ckptd.control.protocol import Asked
    from ckptd.settings import Settings


@dataclass(frozen=True, slots=True)
class Remote:
    """A verb that can be asked of the daemon.

    Attributes:
        right: what the asker needs; see `control.rights`.
        options: those that may be given beside --json, --root and --config; none names a file.
        writes: it changes something, so that it is the daemon's to do while it runs.
    """

    right: str
    options: frozenset[str] = frozenset()
    writes: bool = False


def _read(*options: str) -> Remote:
    return Remote("read", frozenset(options))


def _write(right: str, *options: str) -> Remote:
    return Remote(right, frozenset(options), writes=True)


#: Verb, with its group → how it can be asked for.
REMOTE: Mapping[str, Remote] = {
    "ls": _read("sort", "reverse", "limit"),
    "find": _read("sort", "reverse", "limit"),
    "show": _read(),
    "best": _read("metric", "group", "mode"),
    "exports": _read(),
    "plan": _read("at", "changes"),
    "archives": _read(),
    "trash ls": _read(),
    "jobs": _read(),
    "notify": _read(),
    "report": _read(),
    "pin": _write("mark"),
    "unpin": _write("mark"),
    "tag": _write("mark", "remove"),
    "alias": _write("mark", "remove"),
    "restore": _write("restore", "source"),
    "trash restore": _write("restore"),
    "trash purge": _write("steer", "everything"),
    "apply": _write("steer", "confirm"),
    "archive": _write("steer"),
    "archive write": _write("steer", "format_name", "remove"),
    "archive verify": _write("steer"),
    "jobs run": _write("steer"),
    "notify test": _write("steer", "channel"),
}


@dataclass(frozen=True, slots=True)
class Reply:
    """What the daemon said.

    Attributes:
        status: exit status.
        value: what was asked for.
        place: of the socket by which it was asked.
    """

    status: int
    value: Mapping[str, Any]
    place: Path


class NotAllowedError(CkptdError):
    """Who asked may not, or not so."""

    exit_status = 4


def pass_on(context: click.Context, request: Request) -> int | None:
    """Have the daemon do a verb, and give its exit status; None when it is to be done here.

    Raises:
        NotReachableError: the state is somebody else's, and no daemon answers.
        NotAllowedError: this process was asked for a verb that its asker may not have.
    """
    path = _find_path(context)
    remote = REMOTE.get(path)
    if request.asker is not None:
        _check(path, remote, context, request.asker)
        request.is_allowed = True
        if remote is not None and remote.writes:
            request.asker.heed()
        return None
    if remote is None or not request.is_plain or not _fits(context, remote):
        return None
    settings = find_settings(request)
    if settings is None:
        return _ask_to_run(request, None)
    return _ask(request, settings, remote) if settings.control.enabled else None


def find_settings(request: Request) -> Settings | None:
    """Read the settings; None where the file is not for this user to read: the daemon's socket may be.

    Raises:
        SettingsError: they can be read, and are wrong.
    """
    from ckptd.errors import SettingsError

    try:
        return request.load_settings()
    except (SettingsError, PermissionError):
        if _may_read_config(request):
            raise
        return None


def name_config(request: Request) -> str:
    """Give the absolute path of the settings file, by which a daemon that reads it is named; "" where there is none."""
    from ckptd.settings.places import SYSTEM_CONFIG, find_config

    try:
        config = find_config(request.config, os.environ)
    except PermissionError:  # its directory is closed to this user
        config = SYSTEM_CONFIG
    return "" if config is None else os.path.abspath(config)


def _may_read_config(request: Request) -> bool:
    try:
        os.close(os.open(name_config(request), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except PermissionError:
        return False
    except OSError:  # there is none, or it is none: that is said by whoever reads it
        pass
    return True


def _find_path(context: click.Context) -> str:
    names = []
    at: click.Context | None = context
    while at is not None and at.parent is not None:
        names.append(at.info_name or "")
        at = at.parent
    return " ".join(reversed(names))


def _check(path: str, remote: Remote | None, context: click.Context, asker: Asker) -> None:
    from ckptd.control.rights import Right

    if remote is None or not _fits(context, remote):
        cure = "say it as the daemon's user, on the machine itself"
        raise NotAllowedError(f"ckptd {path}", why="this can't be asked of the daemon, or not with these options", cure=cure)
    if not asker.rules.may(asker.peer, Right(remote.right)):
        cure = "ask the administrator, or to be put into control.admin_group"
        raise NotAllowedError(f"ckptd {path}", why=f"user {asker.name} may read and mark, and no more", cure=cure)


def _fits(context: click.Context, remote: Remote) -> bool:
    """Say whether nothing was given that the daemon would have to believe."""
    return all(
        parameter.name in remote.options or parameter.name == "as_json"
        for parameter in context.command.params
        if isinstance(parameter, click.Option)
        and parameter.expose_value
        and parameter.name is not None
        and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    )


def _ask(request: Request, settings: Settings, remote: Remote) -> int | None:
    from ckptd.control.protocol import NotReachableError
    from ckptd.settings.places import find_state_dir
    from ckptd.storage.lock import is_held

    state_dir = find_state_dir(settings)
    is_ours = _is_ours(state_dir)
    if is_ours is None or (is_ours and not (remote.writes and is_held(state_dir))):
        return None
    try:
        return _ask_to_run(request, settings)
    except NotReachableError:
        if is_ours or os.access(state_dir, os.R_OK | os.W_OK | os.X_OK):
            return None
        raise


def _ask_to_run(request: Request, settings: Settings | None) -> int:
    import shutil

    from ckptd.control.protocol import RUN, Asked

    asked = Asked(
        RUN,
        arguments=tuple(map(_spell, request.arguments)),
        roots=_find_roots(request, settings),
        config=_find_named_config(request) if settings is None else "",
        zone=os.environ.get("TZ", ""),
        columns=shutil.get_terminal_size((0, 0)).columns,
        colors=not os.environ.get("NO_COLOR"),
    )
    return ask_daemon(request, settings, asked).status


def build_order(request: Request, settings: Settings | None, what: str, seconds: float = 0.0) -> Asked:
    """Build what steers a daemon: the one of --root, else the one that reads these settings, whatever roots it has by now."""
    from ckptd.control.protocol import Asked
    from ckptd.settings.places import setting_variables

    roots = _find_roots(request, settings)
    if settings is None:
        config = _find_named_config(request)
    else:
        config = "" if request.roots or "CKPTD_ROOTS" in setting_variables(os.environ) else name_config(request)
    return Asked(what, roots=roots, config=config, seconds=seconds)


def _find_roots(request: Request, settings: Settings | None) -> tuple[str, ...]:
    """Give the roots that are meant; none where nobody said any."""
    roots: Sequence[Path] = request.roots
    if settings is not None and (request.roots or request.has_settings):
        roots = settings.roots
    return tuple(sorted(map(os.path.realpath, roots)))


def _find_named_config(request: Request) -> str:
    """Give the settings file that this user means; one that was named by nobody and is closed to her means any daemon."""
    is_named = request.config is not None or os.environ.get("CKPTD_CONFIG")
    return name_config(request) if is_named or _may_read_config(request) else ""


def ask_daemon(
    request: Request,
    settings: Settings | None,
    asked: Asked,
    *,
    first: Path | None = None,
    is_quiet: bool = False,
    patience_seconds: float | None = None,
) -> Reply:
    """Ask the daemon, and show what it complains of unless it is to be quiet.

    Args:
        request: names the settings file.
        settings: None where they can't be read: then the places count that need none.
        asked: what is asked.
        first: place of a socket that is tried before all others.
        is_quiet: show nothing.
        patience_seconds: how long the answer may take; None for however long.

    Raises:
        NotReachableError: no daemon answers.
        SilentError: a daemon listens, and does not answer in time.
    """
    from ckptd.control.asking import SOCKET_NAME, ask, find_sockets, is_trusted
    from ckptd.settings.places import find_state_dir
    from ckptd.text import escape

    socket, state_dir, named = None, None, set()
    if settings is not None:
        socket, state_dir = settings.control.socket, find_state_dir(settings)
        named = {*(() if socket is None else (socket,)), *(() if settings.state_dir is None else (state_dir / SOCKET_NAME,))}
    config = name_config(request)
    places = find_sockets(socket, state_dir, Path(config).stem if config else None, os.environ)
    sys.stdout.flush()
    answer, place = ask(
        [*(() if first is None else (first,)), *places],
        asked,
        _copy,
        lambda place, uid: is_trusted(place, uid, named | ({first} if first is not None else set())),
        patience_seconds,
    )
    for line in () if is_quiet else answer.problem.splitlines():
        click.echo(f"ckptd: {escape(line, 4_000)}", err=True)
    return Reply(answer.status, answer.value, place)


def _spell(argument: str) -> str:
    """Write a path that exists from here as one that means the same elsewhere."""
    if "/" not in argument or argument.startswith("-"):
        return argument
    return os.path.abspath(argument) if os.path.exists(argument) else argument  # that of Path raises where a name is too long


def _is_ours(state_dir: Path) -> bool | None:
    """Say whether the state is this user's; None when there is none."""
    try:
        return state_dir.stat().st_uid == os.geteuid()
    except FileNotFoundError:
        return None
    except OSError:
        return False


def _copy(stream: int, data: bytes) -> None:
    """Put out what the command put out, to where this one's would go."""
    target = sys.stdout if stream == 1 else sys.stderr
    try:
        target.buffer.write(data)
    except AttributeError:  # a stream that a test put there may have no bytes
        target.write(data.decode("utf-8", "replace"))
    target.flush()
