"""The page of metrics: what it holds, and that Prometheus takes it."""

from __future__ import annotations

import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ckptd.health.page import FAMILIES, Page
from ckptd.health.view import View
from tests.health.moments import NOW, ROOT, figures, find_tool, root, standing, view


def samples(moment, **kwargs):
    """Render a moment and read it back: (name, labels) → number."""
    text = Page(lambda: moment, with_process=False, **kwargs).render().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(moment, name, /, **labels):
    return samples(moment).get((name, tuple(sorted(labels.items()))))


def test_promtool_finds_no_fault_with_any_metric():
    """Names, units and help texts are as Prometheus wants them."""
    page = Page(view, with_process=True).render()
    done = subprocess.run([find_tool("promtool"), "check", "metrics"], input=page, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_every_metric_is_there_before_anything_is_known():
    """A daemon that starts shows each family, and no number that it does not know."""
    text = Page(lambda: View(None, None, None, 0.0), with_process=False).render().decode()
    for family in FAMILIES:
        assert f"# HELP {family.name} " in text
    assert value(View(None, None, None, 0.0), "ckptd_ready") == 0
    assert "ckptd_files{" not in text


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("ckptd_start_timestamp_seconds", {}, NOW - 3600),
        ("ckptd_healthy", {}, 1),
        ("ckptd_ready", {}, 1),
        ("ckptd_part_up", {"part": "pool"}, 1),
        ("ckptd_phase", {"phase": "running"}, 1),
        ("ckptd_phase", {"phase": "paused"}, 0),
        ("ckptd_worked_files_total", {"what": "read"}, 7),
        ("ckptd_root_up", {"root": ROOT}, 1),
        ("ckptd_root_watched", {"root": ROOT, "by": "kernel"}, 1),
        ("ckptd_root_overflows_total", {"root": ROOT}, 1),
        ("ckptd_files", {"root": ROOT, "state": "ready"}, 3),
        ("ckptd_files_bytes", {"root": ROOT, "state": "ready"}, 3000),
        ("ckptd_newest_file_timestamp_seconds", {"root": ROOT}, NOW - 5),
        ("ckptd_rejected_files", {"root": ROOT, "status": "unsafe"}, 1),
        ("ckptd_rejections_total", {"status": "unsafe"}, 1),
        ("ckptd_findings_total", {"finding": "non-finite-weights"}, 3),
        ("ckptd_rotten_files", {"root": ROOT, "outcome": "rotten"}, 2),
        ("ckptd_exports", {"target": "onnx", "verdict": "verified"}, 4),
        ("ckptd_exports_total", {"target": "onnx", "verdict": "failed"}, 1),
        ("ckptd_archives_bytes", {"state": "verified"}, 500),
        ("ckptd_frozen", {}, 1),
        ("ckptd_job_last_success_timestamp_seconds", {"name": "scrub"}, NOW - 87),
        ("ckptd_job_last_success_timestamp_seconds", {"name": "purge"}, None),
        ("ckptd_job_last_outcome", {"name": "scrub", "outcome": "ok"}, 1),
        ("ckptd_job_last_outcome", {"name": "scrub", "outcome": "failed"}, 0),
        ("ckptd_job_running", {"name": "scrub"}, 0),
        ("ckptd_job_running", {"name": "purge"}, 1),
        ("ckptd_job_overdue", {"name": "scrub"}, 1),
        ("ckptd_job_overdue", {"name": "purge"}, 0),
        ("ckptd_disk_free_bytes", {"use": "root", "directory": ROOT}, 400),
        ("ckptd_disk_floor_bytes", {"use": "root", "directory": ROOT}, None),
        ("ckptd_trash_bytes", {"root": ROOT}, 70),
        ("ckptd_own_bytes", {"what": "journal"}, 5),
    ],
)
def test_a_number_is_where_it_belongs(name, labels, expected):
    """Each with the labels of the page."""
    assert value(view(), name, **labels) == expected


@pytest.mark.parametrize(
    ("changes", "name", "labels", "expected"),
    [
        ({"silent_seconds": 1e4}, "ckptd_healthy", {}, 0),
        ({"silent_seconds": 1e4}, "ckptd_ready", {}, 0),
        ({"standing": standing(paused_until=NOW + 5)}, "ckptd_paused", {}, 1),
        ({"standing": standing(settings_problem="no")}, "ckptd_settings_reload_success", {}, 0),
        ({"standing": standing(unwritten=8)}, "ckptd_index_unwritten_entries", {}, 8),
        ({"standing": standing(unwritten=8)}, "ckptd_ready", {}, 0),
        ({"standing": standing(oldest_waiting_seconds=9.5)}, "ckptd_queue_oldest_age_seconds", {}, 9.5),
        ({"standing": standing(roots=(root(incident="gone"),))}, "ckptd_root_up", {"root": ROOT}, 0),
        ({"floor_bytes": 77}, "ckptd_disk_floor_bytes", {"use": "root", "directory": ROOT}, 77),
    ],
)
def test_trouble_is_seen(changes, name, labels, expected):
    """What is wrong changes the number that an alert looks at."""
    assert value(view(**changes), name, **labels) == expected


def test_the_buckets_of_a_duration_add_up():
    """Half a second, twelve, and a million: each bucket counts all that were not longer."""
    found = {
        labels: number for (name, labels), number in samples(view()).items() if name == "ckptd_job_duration_seconds_bucket"
    }
    counts = {dict(labels)["le"]: number for labels, number in found.items()}
    assert (counts["1.0"], counts["10.0"], counts["60.0"], counts["43200.0"], counts["+Inf"]) == (1, 1, 2, 2, 3)
    assert value(view(), "ckptd_job_duration_seconds_count", name="scrub") == 3
    assert value(view(), "ckptd_job_duration_seconds_sum", name="scrub") == 1e6 + 13


def test_a_root_with_a_name_that_is_no_text_breaks_no_page():
    """Bytes that are no UTF-8, a quote and a line end, in the settings: a label that Prometheus can read."""
    hostile = 'a\udcff"b\n# HELP x'
    page = Page(lambda: view(standing=standing(roots=(root(path=hostile),))), with_process=False).render()
    assert rb'ckptd_root_up{root="a\\xff\"b\\x0a# HELP x"} 1.0' in page


def test_node_exporter_gets_no_metric_that_it_has_itself():
    """It would refuse the whole file."""
    assert b"process_" not in Page(view, with_process=False).render()
    assert b"\nprocess_resident_memory_bytes " in Page(view, with_process=True).render()


def test_a_page_is_kept_for_a_second():
    """Who asks a thousand times a second costs no more than who asks once."""
    now, seen = [10.0], []

    def look():
        seen.append(now[0])
        return view(figures=figures(freezes=len(seen)))

    page = Page(look, with_process=False, monotonic=lambda: now[0])
    assert page.render() == page.render()
    assert len(seen) == 1
    now[0] += 1.0
    assert b"ckptd_frozen 2.0" in page.render()
