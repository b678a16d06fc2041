"""The index of a long-lived process is made in a child, so that what makes it is not carried along."""

import subprocess
import sys

import pytest

from ckptd.errors import CkptdError
from ckptd.index.store import Store
from ckptd.jobs.opening import open_store_lean
from tests.index.test_open import open_as_first


def test_a_new_index_is_made_without_importing_what_makes_it(tmp_path):
    """Alembic stays out of the daemon; a second start needs no child."""
    script = (
        "import sys\nfrom pathlib import Path\nfrom ckptd.jobs.opening import open_store_lean\n"
        f"for _ in range(2): open_store_lean(Path({str(tmp_path / 'index.sqlite')!r})).close()\n"
        "assert 'alembic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    store = Store.open(tmp_path / "index.sqlite")
    assert store.check_integrity() is None
    store.close()


def test_an_older_index_is_brought_up_to_date_without_importing_what_does_it(tmp_path):
    """Neither here is anything of Alembic kept in the daemon for ever."""
    open_as_first(tmp_path / "index.sqlite")
    script = (
        "import sys\nfrom pathlib import Path\nfrom ckptd.jobs.opening import open_store_lean\n"
        f"open_store_lean(Path({str(tmp_path / 'index.sqlite')!r})).close()\n"
        "assert 'alembic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    assert (tmp_path / "index.sqlite.0001.bak").exists()
    assert Store.is_newest(tmp_path / "index.sqlite")


def test_what_goes_wrong_is_told_by_the_parent(tmp_path):
    """The child says nothing; the same trouble is met again and has its sentence."""
    with pytest.raises(CkptdError, match=r"nowhere/index.sqlite: No such file"):
        open_store_lean(tmp_path / "nowhere" / "index.sqlite")
