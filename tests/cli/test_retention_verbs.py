"""plan, apply, pin, tag, alias, trash, archive, archives and restore on a real root: what a person reads, and the JSON."""

from __future__ import annotations

import json

import pytest

from ckptd.cli import main
from ckptd.cli.request import Request
from tests.cli.conftest import Done
from tests.jobs.keeping import Clock, checkpoints, index_roots, make_series, name_of, open_app, save_checkpoint

HOSTILE = "BiLSTM\x1b[31m\u202e_ECG_acc51_20250101.pth"


@pytest.fixture
def root(tmp_path):
    made = tmp_path / "models"
    made.mkdir()
    make_series(made)
    save_checkpoint(made / HOSTILE, 99, days=400)
    return made


@pytest.fixture
def ckptd(root, capsys, monkeypatch, tmp_path):
    """Give a function that runs a command line on the root, and its settings."""
    monkeypatch.chdir(tmp_path)
    clock = Clock()
    options: dict = {}

    def build(_settings):
        return open_app(root, clock=clock, **options)

    index_roots(build(None))

    def run(*args: object, **policy: object) -> Done:
        options["policy"] = policy
        status = main([str(arg) for arg in args], Request(build_app=build))
        captured = capsys.readouterr()
        return Done(status, captured.out, captured.err)

    return run


def test_plan_names_every_file_its_group_and_why(ckptd, root):
    """A table by group; the last line says what it amounts to and what to do."""
    done = ckptd("plan")
    assert done.status == 0
    for name in checkpoints(root) - {HOSTILE}:
        assert name in done.out
    assert "BiLSTM · ECG  11 checkpoints" in done.out
    assert "among the best 3 by accuracy" in done.out
    assert "no rule keeps it" in done.out
    assert "nothing is done by itself" in done.out
    assert "\x1b[31m" not in done.out
    assert "\u202e" not in done.out
    kept = [line for line in ckptd("plan", "--changes").out.splitlines() if line.startswith("keep ")]
    assert kept == []


def test_plan_json_has_the_keys_of_the_contract(ckptd, root):
    """Each decision with its reasons; docs/json.md has the keys."""
    plan = ckptd("plan", "--json").json
    assert set(plan) == {"id", "at", "mode", "held", "frozen", "incidents", "totals", "alerts", "decisions"}
    assert {decision["path"] for decision in plan["decisions"]} == checkpoints(root)
    decision = plan["decisions"][0]
    assert set(decision) == {
        "id", "root", "path", "sha256", "group", "size_bytes", "action", "wanted", "frees_bytes", "reasons",
    }  # fmt: skip
    assert all(decision["reasons"] for decision in plan["decisions"])
    assert plan["totals"]["archive"]["count"] == 6
    assert plan == ckptd("plan", "--json").json, "the same facts, the same plan"


def test_plan_at_another_day(ckptd):
    """--at shows the future; a text that is no date is a usage error."""
    assert ckptd("plan", "--json", keep_within_seconds="1000d").json["totals"]["archive"]["count"] == 0
    assert ckptd("plan", "--at", "2030-01-01", "--json", keep_within_seconds="1000d").json["totals"]["archive"]["count"] == 6
    assert ckptd("plan", "--at", "tomorrow").status == 2


def test_an_empty_policy_is_a_usage_error(ckptd):
    """One sentence, and nothing is done."""
    done = ckptd("plan", keep_last=0, keep_best=0, keep_tags=[])
    assert done.status == 2
    assert len(done.err.splitlines()) == 1


def test_a_held_plan_has_a_status_and_says_how_to_confirm_it(ckptd):
    """Exit status 1, and the command to type."""
    done = ckptd("plan", max_fraction=0.2)
    assert done.status == 1
    number = json.loads(ckptd("plan", "--json", max_fraction=0.2).out)["id"]
    assert f"ckptd apply --confirm {number}" in done.out
    assert "too much of its group at once" in done.out
    assert ckptd("apply", max_fraction=0.2).status == 1
    assert ckptd("apply", "--confirm", number, max_fraction=0.2).status == 0


