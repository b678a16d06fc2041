"""Numbers, times and names as a report writes them; every name out of a file is escaped and shortened here."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from ckptd.text import escape, format_size

#: Characters of a name in a table; a longer one loses its middle, since paths differ at their ends.
NAME_CHARACTERS = 72
#: Characters of a phrase: reasons, messages, summaries.
PHRASE_CHARACTERS = 240
#: Characters that are escaped at most before the middle is taken out.
_LONGEST = 5_000


def show_name(text: str, limit: int = NAME_CHARACTERS) -> str:
    r"""Escape a name and take out its middle where it is long: "runs/2026…/epoch_0099.pth"."""
    shown = escape(text, _LONGEST)
    if len(shown) <= limit:
        return shown
    head = (limit - 1) * 2 // 5
    return f"{shown[:head]}…{shown[len(shown) - (limit - 1 - head) :]}"


def show_path(root: str, path: str, *, several_roots: bool, limit: int = NAME_CHARACTERS) -> str:
    """Write a path, with its root where there are several."""
    return show_name(f"{root.rstrip('/')}/{path}" if several_roots else path, limit)


def show_phrase(text: str) -> str:
    """Escape a phrase that may hold names."""
    return escape(text, PHRASE_CHARACTERS)


def plural(count: int, one: str, many: str | None = None) -> str:
    """Write a count with its noun: "1 file", "2,184 files"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def percent(part: float, whole: float) -> str:
    """Write a part of a whole: "43 %", "<1 %"; "-" of nothing."""
    if whole <= 0:
        return "-"
    share = 100.0 * part / whole
    if 0 < share < 1:
        return "<1 %"
    return f"{min(int(share), 99) if share < 100 and round(share) == 100 else round(share)} %"


def size(size_bytes: float) -> str:
    """Write a size in binary units; of a negative one the sign comes first."""
    return f"−{format_size(round(-size_bytes))}" if size_bytes < -0.5 else format_size(round(size_bytes))


def rate(bytes_a_day: float) -> str:
    """Write a growth: "9.8 GiB a day"."""
    return f"{size(bytes_a_day)} a day"


def days(count: float) -> str:
    """Write a number of days as one says it: "41 days", "8 months", "3 years"."""
    if count < 1:
        return "less than a day"
    if count < 100:
        return plural(round(count), "day")
    months = count / 30.44
    return f"{months:.0f} months" if months < 24 else f"{count / 365.25:.0f} years"


def span(seconds: float) -> str:
    """Write how long something took or is ago: "0.4 s", "3 min", "5 h", "12 days"."""
    if seconds < 60:
        return f"{max(seconds, 0.0):.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 3_600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.0f} h" if seconds < 48 * 3_600 else days(seconds / 86_400)


def moment(at: float | None, zone: str) -> str:
    """Write a time as date and minute in a zone; "-" for none and for one that no calendar has."""
    return _format(at, zone, "%Y-%m-%d %H:%M")


def day(at: float | None, zone: str) -> str:
    """Write a time as a date."""
    return _format(at, zone, "%Y-%m-%d")


def _format(at: float | None, zone: str, form: str) -> str:
    if at is None:
        return "-"
    try:
        return datetime.fromtimestamp(at, ZoneInfo(zone)).strftime(form)
    except (OverflowError, OSError, ValueError):
        return "-"


def month_name(month: str) -> str:
    """Write "2026-11" as "Nov 2026"."""
    return datetime.strptime(month, "%Y-%m").strftime("%b %Y")  # noqa: DTZ007 — a month has no zone
