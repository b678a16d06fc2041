"""What `make install-service` installs where there is no network: each wheel that ckptd needs, fetched by the host's pip."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.systemd.container import CACHE, PROJECT, locked

#: Of Debian's interpreter in the container.
PYTHON = "3.11"
#: What is installed from; all that a checkout has for this.
SOURCES = ("Makefile", "pyproject.toml", "constraints.txt", "README.md", "LICENSE", "ckptd")


def fetch_wheels() -> Path:
    """Give a directory with the wheels; fetch what is missing when the project wants others than before."""
    wheels, done = CACHE / "wheels", CACHE / "wheels.done"
    wanted = _list_wanted()
    mark = hashlib.sha256("\n".join([*wanted, (PROJECT / "constraints.txt").read_text()]).encode()).hexdigest()
    with locked("wheels"):
        if not done.exists() or done.read_text() != mark:
            command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", f"--dest={wheels}"]
            # Cython and torch of the host's interpreter would be no use to another one.
            command += [f"--python-version={PYTHON}", "--only-binary=:all:", f"--constraint={PROJECT / 'constraints.txt'}"]
            subprocess.run([*command, *wanted], check=True, timeout=1800, stdin=subprocess.DEVNULL, capture_output=True)
            done.write_text(mark)
    return wheels


def copy_sources(directory: Path) -> Path:
    """Copy what is installed from, so that nothing that happens there touches the checkout."""
    for name in SOURCES:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, directory / name)
    return directory


def _list_wanted() -> list[str]:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"].values()
    return [
        *project["project"]["dependencies"],
        *(need for extra in extras for need in extra),
        *project["build-system"]["requires"],
        "pip",
    ]
