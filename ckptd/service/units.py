"""The units of systemd and the user that they run as: templates beside this file, rendered for an interpreter.

`make config` calls `python -m ckptd.service.units`, which writes systemd/ for the interpreter of `make install-service`; a test
compares.  What depends on the settings is in no unit: `drop_in` has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from ckptd import __version__
from ckptd.errors import CkptdError
from ckptd.settings.places import SYSTEM_CONFIG

#: Where `make install-service` puts ckptd.
DEFAULT_PYTHON = Path("/opt/ckptd/bin/python")

SERVICE = "ckptd.service"
TEMPLATE = "ckptd@.service"
SCAN = "ckptd-scan.service"
TIMER = "ckptd-scan.timer"
#: What the system's service manager is given, and what a user's is.
SYSTEM_UNITS = (SERVICE, TEMPLATE, SCAN, TIMER)
USER_UNITS = (SERVICE,)

_CONFIG = re.compile(r"^ExecStart=.* --config (\"(?:[^\"\\]|\\.)*\"|\S+) run$", re.MULTILINE)
_TEMPLATES = files("ckptd.service") / "units"


class UnitFile(NamedTuple):
    """One unit: its name and what is in it."""

    name: str
    text: str


def render_system_units(python: Path, config: Path = SYSTEM_CONFIG, build: str = "") -> tuple[UnitFile, ...]:
    """Render the units of the system's service manager.

    Args:
        python: absolute path of the interpreter.
        config: absolute path of the settings file; each instance has one of its own.
        build: digest of the code, so that another checkout of this version is another unit; systemd/ in the tree has none.

    Raises:
        CkptdError: systemd can't be given such a path.
    """
    return tuple(UnitFile(name, _render(name, python, config, build)) for name in SYSTEM_UNITS)


def render_user_units(python: Path, build: str = "") -> tuple[UnitFile, ...]:
    """Render the units of a user's service manager for an interpreter (absolute path); see `render_system_units`.

    Raises:
        CkptdError: systemd can't be given such a path.
    """
    return tuple(UnitFile(name, _render(f"user/{name}", python, SYSTEM_CONFIG, build)) for name in USER_UNITS)


def render_sysusers(groups: Iterable[str] = ()) -> str:
    """Render the file of sysusers.d(5) that makes the user ckptd, a member of the groups."""
    return _read("ckptd.sysusers") + "".join(f"m ckptd {group}\n" for group in sorted(set(groups)))


def find_source(unit: str) -> str:
    """Give the file that a unit comes from: of an instance its template."""
    return re.sub("@.+\\.", "@.", unit)


def read_members(text: str) -> tuple[str, ...]:
    """Read the groups out of a file of sysusers.d(5) that was rendered here."""
    return tuple(re.findall(r"^m ckptd (\S+)$", text, re.MULTILINE))


def quote(text: str) -> str:
    """Write a text as one word of a unit file: no space, colon or specifier in it means anything.

    Source: systemd.syntax(7), "Quoting"; systemd.unit(5), "Specifiers".

    Raises:
        CkptdError: it holds a control character, which could begin another line.
    """
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in text):
        cure = "give it another name"
        raise CkptdError("name a file in a unit", path=repr(text), why="its name holds a control character", cure=cure)
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if set(text) & set(" '\"\\;#:") else escaped


def read_config(text: str) -> Path | None:
    """Read the settings file out of a unit that was rendered here; None where it names none."""
    found = _CONFIG.search(text)
    if found is None:
        return None
    word = found[1]
    if word.startswith('"'):
        word = re.sub(r"\\(.)", r"\1", word[1:-1])
    return Path(word.replace("%%", "%"))


def _render(name: str, python: Path, config: Path, build: str) -> str:
    text = _read(name).replace("@CONFINEMENT@", _read("confinement.conf").rstrip())
    text = text.replace("@VERSION@", f"{__version__}+{build}" if build else __version__)
    return text.replace("@PYTHON@", _quote_word(python)).replace("@CONFIG@", _quote_word(config))


def _quote_word(path: Path) -> str:
    """Quote a word of a command line, where variables are replaced too; "$$" does not help in the name of the program."""
    if "$" in str(path):
        raise CkptdError(
            "name a file in a unit", path=path, why='systemd would take "$" for a variable', cure="give it another name"
        )
    return quote(str(path))


def _read(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def generated_files(project: Path) -> dict[Path, str]:
    """Give each file of systemd/ with what must be in it."""
    made = {project / "systemd" / unit.name: unit.text for unit in render_system_units(DEFAULT_PYTHON)}
    made |= {project / "systemd" / "user" / unit.name: unit.text for unit in render_user_units(DEFAULT_PYTHON)}
    return made | {project / "systemd" / "sysusers.d" / "ckptd.conf": render_sysusers()}


if __name__ == "__main__":
    for file, text in generated_files(Path.cwd()).items():
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text(text, encoding="utf-8")
        print(file)
