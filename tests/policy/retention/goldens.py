"""Golden plans as text: above the line what there is, below it what the plan says.

    # what is asked
    now 2025-07-01T12:00
    policy keep_last=2 ladder=slim,archive keep_within_seconds=30d total_bytes=5GiB below=accuracy:0.7
    disk /models free_bytes=10GiB trash_bytes=1GiB device=1
    recent group=G days=2 size_bytes=1GiB
    fact epoch_01 days=90 epoch=1 accuracy=0.71 size_bytes=1GiB pins="latest.pth points to it"
    ----
    /models · G
      archive  epoch_01  frees 1.0 GiB
               unkept: no rule keeps it

What is not said of a fact is as in `making.fact`; the policy starts from ckptd's own default.
"""

from __future__ import annotations

import shlex
from itertools import groupby

from ckptd.model import Openness, Status
from ckptd.policy.retention.facts import Disk, Removal
from ckptd.policy.retention.make import make_plan
from ckptd.policy.retention.phrases import say_size
from ckptd.policy.retention.plan import Action
from ckptd.policy.retention.rules import Policy
from tests.policy.retention.making import DAY, ROOT, at, fact

LINE = "----"
_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_METRICS = {"accuracy": "max", "f1": "max", "loss": "min"}


def render_golden(text):
    """Give a golden file anew: its own upper part, and the plan that is made of it."""
    given = text.partition(f"\n{LINE}\n")[0].rstrip()
    made = _plan(given)
    return "\n".join([given, LINE, *_render(made), ""])


def _plan(given):
    now, options, facts, recent, disks = at("2025-07-01T12:00"), {}, [], [], []
    for line in given.splitlines():
        word, *rest = shlex.split(line, comments=True) or [""]
        names = [name for name in rest if "=" not in name]
        fields = {key: _read(key, value) for key, _, value in (name.partition("=") for name in rest if "=" in name)}
        match word:
            case "now":
                now = at(names[0])
            case "policy":
                options |= fields
            case "fact":
                facts.append((names[0], fields))
            case "recent":
                recent.append(fields)
            case "disk":
                disks.append(Disk(names[0], **fields))
            case "":
                pass
            case _:
                raise AssertionError(line)
    policy = Policy(**{"best_by": tuple(_METRICS), "directions": _METRICS, "keep_tags": ("*",)} | options)
    made = [_fact(name, now, fields) for name, fields in facts]
    removals = [Removal(**{"root": ROOT, "group": "G", "at": now - one.pop("days") * DAY} | one) for one in recent]
    return make_plan(made, policy, now, recent=removals, disks=disks)


def _fact(name, now, fields):
    saved = now - fields.pop("days") * DAY
    saved = fields.pop("modified_at", saved)
    return fact(name, **{"modified_at": saved, "first_seen_at": saved} | fields)


def _read(key, value):
    """Read one value by the name of its field."""
    match key:
        case "group" | "stored_group" | "run" | "root" | "time_zone" | "content" | "action":
            return None if value == "?" else value
        case "status":
            return Status(value)
        case "openness":
            return Openness(value)
        case "ladder":
            return tuple(Action(step) for step in value.split(","))
        case "pins" | "tags" | "aliases" | "archives" | "holds" | "keep_tags" | "best_by":
            return tuple(value.split(","))
        case "below":
            return {metric: float(limit) for metric, _, limit in (one.partition(":") for one in value.split(","))}
        case "inode":
            return (1, int(value))
        case "modified_at" | "first_seen_at" | "dated_at" | "slimmed_at":
            return at(value)
        case "can_slim":
            return value == "yes"
    return _number(value)


def _number(value):
    for unit, factor in sorted(_UNITS.items(), key=lambda item: -len(item[0])):
        if value.endswith(unit):
            return int(float(value.removesuffix(unit)) * factor)
    if value.endswith("d"):
        return float(value.removesuffix("d")) * DAY
    return float(value) if "." in value else int(value)


def _render(made):
    for (root, group), members in groupby(made.decisions, key=lambda one: (one.fact.root, one.fact.group)):
        yield f"{root} · {group or 'not known'}"
        for one in members:
            name = one.fact.path.removesuffix(".pth")
            frees = f"  frees {say_size(one.frees_bytes)}" if one.frees_bytes else ""
            would = f" ({one.wanted.value})" if one.wanted is not one.action else ""
            yield f"  {one.action.value + would:<15} {name}{frees}"
            for reason in one.reasons:
                yield f"                    {reason.code}: {reason.message}"
    sums = [f"{action.value} {say_size(amount)}" for action, amount in made.frees_bytes.items() if amount]
    yield f"frees: {', '.join(sums) or 'nothing'}"
    for alert in made.alerts:
        yield f"alert {alert.code} {alert.root}{'' if alert.group is None else f' · {alert.group}'}: {alert.message}"
