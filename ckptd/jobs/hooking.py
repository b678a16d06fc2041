"""Hooks beside the loop: follow the audit, write down which commands are to be run, run a few at a time, log how they ended.

At least once: a row of `hook_runs` goes when its command has ended, whatever came of it; what was broken off by a kill, a stop
or a reload is run again.  In order for each checkpoint: a command begins when those before it about the same file have ended.
"""

from __future__ import annotations

from typing import Any

import structlog

from ckptd.errors import IndexUnavailableError, WorkerError
from ckptd.index.following import Cursor, Event, Pulse, begin_following, put_cursor, read_events
from ckptd.index.hooked import HookRun, add_hook_runs, begin_hooks, drop_hook_runs, keep_hooks, load_hook_runs
from ckptd.jobs.hooks.choosing import Hook, find_wanted, fits, is_meant
from ckptd.jobs.hooks.papers import write_paper
from ckptd.jobs.programs import Programs
from ckptd.jobs.sides import Beside
from ckptd.jobs.telling.catching_up import Beginning
from ckptd.notify.running import Ended, start_command
from ckptd.text import escape

_log = structlog.get_logger()

#: The follower's name in the index.
FOLLOWER = "hooks"
#: Commands that are written down at once; what is beyond waits in the audit.
MOST_PENDING = 1_000
#: Rows of the audit in one look.
MOST_EVENTS = 256
#: Commands that turn out not to be meant, in one step: each asks the index about its checkpoint.
MOST_LEFT = 16
#: How often the audit is looked at: soon again while there is more, else so often; jobs and commands write to it too.
_BUSY_SECONDS, _IDLE_SECONDS = 0.2, 2.0
#: How often at least it is written down how far the audit was followed, where nothing came of it: what is followed again
#: costs nothing but time, but there may be a month of it.
_SAVE_SECONDS = 60.0
#: How long the index is let be that could not be asked: each try may hold the loop up for seconds.
_TROUBLE_SECONDS = 15.0
#: How long nothing is started when the machine has no room for one more process.
_PAUSE_SECONDS = 5.0
_MOST_OUTPUT = 1_000


def open_side(beside: Beside) -> Hooking:
    """Begin to run hooks."""
    return Hooking(beside)


