"""Hooks beside a loop: at least once, in order for each checkpoint, no more at once than the settings say."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing

import pytest

from ckptd.index.archived import Archived, put_archive
from ckptd.index.following import read_events
from ckptd.index.hooked import load_hook_runs
from ckptd.index.store import Store
from ckptd.jobs import hooking
from ckptd.jobs.hooking import open_side
from ckptd.jobs.hooks import papers
from ckptd.jobs.hooks.papers import write_paper
from ckptd.jobs.record_json import marks_to_json, record_to_json
from ckptd.jobs.sides import Beside, forget_followers, open_sides
from ckptd.model import Source, Status
from ckptd.proof import Export, Verdict
from ckptd.settings import load_settings
from tests.index.making import identity, inspection
from tests.jobs.besides import loop

EVIL = "evil $(touch x) \x1b[2J\n\udcff.pth"


class Commands:
    """Commands that write down what they got and when; and wait, where a test wants that."""

    def __init__(self, directory):
        self.directory = directory
        self.story = directory / "story"
        self.papers = directory / "papers"
        self.go = directory / "go"
        self.papers.mkdir()

    def make(self, name, text):
        path = self.directory / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return [str(path)]

    @property
    def note(self):
        """A command that keeps its paper."""
        return self.make("note", f"cat > {self.papers}/$$.part && mv {self.papers}/$$.part {self.papers}/$$.json")

    @property
    def wait(self):
        """A command that says that it began, waits until it may go on, and says that it ended."""
        story = f">> {self.story}"
        return self.make(
            "wait", f"echo began {story}; while [ ! -e {self.go} ]; do sleep 0.02; done; cat > /dev/null; echo ended {story}"
        )

    @property
    def got(self):
        """The papers so far, in the order of what happened."""
        found = [json.loads(path.read_text()) for path in self.papers.glob("*.json")]
        return sorted(found, key=lambda paper: paper["id"])

    @property
    def words(self):
        return self.story.read_text().split() if self.story.exists() else []


@pytest.fixture
def commands(tmp_path):
    return Commands(tmp_path)


def hook(command, on="checkpoint.ready", **values):
    return {"on": on, "command": command, **values}


def ready(store, *paths, number=1, status=Status.OK, how="", **metadata):
    """Write down that files were read, as the daemon does."""
    with store.batch() as batch:
        for path in paths:
            one = inspection(f"{path}{number}".encode("utf-8", "surrogateescape").hex()[:20], status, **metadata)
            batch.record_ready("/r", path, identity(number), one, now=time.time(), how=how)


def test_a_command_gets_all_that_is_known(tmp_path, commands):
    """The same as `ckptd show --json`, and what happened; as JSON in ASCII on its input, and nowhere else."""
    with loop(tmp_path, open_side, hook=[hook(commands.note)]) as one:
        one.go_on(10)
        ready(one.store, EVIL, metrics={"accuracy": 0.9})
        one.until(lambda: commands.got, "the command")
        record = one.store.find_record("/r", EVIL)
        (paper,) = commands.got
        assert paper["checkpoint"] == json.loads(json.dumps(record_to_json(record, whole=True) | marks_to_json(())))
        assert (paper["event"], paper["root"], paper["path"]) == ("checkpoint.ready", "/r", EVIL)
        assert paper["why"] == {"status": "ok"}
        assert paper["left_out"] == []
        assert not (tmp_path / "x").exists()


def test_each_event_has_its_hook(tmp_path, commands):
    """And none that is another's; what is only recalled, retried or described anew is none at all."""
    hooks = [
        hook(commands.note, on) for on in ("checkpoint.ready", "checkpoint.rejected", "export.verified", "archive.verified")
    ]
    with loop(tmp_path, open_side, hook=hooks) as one:
        one.go_on(10)
        ready(one.store, "ready.pth", number=1)
        ready(one.store, "recalled.pth", number=2, how="recalled")
        ready(one.store, "described.pth", number=6, how="described")
        ready(one.store, "moved.pth", number=3, how="moved")
        ready(one.store, "bad.pth", number=4, status=Status.DAMAGED)
        ready(one.store, "retried.pth", number=5, status=Status.FAILED, how="retried")
        with one.store.batch() as batch:
            for verdict in (Verdict.VERIFIED, Verdict.FAILED):
                export = Export(f"onnx-{verdict.value}", verdict, "a" * 64, "b" * 64, at=1.0)
                batch.record_export("/r", "ready.pth", export, now=time.time())
            archive = Archived(0, "/r/archives", "a.tar.gz", "tar.gz", "c" * 64, 9, "verified", 1.0, 1.0, None)
            batch.tell(put_archive, archive, [])
            why = {"archive": "a.tar.gz", "directory": "/r/archives"}
            batch.audit("archive.written", None, None, "c" * 64, now=time.time(), why=why, job="archive")
            batch.audit("archive.damaged", None, None, "c" * 64, now=time.time(), why=why, job="archive")
        one.until(lambda: len(commands.got) == 5, "five commands")
        one.until(lambda: not one.store.ask(load_hook_runs), "nothing to be left")
        one.go_on(10)
    assert [(paper["event"], paper["path"]) for paper in commands.got] == [
        ("checkpoint.ready", "ready.pth"),
        ("checkpoint.ready", "moved.pth"),
        ("checkpoint.rejected", "bad.pth"),
        ("export.verified", "ready.pth"),
        ("archive.verified", None),
    ]
    assert commands.got[3]["export"]["target"] == "onnx-verified"
    assert commands.got[4]["archive"]["name"] == "a.tar.gz"


