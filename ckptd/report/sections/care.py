"""What wants a person: damaged and odd checkpoints, and the last results of all jobs."""

from __future__ import annotations

from collections.abc import Mapping

from ckptd.model import Json, Status
from ckptd.report.facts import Facts
from ckptd.report.layout import Cell, Column, Section, Table, Tone
from ckptd.report.shares import Share
from ckptd.report.upkeep import JobResult, Trouble
from ckptd.report.wording import day, moment, plural, show_name, show_path, show_phrase, size, span

_MOST = 15
_MOST_FIGURES = 5
_GOOD = (Status.OK.value, Status.NEEDS_CODE.value)
_WORDS = {
    None: "not read yet",
    Status.OK.value: "whole and harmless",
    Status.NEEDS_CODE.value: "whole, needs code",
    Status.UNSAFE.value: "unsafe",
    Status.DAMAGED.value: "damaged",
    Status.NOT_A_CHECKPOINT.value: "no checkpoint",
    Status.UNREADABLE.value: "unreadable",
    Status.FAILED.value: "not inspected to the end",
    "non-finite-weights": "NaN or infinity",
    "rotten": "rotten",
}
_TONES: dict[str | None, Tone] = {None: "", **dict.fromkeys(_GOOD, "good"), Status.NOT_A_CHECKPOINT.value: "warn"}
_OUTCOMES: dict[str, tuple[str, Tone]] = {
    "ok": ("ok", "good"),
    "running": ("running", ""),
    "held": ("held", "warn"),
    "failed": ("failed", "bad"),
    "interrupted": ("interrupted", "warn"),
}


def say_status(status: str | None) -> str:
    """Say what a status means in a few words."""
    return _WORDS.get(status) or show_name(status or "", 30)


def bad_statuses(facts: Facts) -> tuple[Share, ...]:
    """Give the parts whose status is nothing to praise, the most files first."""
    bad = [share for share in facts.health.statuses if share.name is not None and share.name not in _GOOD]
    return tuple(sorted(bad, key=lambda share: -share.files))


def health(facts: Facts) -> Section:
    """Say what is damaged, unsafe or not finite, and what was read again."""
    found, totals = facts.health, facts.totals
    note = "ckptd reads each file once when it comes and never runs it; the scrub job reads them again. “ckptd show” says more."
    lead = list(map(show_phrase, found.freezes))
    if not totals.files:
        return Section("health", "Health", note, (*lead, "There is nothing to judge."))
    wrong = found.trouble_files + found.rotten_files
    if wrong:
        lead.append(f"{wrong:,} of {plural(totals.files, 'checkpoint')} want a look.")
    else:
        lead.append("Nothing wants a look.")
    if found.checked_files:
        lead.append(
            f"{found.checked_files:,} of {totals.files:,} were read again since; the longest ago on "
            f"{day(found.oldest_check_at, facts.zone)}."
        )
    else:
        lead.append("None was read again so far.")
    tables = [_statuses(found.statuses)]
    several = facts.roots.names > 1
    rotten = tuple(
        (
            Cell(show_name(place), "its bytes changed since it was read first", is_name=True),
            Cell("rotten", tone="bad"),
            Cell(""),
        )
        for place in found.rotten
    )
    rows = (*rotten, *(_trouble_row(one, several=several) for one in found.troubles))[:_MOST]
    if rows:
        columns = (Column("File"), Column("What"), Column("Size", number=True))
        left = wrong - len(rows)
        tables.insert(0, Table(columns, rows, "", f"and {left:,} more" if left > 0 else ""))
    return Section("health", "Health", note, tuple(lead), tables=tuple(tables))


def _statuses(shares: tuple[Share, ...]) -> Table:
    rows = tuple(
        (
            Cell(say_status(share.name), tone=_TONES.get(share.name, "bad")),
            Cell(f"{share.files:,}"),
            Cell(size(share.size_bytes)),
        )
        for share in shares
    )
    return Table((Column("Status"), Column("Files", number=True), Column("Size", number=True)), rows)


def _trouble_row(one: Trouble, *, several: bool) -> tuple[Cell, ...]:
    path = show_path(one.root, one.path, several_roots=several)
    tone: Tone = "warn" if one.what in ("non-finite-weights", Status.NOT_A_CHECKPOINT.value) else "bad"
    return Cell(path, show_phrase(one.message), is_name=True), Cell(say_status(one.what), tone=tone), Cell(size(one.size_bytes))


def jobs(facts: Facts) -> Section:
    """Say how the last run of each job ended."""
    note = "“ckptd jobs” shows the schedule and the next runs."
    if not facts.jobs:
        return Section("jobs", "Jobs", note, ("No job has run yet.",))
    columns = (Column("Job"), Column("Outcome"), Column("Last good"))
    rows = tuple(_job_row(one, facts.zone) for one in facts.jobs)
    bad = [show_name(one.job, 30) for one in facts.jobs if one.outcome in ("failed", "interrupted")]
    lead = (f"The last run of {', '.join(bad)} did not end well.",) if bad else ()
    return Section("jobs", "Jobs", note, lead, tables=(Table(columns, rows),))


def _job_row(one: JobResult, zone: str) -> tuple[Cell, ...]:
    word, tone = _OUTCOMES.get(one.outcome, (show_name(one.outcome, 20), ""))
    took = "" if one.finished_at is None else f", {span(one.finished_at - one.started_at)}"
    says = show_phrase(one.reason) or _say(one.summary)
    return (
        Cell(show_name(one.job, 30), says),
        Cell(word, moment(one.started_at, zone) + took, tone=tone),
        Cell("never" if one.succeeded_at is None else day(one.succeeded_at, zone)),
    )


def _say(summary: Mapping[str, Json]) -> str:
    """Say the first figures of a job in words: "purged 3, freed 1.2 GiB"."""
    said = []
    for key, value in summary.items():
        words = show_name(key, 30).removesuffix("_bytes").replace("_", " ")
        if type(value) is int or type(value) is float:
            said.append(f"{words} {size(value) if key.endswith('_bytes') else f'{value:,}'}")
        elif isinstance(value, str) and value:
            said.append(f"{words} {show_name(value, 40)}")
    return ", ".join(said[:_MOST_FIGURES])
