"""Whoever installs by pip has no checkout: the wheel carries the units."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from ckptd.service.units import generated_files

PROJECT = Path(__file__).parents[2]


def test_a_built_wheel_renders_every_unit(tmp_path):
    """By the code and the templates in it, with the checkout out of sight."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(tmp_path / "installed")
    code = (
        "import sys, ckptd.service.units as units; sys.stdout.write(''.join(units.generated_files(units.Path('/')).values()))"
    )
    environ = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "".join(generated_files(Path("/")).values())
