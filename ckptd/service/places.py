"""Where the files of a service lie, and which service manager they are for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ckptd.service.units import SCAN, SERVICE, TEMPLATE
from ckptd.settings.places import SYSTEM_CONFIG

#: The drop-in that depends on the settings.
DROP_IN = "roots.conf"
#: What a new settings file of the system's service says.
SYSTEM_ROOT = Path("/srv/trained_models")


@dataclass(frozen=True, slots=True)
class Places:
    """Where an install puts what it writes.

    Attributes:
        units: directory of the units.
        sysusers: the file that makes the user ckptd; None for a user's service, which runs as that user.
        config: the settings file that the service reads.
        state_dir: what a new settings file says of it; None leaves it in the root.
        root: what a new settings file says when nobody names one.
        service: name of the unit that is started.
        packaged: directories of units that packages bring; one there would be hidden by ours.
        settings: directory of the settings of the instances.
        is_taken_over: nobody named the settings, and the unit that is installed does.
    """

    units: Path
    sysusers: Path | None
    config: Path
    state_dir: Path | None
    root: Path
    service: str = SERVICE
    packaged: tuple[Path, ...] = ()
    settings: Path = SYSTEM_CONFIG.parent
    is_taken_over: bool = False

    @property
    def is_system(self) -> bool:
        """True for the system's service manager, False for a user's."""
        return self.sysusers is not None

    @property
    def confined(self) -> tuple[str, ...]:
        """The units that need a drop-in with what they may write."""
        if not self.is_system:
            return ()
        return (SERVICE, SCAN) if self.service == SERVICE else (self.service,)

    def drop_in(self, unit: str) -> Path:
        """Give the place of the drop-in of a unit."""
        return self.units / f"{unit}.d" / DROP_IN


def find_system_places(instance: str | None = None, config: Path | None = None) -> Places:
    """Give the places of the system's service, or of one instance of it."""
    name = f"ckptd-{instance}" if instance else "ckptd"
    own = SYSTEM_CONFIG if instance is None else SYSTEM_CONFIG.with_name(f"{instance}.toml")
    return Places(
        units=Path("/etc/systemd/system"),
        sysusers=Path("/etc/sysusers.d/ckptd.conf"),
        config=config or own,
        state_dir=Path("/var/lib") / name,
        root=SYSTEM_ROOT if instance is None else Path("/srv") / instance,
        service=SERVICE if instance is None else TEMPLATE.replace("@", f"@{instance}"),
        packaged=(Path("/usr/local/lib/systemd/system"), Path("/usr/lib/systemd/system")),
    )


def find_user_places(environ: Mapping[str, str]) -> Places:
    """Give the places of the service of whoever runs this."""
    home = Path(environ.get("HOME") or Path.home())
    config = Path(environ["XDG_CONFIG_HOME"]) if environ.get("XDG_CONFIG_HOME", "").startswith("/") else home / ".config"
    return Places(
        units=config / "systemd" / "user",
        sysusers=None,
        config=config / "ckptd" / "ckptd.toml",
        state_dir=None,
        root=home / "trained_models",
        packaged=(Path("/etc/systemd/user"), Path("/usr/local/lib/systemd/user"), Path("/usr/lib/systemd/user")),
    )
