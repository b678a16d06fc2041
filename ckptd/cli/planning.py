"""The verbs of the policy: plan says what would happen and why, apply does it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from ckptd.cli.human import format_time, plural
from ckptd.cli.output import print_json
from ckptd.cli.request import current_request
from ckptd.cli.table import Column, show_table
from ckptd.cli.verbs import USAGE, verb
from ckptd.errors import UsageError
from ckptd.policy.retention.plan import Action, Decision, Plan
from ckptd.text import escape, format_size

if TYPE_CHECKING:
    from ckptd.jobs.applying import Applied
    from ckptd.jobs.planned import Planned

_ACTIONS = (Action.SLIM, Action.ARCHIVE, Action.TRASH, Action.HOLD, Action.KEEP)
_PAST = {Action.SLIM: "slimmed", Action.ARCHIVE: "archived", Action.TRASH: "moved to the trash"}
#: What is said once below the table need not be said on every line of it.
_SHORT = {
    "brake-group": "too much of its group at once",
    "brake-root": "too much of its root at once",
    "frozen": "waits for a confirmation",
}
_COLUMNS = [Column("ACTION"), Column("SIZE", number=True), Column("MODIFIED"), Column("PATH"), Column("WHY")]


@verb(
    "plan",
    exit_status={
        0: "nothing is held",
        1: "something is held until a person confirms it, or a root is not to be believed",
        **USAGE,
        2: "the settings make no sense, or the policy keeps nothing",
    },
)
@click.option("--at", metavar="DATE", help="Make the plan of another day, such as 2027-01-31: what is there now, grown older.")
@click.option("--changes", is_flag=True, help="Leave out what is kept.")
def plan(*, at: str | None, changes: bool, as_json: bool) -> int:
    """Say what the policy would do with every checkpoint, and why.

    Nothing is done. Each line has the file, its size, what happens and all reasons, by group. What a brake holds is shown as
    "hold", with the way to confirm it. docs/policy.md explains rules, brakes and reasons.
    """
    with current_request().open_app() as app:
        planned = app.plan(None if at is None else _read_date(at))
    if as_json:
        print_json(planned_to_json(planned))
    else:
        _show(planned, changes=changes)
    return 1 if planned.plan.held or planned.incidents else 0


@verb(
    "apply",
    exit_status={
        0: "done, or there was nothing to do",
        1: "something is held, or could not be done; it is left as it was",
        **USAGE,
        4: "another ckptd runs a job just now; the message names its process",
    },
)
@click.option("--confirm", metavar="PLAN", help="Also do what the brakes hold, of the plan with this number and no other.")
def apply(*, confirm: str | None, as_json: bool) -> int:
    """Do what the policy says: slim, archive, and move to the trash.

    It is done as "ckptd plan" shows it, whatever policy.mode says; each file is looked at once more before it is touched. What
    goes lies in the trash for trash.grace_seconds; "ckptd trash restore" and "ckptd restore" bring it back.
    """
    with current_request().open_app() as app:
        applied = app.apply(confirm, told=_say_nothing if as_json else _say_step)
    if as_json:
        print_json(applied_to_json(applied))
    else:
        _tell(applied)
    return 1 if applied.skipped or applied.planned.plan.held or applied.planned.incidents else 0


def planned_to_json(planned: Planned) -> dict[str, Any]:
    """Turn a plan into JSON; docs/json.md has the keys."""
    made = planned.plan
    return {
        "id": made.id,
        "at": made.at,
        "mode": planned.mode,
        "held": made.held,
        "frozen": dict(planned.frozen),
        "incidents": dict(planned.incidents),
        "totals": {action.value: _total(made, action) for action in Action},
        "alerts": [
            {"code": alert.code, "root": alert.root, "group": alert.group, "message": alert.message} for alert in made.alerts
        ],
        "decisions": [_decision(decision) for decision in made.decisions],
    }


def applied_to_json(applied: Applied) -> dict[str, Any]:
    """Turn what was done into JSON; docs/json.md has the keys."""
    return {
        "id": applied.planned.plan.id,
        "held": applied.planned.plan.held,
        "done": [{"root": one.root, "path": one.path, "action": one.action.value, "where": one.where} for one in applied.done],
        "skipped": [
            {"root": one.root, "path": one.path, "action": one.action.value, "why": one.why} for one in applied.skipped
        ],
        "archives": list(applied.archives),
    }


def _say_step(what: str, words: str) -> None:
    """Say what is done, a line for each; nothing that moves, for a spinner is a thread and slimming forks this process."""
    click.echo(f"{escape(words, 60)}: {escape(what, 1_000)}", err=True)


def _say_nothing(_what: str, _words: str) -> None:
    """Leave standard error to errors."""


def _total(made: Plan, action: Action) -> dict[str, int]:
    those = [decision for decision in made.decisions if decision.action is action]
    return {
        "count": len(those),
        "size_bytes": sum(decision.fact.size_bytes for decision in those),
        "frees_bytes": sum(decision.frees_bytes for decision in those),
    }


def _decision(decision: Decision) -> dict[str, Any]:
    fact = decision.fact
    return {
        "id": fact.id,
        "root": fact.root,
        "path": fact.path,
        "sha256": fact.sha256,
        "group": fact.group,
        "size_bytes": fact.size_bytes,
        "action": decision.action.value,
        "wanted": decision.wanted.value,
        "frees_bytes": decision.frees_bytes,
        "reasons": [{"code": reason.code, "message": reason.message} for reason in decision.reasons],
    }


def _show(planned: Planned, *, changes: bool) -> None:
    made = planned.plan
    several = len({decision.fact.root for decision in made.decisions}) > 1
    for (root, group), members in groupby(made.decisions, key=lambda decision: (decision.fact.root, decision.fact.group)):
        _show_group(root if several else None, group, list(members), changes=changes)
    for root, why in planned.incidents.items():
        click.echo(click.style(f"{escape(root, 500)} is left alone: {escape(why, 500)}", fg="red"))
    for alert in made.alerts:
        about = "" if alert.group is None else f"{escape(alert.group, 200)}: "
        click.echo(f"{click.style('note', fg='yellow')} {about}{escape(alert.message, 1_000)}")
    for why in planned.frozen.values():
        click.echo(f"{click.style('note', fg='yellow')} {escape(why, 1_000)}")
    _show_totals(planned)


def _show_group(root: str | None, group: str | None, members: Sequence[Decision], *, changes: bool) -> None:
    shown = [decision for decision in members if not changes or decision.action is not Action.KEEP]
    if not shown:
        return
    name = "model not known" if group is None else escape(group, 200)
    title = name if root is None else f"{name}  in {escape(root, 500)}"
    size = format_size(sum(decision.fact.size_bytes for decision in members))
    click.echo(f"{click.style(title, bold=True)}  {plural(len(members), 'checkpoint')}, {size}")
    show_table(_COLUMNS, [_row(decision) for decision in shown])
    click.echo()


def _row(decision: Decision) -> list[str]:
    fact = decision.fact
    why = "; ".join(dict.fromkeys(_SHORT.get(reason.code, reason.message) for reason in decision.reasons))
    return [decision.action.value, format_size(fact.size_bytes), format_time(fact.modified_at), fact.path, why]


def _show_totals(planned: Planned) -> None:
    made = planned.plan
    parts = []
    for action in _ACTIONS:
        total = _total(made, action)
        if total["count"]:
            freed = f" (frees {format_size(total['frees_bytes'])})" if total["frees_bytes"] else ""
            parts.append(f"{action.value} {total['count']:,}{freed}")
    click.echo(f"plan {made.id} for {format_time(made.at)}: {', '.join(parts) or 'no checkpoints'}")
    if made.held:
        click.echo(f"what is held waits for you: look at it, then ckptd apply --confirm {made.id}")
    touched = any(decision.action in _PAST for decision in made.decisions)
    if touched and planned.mode != "apply":
        click.echo('nothing is done by itself: ckptd apply does it now, policy.mode = "apply" does it at the scheduled times')


def _tell(applied: Applied) -> None:
    for archive in applied.archives:
        click.echo(f"archive {escape(archive, 500)} written, read back, every digest compared")
    for one in applied.skipped:
        click.echo(f"{click.style('left', fg='yellow')} {escape(one.path, 1_000)}: {escape(one.why, 1_000)}")
    counts = [
        f"{sum(1 for one in applied.done if one.action is action):,} {past}"
        for action, past in _PAST.items()
        if any(one.action is action for one in applied.done)
    ]
    click.echo(", ".join(counts) or "there was nothing to do")
    held = applied.planned.plan.held
    if held:
        click.echo(f"{plural(held, 'checkpoint')} held; ckptd plan says why")


def _read_date(text: str) -> float:
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone().timestamp()
    except (ValueError, OverflowError) as error:
        cure = "write 2027-01-31 or 2027-01-31T12:00"
        raise UsageError("read --at", path=escape(text, 100), why="it is no date", cure=cure) from error
