"""Look at what exports need: packages, trusted directories, and the walls around exporters."""

from __future__ import annotations

import importlib.util
import selectors
from collections.abc import Iterator

from ckptd.errors import WorkerError
from ckptd.export.fitting import run_alone
from ckptd.export.guarded import Refusal
from ckptd.export.targets import find_target
from ckptd.export.trust import Trust
from ckptd.export.worker import light_command
from ckptd.jobs.checks import Check, Patient, bad, good
from ckptd.model import Severity
from ckptd.sandbox.jail import Jail, library_paths
from ckptd.sandbox.nursery import Job
from ckptd.settings import Settings

_SECONDS = 30.0


def check_exports(patient: Patient) -> list[Check]:
    """Check what the export settings stand on; nothing where there are none."""
    settings = patient.settings
    if not settings.export.targets and not settings.trust.directories and not settings.recipe:
        return []
    return [*_check_packages(settings), *_check_trust(settings, patient.find_user()), _check_walls(settings)]


def _check_packages(settings: Settings) -> Iterator[Check]:
    for name in settings.export.targets:
        target = find_target(name)
        missing = [package for package in target.packages if importlib.util.find_spec(package) is None]
        if missing:
            cure = f"pip install 'ckptd[{target.extra}]'"
            yield bad(f"target {name}", f"the package {missing[0]} is not installed", cure)


def _check_trust(settings: Settings, user: int) -> Iterator[Check]:
    ground = Trust.of(settings.trust, uid=user).examine()
    for path, refusal in ground.refused:
        yield bad(f"trust.directories {path}", f"it is not trusted: {refusal.reason}", refusal.cure)
    for path in ground.directories:
        yield good(f"trust.directories {path}", "nobody else can write there")
    for recipe in settings.recipe:
        found = ground.find_callable(recipe.callable)
        if isinstance(found, Refusal):
            yield bad(f"recipe {recipe.match}", found.reason, found.cure)


def _check_walls(settings: Settings) -> Check:
    """Start a confined process as exports do, and say which walls stood around it: those of who asks, not of a service."""
    required = settings.export.sandbox == "required"
    jail = Jail(readable=library_paths(), required=required)
    with selectors.DefaultSelector() as selector:
        result = run_alone(Job(1, "stand_still", {}, (), (), (), jail, _SECONDS), light_command(), selector)
    if result.error is not None or result.layers is None:
        error = result.error or WorkerError("a worker did not say how it is confined")
        return bad(
            "export sandbox",
            f"started here, nothing that runs code is exported: {error.why or error}",
            error.cure or "see the log",
        )
    if result.layers.degraded:
        cure = "a newer kernel, or fewer restrictions around the daemon"
        return bad(
            "export sandbox",
            f"an exporter that is started here is less confined: {result.layers.describe_missing()}",
            cure,
            Severity.WARNING,
        )
    return good("export sandbox", "an exporter that is started here is confined by " + ", ".join(result.layers.applied))