class Hooking:
    """Run the commands of hooks.

    Threading: belongs to the loop.
    """

    def __init__(self, beside: Beside) -> None:
        self._beside = beside
        self._store = beside.engine.store
        self._policy = beside.settings.policy
        self._most = beside.settings.hook_processes
        self._hooks = {hook.digest: hook for hook in map(Hook.of, beside.settings.hook)}
        self._wanted = find_wanted(self._hooks.values())
        self._programs: Programs[HookRun] = Programs(beside.selector, beside.monotonic)
        self._pending: dict[HookRun, Event] = {}
        self._done: list[HookRun] = []
        self._pulse = Pulse(self._store.file)
        self._is_behind = True
        self._beginning = Beginning(FOLLOWER, beside.monotonic)
        self._cursor: Cursor | None = None
        self._saved: Cursor | None = None
        self._starts: dict[str, int] = {}
        self._is_unread = False
        self._last = 0
        self._look_at = self._start_at = self._save_at = self._not_before = beside.monotonic()

    def step(self) -> None:
        """Take what has ended, look when it is time, and start what may be started."""
        for run, ended in self._programs.collect():
            self._finish(run, ended)
        if self._beside.monotonic() < self._not_before:
            return
        try:
            self._forget_done()
            if self._beside.monotonic() >= self._look_at:
                self._look()
            if not self._is_paused():  # what runs goes on; the rest begins at once when the loop is woken to go on
                self._start_some()
        except IndexUnavailableError as error:  # nothing is lost: what is to be run follows from the audit
            self._not_before = self._beside.monotonic() + _TROUBLE_SECONDS
            _log.debug("hook.delayed", reason=str(error))

    def next_due(self) -> float | None:
        """Say when `step` has something to do that no descriptor tells, monotonic seconds."""
        limit, look_at = self._programs.next_due(), max(self._look_at, self._not_before)
        return look_at if limit is None else min(look_at, limit)

    def close(self) -> None:
        """End what runs, each with its group; it is run again after the next start."""
        for run, ended in self._programs.collect():
            self._finish(run, ended)
        self._programs.close()
        try:
            if self._done or self._cursor != self._saved:
                with self._store.batch(waits=False) as batch:
                    batch.tell(drop_hook_runs, self._done)
                    if self._cursor is not None:
                        batch.tell(put_cursor, FOLLOWER, self._cursor)
        except IndexUnavailableError as error:
            _log.debug("hook.delayed", reason=str(error))

    # — what is to be run —

    def _look(self) -> None:
        if self._cursor is None and self._beginning.may_begin(self._store, self._beside.board.latest):
            self._begin()
        if self._is_unread:  # it could not be read when it was written
            self._load()
        is_more = False
        if self._cursor is not None:
            self._is_behind |= self._pulse.has_beaten()
            is_more = self._is_behind and len(self._pending) < MOST_PENDING and self._follow(self._cursor)
        self._look_at = self._beside.monotonic() + (_BUSY_SECONDS if is_more else _IDLE_SECONDS)

    def _begin(self) -> None:
        now, hooks = self._beside.wall(), list(self._hooks)
        with self._store.batch() as batch:
            cursor = batch.tell(begin_following, FOLLOWER, now)
            self._starts = batch.tell(begin_hooks, FOLLOWER, hooks, cursor, now)
            batch.tell(keep_hooks, hooks)
        self._cursor = self._saved = cursor
        self._is_unread = True

    def _follow(self, cursor: Cursor) -> bool:
        """Write down what is to be run for what happened since the last look; True when there is more."""
        events, upto = self._store.ask(read_events, cursor.audit, self._wanted, MOST_EVENTS)
        runs = [HookRun(event.id, hook.digest) for event in events for hook in self._hooks.values() if self._wants(hook, event)]
        after, now = cursor._replace(audit=upto), self._beside.monotonic()
        if runs or (after != self._saved and now >= self._save_at):
            with self._store.batch() as batch:
                batch.tell(add_hook_runs, runs)
                batch.tell(put_cursor, FOLLOWER, after)
            self._saved, self._save_at = after, now + _SAVE_SECONDS
        self._cursor = after
        self._is_behind = len(events) == MOST_EVENTS
        if runs:
            self._is_unread = True
            self._load()
        return self._is_behind

    def _wants(self, hook: Hook, event: Event) -> bool:
        """Say whether a hook is run for a row: it is meant, and the hook was there by then."""
        return event.id > self._starts[hook.digest] and is_meant(hook, event)

    def _load(self) -> None:
        for run, event in self._store.ask(load_hook_runs, self._last):
            self._pending[run] = event
            self._last = run.audit
        self._is_unread = False

    # — run —

    def _is_paused(self) -> bool:
        standing = self._beside.board.latest
        return standing is not None and standing.paused_until is not None

    def _start_some(self) -> None:
        if self._beside.monotonic() < self._start_at or len(self._programs) >= self._most or not self._pending:
            return
        busy = {_subject_of(event) for run, event in self._pending.items() if run in self._programs}
        left = 0
        for run, event in list(self._pending.items()):
            if len(self._programs) >= self._most:
                return
            if left >= MOST_LEFT:
                self._look_at = self._beside.monotonic()
                return
            if _subject_of(event) in busy:
                continue
            if self._start_safely(run, event):
                busy.add(_subject_of(event))
            else:
                left += 1
            if self._beside.monotonic() < self._start_at:  # there is no room for one more process, nor for the next one
                return

    def _start_safely(self, run: HookRun, event: Event) -> bool:
        try:
            return self._start(run, event)
        except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
            # A mistake of ours that one file brings to light must not end the daemon, at each of its starts anew.
            reason = f"{type(error).__name__} while it was prepared; please report it"
            _log.warning("hook.failed", **self._name(run, event), status=None, output="", reason=reason)
            self._leave(run)
            return False

    def _start(self, run: HookRun, event: Event) -> bool:
        """Start one command; False when it is not to be run after all."""
        hook = self._hooks[run.hook]
        place = None if event.root is None or event.path is None else (event.root, event.path)
        record = None if place is None else self._store.find_record(*place)
        if not fits(hook, event, record, self._policy):
            self._leave(run)
            return False
        paper = write_paper(self._store, hook.settings.on, event, record)
        try:
            running = start_command(hook.settings.command, paper)
            self._programs.watch(run, running, hook.settings.timeout_seconds)
        except (WorkerError, OSError) as error:
            self._start_at = self._beside.monotonic() + _PAUSE_SECONDS
            _log.warning("hook.delayed", reason=str(error))
        return True

    def _finish(self, run: HookRun, ended: Ended) -> None:
        values = self._name(run, self._pending[run])
        values |= {"status": ended.status, "output": escape(ended.output.strip(), _MOST_OUTPUT)}
        if ended.trouble:
            _log.warning("hook.failed", **values, reason=ended.trouble)
        else:
            _log.info("hook.finished", **values)
        self._leave(run)

    def _name(self, run: HookRun, event: Event) -> dict[str, Any]:
        """Give what a line of the log says of a command."""
        hook = self._hooks[run.hook].settings
        return {"on": hook.on, "command": hook.command[0], "id": event.key, "root": event.root, "path": event.path}

    def _leave(self, run: HookRun) -> None:
        del self._pending[run]
        self._done.append(run)

    def _forget_done(self) -> None:
        if self._done:
            with self._store.batch() as batch:
                batch.tell(drop_hook_runs, self._done)
            self._done = []


def _subject_of(event: Event) -> tuple[str | None, str | None]:
    """Give what a row is about: a checkpoint, or an archive."""
    return (event.root, event.path) if event.path is not None else (None, str(event.why.get("archive", "")))
