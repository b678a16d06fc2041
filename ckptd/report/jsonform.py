"""The report as JSON: the fields of `facts.Facts` under their own names; docs/report.md lists them."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from ckptd.report.facts import Facts

#: The beginning of every file; what begins otherwise is none of ours.
HEAD = '{"what": "ckptd report", "schema_version": 1, '


def report_to_json(facts: Facts) -> dict[str, Any]:
    """Give the report as plain values; keys are added, never renamed."""
    return {"what": "ckptd report", "schema_version": 1, **asdict(facts)}


def render_json(facts: Facts) -> str:
    """Write it as one line of ASCII; bytes of a name that are not UTF-8 are lone surrogates, as everywhere."""
    return json.dumps(report_to_json(facts), allow_nan=False) + "\n"
