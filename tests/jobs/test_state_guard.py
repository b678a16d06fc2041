"""Whether the state is still there: removed is the end, out of reach is not."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
from contextlib import closing
from types import SimpleNamespace

import pytest

from ckptd.errors import IndexUnavailableError, RootLostError
from ckptd.index.store import Store
from ckptd.jobs.state_guard import check_state
from ckptd.storage.beneath import RootHandle
from ckptd.storage.lock import hold
from ckptd.storage.state import ensure_state_dir


@pytest.fixture
def engine(tmp_path):
    """A state of its own, with a lock and an index, beside no root."""
    (tmp_path / "root").mkdir()
    state = ensure_state_dir(tmp_path / "root" / "state")
    with hold(state) as lock, closing(Store.open(state / "index")) as store:
        yield SimpleNamespace(lock=lock, state_dir=state, store=store, roots=[])


@pytest.mark.parametrize("what", ["lock", "index"])
def test_a_state_of_which_something_was_removed_ends_it(engine, what):
    """What is written there, nobody finds again."""
    check_state(engine, "index")
    (engine.state_dir / what).unlink()
    with pytest.raises(RootLostError, match="removed while ckptd ran"):
        check_state(engine, "index")


@pytest.mark.parametrize("how", ["made anew", "moved there"])
def test_an_index_that_came_into_the_place_of_ours_ends_it(engine, how):
    """What the daemon writes into its own, which has no name any more, nobody finds; the one that lies there is not filled."""
    index = engine.state_dir / "index"
    if how == "made anew":
        index.unlink()
        Store.open(index).close()
    else:
        Store.open(index.with_name("other")).close()
        index.with_name("other").replace(index)
    with pytest.raises(RootLostError, match="removed while ckptd ran"):
        check_state(engine, "index")


def test_a_job_that_comes_before_it_is_noticed_makes_no_index(engine):
    """An empty one in its place would be found by the next start, and nothing be missed."""
    index = engine.state_dir / "index"
    for file in index.parent.glob("index*"):
        file.unlink()
    with pytest.raises(IndexUnavailableError, match="it is not there"):
        Store.open_as_it_is(index)
    assert not index.exists()
    with pytest.raises(RootLostError, match="removed while ckptd ran"):
        check_state(engine, "index")


def test_an_index_that_is_written_to_is_the_one_that_was_opened(engine):
    """Whatever is done to it by who opens it: rows, another process, the log folded into it."""
    engine.store.save_root("/srv/models", "id")
    with closing(Store.open_as_it_is(engine.state_dir / "index")) as other:
        other.save_root("/srv/other", "id")
    engine.store.finish()
    check_state(engine, "index")


def test_a_state_whose_share_is_away_is_waited_for(engine):
    """All of it is gone, and nobody removed that."""
    shutil.rmtree(engine.state_dir)
    check_state(engine, "index")


def test_a_root_that_is_away_with_its_state_is_waited_for(engine):
    """What lies below the place where it was mounted, a lock and an index of long ago, is another root's."""
    root = engine.state_dir.parent
    handle = RootHandle(str(root))
    engine.roots.append(SimpleNamespace(path=str(root), handle=handle))
    check_state(engine, "index")
    root.rename(root.with_name("unmounted"))
    root.mkdir()
    with hold(ensure_state_dir(engine.state_dir)):
        Store.open(engine.state_dir / "index").close()
        check_state(engine, "index")
    handle.close()


@pytest.fixture(params=["in a root", "on a share"])
def place(request, engine):
    """Where the state is, and may be away with it."""
    place = engine.state_dir.parent
    if request.param == "on a share":
        yield place
        return
    with closing(RootHandle(str(place))) as handle:
        engine.roots.append(SimpleNamespace(path=str(place), handle=handle))
        yield place


@pytest.mark.parametrize("moves", [[0], [1], [-1, 1], [-1, 1, 2], [-1, 2]], ids=str)
def test_a_place_that_comes_or_goes_while_it_is_looked_at_is_no_end(engine, place, monkeypatch, moves):
    """The state is missed, and in the next moment its root, or the share on which it lies, is there: nobody removed anything.

    Before each look of `moves` the place goes, or comes back; -1 is before all of them.
    """
    away, looks = place.with_name("away"), itertools.count()

    def move():
        moves.pop(0)
        os.rename(*((place, away) if os.access(place, os.F_OK) else (away, place)))

    def make(real):
        def look(*arguments, **options):
            if next(looks) == next(iter(moves), None):
                move()
            return real(*arguments, **options)

        return look

    moves = [*moves]
    if moves[0] < 0:
        move()
    for name in ("stat", "lstat"):
        monkeypatch.setattr(os, name, make(getattr(os, name)))
    check_state(engine, "index")
    assert moves in ([], [2])  # it need not look so often


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOTCONN, errno.ESTALE, errno.EACCES, errno.ELOOP])
@pytest.mark.parametrize("asks", ["stat", "lstat"])
def test_a_disk_that_gives_no_answer_ends_nothing(engine, monkeypatch, number, asks):
    """A dead server, a right that was taken away: it may be there again in a minute."""
    real = getattr(os, asks)

    def refuse(path, *arguments, **options):
        if str(path).startswith(str(engine.state_dir)):
            raise OSError(number, os.strerror(number))
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, asks, refuse)
    check_state(engine, "index")
