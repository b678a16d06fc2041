"""From facts to a plan on a real root, and what of it is done: nothing that a person would miss."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from ckptd.errors import UsageError
from ckptd.jobs.registry import JobContext
from ckptd.jobs.retaining import run_retention
from ckptd.policy.retention.plan import Action
from tests.jobs.keeping import (
    DAY,
    NOW,
    Clock,
    audit,
    checkpoints,
    index_roots,
    make_series,
    name_of,
    open_app,
    save_checkpoint,
    states,
)


def actions(planned):
    return {decision.fact.path: decision.action for decision in planned.plan.decisions}


def codes(planned, path):
    return {reason.code for decision in planned.plan.decisions if decision.fact.path == path for reason in decision.reasons}


def test_last_and_best_stay_and_the_rest_is_archived(root):
    """Ten checkpoints: the last 3, the best 3, and the rest goes, each with its reason."""
    series = make_series(root)
    app = open_app(root)
    index_roots(app)
    found = actions(app.plan())
    last = {path.name for path in series[-3:]}
    best = {path.name for path in sorted(series, key=lambda path: path.name.partition("acc")[2][:2])[-3:]}
    assert {path for path, action in found.items() if action is Action.KEEP} == last | best
    assert {action for path, action in found.items() if path not in last | best} == {Action.ARCHIVE}


def test_apply_archives_then_trashes_and_tells_all_of_it(root):
    """What goes is in a verified archive and in the trash; sidecars go with it; the audit has the whole story."""
    make_series(root)
    app = open_app(root)
    index_roots(app)
    gone = {path for path, action in actions(app.plan()).items() if action is Action.ARCHIVE}
    applied = app.apply()
    assert {one.path for one in applied.done} == gone
    assert not applied.skipped
    assert not applied.failures
    assert not checkpoints(root) & gone
    assert {states(app)[path] for path in gone} == {"trashed"}
    (archive,) = app.archives()
    assert archive.state == "verified"
    members = {member.path: member.what for member in app.archive_members(archive.name)}
    assert {path for path, what in members.items() if what == "checkpoint"} == gone
    assert {path for path, what in members.items() if what == "sidecar"} == {
        path.replace(".pth", "_metadata.json") for path in gone
    }
    assert {one.path for one in app.trash()} == gone
    for path in gone:
        assert not (root / path.replace(".pth", "_metadata.json")).exists()
    story = [what for what, path, _ in audit(app) if path in gone or path is None]
    assert story.count("checkpoint.trashed") == len(gone)
    assert story.index("archive.written") < story.index("checkpoint.trashed")


def test_plain_tar_and_sha256sum_read_what_was_archived(root, tmp_path):
    """An archive needs no ckptd to be read."""
    series = make_series(root)
    before = {path.name: path.read_bytes() for path in series}
    app = open_app(root)
    index_roots(app)
    app.apply()
    (archive,) = app.archives()
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["tar", "-xzf", root / "archives" / archive.name, "-C", out], check=True)
    (sums,) = out.rglob("SHA256SUMS")
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=sums.parent, check=True)
    for path in out.rglob("*.pth"):
        assert path.read_bytes() == before[path.name]


def test_the_trash_is_purged_after_its_grace_and_the_archive_brings_it_back(root):
    """Out of the trash, purged, restored: each bit as it was."""
    series = make_series(root)
    before = {path.name: path.read_bytes() for path in series}
    clock = Clock()
    app = open_app(root, clock=clock)
    index_roots(app)
    gone = {one.path for one in app.apply().done}
    assert app.purge_trash().entries == []
    clock.now += 15 * DAY
    assert len(app.purge_trash().entries) == len(gone)
    assert app.trash() == []
    assert {states(app)[path] for path in gone} == {"archived"}
    victim = min(gone)
    app.restore(victim)
    assert (root / victim).read_bytes() == before[victim]
    assert (root / victim.replace(".pth", "_metadata.json")).exists()
    assert (root / victim).stat().st_mtime == pytest.approx(_mtime_of(victim, series), abs=1)
    with pytest.raises(Exception, match="a file of this name lies there"):
        app.restore(victim)


def _mtime_of(name, series):
    days = 10.0 * (len(series) - [path.name for path in series].index(name))
    return NOW - days * DAY


def test_what_was_restored_stays_for_a_while(root):
    """Whoever brings a checkpoint back wants it: the next run does not take it at once."""
    make_series(root)
    clock = Clock()
    app = open_app(root, clock=clock, policy={"min_age_seconds": DAY})
    index_roots(app)
    gone = sorted(one.path for one in app.apply().done)
    app.restore_trash(gone[0])
    index_roots(app)
    assert actions(app.plan())[gone[0]] is Action.KEEP
    assert codes(app.plan(), gone[0]) == {"young"}
    clock.now += 2 * DAY
    assert actions(app.plan())[gone[0]] is not Action.KEEP


def test_pins_tags_aliases_links_and_keep_files_hold(root):
    """Five ways to say that a checkpoint stays, and taking them back lets it go again."""
    make_series(root)
    app = open_app(root)
    index_roots(app)
    victims = sorted(path for path, action in actions(app.plan()).items() if action is Action.ARCHIVE)
    pinned, tagged, aliased, kept = victims[:4]
    app.pin(app.show(pinned))
    app.tag(app.show(tagged), ["paper"])
    app.alias(app.show(aliased), "prod")
    (root / f"{kept}.keep").touch()
    found = app.plan()
    assert {actions(found)[path] for path in victims[:4]} == {Action.KEEP}
    assert [codes(found, path) for path in victims[:4]] == [{"pin"}, {"tag"}, {"alias"}, {"pin"}]
    assert app.show("prod").path == aliased
    app.unpin(app.show(pinned))
    app.untag(app.show(tagged), ["paper"])
    app.unalias(app.show(aliased), "prod")
    (root / f"{kept}.keep").unlink()
    assert {actions(app.plan())[path] for path in victims} == {Action.ARCHIVE}


def test_a_link_pins_what_it_points_to(root):
    """latest.pth of a training script is no copy, and its target must not go."""
    make_series(root)
    app = open_app(root)
    index_roots(app)
    victim = min(path for path, action in actions(app.plan()).items() if action is Action.ARCHIVE)
    (root / "latest.pth").symlink_to(victim)
    found = app.plan()
    assert actions(found)[victim] is Action.KEEP
    assert codes(found, victim) == {"pin"}


def test_a_keep_file_that_comes_after_the_plan_counts(root):
    """The plan may be minutes old when it is this file's turn."""
    series = make_series(root)
    app = open_app(root)
    index_roots(app)
    victims = sorted(path for path, action in actions(app.plan()).items() if action is Action.ARCHIVE)

    def meanwhile(_what, words):
        if words == "archive":
            (root / f"{victims[0]}.keep").touch()
            app.pin(app.show(victims[1]))

    with app.working("apply") as context:
        from ckptd.jobs.retaining import apply_retention

        applied = apply_retention(context, told=meanwhile)
    left = {one.path for one in applied.skipped}
    assert left == set(victims[:2])
    assert {path.name for path in series if path.exists()} >= set(victims[:2])


