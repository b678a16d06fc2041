"""Which settings file is read, which variables of the environment are settings, where the state lies.  No pydantic here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ckptd.settings.model import Settings

#: Every variable that begins so is a setting, but for those in `RESERVED`.
PREFIX = "CKPTD_"

#: Variables with a meaning of their own, and the beginnings of those that the project's tests and benchmarks take.
RESERVED = frozenset({"CKPTD_CONFIG"})
RESERVED_BEGINNINGS = ("CKPTD_BENCH_", "CKPTD_FUZZ_", "CKPTD_SOAK_")

SYSTEM_CONFIG = Path("/etc/ckptd/ckptd.toml")
#: Whom the system's service runs as.
SYSTEM_USER = "ckptd"


def find_config(config: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Find the one settings file: the one asked for, $CKPTD_CONFIG, the user's, the system's; None when there is none.

    The present directory is not searched: who can write there must not be able to steer what ckptd does.
    A file that was named is given back whether it exists or not, so that a slip is reported and not passed over.
    """
    if config is not None:
        return config
    if environ.get("CKPTD_CONFIG"):
        return Path(environ["CKPTD_CONFIG"])
    for path in default_configs(environ):
        if os.path.isfile(path):  # one in a home that is closed to us is none of ours
            return path
    return None


def default_configs(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Give the places that are looked at when nobody names a file, first match first."""
    home = environ.get("XDG_CONFIG_HOME") or (environ["HOME"] + "/.config" if environ.get("HOME") else "")
    own = (Path(home) / "ckptd" / "ckptd.toml",) if home.startswith("/") else ()
    return (*own, SYSTEM_CONFIG)


def find_state_dir(settings: Settings) -> Path:
    """Give the state directory: the settings', else `.ckptd` in the first root.

    A link that the settings name is the operator's; one in a root is whoever's can write there, and is not followed.
    """
    if settings.state_dir is not None:
        return Path(os.path.realpath(settings.state_dir))
    return Path(os.path.realpath(settings.roots[0]), ".ckptd")


def setting_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Give the variables that claim to be settings, by their upper-case name."""
    upper = {name.upper(): value for name, value in environ.items() if name[:6].upper() == PREFIX}
    return {name: value for name, value in upper.items() if name not in RESERVED and not name.startswith(RESERVED_BEGINNINGS)}
