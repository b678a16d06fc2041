"""Logs: structlog, one event per decision, JSON lines for programs and a console form for people.

Imported by the command line and the daemon only; everything below says `structlog.get_logger()` and an event's name.
docs/logs.md lists every event with its keys.  Names are dotted and in the past tense; file, digest and reason are keys.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, TextIO

from ckptd.lean import without

with without("rich"):  # structlog would draw tracebacks with it: 4.7 MB that a daemon carries for ever
    import structlog

from ckptd.text import escape

if TYPE_CHECKING:
    from ckptd.settings import LogSettings

#: Priorities of the journal.  Source: systemd's sd-daemon(3), "<N>" before a line.
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

#: Characters of one value; a path has at most 4,096 bytes.
_VALUE_LIMIT = 4_096

#: Digits of a digest that a person needs; `ckptd show` takes them.
_SHORT_DIGEST = 12

#: Keys whose lines are kept; structlog writes them, not a file.
_LINES = frozenset({"exception", "stack"})


def configure_logs(
    settings: LogSettings, *, quiet: bool = False, stream: TextIO | None = None, environ: Mapping[str, str] | None = None
) -> None:
    """Set up structlog and the standard library's logging for this process.

    Args:
        settings: format and level.
        quiet: log to stderr, and nothing less than a warning unless the level is debug: a verb that prints a table.
        stream: where lines go; without it stdout, or stderr when quiet.
        environ: tells whether stdout is the journal, and whether colours are unwanted (NO_COLOR); os.environ when None.
    """
    environ = os.environ if environ is None else environ
    if stream is None:
        stream = sys.stderr if quiet else sys.stdout
    level = _LEVELS[settings.level]
    if quiet and settings.level != "debug":
        level = max(level, logging.WARNING)
    as_json = settings.format == "json" or (settings.format == "auto" and not stream.isatty())
    colors = stream.isatty() and not environ.get("NO_COLOR")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso" if as_json else "%Y-%m-%d %H:%M:%S", utc=as_json),
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            escape_values,
            *_renderers(as_json=as_json, colors=colors, journal=_is_journal(stream, environ)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )
    library = logging.getLogger()
    library.handlers[:] = [_LibraryHandler()]
    library.setLevel(max(level, logging.WARNING))


def escape_values(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Escape every text that may have come out of a file, and say None, numbers and flags as they are."""
    return {key: _harmless_lines(value) if key in _LINES else _harmless(value) for key, value in event.items()}


def shorten_for_people(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Leave out of a line on a terminal what is empty or long, and put the file first; JSON lines have all of it."""
    short = {key: event[key] for key in ("timestamp", "level", "event") if key in event}
    if "path" in event and "root" in event:
        path = f"{event['root']}/{event['path']}"
        here = f"{os.path.realpath('.')}/"
        short["path"] = path.removeprefix(here)
    for key, value in event.items():
        if key in short or value in (None, "", [], 0) or (key == "root" and "path" in short):
            continue
        short[key] = value[:_SHORT_DIGEST] if key == "digest" else value
    return short


def _harmless_lines(value: Any) -> Any:
    return "\n".join(escape(line, _VALUE_LIMIT) for line in str(value).split("\n"))


def _harmless(value: Any) -> Any:
    match value:
        case None | bool() | int() | float():
            return value
        case dict():
            return {_harmless(str(key)): _harmless(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_harmless(item) for item in value]
        case _:
            return escape(str(value), _VALUE_LIMIT)


def _renderers(*, as_json: bool, colors: bool, journal: bool) -> list[Any]:
    if as_json:
        render: Any = structlog.processors.JSONRenderer(ensure_ascii=True)
    else:
        render = structlog.dev.ConsoleRenderer(colors=colors, sort_keys=False, pad_event_to=20, pad_level=False)
    if not journal:
        return [render] if as_json else [shorten_for_people, render]

    def prefix(logger: Any, method: str, event: Any) -> str:
        priority = _PRIORITIES.get(event.get("level", "info"), 6)
        return f"<{priority}>{render(logger, method, event)}"

    return [prefix]


def _is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """True when `stream` is the journal's socket itself, not merely a child of something that logs there."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # a stream without a descriptor is no journal
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))


class _LibraryHandler(logging.Handler):
    """Turn what libraries log into events of ours, so that one line has one form."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record as `library.warned`."""
        try:
            log = structlog.get_logger()
            method = log.error if record.levelno >= logging.ERROR else log.warning
            method("library.warned", library=record.name, message=record.getMessage(), exc_info=record.exc_info)
        except Exception:  # noqa: BLE001 - logging must never end a thread of a library
            self.handleError(record)
