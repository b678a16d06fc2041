"""How far long work has come: a bar or a spinner on a terminal, plain lines otherwise, all on stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

import click

from ckptd.cli.human import is_terminal
from ckptd.text import escape

#: Between two plain lines; a log of a night should not be all progress.
_LINE_SECONDS = 5.0


class Progress:
    """Show progress while a block lasts; call it with (done, total).

    Args:
        title: what is being done, one word.
        quiet: True leaves the plain lines away; a bar on a terminal does not disturb JSON on stdout.
    """

    def __init__(self, title: str, *, quiet: bool) -> None:
        self._title = title
        self._quiet = quiet
        self._bar: Any = None
        self._task: Any = None
        self._said_at = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: int, total: int) -> None:
        """Say that `done` of `total` files are done."""
        if is_terminal(sys.stderr):
            self._draw(done, total)
        elif not self._quiet and time.monotonic() - self._said_at >= _LINE_SECONDS:
            self._said_at = time.monotonic()
            click.echo(f"{self._title}: {done:,} of {total:,} files", err=True)

    def _draw(self, done: int, total: int) -> None:
        if self._bar is None:
            from rich import progress  # 90 ms, and only a terminal needs it
            from rich.console import Console

            columns = (
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TimeRemainingColumn(),
            )
            self._bar = progress.Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(self._title, total=total)
            self._bar.start()
        self._bar.update(self._task, completed=done, total=total)


class Steps:
    """Show the steps of long work while a block lasts; call it with what is worked on and what is being done.

    Args:
        quiet: True leaves the plain lines away; a spinner on a terminal does not disturb JSON on stdout.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._status: Any = None

    def __enter__(self) -> Steps:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._status is not None:
            self._status.stop()

    def __call__(self, subject: str, words: str) -> None:
        """Say what is being done to what."""
        if is_terminal(sys.stderr):
            self._spin(f"{escape(subject, 60)}: {escape(words, 60)}")
        elif not self._quiet:
            click.echo(f"{escape(subject, 60)}: {escape(words, 60)}", err=True)

    def _spin(self, text: str) -> None:
        from rich.console import Console  # 90 ms, and only a terminal needs it
        from rich.text import Text

        if self._status is None:
            self._status = Console(stderr=True).status("")
            self._status.start()
        self._status.update(Text(text))
