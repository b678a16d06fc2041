"""A new index is told what the journal knows: once, whole, and before anything else; also after a start that was broken off."""

from __future__ import annotations

import platform
import selectors
from contextlib import closing, contextmanager

import pytest
from structlog.testing import capture_logs

from ckptd.errors import CkptdError, IndexUnavailableError, StorageError
from ckptd.index.ledger import drop_freezes, load_freezes, load_gone
from ckptd.index.marks import PIN, load_marks
from ckptd.index.store import Store
from ckptd.jobs import replaying
from ckptd.jobs.replaying import REINDEXED
from ckptd.jobs.roots import WatchedRoot
from ckptd.opening import INDEX_NAME, open_engine
from ckptd.policy.retention.plan import Action
from ckptd.policy.retry import find_next_try
from tests.jobs.keeping import checkpoints, index_roots, make_series, open_app

APPLYING = {"mode": "apply", "keep_last": 1, "ladder": ["trash"]}


class KilledError(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.fixture
def app(tmp_path):
    """Checkpoints of one model: of those that no rule keeps, two are pinned, and the others went."""
    root = tmp_path / "models"
    root.mkdir()
    make_series(root, count=8)
    with closing(open_app(root, policy=APPLYING)) as made:
        index_roots(made)
        unwanted = [one.fact.path for one in made.plan().plan.decisions if one.action is Action.TRASH]
        for path in unwanted[:2]:
            made.pin(made.show(path))
        assert len(made.apply().done) == len(unwanted) - 2 > 0
        yield made


@contextmanager
def started(app):
    """Open what a daemon opens."""
    with (
        selectors.DefaultSelector() as selector,
        open_engine(app.settings, selector, want_rescan=lambda *_: None, next_try=find_next_try) as engine,
    ):
        yield engine


def lose_index(app):
    app.close()
    for file in (app.settings.roots[0] / ".ckptd").glob(f"{INDEX_NAME}*"):
        file.unlink()


def known(engine):
    """Give the pins, the freezes and what went, as the index has them."""
    marks = engine.store.ask(load_marks)
    gone = [one.path for one in engine.store.ask(load_gone, 0.0)]
    return sorted(mark.path for mark in marks if mark.kind == PIN), list(engine.store.ask(load_freezes)), sorted(gone)


@pytest.fixture
def whole(app):
    """What the index knows, and what a new one has to know."""
    with started(app) as engine:
        pins, freezes, gone = known(engine)
    assert (len(pins), freezes, len(gone)) == (2, [], 2)
    lose_index(app)
    return pins, [REINDEXED], gone


def kill_before(monkeypatch):
    monkeypatch.setattr(replaying, "replay_marks", raising(KilledError()))


def kill_within(monkeypatch):
    monkeypatch.setattr(replaying, "put_freeze", raising(KilledError()))


def kill_behind(monkeypatch):
    monkeypatch.setattr(WatchedRoot, "learn", raising(KilledError()))


def fill_the_disk(monkeypatch):
    monkeypatch.setattr(replaying, "put_freeze", raising(IndexUnavailableError("write the index", why="disk is full")))


def raising(error):
    def stop(*_arguments, **_options):
        raise error

    return stop


@pytest.mark.parametrize("stop", [kill_before, kill_within, kill_behind, fill_the_disk])
def test_a_start_that_is_broken_off_costs_nothing(app, whole, monkeypatch, stop):
    """Wherever that is, twice: the next one knows the pins, counts what went once and holds everything, as does each later."""
    for _ in range(2):
        with monkeypatch.context() as patch:
            stop(patch)
            with pytest.raises((KilledError, CkptdError)), started(app):
                pass
    assert (app.settings.roots[0] / ".ckptd" / INDEX_NAME).exists()
    for _ in range(2):
        with started(app) as engine:
            assert known(engine) == whole
    before = checkpoints(app.settings.roots[0])
    app.scan()
    assert not app.apply().done
    assert checkpoints(app.settings.roots[0]) == before


def test_a_journal_that_can_not_be_read_is_not_done_without(app, whole):
    """No start goes on without the pins; once it can be read, they are there."""
    journal = app.settings.roots[0] / ".ckptd" / "journal.jsonl"
    aside = journal.rename(journal.with_name("aside"))
    journal.mkdir()
    for _ in range(2):
        with pytest.raises(StorageError, match="no regular file"), started(app):
            pass
    journal.rmdir()
    aside.rename(journal)
    with started(app) as engine:
        assert known(engine) == whole


@pytest.mark.parametrize("left", ["the journal", "the mark of the root"])
def test_either_trace_of_an_older_index_is_enough(app, whole, left):
    """Whatever else was lost with it: nothing goes by itself until a person has seen the plan."""
    state = app.settings.roots[0] / ".ckptd"
    (state / ("root-id" if left == "the journal" else "journal.jsonl")).unlink()
    with started(app) as engine:
        assert known(engine) == (whole if left == "the journal" else ([], [REINDEXED], []))


def test_an_index_that_a_job_made_is_as_new_as_one_that_nobody_made(app, whole):
    """Where no daemon runs, whoever comes first makes the file."""
    Store.open(app.settings.roots[0] / ".ckptd" / INDEX_NAME).close()
    with started(app) as engine:
        assert known(engine) == whole


def test_a_machine_that_is_called_otherwise_keeps_its_index(app, monkeypatch):
    """A container that was made anew: pins count, nothing is held, roots are known; and the log says so."""
    root = app.settings.roots[0]
    with started(app) as engine:
        before, root_known = known(engine), engine.store.load_root(str(root))
    app.close()
    assert root_known[0] is not None
    monkeypatch.setattr(platform, "node", lambda: "another-container")
    with capture_logs() as log, started(app) as engine:
        assert known(engine) == before
        assert engine.store.load_root(str(root)) == root_known
        assert engine.store.host == "another-container"
    assert [entry["host"] for entry in log if entry["event"] == "index.adopted"] == ["another-container"]
    there = checkpoints(root)
    index_roots(app)
    assert not app.apply().done
    assert checkpoints(root) == there


def test_among_the_indexes_of_several_machines_a_new_one_begins_with_the_journal(app, monkeypatch):
    """Which of them it was, nobody can tell: the pins come from the journal, and a person looks at the plan first."""
    with started(app) as engine:
        pins, _, gone = known(engine)
        engine.store.owner = "yet-another"
        engine.store.save_root("/srv/models", None)
    app.close()
    for number in range(3):  # a container may have another name at each start; it begins anew once, and a person confirms once
        monkeypatch.setattr(platform, "node", lambda number=number: f"container-{number}")
        with started(app) as engine:
            assert known(engine) == (pins, [REINDEXED] if number == 0 else [], gone)
            with engine.store.batch() as batch:
                batch.tell(drop_freezes)


def test_a_first_start_that_is_broken_off_freezes_nothing(tmp_path, monkeypatch):
    """Its root has a mark by then, and no other index was ever there."""
    root = tmp_path / "models"
    root.mkdir()
    app = open_app(root)

    def fill(*_arguments):
        raise IndexUnavailableError("write to the index", why="database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(Store, "save_root", fill)
        with pytest.raises(IndexUnavailableError), started(app):
            pass
    assert (root / ".ckptd" / "root-id").exists()
    with started(app) as engine:
        assert known(engine)[1] == []
