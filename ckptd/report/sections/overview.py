"""The report as a whole: the headline, the few numbers on top, and the sections in their order."""

from __future__ import annotations

from ckptd.report.facts import Disk, Facts
from ckptd.report.layout import KeyFigure, Report, Tone
from ckptd.report.sections import care, parts, savings, space
from ckptd.report.wording import days, moment, percent, plural, show_name, size

#: A disk that is full sooner wants a look, and sooner than the second number a person today.
SOON_DAYS, NOW_DAYS = 30.0, 7.0


def compose(facts: Facts) -> Report:
    """Say everything."""
    sections = (
        space.disks(facts),
        parts.models(facts),
        parts.parts(facts),
        parts.months(facts),
        parts.largest(facts),
        savings.optimizer(facts),
        savings.duplicates(facts),
        savings.policy(facts),
        savings.put_away(facts),
        care.health(facts),
        care.jobs(facts),
    )
    return Report(
        title=f"Checkpoints on {show_name(facts.host)}, {moment(facts.at, facts.zone)[:10]}",
        headline=headline(facts),
        subtitle=subtitle(facts),
        figures=key_figures(facts),
        sections=sections,
        footnotes=_footnotes(facts),
    )


def headline(facts: Facts) -> str:
    """Say in one sentence how things stand."""
    totals = facts.totals
    if not totals.files:
        return "There are no checkpoints yet."
    text = f"{size(totals.size_bytes)} in {plural(totals.files, 'checkpoint')}"
    first = first_full(facts.disks)
    if first is not None and first.forecast.days is not None:
        disk = "the disk" if len(facts.disks) == 1 else show_name(first.name, 40)
        return f"{text}; {disk} is full in about {days(first.forecast.days)}."
    if facts.disks and all(not disk.forecast.why_not for disk in facts.disks):
        return f"{text}; at this rate no disk fills up."
    return f"{text}."


def subtitle(facts: Facts) -> str:
    """Say whose report this is."""
    roots = [show_name(share.name or "") for share in facts.roots.rows[:3]]
    more = facts.roots.names - len(roots)
    named = ", ".join(roots) + (f" and {more} more" if more > 0 else "")
    return f"{show_name(facts.host)} · {named} · {moment(facts.at, facts.zone)} {facts.zone}"


def first_full(disks: tuple[Disk, ...]) -> Disk | None:
    """Give the disk that is full first; None when none fills up."""
    filling = [disk for disk in disks if disk.forecast.days is not None]
    return min(filling, key=lambda disk: disk.forecast.days or 0.0, default=None)


def key_figures(facts: Facts) -> tuple[KeyFigure, ...]:
    """Give the numbers on top."""
    totals, duplicates, health = facts.totals, facts.duplicates, facts.health
    contents = f"{plural(totals.files, 'file')}, {plural(totals.contents, 'content')}"
    slim = f"{percent(totals.optimizer_bytes, totals.size_bytes)} of all; slimming saves about {size(totals.slim_bytes)}"
    worst: Tone = "good" if not health.trouble_files and not health.rotten_files else "bad"
    return (
        KeyFigure("Checkpoints", size(totals.size_bytes), contents, "models"),
        _growth(facts),
        _full(facts),
        _plan(facts),
        KeyFigure("Optimizer state", size(totals.optimizer_bytes), slim, "optimizer"),
        KeyFigure("Duplicates", size(duplicates.wasted_bytes), plural(duplicates.extra_files, "extra file"), "duplicates"),
        _put_away(facts),
        KeyFigure("Want a look", plural(health.trouble_files + health.rotten_files, "file"), _troubles(facts), "health", worst),
    )


def _growth(facts: Facts) -> KeyFigure:
    known = [disk.forecast for disk in facts.disks if disk.forecast.history_days and not _is_silent(disk)]
    if not known:
        why = facts.disks[0].forecast.why_not.partition(":")[0] if facts.disks else "no disk is known"
        return KeyFigure("Growth a day", "–", why, "disks")
    total = sum(one.rate_bytes for one in known)
    low, high = sum(one.slow_bytes for one in known), sum(one.fast_bytes for one in known)
    note = f"{size(low)} to {size(high)}, over {plural(max(one.history_days for one in known), 'day')}"
    return KeyFigure("Growth a day", size(total), note, "disks")


def _is_silent(disk: Disk) -> bool:
    return bool(disk.forecast.why_not) and disk.forecast.rate_bytes == 0.0


def _full(facts: Facts) -> KeyFigure:
    first = first_full(facts.disks)
    free = [disk.free_bytes for disk in facts.disks if disk.free_bytes is not None]
    note = f"{size(sum(free))} free" if free else "nobody says how much is free"
    if first is None or first.forecast.days is None:
        whys = [disk.forecast.why_not for disk in facts.disks]
        value = "–" if not whys or any(whys) else "not in sight"
        return KeyFigure("Disk full in", value, note, "disks")
    left = first.forecast.days
    tone: Tone = "bad" if left < NOW_DAYS else "warn" if left < SOON_DAYS else ""
    if first.free_bytes is not None and len(facts.disks) > 1:
        note = f"{size(first.free_bytes)} free on {show_name(first.name, 24)}"
    return KeyFigure("Disk full in", days(left), f"{space.range_of(first.forecast)}; {note}", "disks", tone)


def _plan(facts: Facts) -> KeyFigure:
    plan = facts.plan
    if plan is None:
        return KeyFigure("Policy would free", "–", "no plan was made", "policy")
    tone: Tone = "warn" if plan.held_files else ""
    held = f"{size(plan.held_bytes)} more in {plural(plan.held_files, 'file')} held until confirmed"
    note = held if plan.held_files else "nothing is held"
    return KeyFigure("Policy would free", size(plan.frees_bytes), note, "policy", tone)


def _put_away(facts: Facts) -> KeyFigure:
    trash, archives = sum(one.size_bytes for one in facts.trash), facts.archives
    note = f"{size(trash)} in the trash, {size(archives.size_bytes)} in {plural(archives.count, 'archive')}"
    return KeyFigure("Put away", size(trash + archives.size_bytes), note, "put-away")


def _troubles(facts: Facts) -> str:
    health = facts.health
    if not health.trouble_files and not health.rotten_files:
        return "every file that was read is whole"
    words = [f"{share.files:,} {care.say_status(share.name)}" for share in care.bad_statuses(facts)]
    if health.non_finite_files:
        words.append(f"{health.non_finite_files:,} with NaN or infinity")
    if health.rotten_files:
        words.append(f"{health.rotten_files:,} rotten")
    return ", ".join(words)


def _footnotes(facts: Facts) -> tuple[str, ...]:
    notes = [
        "Sizes are the lengths of the files in binary units (1 GiB = 1,073,741,824 bytes).",
        "A file with several names (hard links) counts once, at the first name that ckptd met.",
        f"Days of growth are those of UTC, months and times those of {facts.zone}.",
    ]
    if facts.known_since_at is not None:
        since = moment(facts.known_since_at, facts.zone)[:10]
        notes.append(f"ckptd looks after these roots since {since}; what was removed before that day is not known to it.")
    return (*notes, f"Made by ckptd {facts.version}; docs/report.md says how each number is made.")
