"""ckptd report: a summary, JSON, and pages that replace nothing but reports."""

from __future__ import annotations

import json

import pytest

from ckptd.report.html import HEAD
from tests.cli.conftest import Done
from tests.cli.fake import FakeApp
from tests.report.making import HOSTILE, empty_facts, facts


class ReportingApp(FakeApp):
    """Answers with facts whose names try everything."""

    made = facts(("BiLSTM_Attention", *HOSTILE))

    def report(self):
        return self.made


@pytest.fixture
def app():
    return ReportingApp()


def test_a_summary_is_printed(run):
    """The headline, the key numbers, the models, what the policy would do, what wants a look, how the jobs ended."""
    done: Done = run("report")
    assert done.status == 0
    for words in (
        "1.5 TiB in 2,184 checkpoints; the disk is full in about 41 days.",
        "gpu-box · /srv/models",
        "BiLSTM_Attention",
        "Applied now, it would free 12.0 GiB (plan 3fa91c0b77de).",
        "The last run of retention did not end well.",
        "damaged",
    ):
        assert words in done.out
    assert len(done.out.splitlines()) < 60


def test_names_out_of_files_are_escaped(run):
    """Whatever a name holds, a terminal takes it for text."""
    done = run("report")
    assert all(char.isprintable() or char == "\n" for char in done.out)


def test_an_empty_root_is_no_trouble(run, app):
    app.made = empty_facts()
    done = run("report")
    assert done.status == 0
    assert "There are no checkpoints yet." in done.out


def test_json(run):
    done = run("report", "--json")
    assert done.out.isascii()
    assert done.json["what"] == "ckptd report"
    assert done.json["totals"]["files"] == 2_184


def test_pages_are_written(run, tmp_path):
    """And say so; the summary is not printed then, JSON is when it is asked for."""
    done = run("report", "--html", tmp_path / "r.html", "--markdown", "r.md")
    assert (done.status, done.out) == (0, "")
    assert "r.html" in done.err
    assert (tmp_path / "r.html").read_text().startswith(HEAD)
    assert (tmp_path / "r.md").read_text().startswith("<!-- ckptd report")
    both = run("report", "--html", "r.html", "--json")
    assert json.loads(both.out)["schema_version"] == 1


def test_a_file_of_a_person_is_not_replaced(run, tmp_path):
    """The message says why, and what to do."""
    (tmp_path / "mine.html").write_text("mine")
    done = run("report", "--html", "mine.html")
    assert done.status == 1
    assert "no report of ckptd" in done.err
    assert (tmp_path / "mine.html").read_text() == "mine"


def test_a_directory_that_is_not_there_is_said(run, tmp_path):
    done = run("report", "--markdown", "no/r.md")
    assert done.status == 1
    assert "No such file or directory" in done.err
    assert "Traceback" not in done.err