def test_no_more_run_at_once_than_the_settings_say(tmp_path, commands):
    """Over all hooks together; the others wait for their turn, and all have it."""
    hooks = [hook(commands.wait), hook(commands.wait, timeout_seconds=50)]
    with loop(tmp_path, open_side, hook=hooks, hook_processes=3) as one:
        one.go_on(10)
        ready(one.store, *(f"{number}.pth" for number in range(4)))
        one.until(lambda: commands.words.count("began") == 3, "three to begin")
        one.go_on(10, turns=40)
        assert commands.words == ["began"] * 3
        commands.go.touch()
        one.until(lambda: commands.words.count("ended") == 8, "all to end")


def test_none_begins_during_a_pause(tmp_path, commands):
    """What runs goes on, what waits or comes meanwhile begins when it is over, and nothing is lost."""
    with loop(tmp_path, open_side, hook=[hook(commands.wait)], hook_processes=1) as one:
        one.go_on(10)
        ready(one.store, "a.pth", "b.pth")
        one.until(lambda: commands.words == ["began"], "the first to begin")
        one.stand(paused_until=one.clock.wall() + 3600)
        commands.go.touch()
        one.until(lambda: len(one.store.ask(load_hook_runs)) == 1, "it to end")
        ready(one.store, "c.pth")
        one.until(lambda: len(one.store.ask(load_hook_runs)) == 2, "the next to be written down")
        one.go_on(10, turns=20)
        assert commands.words == ["began", "ended"]
        one.stand()
        one.until(lambda: commands.words == ["began", "ended"] * 3, "the others")


def test_what_is_about_one_checkpoint_is_run_in_order(tmp_path, commands):
    """One after the other, while those about others go on."""
    with loop(tmp_path, open_side, hook=[hook(commands.wait)], hook_processes=8) as one:
        one.go_on(10)
        for number in range(1, 4):
            ready(one.store, "same.pth", number=number)
        ready(one.store, "other.pth", number=9)
        one.until(lambda: commands.words.count("began") == 2, "the first of each")
        one.go_on(10, turns=40)
        assert commands.words == ["began"] * 2
        commands.go.touch()
        one.until(lambda: commands.words.count("ended") == 4, "all to end")
    assert commands.words[2:].count("began") == 2


@pytest.mark.parametrize("end", ["stop", "forget"])
def test_a_command_that_was_broken_off_is_run_again(tmp_path, commands, end):
    """By a stop and by a kill; and once it has ended, never again."""
    with loop(tmp_path, open_side, hook=[hook(commands.wait)]) as one:
        one.go_on(10)
        ready(one.store, "a.pth")
        one.until(lambda: commands.words == ["began"], "it to begin")
        getattr(one, end)()
        commands.go.touch()
        one.start()
        one.until(lambda: "ended" in commands.words, "it to be run again")
        one.until(lambda: not one.store.ask(load_hook_runs), "it to be forgotten")
        one.restart()
        one.go_on(10, turns=20)
    assert commands.words == ["began", "began", "ended"]


def test_what_happened_while_nobody_looked_is_run_after_the_start(tmp_path, commands):
    """A kill between the row of the audit and the command loses nothing; history before the first start is no news."""
    with loop(tmp_path, open_side, hook=[hook(commands.note)]) as one:
        ready(one.store, "history.pth")
        one.go_on(10)
        one.forget()
        ready(one.store, "a.pth")
        one.start()
        one.until(lambda: commands.got, "the command")
        one.go_on(10, turns=20)
    assert [paper["path"] for paper in commands.got] == ["a.pth"]


