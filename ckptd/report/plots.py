"""Figures as small SVG of our own, drawn for any width: shapes stretch, words and strokes stay as they are.

Every x is a percentage and every height is in pixels, so that one drawing serves a phone, a desk and a sheet of paper; what has
to stretch (areas and lines) lies in an inner SVG without an aspect ratio.  Colours are classes of the page's style sheet, which
knows light, dark and print.  A line and two bars need no plotting library: a drawing is 2 to 6 KB, where one of matplotlib's is
13 and more, takes a second, 35 MB on the disk, and neither its words nor its colours follow the page.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import date, timedelta

from ckptd.report.layout import Columns, Figure, Line, SplitBar
from ckptd.report.markup import Markup, element, joined
from ckptd.report.wording import month_name, percent, size

_BAR_PX = 26
_PLOT_PX = 170
#: Above the plot for a label, below it for the words of the axis.
_ABOVE_PX, _BELOW_PX = 22, 24
#: An inner drawing is so many units wide and high.
_UNITS = 1_000
#: Points of a line; more can't be told apart on any screen.
_MOST_POINTS = 300
_MOST_LABELS = 6
#: What a letter takes of the width on a phone, in percent: 7 of 300 pixels.
_PERCENT_A_LETTER = 2.3
_EPOCH = date(1970, 1, 1)


def draw(figure: Figure, key: str) -> Markup:
    """Draw a figure; `key` is a word that no other figure of the page has."""
    match figure:
        case SplitBar():
            return _draw_split(figure, key)
        case Columns():
            return _draw_columns(figure, key)
        case Line():
            return _draw_line(figure, key)


def _frame(figure: Figure, key: str, height: int, *children: Markup) -> Markup:
    return element(
        "svg",
        element("title", figure.title, id=f"{key}-title"),
        element("desc", figure.description, id=f"{key}-desc"),
        *children,
        class_="plot",
        role="img",
        width="100%",
        height=str(height),
        aria_labelledby=f"{key}-title {key}-desc",
    )


def _draw_split(figure: SplitBar, key: str) -> Markup:
    whole = sum(part.size_bytes for part in figure.parts) or 1
    bars, legend, at = [], [], 0.0
    for part in figure.parts:
        width = 100.0 * part.size_bytes / whole
        name = element("title", f"{part.label}: {size(part.size_bytes)}")
        # What is there at all can be seen: half a percent is three pixels on a phone.
        bars.append(
            element(
                "rect",
                name,
                x=f"{at:.2f}%",
                y="0",
                width=f"{max(width, 0.5):.2f}%",
                height=str(_BAR_PX),
                class_=f"part {part.style}",
            )
        )
        swatch = element("rect", width="12", height="12", class_=f"part {part.style}")
        legend.append(
            element(
                "li",
                element("svg", swatch, width="12", height="12", class_="swatch", aria_hidden="true"),
                element("span", part.label, class_="what"),
                element("b", size(part.size_bytes)),
                element("span", percent(part.size_bytes, whole), class_="share"),
            )
        )
        at += width
    return joined((_frame(figure, key, _BAR_PX, *bars), element("ul", *legend, class_="legend", aria_hidden="true")))


def _draw_columns(figure: Columns, key: str) -> Markup:
    top, count = nice_top(max(figure.size_bytes)), len(figure.size_bytes)
    step = 100.0 / count
    most = max(range(count), key=lambda index: figure.size_bytes[index])
    shapes = []
    for index, (label, value) in enumerate(zip(figure.labels, figure.size_bytes, strict=True)):
        if value:
            high = max(100.0 * value / top, 0.6)
            told = element("title", f"{month_name(label)}: {size(value)}")
            width = f"{step * 0.76:.2f}%"
            shapes.append(
                element(
                    "rect",
                    told,
                    x=f"{step * (index + 0.12):.2f}%",
                    y=f"{100 - high:.2f}%",
                    width=width,
                    height=f"{high:.2f}%",
                    class_="column",
                )
            )
    shapes.append(_label_value(figure.size_bytes[most], step * (most + 0.5), 100.0 * (1 - figure.size_bytes[most] / top)))
    labelled = _labelled(figure.labels)
    names = _months([figure.labels[index] for index in labelled])
    words = _words([(step * (index + 0.5), name) for index, name in zip(labelled, names, strict=True)])
    # The words of the scale have a drawing of their own: the first column would else stand on them.
    height = _ABOVE_PX + _PLOT_PX + _BELOW_PX
    scale = element("svg", _plot(*_grid(top)), class_="plot scale", width="58", height=str(height), aria_hidden="true")
    rules = [shape for shape in _grid(top) if shape.startswith("<line")]
    return element("div", scale, _frame(figure, key, height, _plot(*rules, *shapes), *words), class_="scaled")


def _labelled(months: Sequence[str]) -> list[int]:
    """Choose the months that are named: each January of many, else every so many back from the last."""
    if len(months) > 3 * _MOST_LABELS:
        return [index for index, month in enumerate(months) if month.endswith("-01")]
    every = math.ceil(len(months) / _MOST_LABELS)
    return list(range((len(months) - 1) % every, len(months), every))


def _draw_line(figure: Line, key: str) -> Markup:
    days = max(len(figure.levels) - 1 + figure.ahead_days, 1)
    now, level = len(figure.levels) - 1, figure.levels[-1]
    highest = max(*figure.levels, figure.ahead[1] if figure.ahead_days else 0, figure.ceiling or 0, 1)
    top = nice_top(highest)
    points = [(index * _UNITS / days, _UNITS * (1 - value / top)) for index, value in _thinned(figure.levels)]
    inner = [
        element("path", d=f"{_path(points)}V{_UNITS}H0Z", class_="area"),
        element("path", d=_path(points), class_="level"),
    ]
    if figure.ahead_days:
        start = (now * _UNITS / days, _UNITS * (1 - level / top))
        slow, likely, fast = ((_UNITS, _UNITS * (1 - value / top)) for value in figure.ahead)
        inner.insert(0, element("path", d=f"{_path([start, fast, slow])}Z", class_="fan"))
        inner.append(element("path", d=_path([start, likely]), class_="ahead"))
    stretched = element(
        "svg", *inner, viewBox=f"0 0 {_UNITS} {_UNITS}", preserveAspectRatio="none", width="100%", height="100%"
    )
    shapes = [*_grid(top), stretched, *_marks(figure, top, days)]
    x, y = 100.0 * now / days, 100.0 * (1 - level / top)
    shapes += [element("circle", cx=f"{x:.2f}%", cy=f"{y:.2f}%", r="3.5", class_="now"), _label_value(level, x, y)]
    words = _words([(100.0 * day / days, text) for day, text in _dates(figure.first_day, days)])
    return _frame(figure, key, _ABOVE_PX + _PLOT_PX + _BELOW_PX, _plot(*shapes), *words)


def _marks(figure: Line, top: float, days: int) -> Iterator[Markup]:
    if figure.ceiling is not None:
        y = f"{100 * (1 - figure.ceiling / top):.2f}%"
        yield element("line", x1="0", x2="100%", y1=y, y2=y, class_="ceiling")
        yield element("text", f"full at {size(figure.ceiling)}", x="100%", y=y, dy="-5", class_="end strong")
    if figure.known_from is not None:
        x = f"{100 * (figure.known_from - figure.first_day) / days:.2f}%"
        yield element("line", x1=x, x2=x, y1="0", y2="100%", class_="since")
        is_right = (figure.known_from - figure.first_day) / days > 0.5
        side = {"dx": "-6", "class_": "end"} if is_right else {"dx": "6"}
        yield element("text", "ckptd from here", x=x, y="0", dy="10", **side)


def _plot(*shapes: Markup) -> Markup:
    return element("svg", *shapes, x="0", y=str(_ABOVE_PX), width="100%", height=str(_PLOT_PX), overflow="visible")


def _grid(top: float) -> Iterator[Markup]:
    """Draw the lines of equal size; their words stand on them, so that the plot needs no margin."""
    count = max(1, round(top / nice_step(top)))
    for number in range(count + 1):
        y = f"{100 * (1 - number / count):.2f}%"
        yield element("line", x1="0", x2="100%", y1=y, y2=y, class_="base" if number == 0 else "rule")
        if number:
            yield element("text", _short(top * number / count), x="0", y=y, dy="-4")


def _short(size_bytes: float) -> str:
    return size(size_bytes).replace(".0 ", " ")


def _label_value(value: int, x: float, y: float) -> Markup:
    side = "start" if x < 8 else "end" if x > 92 else "middle"
    return element("text", size(value), x=f"{x:.2f}%", y=f"{y:.2f}%", dy="-9", class_=f"{side} strong halo")


def _words(places: Sequence[tuple[float, str]]) -> list[Markup]:
    """Write words under a plot, but for those that would run into the one before on a phone."""
    written, free_from = [], -100.0
    for x, text in places:
        half = len(text) * _PERCENT_A_LETTER / 2
        side, start = ("start", 0.0) if x < half else ("end", 100 - 2 * half) if x > 100 - half else ("middle", x - half)
        if start < free_from:
            continue
        at = {"start": 0.0, "end": 100.0}.get(side, x)
        written.append(element("text", text, x=f"{at:.2f}%", y=str(_ABOVE_PX + _PLOT_PX + 17), class_=side))
        free_from = start + 2 * half + _PERCENT_A_LETTER
    return written


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.4g},{y:.4g}" for x, y in points)


def _thinned(levels: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Leave points out evenly; of each step the highest stays, so that no peak is lost."""
    step = math.ceil(len(levels) / _MOST_POINTS)
    if step == 1:
        yield from enumerate(levels)
        return
    for start in range(0, len(levels) - 1, step):
        yield max(enumerate(levels[start : start + step], start), key=lambda point: point[1])
    yield len(levels) - 1, levels[-1]


