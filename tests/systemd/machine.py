"""A machine that runs ckptd as a service: what an administrator does on it, and what is seen from outside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.e2e.running import wait_for
from tests.systemd.container import Container

SERVICE = "ckptd.service"
CONFIG = "/etc/ckptd/ckptd.toml"
CKPTD = "ckptd"
DROP_INS = "/etc/systemd/system/ckptd.service.d"


class Machine:
    """One container in which ckptd is installed.

    Args:
        container: booted.
        root: on the host, the directory that is bound to /srv/trained_models.
    """

    def __init__(self, container: Container, root: Path) -> None:
        self.container = container
        self.root = root
        self.run = container.run
        self.ask = container.ask
        self.show = container.show

    def install(self, *options: str) -> str:
        """Install the service, and give what was said."""
        return self.run(CKPTD, "service", "install", *options).stdout

    def follow(self, script: str) -> str:
        """Do what a page of the documentation says, as root, and give what was said."""
        return self.run("sh", "-ec", script).stdout

    def configure(self, unit: str = SERVICE, **settings: str) -> None:
        """Write a drop-in with settings of [Service] and have systemd read it; without settings remove it."""
        place = f"/etc/systemd/system/{unit}.d/zz-test.conf"
        if settings:
            lines = [f"{name}={value}" for name, value in settings.items()]
            self.container.write(place, "\n".join(["[Service]", *lines, ""]))
        else:
            self.run("rm", "-f", place)
        self.run("systemctl", "daemon-reload")

    def restart(self, unit: str = SERVICE) -> None:
        """Start the service anew, whatever it did before, and wait until it is ready."""
        self.run("systemctl", "reset-failed", unit, check=False)
        self.run("systemctl", "restart", unit)

    def pid(self, unit: str = SERVICE) -> int:
        """Give its main process as the container numbers it."""
        return int(self.show(unit, "MainPID") or 0)

    def wait_new_pid(self, before: int, unit: str = SERVICE) -> int:
        """Wait until it runs in another process, and is ready."""
        wait_for(lambda: self.pid(unit) not in (0, before) and self.show(unit, "ActiveState") == "active", f"{unit} to be back")
        return self.pid(unit)

    def records(self, config: str = CONFIG, user: str = "ckptd") -> dict[str, dict[str, Any]]:
        """Ask `ckptd ls` what is known: path → record."""
        listed = self.ask("runuser", "-u", user, "--", CKPTD, "--config", config, "ls", "--json")
        return {record["path"]: record for record in json.loads(listed or "[]")}

    def wait_indexed(self, name: str, config: str = CONFIG, **values: Any) -> dict[str, Any]:
        """Wait until a checkpoint is known with a status, and with these values."""

        def look() -> dict[str, Any] | None:
            record = self.records(config).get(name)
            fits = record and record["status"] and all(record.get(key) == value for key, value in values.items())
            return record if fits else None

        found: dict[str, Any] = wait_for(look, f"the record of {name} with {values}")
        return found

    def journal(self, unit: str = SERVICE) -> list[dict[str, Any]]:
        """Give what the journal has of the service's own lines."""
        lines = self.ask("journalctl", "-o", "json", f"_SYSTEMD_UNIT={unit}").splitlines()
        return [json.loads(line) for line in lines]

    def events(self, unit: str = SERVICE) -> list[dict[str, Any]]:
        """Give the events that the service logged."""
        texts = [entry["MESSAGE"] for entry in self.journal(unit) if isinstance(entry.get("MESSAGE"), str)]
        return [json.loads(text) for text in texts if text.startswith("{")]

    def count_bites(self, unit: str = SERVICE) -> int:
        """Count how often systemd said that it ended the service for want of a sign of life."""
        return self.ask("journalctl", "-u", unit, "-o", "cat").count("Watchdog timeout")

    def wait_event(self, event: str, since: int = 0, unit: str = SERVICE, **values: Any) -> dict[str, Any]:
        """Wait until that event was logged."""

        def look() -> dict[str, Any] | None:
            for entry in self.events(unit)[since:]:
                if entry.get("event") == event and all(entry.get(key) == value for key, value in values.items()):
                    return entry
            return None

        found: dict[str, Any] = wait_for(look, f"{event} {values}")
        return found

    def drop(self, source: Path, name: str) -> None:
        """Put a checkpoint into the root as a training run does: written under its name, and closed."""
        (self.root / name).write_bytes(source.read_bytes())

    def sidecar(self, name: str) -> dict[str, Any]:
        """Wait for the metadata file of a checkpoint in the root, and read it."""
        path = self.root / f"{name.removesuffix('.pth')}_metadata.json"
        wait_for(path.exists, f"{path.name}")
        read: dict[str, Any] = json.loads(path.read_text())
        return read
