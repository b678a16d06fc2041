"""What `make install-service` does around the install: the link on the PATH."""

import os
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
#: In place of Python: an environment whose interpreter does nothing.
_PYTHON = """#!/bin/sh
mkdir -p "$3/bin" && ln -sf /bin/true "$3/bin/python"
"""


@pytest.fixture
def make(tmp_path):
    """Give a function that makes the target with an environment that is none, and gives what was printed."""
    python = tmp_path / "python"
    python.write_text(_PYTHON)
    python.chmod(0o755)

    def make() -> str:
        values = [f"PYTHON={python}", f"PREFIX={tmp_path}/opt", f"LINK={tmp_path}/link"]
        command = ["make", "--silent", "-C", PROJECT, "install-service", *values]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

    return make


def test_ckptd_is_on_the_path_afterwards(make, tmp_path):
    """By a link, made once and then left alone, without a word."""
    for _ in range(2):
        assert make() == ""
        assert os.readlink(tmp_path / "link") == f"{tmp_path}/opt/bin/ckptd"


@pytest.mark.parametrize("is_link", [True, False])
def test_another_ckptd_on_the_path_stays_and_is_named(make, tmp_path, is_link):
    """Else people would go on asking it, and never know."""
    link = tmp_path / "link"
    link.symlink_to("/somewhere/ckptd") if is_link else link.write_text("#!/bin/sh")
    assert make().startswith(f"note: {link} is another ckptd, and stays; ")
    assert link.is_symlink() is is_link
