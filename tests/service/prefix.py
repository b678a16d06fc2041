"""An install into a directory: real files, and a systemctl and a systemd-sysusers on the PATH that note what they are asked."""

from __future__ import annotations

import os
from pathlib import Path

from ckptd.service.places import Places
from ckptd.service.surroundings import Surroundings
from ckptd.service.systemctl import Systemctl

_PROGRAM = """#!/bin/sh
echo "${{0##*/}} $*" >>"{log}"
for unit; do :; done
case "$*" in
  *show*) cat "{answers}/$unit" 2>/dev/null || cat "{answers}/any" ;;
  *{failing}*) echo "Job for ckptd.service failed." >&2; exit 1 ;;
esac
"""


class Prefix:
    """A directory that stands for the root of a machine."""

    def __init__(self, directory: Path, monkeypatch) -> None:
        self.directory = directory
        self.root = directory / "srv" / "trained_models"
        self.log = directory / "asked.log"
        self.answers = directory / "answers"
        self.places = Places(
            units=directory / "etc/systemd/system",
            sysusers=directory / "etc/sysusers.d/ckptd.conf",
            config=directory / "etc/ckptd/ckptd.toml",
            state_dir=directory / "var/lib/ckptd",
            root=self.root,
            settings=directory / "etc/ckptd",
        )
        self.around = Surroundings(is_root=True, has_manager=True, runtime=(Path("/opt/ckptd/bin/python"),))
        self.manager = Systemctl(is_system=True)
        self._programs = directory / "bin"
        self._programs.mkdir()
        self.answers.mkdir()
        monkeypatch.setenv("PATH", f"{self._programs}{os.pathsep}{os.environ['PATH']}")
        self.fail("nothing at all")
        self.runs(active="inactive", at_boot="disabled")
        self.runs(active="inactive", at_boot="disabled", unit="ckptd-scan.timer")
        self.runs(active="inactive", at_boot="static", unit="ckptd-scan.service")

    def fail(self, word: str) -> None:
        """Have systemctl fail when it is asked for this."""
        for name in ("systemctl", "systemd-sysusers"):
            program = self._programs / name
            program.write_text(_PROGRAM.format(log=self.log, answers=self.answers, failing=f'"{word}"'))
            program.chmod(0o755)

    def runs(self, active: str, at_boot: str = "enabled", unit: str = "any", **further: str) -> None:
        """Say what systemctl is to show of a unit, or of each of which nothing else was said."""
        shown = {"LoadState": "loaded", "ActiveState": active, "UnitFileState": at_boot, **further}
        (self.answers / unit).write_text("".join(f"{name}={value}\n" for name, value in shown.items()))

    def asked(self) -> list[str]:
        """Give what was asked since the last time, questions apart."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [line.replace("--no-pager ", "") for line in lines if " show " not in line]

    def files(self) -> set[str]:
        """Give every file below etc/."""
        etc = self.directory / "etc"
        return {str(path.relative_to(etc)) for path in etc.rglob("*") if path.is_file()}
