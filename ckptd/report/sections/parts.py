"""The checkpoints by model, dataset, kind, dtype, root and month, and the largest of them."""

from __future__ import annotations

from ckptd.report.facts import Facts, File
from ckptd.report.layout import Cell, Column, Columns, Plot, Section, Table
from ckptd.report.shares import Breakdown, Share, cut
from ckptd.report.wording import day, month_name, percent, plural, show_name, show_path, size

#: Rows of a table on the page; the JSON has more.
_MOST = 12
_MOST_SHORT = 8
_MOST_MONTHS = 36


def models(facts: Facts) -> Section:
    """Say which models take the room."""
    note = "The model is what the content, a metadata file or the name of a checkpoint says. The share is of all bytes."
    return Section("models", "By model", note, tables=(_table(facts, facts.models, "Model", _MOST),))


def parts(facts: Facts) -> Section:
    """Say by root, dataset, kind and dtype."""
    tables = [] if facts.roots.names < 2 else [_table(facts, facts.roots, "Root", _MOST_SHORT)]
    tables += [
        _table(facts, facts.datasets, "Dataset", _MOST_SHORT),
        _table(facts, facts.kinds, "Kind", _MOST_SHORT),
        _table(facts, facts.dtypes, "Dtype", _MOST_SHORT),
    ]
    title = "By dataset, kind and dtype" if facts.roots.names < 2 else "By root, dataset, kind and dtype"
    note = "A checkpoint with tensors of several dtypes is a file of each; the bytes are those of the tensors."
    return Section("parts", title, note, tables=tuple(tables), is_grid=True)


def _table(facts: Facts, found: Breakdown, title: str, most: int) -> Table:
    shown = cut(found.rows, most, names=found.names, others=found.others)
    whole, largest = facts.totals.size_bytes, max((share.size_bytes for share in shown.rows), default=0)
    rows = tuple(_share_row(share, whole, largest) for share in shown.rows)
    more = ""
    if shown.others is not None:
        left = plural(shown.names - len(shown.rows), f"more {title.lower()}", f"more {title.lower()}s")
        more = f"and {left}: {size(shown.others.size_bytes)} in {plural(shown.others.files, 'file')}"
    columns = (Column(title), Column("Files", number=True), Column("Size", number=True), Column("Share", number=True))
    return Table(columns, rows, "", more)


def _share_row(share: Share, whole: int, largest: int) -> tuple[Cell, ...]:
    part = share.size_bytes / largest if largest else 0.0
    name = Cell("not known", share=part) if share.name is None else Cell(show_name(share.name, 56), is_name=True, share=part)
    return name, Cell(f"{share.files:,}"), Cell(size(share.size_bytes)), Cell(percent(share.size_bytes, whole))


def months(facts: Facts) -> Section:
    """Say when the checkpoints that are still there were made."""
    note = "By the date in the content or the name of a checkpoint, else by its time of modification; of what is there today."
    dated = {share.name: share for share in facts.months.rows if share.name is not None}
    undated = [share for share in facts.months.rows if share.name is None]
    lead = tuple(f"Of {plural(one.files, 'file')} ({size(one.size_bytes)}) no date is known." for one in undated)
    if not dated:
        return Section("months", "By month", note, lead or ("There are none.",))
    labels = _months_between(min(dated), max(dated))[-_MOST_MONTHS:]
    sizes = tuple(dated[label].size_bytes if label in dated else 0 for label in labels)
    most = labels[sizes.index(max(sizes))]
    most_of_all = f"most is from {month_name(most)}: {size(max(sizes))}"
    description = f"From {month_name(labels[0])} to {month_name(labels[-1])}; {most_of_all}."
    rows = tuple(_month_row(one) for name, one in sorted(dated.items()) if name in labels)
    left = len(dated) - len(rows)
    columns = (Column("Month"), Column("Files", number=True), Column("Size", number=True), Column("Optimizer", number=True))
    table = Table(columns, rows, "Bytes by month", f"{plural(left, 'earlier month')} left out." if left else "")
    return Section("months", "By month", note, lead, (Plot(Columns("Bytes by month", description, labels, sizes), table),))


def _month_row(one: Share) -> tuple[Cell, ...]:
    return (
        Cell(month_name(one.name or "")),
        Cell(f"{one.files:,}"),
        Cell(size(one.size_bytes)),
        Cell(size(one.optimizer_bytes)),
    )


def _months_between(first: str, last: str) -> tuple[str, ...]:
    year, month = int(first[:4]), int(first[5:])
    found = []
    while f"{year:04d}-{month:02d}" <= last:
        found.append(f"{year:04d}-{month:02d}")
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
    return tuple(found)


def largest(facts: Facts) -> Section:
    """Say which files are the largest."""
    shown, several = facts.largest[:_MOST], facts.roots.names > 1
    if not shown:
        return Section("largest", "Largest files", lead=("There are none.",))
    held = percent(sum(file.size_bytes for file in shown), facts.totals.size_bytes)
    lead = (f"The largest {len(shown):,} hold {held} of all bytes.",) if len(shown) > 1 else ()
    rows = tuple(_file_row(file, facts.zone, several=several) for file in shown)
    return Section("largest", "Largest files", lead=lead, tables=(Table((Column("File"), Column("Size", number=True)), rows),))


def _file_row(file: File, zone: str, *, several: bool) -> tuple[Cell, ...]:
    about = [show_name(word, 40) for word in (file.model, file.dataset) if word]
    about += [(file.kind or file.status or "not read").replace("_", " "), day(file.modified_at, zone)]
    if file.optimizer_bytes:
        about.append(f"optimizer {size(file.optimizer_bytes)}")
    path = show_path(file.root, file.path, several_roots=several)
    return Cell(path, " · ".join(about), is_name=True), Cell(size(file.size_bytes))