def test_an_index_that_is_away_loses_nothing(tmp_path, commands):
    """It is locked by another process when it happens, and when the command ends."""
    with loop(tmp_path, open_side, hook=[hook(commands.wait)]) as one:
        one.go_on(10)
        ready(one.store, "a.pth")
        one.until(lambda: commands.words == ["began"], "it to begin")
        with closing(sqlite3.connect(one.state / "index.sqlite", isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            commands.go.touch()
            one.until(lambda: "ended" in commands.words, "it to end")
            one.go_on(10)
            holder.execute("ROLLBACK")
        ready(one.store, "b.pth")
        one.go_on(20)
        one.until(lambda: commands.words.count("ended") == 2, "the next one")
        one.go_on(60)
        one.until(lambda: not one.store.ask(load_hook_runs), "both to be forgotten")
    assert commands.words == ["began", "ended"] * 2


def test_the_time_limit_ends_a_command(tmp_path, commands, capsys):
    """It is not run again, and the next one is."""
    hooks = [hook(commands.make("slow", f"echo began >> {commands.story}; sleep 600"), timeout_seconds=30)]
    with loop(tmp_path, open_side, hook=hooks, hook_processes=1) as one:
        one.go_on(10)
        ready(one.store, "a.pth", "b.pth")
        one.until(lambda: commands.words.count("began") == 1, "the first to begin")
        one.clock.pass_by(40)
        one.until(lambda: commands.words.count("began") == 2, "the second to begin")
        one.clock.pass_by(40)
        one.until(lambda: not one.store.ask(load_hook_runs), "both to be ended")
    out = capsys.readouterr().out
    assert out.count("hook.failed") == 2
    assert "it did not end within 30 seconds" in out


@pytest.mark.parametrize(
    ("match", "runs"),
    [("*", 2), ("runs/*", 1), ("a.pth", 1), ("BiLSTM · ECG", 1), ("BiLSTM*", 1), ("nothing", 0)],
)
def test_a_pattern_says_for_which_checkpoints(tmp_path, commands, match, runs):
    """By path, name, or the group as the policy names it."""
    sure = {"model_name": Source("name", 0.9)}
    with loop(tmp_path, open_side, hook=[hook(commands.note, match=match), hook(commands.note, match="z.pth")]) as one:
        one.go_on(10)
        ready(one.store, "runs/a.pth", number=1, model_name="GRU", sources=sure)
        ready(one.store, "c.pth", number=2, model_name="BiLSTM", dataset="ECG", sources=sure)
        ready(one.store, "z.pth", number=3)
        one.until(lambda: any(paper["path"] == "z.pth" for paper in commands.got), "the last one")
        one.until(lambda: not one.store.ask(load_hook_runs), "nothing to be left")
    assert sum(paper["path"] != "z.pth" for paper in commands.got) == runs


def test_a_paper_is_bounded(tmp_path, monkeypatch):
    """What is long is left out, and it says so."""
    store = Store.open(tmp_path / "index.sqlite")
    monkeypatch.setattr(papers, "MOST_BYTES", 20_000)
    ready(store, "a.pth", hyperparameters={f"key{number}": "x" * 1_000 for number in range(100)})
    record = store.find_record("/r", "a.pth")
    (one,), _ = store.ask(read_events, 0, ("checkpoint.ready",), 1)
    data = write_paper(store, "checkpoint.ready", one, record)
    store.close()
    assert len(data) <= papers.MOST_BYTES
    paper = json.loads(data)
    assert "metadata.hyperparameters" in paper["left_out"]
    assert paper["checkpoint"]["path"] == "a.pth"


def test_a_flood_waits_in_the_audit(tmp_path, commands, monkeypatch):
    """What is written down to be run is bounded; nothing is lost by that."""
    monkeypatch.setattr(hooking, "MOST_PENDING", 20)
    monkeypatch.setattr(hooking, "MOST_EVENTS", 10)
    with loop(tmp_path, open_side, hook=[hook(commands.note, timeout_seconds=86_400)], hook_processes=8) as one:
        one.go_on(10)
        ready(one.store, *(f"{number}.pth" for number in range(60)))
        most = 0
        deadline = time.monotonic() + 100
        while len(commands.got) < 60:
            one.clock.pass_by(1)
            one.turn()
            most = max(most, len(one.store.ask(load_hook_runs)))
            assert time.monotonic() < deadline
    assert most <= 30


def test_hooks_that_were_switched_off_have_missed_nothing_when_they_are_back(tmp_path, commands):
    """A follower that nobody wants is forgotten: it begins at the end again."""
    with loop(tmp_path, open_side, hook=[hook(commands.note)]) as one:
        one.go_on(10)
        one.stop()
        off = load_settings(None, {"roots": [str(one.root)], "control": {"enabled": False}}, {})
        engine = type("Engine", (), {"store": one.store})()
        beside = Beside(off, engine, one.selector, one.board, None)
        assert open_sides(beside) == []
        forget_followers(beside)
        ready(one.store, "meanwhile.pth")
        one.start()
        one.go_on(10)
        ready(one.store, "after.pth")
        one.until(lambda: commands.got, "the command")
    assert [paper["path"] for paper in commands.got] == ["after.pth"]


def test_a_fault_of_ours_with_one_checkpoint_ends_neither_the_loop_nor_the_others(tmp_path, commands, monkeypatch, capsys):
    """It is told, and left; at the next start it is not tried for ever."""

    def write(store, on, event, record):
        if event.path == "bad.pth":
            raise ValueError("NaN")
        return write_paper(store, on, event, record)

    monkeypatch.setattr(hooking, "write_paper", write)
    with loop(tmp_path, open_side, hook=[hook(commands.note)]) as one:
        one.go_on(10)
        ready(one.store, "bad.pth", "good.pth")
        one.until(lambda: commands.got, "the other one")
        one.until(lambda: not one.store.ask(load_hook_runs), "both to be forgotten")
    assert [paper["path"] for paper in commands.got] == ["good.pth"]
    assert "ValueError while it was prepared" in capsys.readouterr().out
