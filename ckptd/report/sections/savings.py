"""What could go: optimizer state, duplicates, what the policy would do, and what was put away already."""

from __future__ import annotations

from ckptd.report.facts import DuplicateSet, Facts
from ckptd.report.layout import Cell, Column, Section, Table
from ckptd.report.shares import Share
from ckptd.report.upkeep import PlanAlert, PlanSummary
from ckptd.report.wording import day, percent, plural, show_name, show_path, show_phrase, size

_MOST = 10
_MOST_HELD = 6
_ACTIONS = {"keep": "keep", "slim": "slim", "archive": "archive", "trash": "move to the trash", "hold": "held until confirmed"}


def optimizer(facts: Facts) -> Section:
    """Say what the state of optimizers takes, and what slimming would save."""
    totals = facts.totals
    note = (
        "The state of optimizers and schedulers is needed to go on training, not to use a model."
        " ckptd can take it out and keep the rest."
    )
    if not totals.optimizer_bytes:
        return Section("optimizer", "Optimizer state", note, ("No checkpoint holds any.",))
    share = percent(totals.optimizer_bytes, totals.size_bytes)
    lead = f"It takes {size(totals.optimizer_bytes)} in {plural(totals.optimizer_files, 'file')}, {share} of all bytes."
    slimmable = plural(totals.slim_files, "file")
    lead += f" Slimming the {slimmable} that also hold weights would save about {size(totals.slim_bytes)}."
    models = sorted((one for one in facts.models.rows if one.optimizer_bytes), key=lambda one: -one.optimizer_bytes)
    rows = tuple(_optimizer_row(one, models[0].optimizer_bytes) for one in models[:_MOST])
    columns = (Column("Model"), Column("Size", number=True), Column("Optimizer", number=True), Column("Share", number=True))
    more = "" if len(models) <= _MOST else f"and {plural(len(models) - _MOST, 'more model', 'more models')}"
    return Section("optimizer", "Optimizer state", note, (lead,), tables=(Table(columns, rows, "", more),))


def _optimizer_row(one: Share, largest: int) -> tuple[Cell, ...]:
    part = one.optimizer_bytes / largest
    name = Cell("not known", share=part) if one.name is None else Cell(show_name(one.name, 56), is_name=True, share=part)
    return name, Cell(size(one.size_bytes)), Cell(size(one.optimizer_bytes)), Cell(percent(one.optimizer_bytes, one.size_bytes))


def duplicates(facts: Facts) -> Section:
    """Say which contents lie there more than once."""
    found = facts.duplicates
    note = "Files of the same SHA-256. Hard links share their bytes and are no duplicates."
    lead = ["No content lies in more than one file."]
    if found.sets:
        sets = plural(found.sets, "content lies", "contents lie")
        lead = [
            f"{sets} in more than one file; the {plural(found.extra_files, 'extra file')} waste {size(found.wasted_bytes)}."
        ]
    links = facts.totals.hard_links
    if links:
        lead.append(f"{plural(links, 'more name is a hard link', 'more names are hard links')} and cost nothing.")
    if not found.rows:
        return Section("duplicates", "Duplicates", note, tuple(lead))
    rows = tuple(_duplicate_row(one) for one in found.rows[:_MOST])
    columns = (Column("Content"), Column("Files", number=True), Column("Wasted", number=True))
    left = found.sets - len(rows)
    more = f"and {plural(left, 'more content', 'more contents')}" if left else ""
    return Section("duplicates", "Duplicates", note, tuple(lead), tables=(Table(columns, rows, "", more),))


def _duplicate_row(one: DuplicateSet) -> tuple[Cell, ...]:
    also = [show_name(place, 64) for place in one.places[1:3]]
    more = one.files - 1 - len(also)
    below = "also " + ", ".join(also) + (f" and {more:,} more" if more > 0 else "")
    first = show_name(one.places[0]) if one.places else one.sha256[:16]
    wasted = one.size_bytes * (one.files - 1)
    return Cell(first, below, is_name=True), Cell(f"{one.files:,}"), Cell(size(wasted), f"{size(one.size_bytes)} each")