def _dates(first_day: int, days: int) -> list[tuple[int, str]]:
    """Choose at most six round dates of an axis: (days from its start, words)."""
    first = _EPOCH + timedelta(days=first_day)
    if days <= 75:
        every = 7 * max(1, math.ceil(days / 7 / _MOST_LABELS))
        return [(day, f"{first + timedelta(days=day):%-d %b}") for day in range(0, days + 1, every)]
    months = days / 30.44
    every = next((step for step in (1, 2, 3, 6, 12, 24) if months / step <= _MOST_LABELS), 60)
    found: list[int] = []
    labels: list[str] = []
    year, month = first.year, 1
    while True:
        at = (date(year, month, 1) - first).days
        if at > days:
            return list(zip(found, _months(labels) if every < 12 else [one[:4] for one in labels], strict=True))
        if at >= 0:
            found.append(at)
            labels.append(f"{year:04d}-{month:02d}")
        month += every
        year, month = year + (month - 1) // 12, (month - 1) % 12 + 1


def _months(labels: Sequence[str]) -> list[str]:
    """Name months, and the year with the first of each."""
    return [
        month_name(label) if index == 0 or labels[index - 1][:4] != label[:4] else month_name(label)[:3]
        for index, label in enumerate(labels)
    ]


def nice_step(most: float) -> float:
    """Give the smallest round step of which at most five reach `most`; round in the binary unit that people read it in."""
    unit = 1024.0 ** max(0, math.floor(math.log(max(most, 1.0), 1024) + 1e-9))
    base = 10.0 ** (math.floor(math.log10(max(most, 1.0) / unit)) - 1)
    steps = (unit * base * factor for factor in (1, 2, 2.5, 5, 10, 20, 25, 50, 100))
    return next(step for step in steps if step * 5.0001 >= most)


def nice_top(most: float) -> float:
    """Give the round number in which an axis ends."""
    step = nice_step(most)
    return step * max(1, math.ceil(most / step - 1e-3))
