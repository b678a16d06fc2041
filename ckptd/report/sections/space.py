"""What each file system holds, how that grew, and when it is full."""

from __future__ import annotations

from ckptd.report.dating import DAY_SECONDS
from ckptd.report.facts import Disk, Facts, Forecast
from ckptd.report.growth import day_name, day_number
from ckptd.report.layout import Cell, Column, Line, Part, Plot, Section, SplitBar, Table
from ckptd.report.wording import days, month_name, percent, plural, rate, show_name, size

_MOST_MONTHS = 12
#: The line of a full disk is drawn when it is not higher than so many times what lies there.
_CEILING_TIMES = 3.0
_LONGEST_AHEAD = 180


def range_of(found: Forecast) -> str:
    """Say the range of a forecast: "29 to 70 days", "29 days to never"."""
    if found.soonest_days is None:
        return "or never"
    if found.latest_days is None:
        return f"{days(found.soonest_days)} at the earliest, or never"
    soon, late = days(found.soonest_days), days(found.latest_days)
    if soon == late:
        return f"about {soon}"
    unit = soon.rpartition(" ")[2]
    return f"{soon.partition(' ')[0]} to {late}" if unit == late.rpartition(" ")[2] else f"{soon} to {late}"


def disks(facts: Facts) -> Section:
    """Say what each file system holds and when it is full."""
    plots, lead = [], []
    for disk in facts.disks:
        lead.append(_foretell(disk, named=len(facts.disks) > 1))
        plots.append(_what_it_holds(disk))
        if disk.growth.size_bytes:
            plots.append(_how_it_grew(disk, facts))
    note = (
        "The forecast is the median slope of the last days, with a range from how much whole weeks differ. It supposes that "
        "nothing else grows on the disk, and that you go on as you did."
    )
    return Section("disks", "Disks and growth", note, tuple(lead), tuple(plots))


def _foretell(disk: Disk, *, named: bool) -> str:
    found, name = disk.forecast, f"{show_name(disk.name)}: " if named else ""
    if found.why_not and not found.rate_bytes:
        return f"{name}No forecast: {found.why_not}."
    text = f"{name}{'Grew' if found.rate_bytes >= 0 else 'Shrank'} by about {rate(abs(found.rate_bytes))}"
    text += f" over the last {plural(found.history_days, 'day')} ({size(found.slow_bytes)} to {size(found.fast_bytes)})."
    if found.days is not None:
        text += f" It is full in about {days(found.days)} ({range_of(found)})."
    elif found.why_not:
        text += f" When it is full can't be said: {found.why_not}."
    elif found.soonest_days is not None:
        text += f" At this rate it does not fill up; at the fastest it would in {days(found.soonest_days)}."
    else:
        text += " At this rate it does not fill up within ten years."
    if found.from_survivors:
        text += (
            " Part of these days lies before ckptd looked: what was removed then is missing, so the true growth may be slower."
        )
    return text


def _what_it_holds(disk: Disk) -> Plot:
    ours = disk.checkpoint_bytes + disk.archive_bytes + disk.trash_bytes
    parts = [
        Part("checkpoints", disk.checkpoint_bytes, "checkpoints"),
        Part("archives", disk.archive_bytes, "archives"),
        Part("trash", disk.trash_bytes, "trash"),
    ]
    if disk.total_bytes is not None and disk.free_bytes is not None:
        parts += [
            Part("other files", max(disk.total_bytes - disk.free_bytes - ours, 0), "other"),
            Part("free", disk.free_bytes, "free"),
        ]
    shown = tuple(part for part in parts if part.size_bytes or part.style in ("checkpoints", "free"))
    whole = sum(part.size_bytes for part in shown)
    said = ", ".join(f"{part.label} {size(part.size_bytes)} ({percent(part.size_bytes, whole)})" for part in shown)
    title = f"What {show_name(disk.name)} holds"
    rows = tuple((Cell(part.label), Cell(size(part.size_bytes)), Cell(percent(part.size_bytes, whole))) for part in shown)
    columns = (Column("Part"), Column("Size", number=True), Column("Share", number=True))
    return Plot(SplitBar(title, f"{said}.", shown), Table(columns, rows, title))


def _how_it_grew(disk: Disk, facts: Facts) -> Plot:
    levels, first = disk.growth.size_bytes, day_number(disk.growth.first_day)
    cut_off = _uninteresting(levels)
    levels, first = levels[cut_off:], first + cut_off
    last, found = first + len(levels) - 1, disk.forecast
    known = None if facts.known_since_at is None else int(facts.known_since_at // DAY_SECONDS)
    ahead_days, ahead, ceiling = 0, (0.0, 0.0, 0.0), None
    if found.rate_bytes or found.fast_bytes:
        ahead_days = max(14, min(len(levels) // 2, _LONGEST_AHEAD, round(found.days or _LONGEST_AHEAD)))
        ahead = tuple(  # type: ignore[assignment]  # three of them
            max(levels[-1] + one * ahead_days, 0.0) for one in (found.slow_bytes, found.rate_bytes, found.fast_bytes)
        )
    if disk.free_bytes is not None and levels[-1] + disk.free_bytes <= _CEILING_TIMES * max(*levels, ahead[1]):
        ceiling = levels[-1] + disk.free_bytes
    title = f"Growth on {show_name(disk.name)}"
    ends = f"{size(levels[0])} on {day_name(first)} and {size(levels[-1])} on {day_name(last)}"
    description = f"Checkpoints, trash and archives took {ends}."
    drawn_from = known if known is not None and first < known <= last else None
    line = Line(title, description, first, levels, drawn_from, ceiling, ahead_days, ahead)
    return Plot(line, _growth_table(levels, first, title))


def _uninteresting(levels: tuple[int, ...]) -> int:
    """Count the first days on which next to nothing lay there: one old file would make years of nothing."""
    least = max(levels) / 50
    start = next((index for index, level in enumerate(levels) if level >= least), 0)
    return max(0, min(start - 7, len(levels) - 60))


def _growth_table(levels: tuple[int, ...], first: int, title: str) -> Table:
    by_month: dict[str, int] = {}
    for index, level in enumerate(levels):
        by_month[day_name(first + index)[:7]] = level
    rows: list[tuple[Cell, ...]] = []
    before: int | None = None
    for month, level in by_month.items():
        change = "" if before is None else f"+{size(level - before)}" if level > before else size(level - before)
        rows.append((Cell(month_name(month)), Cell(size(level)), Cell(change)))
        before = level
    columns = (Column("End of"), Column("Size", number=True), Column("Change", number=True))
    more = "" if len(rows) <= _MOST_MONTHS else f"{plural(len(rows) - _MOST_MONTHS, 'earlier month')} left out."
    return Table(columns, tuple(rows[-_MOST_MONTHS:]), title, more)
