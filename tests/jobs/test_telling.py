"""Which alert a row of the audit is, and which states follow from what was asked: tables."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ckptd.index.following import Event
from ckptd.index.runs import JobPast, JobRun, RunOutcome
from ckptd.index.troubles import BadArchive, BadPlace, BadRoot
from ckptd.jobs.standing import Phase, RootStanding, Standing
from ckptd.jobs.telling.events import WANTED, is_arrival, read_event
from ckptd.jobs.telling.states import (
    Disk,
    find_disk_states,
    find_job_states,
    find_kept_states,
    find_stale_states,
    find_standing_states,
)
from ckptd.policy.due import Overdue

NOW, HOUR = 1_800_000_000.0, 3600.0


def event(what, **why):
    return Event(7, NOW, what, "/r", "a.pth", "ab" * 32, "ingest", "run", why)


@pytest.mark.parametrize(
    ("row", "kind", "example"),
    [
        (event("checkpoint.rejected", status="unsafe", reason="bad"), "checkpoint-unsafe", "a.pth: bad"),
        (event("checkpoint.rejected", status="damaged"), "checkpoint-damaged", "a.pth"),
        (event("checkpoint.rejected", status="unreadable"), "checkpoint-unread", "a.pth"),
        (event("checkpoint.rejected", status="failed"), "checkpoint-unread", "a.pth"),
        (event("checkpoint.rejected", status="not_a_checkpoint"), None, ""),
        (event("checkpoint.rejected", status="damaged", how="recalled"), None, ""),
        (event("checkpoint.rejected", status="failed", how="retried"), None, ""),
        (event("checkpoint.rejected", status="damaged", how="described"), None, ""),
        (event("checkpoint.rejected"), None, ""),
        (event("checkpoint.ready", status="ok"), None, ""),
        (event("checkpoint.ready", status="ok", findings=["non-finite-weights"]), "weights-not-finite", "a.pth"),
        (event("checkpoint.ready", findings=["non-finite-weights"], how="moved"), None, ""),
        (event("checkpoint.ready", findings=["non-finite-weights"], how="described"), None, ""),
        (event("checkpoint.ready", findings="non-finite-weights"), None, ""),
        (event("checkpoint.ready", findings=["non-finite-weights"], reason="old"), "weights-not-finite", "a.pth: old"),
        (
            event("checkpoint.ready", findings=["x", "non-finite-weights"], reason="x", told={"non-finite-weights": "NaN"}),
            "weights-not-finite",
            "a.pth: NaN",
        ),
        (event("export.failed", target="onnx", reason="differs"), "export-failed", "a.pth as onnx: differs"),
        (event("export.error", target="onnx", reason=3), "export-failed", "a.pth as onnx"),
        (event("export.verified", target="onnx"), None, ""),
        (event("checkpoint.rejected", status="unsafe")._replace(root=None), None, ""),
    ],
)
def test_a_row_of_the_audit_is_an_alert_or_none(row, kind, example):
    """By what it says; what was known already is no news."""
    seen = read_event(row)
    assert (seen and seen.kind, seen.example if seen else "") == (kind, example)
    assert seen is None or (row.what in WANTED and (seen.subject, seen.at) == ("/r", NOW))


def test_an_arrival_is_a_good_checkpoint_that_was_read():
    """One that only moved, or about which somebody wrote something, did not come again."""
    assert is_arrival(event("checkpoint.ready", status="ok"))
    assert not is_arrival(event("checkpoint.ready", status="ok", how="moved"))
    assert not is_arrival(event("checkpoint.ready", status="ok", how="described"))
    assert not is_arrival(event("checkpoint.rejected", status="damaged"))


def subjects(states):
    return {kind: [state.subject for state in so] for kind, so in states.items()}


def root(path, incident=None, frozen=0):
    return RootStanding(path, incident, frozen, 3, "kernel", 0, 0, 0, None)


def test_the_daemon_knows_its_roots_its_settings_and_its_index():
    """Each of the four kinds is asked about, whether it is so or not: what is over is told as over."""
    well = Standing(NOW, Phase.RUNNING, "0", 1, NOW, roots=(root("/r"),))
    kinds = {"root-lost", "root-frozen", "settings-refused", "index-unavailable"}
    assert subjects(find_standing_states(well)) == {kind: [] for kind in kinds}
    ill = Standing(
        NOW, Phase.RUNNING, "0", 1, NOW,
        roots=(root("/r", "gone"), root("/s", frozen=2)), unwritten=3, settings_problem="guard_seconds: no",
    )  # fmt: skip
    assert subjects(find_standing_states(ill)) == {
        "root-lost": ["/r"],
        "root-frozen": ["/s"],
        "settings-refused": ["settings"],
        "index-unavailable": ["index"],
    }


def test_a_root_that_was_not_looked_at_is_frozen_as_before():
    """After a start nobody knows its losses yet; once it was looked at, what it says counts."""
    new, looked = root("/r\x1b"), replace(root("/s"), rescanned_at=NOW)
    standing = Standing(NOW, Phase.RUNNING, "0", 1, NOW, roots=(new, looked))
    frozen = find_standing_states(standing, {r"/r\x1b", "/s", "/gone"})["root-frozen"]
    assert [state.subject for state in frozen] == ["/r\x1b"]
    assert find_standing_states(standing)["root-frozen"] == []


def past(outcome, number=1, reason="why"):
    return JobPast(counting=JobRun(number, "scrub", "run", None, NOW, NOW, outcome, reason))


def test_a_job_that_failed_is_news_again_when_it_fails_again():
    """By the number of its run; the last one that came to its end counts."""
    pasts = {
        "scrub": past(RunOutcome.FAILED),
        "purge": past(RunOutcome.OK),
        "retention": past(RunOutcome.HELD),
        "drill": JobPast(),
    }
    states = find_job_states(pasts, [Overdue("report", NOW, is_running=False)], {"reindexed": "made anew"})
    assert subjects(states) == {
        "job-failed": ["scrub"],
        "job-overdue": ["report"],
        "plan-held": ["retention", "frozen: reindexed"],
    }
    again = find_job_states({"scrub": past(RunOutcome.FAILED, 2)}, [], {})
    assert again["job-failed"][0].mark != states["job-failed"][0].mark


def test_a_disk_is_low_until_it_has_a_little_more():
    """One file more or less is no news."""
    disks = [Disk("/r", 100), Disk("/s", 99), Disk("/t", 104)]
    assert subjects(find_disk_states(disks, 100, ())) == {"disk-low": ["/s"]}
    assert subjects(find_disk_states(disks, 100, ("/t", "/s"))) == {"disk-low": ["/s", "/t"]}
    assert subjects(find_disk_states([Disk("/t", 105)], 100, ("/t",))) == {"disk-low": []}
    assert subjects(find_disk_states([Disk("/t", 0)], 0, ("/t",))) == {"disk-low": []}
    assert subjects(find_disk_states([], 100, ("/t", "/s"), ("/t", "/u"))) == {"disk-low": ["/t"]}


def test_rot_and_bad_archives_are_folded_by_place_and_news_when_there_is_more():
    """With the names as examples."""
    places = (BadPlace("/r", "a.pth", "rotten"), BadPlace("/r", "b.pth", "unreadable"))
    bad = [BadRoot("/r", 2, places), BadRoot("/s", 1, (BadPlace("/s", "c.pth", "rotten"),))]
    states = find_kept_states(bad, [BadArchive("/a", "1.tar.gz", "damaged"), BadArchive("/a", "2.tar.gz", "missing")])
    assert subjects(states) == {"bit-rot": ["/r", "/s"], "archive-damaged": ["/a"]}
    assert states["bit-rot"][0].examples == ("a.pth: rotten", "b.pth: unreadable")
    assert states["bit-rot"][0].text == "2 checkpoints, first a.pth: rotten"
    assert states["bit-rot"][1].text == "c.pth: rotten"
    more = find_kept_states([BadRoot("/r", 30, places), bad[1]], [])
    assert more["bit-rot"][0].mark != states["bit-rot"][0].mark
    assert more["bit-rot"][0].text == "30 checkpoints, first a.pth: rotten"
    assert more["bit-rot"][1] == states["bit-rot"][1]  # what is so in another root is no news of this one


@pytest.mark.parametrize(
    ("newest", "since", "told"),
    [
        ({"A": NOW - 2 * HOUR}, NOW, True),
        ({"A": NOW - HOUR}, NOW - 9 * HOUR, False),
        ({}, NOW - 2 * HOUR, True),
        ({}, NOW, False),
        ({"A": NOW + 9 * HOUR}, NOW, False),
    ],
)
def test_a_group_waits_too_long_or_not(newest, since, told):
    """One that never got a checkpoint counts from when somebody began to wait."""
    states = find_stale_states(newest, {"A": HOUR}, since, NOW)
    assert [state.subject for state in states["no-new-checkpoint"]] == (["A"] if told else [])
