"""An index of another version meets the real program: refused in one sentence, or changed by the one who may."""

from __future__ import annotations

import platform
import sqlite3
from contextlib import closing

import pytest

from ckptd.index.migrate import REVISIONS
from ckptd.storage.lock import hold
from tests.e2e.running import run_ckptd, running
from tests.index.test_upgrading import RELEASED

#: Every verb that reads the index and changes nothing.
READERS = (
    ("ls",),
    ("find", "accuracy>0"),
    ("show", "a"),
    ("best", "--metric", "accuracy"),
    ("exports", "a"),
    ("sidecar", "a"),
    ("plan",),
    ("trash", "ls"),
    ("archives",),
    ("jobs",),
    ("report",),
)


def read_revision(file):
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]


@pytest.fixture
def root(tmp_path):
    """A root with the index of the release before this one."""
    models = tmp_path / "trained_models"
    (models / ".ckptd").mkdir(parents=True, mode=0o700)
    with closing(sqlite3.connect(models / ".ckptd" / "index.sqlite")) as connection:
        dump = (RELEASED / f"{REVISIONS[-2]}.sql").read_text().replace("@HOST@", platform.node())
        connection.executescript(dump.replace("/srv/trained_models", str(models)))
        connection.execute("PRAGMA journal_mode=WAL")  # as every index is that was ever opened
    return models


@pytest.fixture
def newer(root):
    """The same, made by a version that this program does not know."""
    file = root / ".ckptd" / "index.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    return root


def refuses(done, root):
    """One sentence on stderr, with the file, the cause and the cure; exit status 5."""
    (line,) = done.stderr.splitlines()
    assert f"{root}/.ckptd/index.sqlite: its schema 9999 is newer than this program (install the newer ckptd again" in line
    return done.returncode == 5


@pytest.mark.parametrize("verb", READERS, ids=" ".join)
def test_a_newer_index_is_refused_by_each_verb_that_reads(newer, verb):
    assert refuses(run_ckptd("--root", newer, *verb), newer)
    assert read_revision(newer / ".ckptd" / "index.sqlite") == "9999"


@pytest.mark.parametrize("verb", ["run", "scan"])
def test_a_newer_index_is_refused_by_what_writes(newer, verb):
    """The status is one that the unit does not start again for (RestartPreventExitStatus)."""
    before = (newer / ".ckptd" / "index.sqlite").read_bytes()
    assert refuses(run_ckptd("--root", newer, verb), newer)
    assert (newer / ".ckptd" / "index.sqlite").read_bytes() == before


def test_the_doctor_names_a_newer_index_among_its_findings(newer):
    done = run_ckptd("--root", newer, "doctor")
    assert done.returncode == 1
    assert "9999 is newer than this program" in done.stdout
    assert "docs/ops/upgrade.md" in done.stdout


def test_a_newer_index_can_be_thrown_away(newer):
    """The last way back: the older program reads everything again, and puts its own in the place."""
    assert run_ckptd("--root", newer, "reindex").returncode == 0
    assert read_revision(newer / ".ckptd" / "index.sqlite") == REVISIONS[-1]


def test_an_older_index_is_changed_by_the_daemon_before_it_says_that_it_runs(root):
    """With a copy beside it; afterwards everybody reads the new one."""
    with running(root):
        assert read_revision(root / ".ckptd" / "index.sqlite") == REVISIONS[-1]
        assert run_ckptd("--root", root, "ls").returncode == 0
    assert read_revision(root / f".ckptd/index.sqlite.{REVISIONS[-2]}.bak") == REVISIONS[-2]


def test_an_older_index_is_not_changed_under_a_daemon_that_works_with_it(root):
    """The program was installed anew and the daemon not started again: it alone may change its index."""
    with hold(root / ".ckptd"):
        done = run_ckptd("--root", root, "plan")
        assert done.returncode == 1
        assert "start the daemon again" in done.stderr
        assert read_revision(root / ".ckptd" / "index.sqlite") == REVISIONS[-2]
    assert run_ckptd("--root", root, "plan").returncode == 0
    assert read_revision(root / ".ckptd" / "index.sqlite") == REVISIONS[-1]