def policy(facts: Facts) -> Section:
    """Say what the policy would do now."""
    plan, title = facts.plan, "What the policy would do"
    if plan is None:
        why = show_phrase(facts.no_plan) or "ckptd plan shows one"
        return Section("policy", title, lead=(f"No plan was made: {why}.",))
    note = "A plan does nothing: “ckptd plan” names every file with its reasons, “ckptd apply” does it."
    lead = [f"Applied now, it would free {size(plan.frees_bytes)} (plan {show_name(plan.id, 16)})."]
    if plan.held_files:
        lead.append(f"{plural(plan.held_files, 'removal is', 'removals are')} held until a person confirms the plan.")
    if plan.reasons:
        why = ", ".join(f"{show_name(code, 40)} {files:,}" for code, files in plan.reasons[:_MOST])
        lead.append(f"What is kept, by reasons, of which a file may have several: {why}.")
    rows = tuple(
        (
            Cell(_ACTIONS.get(one.action, show_name(one.action, 20))),
            Cell(f"{one.files:,}"),
            Cell(size(one.size_bytes)),
            _frees(one.action, one.frees_bytes),
        )
        for one in plan.actions
    )
    columns = (Column("Action"), Column("Files", number=True), Column("Size", number=True), Column("Frees", number=True))
    tables = [Table(columns, rows)]
    several = facts.roots.names > 1
    if plan.alerts:
        tables.append(_alerts(plan, several=several))
    if plan.held:
        tables.append(_held(plan, several=several))
    return Section("policy", title, note, tuple(lead), tables=tuple(tables))


def _frees(action: str, frees_bytes: int) -> Cell:
    return Cell("–" if action == "keep" else size(frees_bytes))


def _alerts(plan: PlanSummary, *, several: bool) -> Table:
    rows = tuple((_concerned(one, several=several),) for one in plan.alerts[:_MOST])
    left = len(plan.alerts) - len(rows)
    return Table((Column("Of note"),), rows, "", f"and {left:,} more" if left else "")


def _concerned(one: PlanAlert, *, several: bool) -> Cell:
    if one.group is None:
        return Cell(show_name(one.root) if several else "all of it", show_phrase(one.message), is_name=several)
    return Cell(show_path(one.root, one.group, several_roots=several), show_phrase(one.message), is_name=True)


def _held(plan: PlanSummary, *, several: bool) -> Table:
    rows = tuple(
        (
            Cell(
                show_path(one.root, one.path, several_roots=several),
                f"{_ACTIONS.get(one.action, one.action)}: {show_phrase(one.reasons[0]) if one.reasons else '-'}",
                is_name=True,
            ),
            Cell(size(one.size_bytes)),
        )
        for one in plan.held[:_MOST_HELD]
    )
    left = plan.held_files - len(rows)
    return Table((Column("Held"), Column("Size", number=True)), rows, "", f"and {left:,} more" if left > 0 else "")


def put_away(facts: Facts) -> Section:
    """Say what lies in trash, archives and exports."""
    archives = facts.archives
    columns = (Column("Where"), Column("Entries", number=True), Column("Size", number=True), Column("Oldest"))
    rows = [
        (
            Cell("trash", show_name(one.root) if len(facts.trash) > 1 else ""),
            Cell(f"{one.entries:,}"),
            Cell(size(one.size_bytes)),
            Cell(day(one.oldest_at, facts.zone)),
        )
        for one in facts.trash
    ]
    inside = f"{plural(archives.members, 'checkpoint')}, {size(archives.original_bytes)} before" if archives.count else ""
    rows.append(
        (
            Cell("archives", inside),
            Cell(f"{archives.count:,}"),
            Cell(size(archives.size_bytes)),
            Cell(day(archives.oldest_at, facts.zone)),
        )
    )
    rows.append((Cell("exports"), Cell(f"{facts.exports:,}"), Cell(size(facts.export_bytes)), Cell("-")))
    lead = []
    if archives.damaged or archives.missing or archives.lost_members:
        lead.append(
            f"{plural(archives.damaged, 'archive is', 'archives are')} damaged, {archives.missing:,} missing; "
            f"{plural(archives.lost_members, 'member')} lost."
        )
    if archives.count:
        drilled = (
            "no drill was made so far" if archives.drilled_at is None else f"last on {day(archives.drilled_at, facts.zone)}"
        )
        lead.append(f"Drills restore a member of an archive and compare it: {drilled}.")
    note = "The trash takes its room until it is purged. An archive counts from when it was read back and every digest matched."
    return Section("put-away", "Trash, archives and exports", note, tuple(lead), tables=(Table(columns, tuple(rows)),))
