"""Look at everything that could be wrong, and name the cure of what is.

A subject is one module `doctoring_*` and one line in `LOOKS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ckptd.jobs.checks import Check, Look, Patient, bad
from ckptd.jobs.doctoring_archives import check_archives
from ckptd.jobs.doctoring_clock import check_clock
from ckptd.jobs.doctoring_exports import check_exports
from ckptd.jobs.doctoring_index import check_index
from ckptd.jobs.doctoring_jobs import check_jobs
from ckptd.jobs.doctoring_limits import check_limits
from ckptd.jobs.doctoring_orphans import check_orphans
from ckptd.jobs.doctoring_places import check_places
from ckptd.jobs.doctoring_reach import check_reach
from ckptd.jobs.doctoring_retention import check_retention
from ckptd.jobs.doctoring_roots import check_roots
from ckptd.jobs.doctoring_sandbox import check_sandbox
from ckptd.jobs.doctoring_scrub import check_scrub
from ckptd.jobs.doctoring_settings import check_problems, check_settings
from ckptd.jobs.doctoring_sidecars import check_sidecars
from ckptd.jobs.doctoring_socket import check_socket
from ckptd.jobs.doctoring_space import check_space
from ckptd.jobs.doctoring_state import check_state
from ckptd.jobs.doctoring_unit import check_own_unit, check_unit
from ckptd.jobs.doctoring_versions import check_running_version, check_versions
from ckptd.text import escape

#: Subject → what looks at it, in the order in which people read it.
LOOKS: tuple[tuple[str, Look], ...] = (
    ("versions", lambda _patient: check_versions()),
    ("versions", check_running_version),
    ("settings", check_settings),
    ("roots", check_roots),
    ("state", check_state),
    ("places", check_places),
    ("socket", check_socket),
    ("index", check_index),
    ("space", check_space),
    ("clock", check_clock),
    ("limits", check_limits),
    ("sandbox", lambda _patient: check_sandbox()),
    ("unit", check_unit),
    ("reach", check_reach),
    ("metadata", check_sidecars),
    ("leftovers", check_orphans),
    ("scrub", check_scrub),
    ("archives", check_archives),
    ("exports", check_exports),
    ("jobs", check_jobs),
    ("policy", check_retention),
)


def check_all(patient: Patient, looks: Iterable[tuple[str, Look]] = LOOKS) -> list[Check]:
    """Look at every subject; a look that fails says so and hinders none of the others."""
    return [check for subject, look in looks for check in _look(subject, look, patient)]


def check_without_settings(config: Path | None, problems: Iterable[str]) -> list[Check]:
    """Look at what can be looked at while the settings make no sense.

    Args:
        config: the settings file; None when there is none.
        problems: one line each.
    """
    return [*check_versions(), *check_problems(config, problems), *check_sandbox(), *check_own_unit()]


def _look(subject: str, look: Look, patient: Patient) -> Iterator[Check]:
    try:
        yield from look(patient)
    except Exception as error:  # noqa: BLE001 — a doctor who faints helps nobody with the other complaints
        message = f"this could not be looked at to its end: {type(error).__name__}: {escape(str(error), 500)}"
        yield bad(subject, message, "report it with this line; what the other lines say holds all the same")
