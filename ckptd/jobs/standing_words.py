"""How the daemon stands, as plain JSON: docs/json.md lists the keys."""

from __future__ import annotations

from ckptd.jobs.standing import RootStanding, Standing
from ckptd.model import Json


def standing_to_json(standing: Standing) -> dict[str, Json]:
    """Write it for programs; `status` is the line for people."""
    return {
        "status": standing.words,
        "phase": standing.phase.value,
        "is_well": standing.is_well,
        "is_ready": standing.is_ready,
        "version": standing.version,
        "pid": standing.pid,
        "at": standing.at,
        "started_at": standing.started_at,
        "roots": [_root_to_json(root) for root in standing.roots],
        "signs": [{"name": sign.name, "ok": sign.ok, "why": sign.why} for sign in standing.signs],
        "waiting": standing.waiting,
        "unfinished": standing.unfinished,
        "oldest_waiting_seconds": standing.oldest_waiting_seconds,
        "exporting": standing.exporting,
        "workers": standing.workers,
        "job": standing.job,
        "job_started_at": standing.job_started_at,
        "counts": dict(standing.counts),
        "unwritten": standing.unwritten,
        "paused_until": standing.paused_until,
        "settings_at": standing.settings_at,
        "settings_problem": standing.settings_problem,
    }


def _root_to_json(root: RootStanding) -> Json:
    return {
        "path": root.path,
        "incident": root.incident,
        "frozen": root.frozen,
        "files": root.files,
        "watched_by": root.watched_by,
        "events": root.events,
        "overflows": root.overflows,
        "rescans": root.rescans,
        "rescanned_at": root.rescanned_at,
        "findings": [
            {"code": finding.code, "severity": finding.severity.value, "message": finding.message} for finding in root.findings
        ],
    }
