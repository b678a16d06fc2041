"""Health and metrics beside the loop: it asks the index now and then, and threads serve what it published.

The loop never waits for a request, and no request reaches the loop, the index or a root: what is served are frozen values.
"""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from functools import partial

import structlog

from ckptd.errors import CkptdError
from ckptd.health.application import Answer, make_application, say
from ckptd.health.disks import Directory, Survey, measure_disks, measure_own, measure_trash
from ckptd.health.figures import Figures
from ckptd.health.judging import find_illness, find_unreadiness
from ckptd.health.listening import open_listener
from ckptd.health.page import CONTENT_TYPE, Page
from ckptd.health.serving import Server
from ckptd.health.surveying import Seldom, Surveyor
from ckptd.health.textfile import remove_leftovers, write_textfile
from ckptd.health.view import View
from ckptd.jobs.figures import FigureReader
from ckptd.jobs.sides import Beside, Side
from ckptd.settings.health import Address, TcpAddress

_log = structlog.get_logger()

#: The loop asks the index for at most this share of its time, however large the index.
MOST_SHARE = 0.01
#: A trash is walked through so often, seconds: it may hold thousands of entries.
TRASH_SECONDS = 300.0


def open_side(beside: Beside) -> Side:
    """Begin to serve.

    Raises:
        CkptdError: the address can't be had.
    """
    return ServingHealth(beside)


class ServingHealth:
    """Serve how the daemon stands.

    Threading: `step`, `next_due` and `close` are the loop's; the rest is called by the threads that serve and measure.
    """

    def __init__(self, beside: Beside) -> None:
        settings = beside.settings
        self._beside = beside
        self._refresh = settings.health.refresh_seconds
        self._due = -math.inf
        self._opened_at = beside.monotonic()
        self._reader: FigureReader | None = None
        self._figures: Figures | None = None
        self._survey: Survey | None = None
        self._trouble: str | None = None
        self._textfile = settings.health.textfile
        self._is_tidy = False
        self._file_page = Page(self.look, with_process=False)
        roots = [root.path for root in beside.engine.roots]
        self._state_dir, self._index = beside.engine.state_dir, beside.engine.store.file
        self._directories = _find_directories(beside, roots)
        self._trash = Seldom(partial(measure_trash, roots), TRASH_SECONDS)
        with ExitStack() as stack:
            self._server = self._serve(settings.health.address, stack)
            self._threads = [Surveyor(self._measure, self._refresh, partial(_tell, "survey"))]
            if self._textfile is not None:  # of its own: it goes on to say how the daemon stands while a share is dead
                self._threads.append(Surveyor(self._write, self._refresh, partial(_tell, "textfile")))
            for thread in self._threads:
                thread.start()
            stack.pop_all()

    def step(self) -> None:
        """Ask the index when it is time; trouble is told once while it lasts."""
        if self._beside.monotonic() < self._due:
            return
        trouble, cost = None, 0.0
        try:
            self._figures = self._read()
            cost = self._figures.cost_seconds
        except (CkptdError, OSError) as error:
            trouble = str(error)
        if trouble != self._trouble:
            self._trouble = trouble
            _tell("figures", trouble)
        self._due = self._beside.monotonic() + max(self._refresh, cost / MOST_SHARE)

    def next_due(self) -> float | None:
        """Say when the index is asked next, monotonic seconds."""
        return self._due

    def close(self) -> None:
        """Give the address back and end the threads."""
        if self._server is not None:
            self._server.close()
        for thread in self._threads:
            thread.end()
        for thread in self._threads:
            thread.close()

    @property
    def address(self) -> Address | None:
        """Give where it is served, with the port that was got; None for nowhere."""
        return None if self._server is None else self._server.listener.address

    def look(self) -> View:
        """Give the present moment."""
        board = self._beside.board
        silent = self._beside.monotonic() - max(board.beat_at, self._opened_at)
        floor = self._beside.settings.policy.free_bytes
        return View(board.latest, self._figures, self._survey, max(0.0, silent), floor)

    def _read(self) -> Figures:
        if self._reader is None:
            engine, beside = self._beside.engine, self._beside
            self._reader = FigureReader(
                beside.settings, engine.store, engine.state_dir, wall=beside.wall, monotonic=time.perf_counter
            )
        return self._reader.read()

    def _serve(self, address: Address | None, stack: ExitStack) -> Server | None:
        if address is None:
            return None
        health = self._beside.settings.health
        listener = open_listener(address, mode=int(health.socket_mode, 8), group=health.socket_group)
        stack.callback(listener.close)
        page = Page(self.look, with_process=True)
        routes = {
            "/healthz": lambda: say(find_illness(self.look()), "ok"),
            "/readyz": lambda: say(find_unreadiness(self.look()), "ready"),
            "/metrics": lambda: Answer("200 OK", page.render(), CONTENT_TYPE),
        }
        server = Server(make_application(routes, asks_host=isinstance(address, TcpAddress)), listener)
        stack.callback(server.close)
        _log.info("health.listening", address=str(listener.address))
        return server

    def _measure(self) -> None:
        """Measure the disks; in a thread that may wait."""
        own = measure_own(self._state_dir, self._index)
        self._survey = Survey(self._beside.wall(), measure_disks(self._directories), self._trash.get(), own)

    def _write(self) -> None:
        """Write the file; in a thread that may wait."""
        if self._textfile is None or self._beside.board.latest is None:
            return
        if not self._is_tidy:
            remove_leftovers(self._textfile)
            self._is_tidy = True
        write_textfile(self._textfile, self._file_page.render())


def _find_directories(beside: Beside, roots: list[str]) -> list[Directory]:
    archives = beside.settings.archive.directory
    found = [*(Directory("root", root) for root in roots), Directory("state", str(beside.engine.state_dir))]
    return found if archives is None else [*found, Directory("archive", str(archives))]


def _tell(part: str, trouble: str | None) -> None:
    if trouble is None:
        _log.info("health.recovered", part=part)
    else:
        _log.warning("health.failed", part=part, reason=trouble)
