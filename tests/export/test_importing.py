"""Trusted directories are imported from their sources: bytecode beside them is not read, and none is written."""

import importlib.util
import os
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest

RUN = """
import sys
from ckptd.export.importing import search_first
search_first([sys.argv[1]])
import victim, package.inner
print(victim.VALUE, package.inner.VALUE)
"""


@pytest.fixture
def code(tmp_path):
    directory = tmp_path / "code"
    (directory / "package").mkdir(parents=True)
    (directory / "victim.py").write_text("VALUE = 'honest'")
    (directory / "package" / "__init__.py").touch()
    (directory / "package" / "inner.py").write_text("VALUE = 'honest'")
    return directory


def run(code: Path) -> str:
    project = str(Path(__file__).parents[2])
    env = {**os.environ, "PYTHONPATH": project}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(code)], capture_output=True, text=True, check=True, env=env, timeout=60
    )
    return done.stdout.strip()


def forge(source: Path) -> None:
    """Put bytecode of something else into the place where Python looks for that of a source, with its size and time."""
    evil = source.with_name("evil.py")
    evil.write_text("VALUE = 'forged'")
    os.utime(evil, ns=(source.stat().st_atime_ns, source.stat().st_mtime_ns))
    assert evil.stat().st_size == source.stat().st_size
    py_compile.compile(str(evil), importlib.util.cache_from_source(str(source)))
    evil.unlink()


def test_forged_bytecode_is_not_run(code):
    """Python itself would run it; a trusted directory's `__pycache__` may be open to others."""
    forge(code / "victim.py")
    forge(code / "package" / "inner.py")
    fooled = subprocess.run(
        [sys.executable, "-c", "import victim; print(victim.VALUE)"], cwd=code, capture_output=True, text=True, check=True
    )
    assert fooled.stdout.strip() == "forged"
    assert run(code) == "honest honest"


def test_no_bytecode_is_written(code):
    """Nothing is left in a directory that is the operator's."""
    assert run(code) == "honest honest"
    assert list(code.rglob("*.pyc")) == []
