"""Hooks of a real daemon: run by it, killed with it, and run again by the next one."""

from __future__ import annotations

import json
import sys

import psutil
import pytest
import torch

from tests.e2e.running import Daemon, ckptd, has_ended, wait_for

EVIL = "evil $(touch pwned) `id`; x\n.pth"


@pytest.fixture
def place(tmp_path):
    (tmp_path / "models").mkdir()
    return tmp_path


def start(place, text, **values):
    script = place / "hook"
    script.write_text(f"#!/bin/sh\ncd {place}\n{text}\n")
    script.chmod(0o755)
    hook = {"on": "checkpoint.ready", "command": [str(script)], **values}
    return Daemon(place / "models", env={"CKPTD_HOOK": json.dumps([hook]), "CKPTD_HOOK_PROCESSES": "1"}).start()


def save(place, name):
    torch.save({"w": torch.ones(10)}, place / "models" / name)


def lines(place):
    return (place / "story").read_text().split() if (place / "story").exists() else []


def test_a_checkpoint_that_is_ready_runs_the_command_with_what_is_known_of_it(place):
    """Whatever its name is: it stands in the JSON, and nowhere else."""
    daemon = start(place, 'cat > paper.part; echo "$@" > words; env > env; mv paper.part paper')
    save(place, EVIL)
    wait_for((place / "paper").exists, "the command")
    paper = json.loads((place / "paper").read_text())
    shown = ckptd("--root", place / "models", "show", str(paper["checkpoint"]["id"]))
    assert paper["path"] == paper["checkpoint"]["path"] == EVIL
    assert paper["checkpoint"] == shown
    assert (place / "words").read_text() == "\n"
    assert "evil" not in (place / "env").read_text()
    assert not (place / "pwned").exists()
    daemon.wait_event("hook.finished", path=EVIL.replace("\n", r"\x0a"), status=0)
    assert daemon.stop() == 0


def test_a_kill_of_the_daemon_ends_the_command_and_the_next_start_runs_it_again(place):
    """Nothing outlives its daemon, and nothing is lost."""
    daemon = start(place, "echo began $$ >> story; while [ ! -e go ]; do sleep 0.05; done; echo ended >> story")
    save(place, "a.pth")
    wait_for(lambda: lines(place)[1:], "the command to begin")
    command = psutil.Process(int(lines(place)[1]))
    daemon.kill()
    wait_for(lambda: has_ended(command), "the command to end")
    (place / "go").touch()
    daemon.start()
    wait_for(lambda: lines(place)[-1] == "ended", "it to be run again")
    assert lines(place).count("began") == 2
    assert daemon.stop() == 0


def test_a_command_that_writes_into_the_metadata_file_is_not_run_for_what_it_wrote(place):
    """A register that notes there what it made of the checkpoint: once for each, and the index has it."""
    script = """import json, os, sys
paper = json.load(sys.stdin)
path = os.path.join(paper["root"], paper["path"].replace(".pth", "_metadata.json"))
value = json.load(open(path)) | {"registered_as": "m1", "architecture": "mine"}
json.dump(value, open(path + ".new", "w"))
os.replace(path + ".new", path)
open("story", "a").write(paper["path"] + "\\n")
"""
    (place / "register.py").write_text(script)
    daemon = start(place, f"exec {sys.executable} register.py")
    names = ["a.pth", "b.pth", "c.pth"]
    for name in names:  # in the order of the audit: by the time of the third, the first would have been run twice
        save(place, name)
        wait_for(lambda name=name: name in lines(place), "the command")
        wait_for(lambda name=name: architecture(place, name) == "mine", "the index to have it")
    assert daemon.stop() == 0
    assert lines(place) == names


def architecture(place, name):
    return ckptd("--root", place / "models", "show", name)["metadata"]["architecture"]


def test_a_command_that_takes_too_long_is_ended_and_indexing_goes_on(place):
    """With its children; the daemon says so."""
    daemon = start(place, "sleep 600 & echo $! >> story; sleep 600", timeout_seconds=1)
    save(place, "a.pth")
    failed = daemon.wait_event("hook.failed", path="a.pth")
    assert failed["reason"] == "it did not end within 1 seconds"
    wait_for(lambda: all(has_ended(int(pid)) for pid in lines(place)), "its child to end")
    save(place, "b.pth")
    daemon.wait_event("checkpoint.indexed", path="b.pth")
    assert daemon.stop() == 0
