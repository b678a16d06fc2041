"""Export what a person asks for, and wait for it; check a recipe; suggest one."""

from __future__ import annotations

import math
import os
import selectors
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckptd.errors import FormatError, NeedsCodeError, UsageError
from ckptd.export.fitting import check_fit
from ckptd.export.refusal import TargetError
from ckptd.export.suggesting import suggest
from ckptd.export.units import Failed
from ckptd.jobs.exporting import Asked, Exporting
from ckptd.jobs.reading import OPEN_FLAGS
from ckptd.jobs.resolving import Resolving
from ckptd.jobs.roots import WatchedRoot
from ckptd.jobs.upkeep import Upkeep
from ckptd.model import GONE_STATES, Identity, Record, Status
from ckptd.proof import Export, Verdict
from ckptd.settings.exporting import ExportSettings
from ckptd.storage.beneath import RootHandle, open_beneath
from ckptd.text import escape
from ckptd.watch.guard import STATE_NAME

#: The loop looks at its stages at least this often.
_LONGEST_SLEEP_SECONDS = 1.0

_EXPORTED = frozenset((Status.OK, Status.NEEDS_CODE))
#: A sidecar that is tried again later than this is left to the daemon.
_PATIENCE_SECONDS = 2.0

#: Runs a loop until nothing is left to do.
Drive = Callable[[], None]


