"""The process of a command that somebody asked of the daemon; what it is to do, and for whom, stands on its stdin."""

from __future__ import annotations

import contextlib
import os
import sys
import time


def main() -> int:
    """Run the command line in the asker's name; its exit status."""
    from ckptd.jobs.running.asked import Command
    from ckptd.sandbox.confine import die_with

    command = Command.from_text(sys.stdin.buffer.read())
    with contextlib.suppress(OSError):
        die_with(command.parent)
    _take_over(command.zone, command.columns, colors=command.colors)

    from ckptd.cli import entry
    from ckptd.cli.asker import Asker
    from ckptd.cli.request import Request

    request = Request(settings=command.settings, asker=Asker(command.peer, command.rules))
    return entry.main(command.arguments, request)


def _take_over(zone: str, columns: int, *, colors: bool) -> None:
    """Show times, widths and colours as the asker has them."""
    if columns > 0:
        os.environ["COLUMNS"] = str(min(columns, 1_000))
    if not colors:
        os.environ["NO_COLOR"] = "1"
    if zone and not zone.startswith(":") and "/." not in zone and not zone.startswith("/"):  # a name, not a file of his
        os.environ["TZ"] = zone[:100]
        time.tzset()
