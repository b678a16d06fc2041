"""The settings file of a service that has none yet: where its roots are, and every other setting as a comment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckptd.settings import Settings
from ckptd.settings.load import LoadedSettings
from ckptd.settings.sample import render_sample, render_toml

_HEAD = """\
# A service that systemd confines reaches only the directories that stood here when it was installed. After a change of roots,
# state_dir or another directory: `ckptd service install`. After any other change: `systemctl reload ckptd`.
"""


@dataclass(frozen=True, slots=True)
class FirstSettings:
    """What a new file says.

    Attributes:
        roots: absolute.
        state_dir: None leaves it in the first root.
    """

    roots: tuple[Path, ...]
    state_dir: Path | None

    def settings(self) -> Settings:
        """Give them as they will be read."""
        return LoadedSettings(**self._values())

    def render(self) -> str:
        """Write the sample with these values in it."""
        text = render_sample().replace("#:schema ./ckptd.schema.json\n", "", 1)
        for key, value in self._values().items():
            lines = text.split("\n")
            at = next(number for number, line in enumerate(lines) if line.startswith(f"#{key} = "))
            lines[at] = f"{key} = {render_toml(value)}"
            text = "\n".join(lines)
        return _HEAD + text

    def _values(self) -> dict[str, Any]:
        values: dict[str, Any] = {"roots": tuple(self.roots)}
        if self.state_dir is not None:
            values["state_dir"] = self.state_dir
        return values