def test_apply_archives_trash_and_restore(ckptd, root):
    """The whole way by commands, each with its JSON."""
    done = ckptd("apply")
    assert done.status == 0
    assert "read back, every digest compared" in done.out
    assert "6 archived" in done.out
    assert ckptd("apply").out.startswith("there was nothing to do")

    (archive,) = ckptd("archives", "--json").json
    assert archive["state"] == "verified"
    assert archive["files"] == 12
    members = ckptd("archives", archive["name"], "--json").json
    assert {member["what"] for member in members} == {"checkpoint", "sidecar"}
    assert "verified" in ckptd("archives").out
    assert "whole" in ckptd("archive", "verify").out

    trash = ckptd("trash", "ls", "--json").json
    assert len(trash) == 6
    assert trash[0]["archives"] == [archive["name"]]
    assert trash[0]["action"] == "archive"
    victim = next(one["path"] for one in trash if one["path"] != HOSTILE)  # that one is shown escaped
    assert victim in ckptd("trash", "ls").out
    assert ckptd("trash", "restore", victim).status == 0
    assert (root / victim).exists()
    assert ckptd("trash", "restore", victim).status == 2, "it is there no more"

    other = HOSTILE
    purged = ckptd("trash", "purge", other, "--json").json
    assert len(purged["purged"]) == 1
    restored = ckptd("restore", other, "--to", root.parent / "out", "--json").json
    assert restored[0]["path"] == str(root.parent / "out" / other)
    assert restored[0]["source"] == archive["name"]
    assert ckptd("restore", other).status == 0
    again = ckptd("restore", other)
    assert again.status == 1
    assert "a file of this name lies there" in again.err


def test_archive_by_hand_keeps_the_originals_unless_told_otherwise(ckptd, root):
    """A query says what; --remove moves them to the trash; --format takes another format."""
    before = checkpoints(root)
    done = ckptd("archive", "epoch<3", "--json").json
    assert len(done["archives"][0]["paths"]) == 3
    assert checkpoints(root) == before
    removed = ckptd("archive", "epoch<3", "--format", "tar.zst", "--remove", "--json").json
    assert removed["archives"][0]["name"].endswith(".tar.zst")
    assert set(removed["removed"]) == set(removed["archives"][0]["paths"])
    assert len(checkpoints(root)) == len(before) - 3
    assert ckptd("archive", "epoch>1000").err.strip() == "there is nothing to archive"
    assert ckptd("archive", "epoch>>1").status == 2
    assert ckptd("archive").status == 0, "without a query: what the policy would archive"


def test_a_damaged_archive_is_named_with_what_is_lost(ckptd, root):
    """Exit status 1, in verify and in the list, and what is lost is not offered."""
    ckptd("apply")
    (archive,) = ckptd("archives", "--json").json
    file = root / "archives" / archive["name"]
    data = file.read_bytes()
    file.write_bytes(data[: len(data) * 2 // 3])
    done = ckptd("archive", "verify")
    assert done.status == 1
    assert "damaged" in done.out
    assert "is lost" in done.out
    assert ckptd("archives").status == 1
    members = ckptd("archives", archive["name"], "--json").json
    assert any(member["is_lost"] for member in members)
    entries = [one["entry"] for one in ckptd("trash", "ls", "--json").json]
    kept = ckptd("trash", "purge", "--all")
    assert (kept.status, "no archive that is there has it" in kept.out) == (1, True)
    assert ckptd("trash", "purge", *entries).status == 0
    lost = next(member for member in members if member["is_lost"] and member["what"] == "checkpoint")
    refused = ckptd("restore", lost["path"])
    assert refused.status == 2
    assert "damaged" in refused.err


def test_pin_unpin_tag_and_alias(ckptd):
    """What people say about a checkpoint, and taking it back."""
    victim = name_of("BiLSTM", 100, 50)
    assert "pinned" in ckptd("pin", victim).out
    assert ckptd("unpin", victim, "--json").json == {"unpinned": [victim]}
    assert ckptd("unpin", victim).status == 1
    assert ckptd("tag", victim, "paper", "v2", "--json").json == {"path": victim, "tags": ["paper", "v2"]}
    assert ckptd("tag", victim, "paper", "--remove").out.strip().endswith("v2")
    assert ckptd("tag", victim, "no such", "--remove").status == 1
    assert ckptd("tag", victim, "../etc").status == 2
    assert ckptd("alias", victim, "prod").status == 0
    assert ckptd("show", "prod", "--json").json["path"] == victim
    other = name_of("BiLSTM", 90, 57)
    ckptd("alias", other, "prod")
    assert ckptd("show", "prod", "--json").json["path"] == other, "an alias names one"
    assert ckptd("alias", victim, "--json").json["aliases"] == []
    assert ckptd("alias", other, "prod", "--remove").status == 0
    assert ckptd("alias", other, "prod", "--remove").status == 1


def test_show_says_what_people_said(ckptd):
    """Pins, tags and aliases stand on the card."""
    victim = name_of("BiLSTM", 100, 50)
    ckptd("pin", victim)
    ckptd("tag", victim, "paper")
    shown = ckptd("show", victim).out
    assert "kept by       a pin, the tag paper" in shown


def test_a_second_job_is_refused_with_the_name_of_the_first(ckptd, root):
    """Exit status 4; looking is allowed."""
    holder = open_app(root)
    with holder.working("apply"):
        done = ckptd("apply")
        assert done.status == 4
        assert "apply" in done.err
        assert ckptd("plan").status == 0
        assert ckptd("trash", "ls").status == 0
    holder.close()
