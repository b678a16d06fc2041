"""The report job: gather, render three forms, put them where people read them, and let the oldest go."""

from __future__ import annotations

import os
from datetime import datetime
from zoneinfo import ZoneInfo

from ckptd.errors import StorageError
from ckptd.jobs.registry import JobContext, JobOutcome
from ckptd.jobs.report_facts import gather_report
from ckptd.jobs.report_files import open_directory, place_report, remove_oldest, report_name
from ckptd.model import Json
from ckptd.report import html, jsonform, markdown
from ckptd.report.facts import Facts
from ckptd.report.sections.overview import compose

#: Ending → how a file of that form begins.
HEADS = {"html": html.HEAD, "md": markdown.HEAD, "json": jsonform.HEAD}
#: Where reports lie in the first root, unless the settings say another place.
DIRECTORY = "reports"


def run_report(context: JobContext) -> JobOutcome:
    """Write today's report; one that was written earlier today is replaced.

    Raises:
        StorageError: it can't be written; no file is half written, and yesterday's is as it was.
    """
    settings, first = context.settings.report, context.roots[0]
    if settings.directory is None and first.incident is not None:
        why, cure = f"its root is not to be believed just now: {first.incident}", "see `ckptd doctor`, or set report.directory"
        raise StorageError("write a report", path=first.path, why=why, cure=cure)
    facts = gather_report(context)
    like = os.fstat(first.handle.fd)
    path = os.path.join(first.path, DIRECTORY) if settings.directory is None else os.path.realpath(settings.directory)
    day = f"{datetime.fromtimestamp(facts.at, ZoneInfo(facts.zone)):%Y%m%d}"
    directory = open_directory(path, like)
    try:
        for ending, text in render_all(facts).items():
            place_report(directory, report_name(day, ending), text, HEADS[ending], like)
        removed = remove_oldest(directory, settings.keep, day, HEADS)
    finally:
        os.close(directory)
    name = report_name(day, "html")
    context.log.info("report.written", directory=path, name=name, checkpoints=facts.totals.files, removed=len(removed))
    summary: dict[str, Json] = {
        "checkpoints": facts.totals.files,
        "size_bytes": facts.totals.size_bytes,
        "report": os.path.join(path, name),
        "removed": len(removed),
    }
    return JobOutcome("ok", summary)


def render_all(facts: Facts) -> dict[str, str]:
    """Render every form: ending → text."""
    return {ending: render_form(facts, ending) for ending in HEADS}


def render_form(facts: Facts, ending: str) -> str:
    """Render one form: "html", "md" or "json"."""
    match ending:
        case "html":
            return html.render_html(compose(facts))
        case "md":
            return markdown.render_markdown(compose(facts))
        case _:
            return jsonform.render_json(facts)


def write_form(facts: Facts, ending: str, path: str) -> None:
    """Write one form where a person wants it; an older report there is replaced, and nothing else ever is.

    Raises:
        NameTakenError: what lies there is no report of ckptd.
        StorageError: it can't be written; what was there before is there still.
    """
    above, name = os.path.split(os.path.abspath(path))
    try:
        directory = os.open(above, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StorageError("write a report", path=path, why=os.strerror(error.errno or 0), cure="name another file") from error
    try:
        place_report(directory, name, render_form(facts, ending), HEADS[ending], None)
    finally:
        os.close(directory)
