"""A job in a process of its own: what it is told, what it steps back behind, and how it ends."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ckptd.errors import WorkerError
from ckptd.jobs.running import launching
from ckptd.jobs.running.launching import Errand, JobChild
from ckptd.settings import load_settings
from ckptd.settings.handover import settings_from_json, settings_to_json

#: Says on stdout what it was told and what it is, and then does what the test wants.
ENTRY = """
import json, os, signal, sys, time
from ckptd.cli import job_process
from ckptd.jobs.running.launching import Errand
def main():
    def look(errand, registry):
        job_process._step_back((), None)
        facts = {"job": errand.job, "for": errand.scheduled_for, "roots": [str(one) for one in errand.settings.roots]}
        facts |= {"nice": os.getpriority(os.PRIO_PROCESS, 0), "pid": os.getpid(), "group": os.getpgrp(), "cwd": os.getcwd()}
        facts["oom"] = int(open("/proc/self/oom_score_adj").read())
        with open(str(errand.state_dir) + "/facts.new", "w") as file:
            json.dump(facts, file)
        os.rename(str(errand.state_dir) + "/facts.new", str(errand.state_dir) + "/facts")
        if errand.index == "stubborn":
            while True:
                time.sleep(60)
        while not job_process._is_asked():
            time.sleep(0.01)
        return 75
    job_process._run = look
    return job_process.main()
"""


@pytest.fixture
def launch(tmp_path, monkeypatch):
    (tmp_path / "entry_of_tests.py").write_text(ENTRY)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(launching, "_ENTRY", "entry_of_tests")
    children = []

    def launch(index="index.sqlite", parent=None):
        settings = load_settings(None, {"roots": [str(tmp_path / "models")]}, {})
        errand = Errand(parent or os.getpid(), "scrub", 1234.5, tmp_path, index, settings)
        children.append(JobChild(errand))
        return children[-1]

    yield launch
    for child in children:
        child.end(0.0)
        child.close()


def facts_of(child, directory):
    deadline = time.monotonic() + 60
    while not (directory / "facts").exists():
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return json.loads((directory / "facts").read_text())


def test_it_is_told_everything_and_steps_back(launch, tmp_path):
    """The settings of the daemon itself; nice 19, a group of its own, first to go when memory is short."""
    child = launch()
    facts = facts_of(child, tmp_path)
    assert (facts["job"], facts["for"], facts["roots"]) == ("scrub", 1234.5, [str(tmp_path / "models")])
    assert (facts["nice"], facts["oom"], facts["cwd"]) == (19, 800, "/")
    assert facts["pid"] == facts["group"] == child.pid
    process = psutil.Process(child.pid)
    assert process.ionice().ioclass == psutil.IOPRIO_CLASS_IDLE
    assert "scrub" in process.cmdline()
    assert child.end(30.0) == 75


def test_one_that_does_not_end_is_ended(launch, tmp_path):
    """After the time that it has; a job is made to bear that."""
    child = launch("stubborn")
    facts_of(child, tmp_path)
    os.kill(child.pid, signal.SIGSTOP)
    assert child.end(0.05) == -signal.SIGKILL
    assert child.end(0.05) == -signal.SIGKILL


def test_its_end_is_seen_by_a_descriptor(launch, tmp_path):
    """So that a loop need not ask."""
    child = launch("stubborn")
    facts_of(child, tmp_path)
    assert child.poll() is None
    os.kill(child.pid, signal.SIGKILL)
    child._wait(30.0)
    assert child.poll() == -signal.SIGKILL


def test_a_descriptor_of_a_high_number_tells_its_end_too(launch, tmp_path):
    """A daemon of many roots has thousands of them open."""
    child = launch()
    facts_of(child, tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2_048), hard))
    low = child.exit_fd
    try:
        child.exit_fd = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 1_024)
        os.close(low)
        assert child.end(60.0) == 75
        child.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_it_ends_with_its_parent(launch, tmp_path):
    """One whose parent is gone before it can ask for that ends at once."""
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    child = launch(parent=other.pid)
    other.kill()
    other.wait()
    child._wait(60.0)
    assert child.poll() == 1


def test_no_process_is_an_error_with_its_cause(launch, monkeypatch):
    """And no crash of the loop."""
    monkeypatch.setattr(launching.sys, "executable", "/nonexistent/python")
    with pytest.raises(WorkerError, match="No such file"):
        launch()


RICH = {
    "roots": ["a", "/srv/b"],
    "state_dir": "state",
    "functions": ["functions"],
    "ignore": ["scratch/**"],
    "recipe": [{"match": "BiLSTM_*", "callable": "models:BiLSTM", "inputs": [{"shape": ["batch", 12]}]}],
    "trust": {"directories": ["code"], "callables": ["models:BiLSTM"]},
    "policy": {"below": {"accuracy": 0.7}, "directions": {"my_score": "max"}, "total_bytes": "2TiB"},
    "archive": {"directory": "archives"},
    "report": {"directory": "reports"},
    "schedule": {"time_zone": "Europe/Berlin", "scrub": "every 2s"},
}


def test_settings_survive_the_way(monkeypatch, tmp_path):
    """All of them, and every path means what it meant where the daemon was started."""
    monkeypatch.chdir(tmp_path)
    settings = load_settings(None, RICH, {})
    passed = json.loads(json.dumps(settings_to_json(settings)))
    monkeypatch.chdir("/")
    received = settings_from_json(passed)
    assert received.roots == (tmp_path / "a", Path("/srv/b"))
    assert (received.state_dir, received.archive.directory) == (tmp_path / "state", tmp_path / "archives")
    monkeypatch.chdir(tmp_path)
    expected = {**RICH, "roots": [str(tmp_path / "a"), "/srv/b"], "state_dir": str(tmp_path / "state")}
    expected |= {"functions": [str(tmp_path / "functions")], "archive": {"directory": str(tmp_path / "archives")}}
    expected |= {"report": {"directory": str(tmp_path / "reports")}}
    expected["trust"] = {**RICH["trust"], "directories": [str(tmp_path / "code")]}
    assert received == load_settings(None, expected, {})


def test_the_environment_of_the_child_changes_nothing(monkeypatch, tmp_path):
    """What the daemon was told holds, whatever is set by now."""
    passed = settings_to_json(load_settings(None, {"roots": [str(tmp_path)]}, {}))
    monkeypatch.setenv("CKPTD_POLICY__MODE", "apply")
    assert settings_from_json(passed).policy.mode == "plan"


def test_a_child_whose_end_no_descriptor_tells_is_watched_all_the_same(launch, monkeypatch):
    """Whatever the kernel says to the question for one: the child runs by then."""

    def refuse(_pid):
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(os, "pidfd_open", refuse)
    child = launch()
    assert child.exit_fd == -1
    assert child.end(60.0) is not None