def test_a_file_that_changes_between_plan_and_apply_stays(root):
    """Same name, other content: nobody planned for that one."""
    make_series(root)
    app = open_app(root)
    index_roots(app)
    victim = min(path for path, action in actions(app.plan()).items() if action is Action.ARCHIVE)

    def meanwhile(_what, words):
        if words == "archive":
            save_checkpoint(root / victim, 999, days=0)

    with app.working("apply") as context:
        from ckptd.jobs.retaining import apply_retention

        applied = apply_retention(context, told=meanwhile)
    assert [one.path for one in applied.skipped] == [victim]
    assert (root / victim).exists()
    assert victim not in {one.path for one in app.trash()}


@pytest.mark.parametrize("how", ["replace", "grow", "vanish", "same-size"])
def test_a_file_that_changes_while_it_is_archived_stays(root, how, monkeypatch):
    """The archive takes its time; what changed under it is left out or left in place, and the others go."""
    make_series(root)
    app = open_app(root)
    index_roots(app)
    victims = sorted(path for path, action in actions(app.plan()).items() if action is Action.ARCHIVE)
    victim = root / victims[1]
    data = victim.read_bytes()
    from ckptd.jobs import applying

    real = applying.write_archive

    def slow(*arguments, **options):
        stored = real(*arguments, **options)
        stat = victim.stat()
        match how:
            case "replace":
                save_checkpoint(victim, 4242)
            case "grow":
                victim.write_bytes(data + b"more")
            case "vanish":
                victim.unlink()
            case _:
                victim.write_bytes(bytes(reversed(data)))
                os.utime(victim, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
        return stored

    monkeypatch.setattr(applying, "write_archive", slow)
    applied = app.apply()
    assert victims[1] in {one.path for one in applied.skipped}
    assert {one.path for one in applied.done} == set(victims) - {victims[1]}
    assert victim.exists() is (how != "vanish")


def test_a_file_that_somebody_writes_to_is_left_for_the_next_run(root):
    """Open for writing: whatever its times say."""
    make_series(root)
    app = open_app(root)
    index_roots(app)
    victim = min(path for path, action in actions(app.plan()).items() if action is Action.ARCHIVE)
    with (root / victim).open("r+b"):
        assert codes(app.plan(), victim) == {"open"}
        applied = app.apply()
        assert victim not in {one.path for one in applied.done}
    assert victim in {one.path for one in app.apply().done}


def test_a_file_that_somebody_reads_is_archived_and_stays_until_it_is_closed(root):
    """A server that has it mapped goes on; it goes at a later run."""
    make_series(root)
    app = open_app(root)
    index_roots(app)
    victim = min(path for path, action in actions(app.plan()).items() if action is Action.ARCHIVE)
    with (root / victim).open("rb"):
        app.apply()
        assert (root / victim).exists()
    app.apply()
    assert not (root / victim).exists()
    assert len(app.archives()) == 1, "it was in a verified archive already, and that was read again"


def test_a_damaged_archive_is_no_reason_to_remove_anything(root):
    """The index says archived; the archive says otherwise; a new one is written before the original goes."""
    make_series(root)
    app = open_app(root)
    index_roots(app)
    victim = min(path for path, action in actions(app.plan()).items() if action is Action.ARCHIVE)
    with (root / victim).open("rb"):
        app.apply()
    (archive,) = app.archives()
    file = root / "archives" / archive.name
    data = bytearray(file.read_bytes())
    data[len(data) // 2 :] = b"\0" * (len(data) - len(data) // 2)
    file.write_bytes(data)
    before = (root / victim).read_bytes()
    app.apply()
    app.apply()
    new = [one for one in app.archives() if one.state == "verified"]
    assert [one.name for one in app.archives() if one.state == "damaged"] == [archive.name]
    assert not (root / victim).exists()
    assert victim in {member.path for one in new for member in app.archive_members(one.name)}
    for one in app.trash():
        if one.path == victim:
            app.restore_trash(one.entry)
    assert (root / victim).read_bytes() == before


def test_more_than_the_brake_allows_is_held_until_this_very_plan_is_confirmed(root):
    """A confirmation names a plan; after a change it is another one, and refused."""
    make_series(root)
    app = open_app(root, policy={"max_fraction": 0.25})
    index_roots(app)
    planned = app.plan()
    assert planned.plan.held == 5
    assert not app.apply().done
    with pytest.raises(UsageError, match="by now the plan is another one"):
        app.apply("0123456789ab")
    save_checkpoint(root / name_of("BiLSTM", 200, 51), 77, days=200)
    index_roots(app)
    with pytest.raises(UsageError, match="by now the plan is another one"):
        app.apply(planned.plan.id)
    assert len(app.apply(app.plan().plan.id).done) == 6


def test_the_brake_counts_what_went_within_seven_days(root):
    """Two small bites are as large as one big one, and after a week it is forgotten."""
    make_series(root, count=16)
    clock = Clock()
    app = open_app(root, clock=clock, policy={"max_fraction": 0.25, "keep_last": 13, "keep_best": 0})
    index_roots(app)
    assert len(app.apply().done) == 3
    app = open_app(root, clock=clock, policy={"max_fraction": 0.25, "keep_last": 11, "keep_best": 0})
    assert not app.apply().done
    clock.now += 8 * DAY
    assert len(app.apply().done) == 2


def test_an_empty_policy_is_refused(root):
    """Nothing keeps anything: that is a mistake, not an order."""
    make_series(root, count=2)
    app = open_app(root, policy={"keep_last": 0, "keep_best": 0, "keep_tags": []})
    index_roots(app)
    with pytest.raises(UsageError):
        app.plan()
    with pytest.raises(UsageError):
        app.apply()


def test_a_file_whose_model_is_not_known_is_never_touched(root):
    """Its name says nothing: it is a group of its own."""
    make_series(root)
    save_checkpoint(root / "x.pth", 5, days=900)
    app = open_app(root, policy={"keep_last": 1, "keep_best": 0})
    index_roots(app)
    assert codes(app.plan(), "x.pth") == {"unknown-group"}
    app.apply()
    assert (root / "x.pth").exists()


def test_a_corrupt_newcomer_holds_its_group(root):
    """The newest one is damaged: the older ones are what is left of it."""
    series = make_series(root)
    newest = root / name_of("BiLSTM", 1, 60)
    newest.write_bytes(series[-1].read_bytes()[:-100])
    os.utime(newest, (NOW - DAY, NOW - DAY))
    app = open_app(root)
    index_roots(app)
    planned = app.plan()
    assert Action.ARCHIVE not in actions(planned).values()
    assert "corrupt-newcomer" in {reason.code for decision in planned.plan.decisions for reason in decision.reasons}
    assert not app.apply().done


def test_a_rotten_checkpoint_is_neither_good_nor_removed(root):
    """The scrub found other bytes: it is no last good one, and a person decides about it."""
    from ckptd.index.ledger import Check, put_check

    make_series(root)
    app = open_app(root)
    index_roots(app)
    victim = min(path for path, action in actions(app.plan()).items() if action is Action.ARCHIVE)
    sha256 = app.show(victim).sha256
    with app.store.batch() as batch:
        batch.tell(put_check, Check(str(root), victim, sha256, NOW, "rotten"))
    assert codes(app.plan(), victim) == {"not-good"}
    app.apply()
    assert (root / victim).exists()


def test_a_root_that_vanished_or_was_replaced_is_left_alone(root, tmp_path):
    """Another directory at its path: nothing in it is anybody's to remove."""
    make_series(root)
    app = open_app(root, state_dir=tmp_path / "state")
    index_roots(app)
    root.rename(tmp_path / "elsewhere")
    shutil.copytree(tmp_path / "elsewhere", root, ignore=shutil.ignore_patterns(".ckptd"))
    planned = app.plan()
    assert planned.incidents
    assert not planned.plan.decisions
    applied = app.apply()
    assert not applied.done
    assert len(checkpoints(root)) == 10


def test_most_files_gone_at_once_freezes_the_rest(root):
    """A disk that dropped out must not make the last ones of a group look like too many."""
    make_series(root, count=20)
    app = open_app(root)
    index_roots(app)
    for path in sorted(root.glob("*.pth"))[:12]:
        path.unlink()
    planned = app.plan()
    assert set(actions(planned).values()) == {Action.KEEP}


def test_slim_drops_the_optimizer_and_keeps_name_weights_and_pins(root):
    """The first rung: smaller, same name, same weights, and the original in the trash."""
    import torch

    series = make_series(root, optimizer=True)
    app = open_app(root, policy={"ladder": ["slim", "archive"]})
    index_roots(app)
    victim = min(path for path, action in actions(app.plan()).items() if action is Action.SLIM)
    before = torch.load(root / victim)
    sizes = {path.name: path.stat() for path in series}
    applied = app.apply()
    slimmed = {one.path for one in applied.done}
    assert victim in slimmed
    after = torch.load(root / victim)
    assert "optimizer" not in after
    assert after["epoch"] == before["epoch"]
    for name, tensor in before["model"].items():
        assert torch.equal(tensor, after["model"][name])
    now = (root / victim).stat()
    assert now.st_size < sizes[victim].st_size
    assert now.st_mtime_ns == sizes[victim].st_mtime_ns
    assert {one.path for one in app.trash()} == slimmed
    index_roots(app)
    assert victim not in {decision.fact.path for decision in app.plan().plan.decisions if decision.action is Action.SLIM}, (
        "it is slim already"
    )


def test_plan_mode_does_nothing_by_itself_and_apply_mode_does(root):
    """One word in the settings makes the difference."""
    make_series(root)
    app = open_app(root, policy={"mode": "plan"})
    index_roots(app)
    with app.working("retention") as context:
        outcome = run_retention(context)
    assert outcome.outcome == "ok"
    assert outcome.summary["archive"] == 5
    assert len(checkpoints(root)) == 10
    app = open_app(root, policy={"mode": "apply"})
    with app.working("retention") as context:
        assert run_retention(context).summary["done"] == 5
    assert len(checkpoints(root)) == 5


def test_a_job_that_is_told_to_stop_is_interrupted(root):
    """It stops between two files, and the next run does the rest."""
    make_series(root)
    app = open_app(root, policy={"mode": "apply"})
    index_roots(app)
    with app.working("retention") as context:
        outcome = run_retention(_stopped(context))
    assert outcome.outcome == "interrupted"
    assert outcome.summary["done"] == 0
    assert len(checkpoints(root)) == 10


def _stopped(context: JobContext) -> JobContext:
    from dataclasses import replace

    return replace(context, stop=lambda: True)


def test_pins_survive_the_index(root, tmp_path):
    """The index can be thrown away: pins, tags and aliases come back, and nothing goes until the plan was seen."""
    make_series(root)
    app = open_app(root, clock=Clock(time.time() + DAY))
    index_roots(app)
    victims = sorted(path for path, action in actions(app.plan()).items() if action is Action.ARCHIVE)
    app.pin(app.show(victims[0]))
    app.tag(app.show(victims[1]), ["paper"])
    app.tag(app.show(victims[1]), ["old"])
    app.untag(app.show(victims[1]), ["old"])
    app.close()
    app.reindex()
    planned = app.plan()
    assert planned.frozen
    assert {actions(planned)[path] for path in victims[:2]} == {Action.KEEP}
    assert {actions(planned)[path] for path in victims[2:]} == {Action.HOLD}
    assert [mark.name for mark in app.marks(app.show(victims[1]))] == ["paper"]
    assert not app.apply().done
    assert len(app.apply(app.plan().plan.id).done) == 3
    assert not app.plan().frozen


def test_an_index_that_was_deleted_is_as_good_as_a_reindex(root):
    """The file index.sqlite is removed; the next scan knows the pins, and holds everything."""
    make_series(root)
    app = open_app(root, clock=Clock(time.time() + DAY))
    index_roots(app)
    victim = min(path for path, action in actions(app.plan()).items() if action is Action.ARCHIVE)
    app.pin(app.show(victim))
    app.close()
    for file in Path(root, ".ckptd").glob("index.sqlite*"):
        file.unlink()
    app.scan()
    planned = app.plan()
    assert planned.frozen
    assert actions(planned)[victim] is Action.KEEP
    assert Action.ARCHIVE not in actions(planned).values()


def test_a_first_start_is_not_frozen(root):
    """Nobody wants to confirm something on the first day."""
    make_series(root, count=3)
    app = open_app(root)
    app.scan()
    assert not app.plan().frozen


def test_a_read_only_archive_directory_costs_nothing(root, tmp_path):
    """The archive can't be written: every original stays, and the sentence says why."""
    make_series(root)
    target = tmp_path / "archives"
    target.write_text("no directory")
    app = open_app(root, archive={"directory": target})
    index_roots(app)
    applied = app.apply()
    assert not applied.done
    assert applied.failures
    assert str(target) in applied.failures[0]
    assert len(checkpoints(root)) == 10


def test_two_roots_each_have_their_own_archives_and_trash(tmp_path):
    """What lies on one disk stays on it."""
    roots = [tmp_path / "one", tmp_path / "two"]
    for number, root in enumerate(roots):
        root.mkdir()
        make_series(root, ("BiLSTM", "ResNet")[number])
    app = open_app(*roots)
    index_roots(app)
    app.apply()
    for root in roots:
        assert len(list((root / "archives").glob("models_archive_*.tar.gz"))) == 1
        assert {one.root for one in app.trash()} == {str(one) for one in roots}
        assert len(checkpoints(root)) == 5


def test_exports_stay_unless_they_are_told_to_follow(root):
    """Somebody serves model.onnx."""
    series = make_series(root)
    beside = series[0].with_suffix(".onnx")
    beside.write_bytes(b"somebody's own")
    app = open_app(root, policy={"exports": "follow"})
    index_roots(app)
    app.apply()
    assert beside.exists(), "it is no export that ckptd placed"
