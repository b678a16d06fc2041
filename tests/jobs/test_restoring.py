"""What comes back out of an archive that was called missing, and is there again."""

from __future__ import annotations

import os

import pytest

from ckptd.errors import UsageError
from tests.jobs.keeping import index_roots, open_app, save_checkpoint


@pytest.fixture
def share(tmp_path):
    made = tmp_path / "share"
    made.mkdir()
    return made


def opened(root, share):
    """Give an App with a checkpoint that only an archive has, its bytes, and the archive; its share was away for a while."""
    data = save_checkpoint(root / "a.pth", 1).read_bytes()
    app = open_app(root, archive={"directory": share})
    index_roots(app)
    (stored,) = app.archive("size>=0", remove=True).stored
    app.purge_trash(everything=True)
    call_missing(app, share)
    return app, data, share / stored.name


def call_missing(app, share, *names):
    """Verify archives while their share is not mounted."""
    away = share.rename(share.with_name("away"))
    app.verify_archives(names)
    away.rename(share)


def test_an_archive_that_is_back_gives_what_it_has(root, share):
    """Nobody has to verify it first: the digest of what comes out of it is compared anyway."""
    app, data, _ = opened(root, share)
    assert app.archives()[0].state == "missing"
    app.restore("a.pth")
    assert (root / "a.pth").read_bytes() == data


def test_an_archive_that_is_missing_still_has_nothing(root, share):
    """It is looked for, and is not there."""
    app, _, archive = opened(root, share)
    archive.unlink()
    with pytest.raises(UsageError, match="no archive has it"):
        app.restore("a.pth")


def test_one_that_is_named_is_looked_for(root, share):
    """Though another one has the same checkpoint."""
    save_checkpoint(root / "a.pth", 1)
    app = open_app(root, archive={"directory": share})
    index_roots(app)
    names = [app.archive("size>=0", remove=False).stored[0].name for _ in range(2)]
    call_missing(app, share, names[0])
    (root / "a.pth").unlink()
    (back,) = app.restore("a.pth", archive=names[0])
    assert back.source == names[0]


def test_one_that_is_there_goes_first(root, share, tmp_path):
    """A share that is away is not asked while another archive has it: it may be slow to say no."""
    save_checkpoint(root / "a.pth", 1)
    app = open_app(root, archive={"directory": share})
    index_roots(app)
    names = [app.archive("size>=0", remove=False).stored[0].name for _ in range(2)]
    call_missing(app, share, names[1])
    (root / "a.pth").unlink()
    (back,) = app.restore("a.pth")
    assert back.source == names[0]


def test_a_newer_content_in_one_that_is_back_is_not_passed_over_in_silence(root, share):
    """Two contents of one name, one of them in an archive that was called missing: a person says which."""
    app = open_app(root, archive={"directory": share})
    names = []
    for number in (1, 2):
        save_checkpoint(root / "a.pth", number)
        index_roots(app)
        names.append(app.archive("size>=0", remove=False).stored[0].name)
    call_missing(app, share, names[1])
    (root / "a.pth").unlink()
    with pytest.raises(UsageError, match="this names several"):
        app.restore("a.pth")


def test_one_that_is_back_gives_what_is_lost_in_another(root, share):
    """The one that is there is damaged."""
    data = save_checkpoint(root / "a.pth", 1).read_bytes()
    app = open_app(root, archive={"directory": share})
    index_roots(app)
    names = [app.archive("size>=0", remove=False).stored[0].name for _ in range(2)]
    call_missing(app, share, names[0])
    os.truncate(share / names[1], 100)
    app.verify_archives([names[1]])
    assert [one.state for one in app.archives()] == ["missing", "damaged"]
    (root / "a.pth").unlink()
    (back,) = app.restore("a.pth")
    assert back.source == names[0]
    assert (root / "a.pth").read_bytes() == data
