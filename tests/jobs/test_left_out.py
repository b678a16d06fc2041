"""A root that is away: every job and every verb does its work on the others, names it, and believes nothing of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager, nullcontext

import pytest

from ckptd.errors import CkptdError, StorageError
from ckptd.index.archived import MISSING, load_archives
from ckptd.jobs.registry import JOBS
from ckptd.proof import Verdict
from ckptd.storage.lock import hold
from tests.jobs.keeping import DAY, Clock, index_roots, make_series, open_app, save_checkpoint, states


def go_on():
    return False


@pytest.fixture
def both(tmp_path):
    """An App on two roots, each with ten checkpoints, and the second root, which is away and can be brought back."""
    here, away = tmp_path / "here", tmp_path / "away"
    for root in (here, away):
        root.mkdir()
        make_series(root)
    clock = Clock()
    app = open_app(here, away, clock=clock, policy={"mode": "apply", "keep_last": 2}, trash={"grace_seconds": DAY})
    index_roots(app)
    yield app, clock, here, away
    app.close()


def removed(app, root):
    return {path for path, place in app.store.load_places(str(root)).items() if place.state != "ready"}


def test_the_policy_is_planned_and_applied_where_the_roots_are(both, tmp_path):
    """The first root loses what it is to lose; of the second one nothing is decided, and the plan says why."""
    app, _, here, away = both
    away.rename(tmp_path / "elsewhere")
    planned = app.plan()
    assert planned.incidents == {str(away): "No such file or directory"}
    assert {decision.fact.root for decision in planned.plan.decisions} == {str(here)}
    app.apply()
    assert len(removed(app, here)) == 5
    assert removed(app, away) == set()
    (tmp_path / "elsewhere").rename(away)
    assert app.plan().incidents == {}
    assert len(list(away.glob("*.pth"))) == 10


@contextmanager
def held_by_another_process(root):
    """Hold a root as a daemon with a state directory of its own does; its process id."""
    code = "import sys; from ckptd.storage.lock import hold; lock = hold(sys.argv[1]); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, root / ".ckptd"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process.pid
        process.stdin.close()


@pytest.mark.parametrize("has_daemon", [True, False])
def test_a_root_that_another_ckptd_looks_after_is_left_to_it(both, has_daemon):
    """Its index has pins of which this one knows nothing; whether a daemon of ours runs besides makes no difference."""
    app, _, here, away = both
    with held_by_another_process(away) as pid, hold(here / ".ckptd") if has_daemon else nullcontext():
        (why,) = app.plan().incidents.values()
        assert f"another ckptd looks after it: process {pid}" in why
        run = app.run_job("retention", go_on)
        assert f"process {pid}" in run.reason
        app.apply()
        assert len(removed(app, here)) == 5
        assert removed(app, away) == set()
    app.apply()
    assert len(removed(app, away)) == 5


def test_a_root_that_another_ckptd_takes_while_a_job_works_in_it_is_left_to_it(both):
    """Each step looks at the root again."""
    app, _, here, away = both
    began = []
    with ExitStack() as stack:

        def take_away(_what, _words):
            if not began:
                began.append(1)
                stack.enter_context(held_by_another_process(away))

        applied = app.apply(told=take_away)
        assert len(removed(app, here)) == 5
        assert removed(app, away) == set()
        assert {skipped.root for skipped in applied.skipped} == {str(away)}
        assert all("another ckptd looks after it" in skipped.why for skipped in applied.skipped)


def test_a_root_that_our_own_daemon_looks_after_is_worked_in(both):
    """It holds the lock of the state directory and that of the root."""
    app, _, here, away = both
    with hold(here / ".ckptd"), hold(away / ".ckptd"):
        assert app.plan().incidents == {}
        assert app.run_job("retention", go_on).reason == ""
    assert len(removed(app, away)) == 5


@pytest.mark.parametrize("job", [entry.name for entry in JOBS])
def test_every_job_runs_and_says_what_it_left_out(both, tmp_path, job):
    """No job stands still because one share is away, and none takes what it holds for gone."""
    app, _, here, away = both
    before = states(app)
    away.rename(tmp_path / "elsewhere")
    run = app.run_job(job, go_on)
    if job in ("retention", "purge", "scrub"):
        assert str(away) in run.reason
    assert run.outcome.value in ("ok", "held", "failed")
    assert "Traceback" not in run.reason
    assert all(state == before[path] or (here / path).exists() or job == "retention" for path, state in states(app).items())
    assert removed(app, away) == set()


def test_the_trash_is_purged_and_listed_where_the_roots_are(both, tmp_path):
    """What lies in the trash of the other one waits for it."""
    app, clock, here, away = both
    app.apply()
    assert len(app.trash()) == 10
    away.rename(tmp_path / "elsewhere")
    assert {one.root for one in app.trash()} == {str(here)}
    clock.now += 2 * DAY
    run = app.run_job("purge", go_on)
    assert run.summary["purged"] == 5
    assert str(away) in run.reason
    assert len(removed(app, away)) == 5
    (tmp_path / "elsewhere").rename(away)
    assert len(app.trash()) == 5
    assert app.run_job("purge", go_on).summary["purged"] == 5


def test_the_trash_of_a_directory_that_only_lies_in_its_place_is_nobody_s(both, tmp_path):
    """It has no mark: nothing in it is shown as ours, brought back or purged."""
    app, clock, here, away = both
    app.apply()
    away.rename(tmp_path / "elsewhere")
    shutil.copytree(tmp_path / "elsewhere", away)
    (away / ".ckptd" / "root-id").unlink()
    assert {one.root for one in app.trash()} == {str(here)}
    clock.now += 2 * DAY
    app.run_job("purge", go_on)
    assert len(list((away / ".ckptd" / "trash").iterdir())) >= 5


def test_a_checkpoint_of_a_root_that_is_there_is_exported(both, tmp_path):
    """Another one that is away is no reason against it; of that one none is, and it says why not."""
    app, _, _, away = both
    save_checkpoint(away / "there.pth", 99)
    index_roots(app)
    away.rename(tmp_path / "elsewhere")
    record = next(record for record in app.records() if record.root != str(away))
    (export,) = app.export(str(record.id), ["safetensors"])
    assert export.verdict is Verdict.VERIFIED, export.reason
    (export,) = app.export("there.pth", ["safetensors"])
    assert export.verdict is Verdict.ERROR


def test_an_archive_in_a_root_that_is_away_is_neither_believed_nor_called_missing(tmp_path):
    """It is as whole as it was once the root is back; meanwhile nothing goes because of it."""
    here, away = tmp_path / "here", tmp_path / "away"
    for root in (here, away):
        root.mkdir()
    save_checkpoint(away / "a.pth", 1)
    app = open_app(here, away)
    index_roots(app)
    (stored,) = app.archive("path = 'a.pth'", remove=True).stored
    assert stored.directory.startswith(str(away))
    before = app.store.ask(load_archives)
    away.rename(tmp_path / "elsewhere")
    for _ in range(3):
        drill = app.run_job("drill", go_on)
        assert (drill.outcome.value, str(away) in drill.reason) == ("ok", True)
    (words,) = app.verify_archives().values()
    assert str(away) in words[0]
    assert app.store.ask(load_archives) == before
    assert before[0].state != MISSING
    with pytest.raises(CkptdError, match="away"):
        app.restore("a.pth")
    (tmp_path / "elsewhere").rename(away)
    assert app.run_job("drill", go_on).outcome.value == "ok"
    assert app.restore("a.pth")
    app.close()


def test_nothing_is_brought_back_into_a_root_that_is_away(tmp_path):
    """Its archive lies elsewhere and is whole; it says so, and what to do."""
    here, away = tmp_path / "here", tmp_path / "away"
    for root in (here, away):
        root.mkdir()
    save_checkpoint(away / "a.pth", 1)
    (tmp_path / "archives").mkdir()
    app = open_app(here, away, archive={"directory": str(tmp_path / "archives")})
    index_roots(app)
    app.archive("path = 'a.pth'", remove=False)
    away.rename(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match=r"No such file or directory \(bring it back, or say --to DIR\)"):
        app.restore("a.pth", archive=app.archives()[0].name)
    assert app.restore("a.pth", to=str(tmp_path / "out"), archive=app.archives()[0].name)
    app.close()


def test_an_archive_of_a_kill_in_a_root_that_is_replaced_is_not_taken_for_ours(tmp_path):
    """Another directory lies in its place: what is called an archive there says nothing of our checkpoints."""
    here, away = tmp_path / "here", tmp_path / "away"
    for root in (here, away):
        root.mkdir()
        save_checkpoint(root / f"{root.name}.pth", 1)
    app = open_app(here, away)
    index_roots(app)
    app.archive("path = 'away.pth'", remove=False)
    other = open_app(here, away, state_dir=str(tmp_path / "state"))
    (tmp_path / "state").mkdir(mode=0o700)
    index_roots(other)
    away.rename(tmp_path / "elsewhere")
    away.mkdir()
    (tmp_path / "elsewhere" / "archives").rename(away / "archives")
    other.run_job("retention", go_on)
    assert other.store.load_root(str(away))[1] == 1
    assert other.store.ask(load_archives) == []
    app.close()
    other.close()