@dataclass(frozen=True, slots=True)
class RecipeCheck:
    """What became of building a module by its recipe.

    Attributes:
        origin: who says the recipe; "" where there is none.
        reason: why it does not fit; empty when it does.
        differences: one line for each parameter that differs.
        left_out: hyperparameters that the callable does not take, a misspelt one among them.
    """

    origin: str
    callable: str | None
    reason: str
    differences: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Say whether the module has the parameters of the checkpoint."""
        return not self.reason and not self.differences


def export_one(
    exporting: Exporting, roots: Sequence[WatchedRoot], record: Record, targets: Sequence[str], drive: Drive, *, force: bool
) -> list[Export]:
    """Export one checkpoint and wait for the outcome of each target.

    Raises:
        UsageError: it can't be exported, or no target is named anywhere.
    """
    if not targets:
        raise UsageError("export a checkpoint", why="no target is named", cure="say --to safetensors, or set export.targets")
    status = None if record.inspection is None else record.inspection.status
    if status not in _EXPORTED or record.state.value != "ready":
        why = f"it is {record.state.value if status is None or record.state in GONE_STATES else status.value}"
        raise UsageError("export a checkpoint", path=escape(record.path), why=why, cure="see `ckptd show`")
    number = next((root.number for root in roots if root.path == record.root), None)
    if number is None:
        cure = "name its root by --root, or in the settings"
        raise UsageError("export a checkpoint", path=escape(record.path), why=f"it lies in {record.root}", cure=cure)
    exporting.ask((number, record.path), Asked(tuple(targets), force=force, by_person=True))
    drive()
    last = {outcome.target: outcome for outcome in exporting.outcomes}
    return [last.get(target, _overtaken(record, target)) for target in targets]


def run_until_idle(exporting: Exporting, upkeep: Upkeep, selector: selectors.BaseSelector) -> None:
    """Run the loop of a command until every export is done and every sidecar is written.

    Raises:
        IndexUnavailableError: the index has been out of reach for a while.
    """
    while True:
        now = time.monotonic()
        exporting.step(now)
        upkeep.step(now, ())
        if exporting.failure is not None:
            raise exporting.failure
        if exporting.is_idle and (upkeep.next_due() or math.inf) > now + _PATIENCE_SECONDS:
            return
        times = [at for at in (exporting.next_due(), upkeep.next_due()) if at is not None]
        pause = max(0.0, min([_LONGEST_SLEEP_SECONDS, *(at - time.monotonic() for at in times)]))
        for key, _ in selector.select(pause):
            key.data()


def suggest_recipe(record: Record) -> str:
    """Say what is known about a checkpoint's layers, as a recipe to fill in.

    Raises:
        UsageError: it was not read to its end.
    """
    if record.inspection is None or record.inspection.sha256 is None:
        raise UsageError(
            "suggest a recipe", path=escape(record.path), why="it was not read to its end", cure="see `ckptd show`"
        )
    return suggest(record.inspection)


def check_recipe(
    resolving: Resolving, record: Record, settings: ExportSettings, selector: selectors.BaseSelector
) -> RecipeCheck:
    """Build the module of a checkpoint by its recipe, in a confined process, and name each difference.

    Raises:
        UsageError: the file is not there any more.
        WorkerError: the process crashed, was late or could not be confined.
    """
    with _opened(record, "check a recipe") as (root_fd, fd):
        assert record.inspection is not None
        resolved = resolving.resolve_in(root_fd, record.root, record)
        if resolved.recipe is None:
            return RecipeCheck("", None, resolved.reason)
        recipe = resolved.recipe
        try:
            fit = check_fit(recipe, record.inspection, fd, Path(record.root, STATE_NAME), settings, selector)
        except Failed as failed:
            return RecipeCheck(recipe.origin, recipe.callable, str(failed))
    return RecipeCheck(recipe.origin, recipe.callable, fit.problem, fit.differences, fit.left_out)


def build_model(resolving: Resolving, record: Record, build: Callable[..., Any] | None) -> Any:
    """Build the module of a checkpoint in this process.

    Raises:
        NeedsCodeError: there is no recipe that is trusted.
        FormatError: the module and the checkpoint do not fit.
        UsageError: the file is not there any more, or was not read to its end.
    """
    from ckptd.export.building import build_here, build_with  # torch, and whatever the model imports

    with _opened(record, "build a model") as (root_fd, fd):
        assert record.inspection is not None
        try:
            if build is not None:
                return build_with(build, record.inspection.metadata.hyperparameters, fd)
            resolved = resolving.resolve_in(root_fd, record.root, record)
            if resolved.recipe is not None and resolved.recipe.origin == "sidecar" and not resolved.recipe.is_exact:
                # Nothing confines this process: a sidecar may choose among callables that are named, not among all that
                # lie in a trusted directory.
                resolved = resolving.resolve_in(root_fd, record.root, record, with_sidecar=False)
            if resolved.recipe is None:
                cure = "or pass your class: model(name, build=...)"
                raise NeedsCodeError("build a model", path=escape(record.path), why=resolved.reason, cure=cure)
            return build_here(resolved.recipe, fd)
        except TargetError as error:
            cure = "see `ckptd recipe check`"
            raise FormatError("build a model", path=escape(record.path), why=str(error), cure=cure) from error


@contextmanager
def _opened(record: Record, what: str) -> Iterator[tuple[int, int]]:
    """Open a root and a checkpoint in it, which has to be the one that was inspected."""
    if record.inspection is None or record.inspection.status not in _EXPORTED:
        raise UsageError(
            what, path=escape(record.path), why="it was not read to its end, or is damaged", cure="see `ckptd show`"
        )
    with RootHandle(record.root) as root:
        try:
            fd = open_beneath(root.fd, record.path, OPEN_FLAGS)
        except OSError as error:
            raise UsageError(what, path=escape(record.path), why=os.strerror(error.errno or 0)) from error
        try:
            if Identity.of(os.fstat(fd))[:4] != record.identity[:4]:
                why = "it was saved again since it was indexed"
                raise UsageError(what, path=escape(record.path), why=why, cure="try it again")
            yield root.fd, fd
        finally:
            os.close(fd)


def _overtaken(record: Record, target: str) -> Export:
    reason = "the checkpoint was saved again or removed meanwhile, or its directory is gone"
    return Export(target, Verdict.ERROR, record.sha256 or "", "", reason=reason, at=time.time())
