"""A command line that somebody asked of the daemon, for the process that runs it in his name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from ckptd.control.rights import Peer, Rules
from ckptd.settings import Settings
from ckptd.settings.handover import settings_from_json, settings_to_json

#: Module of the process; found by name, it is above everything here.
ENTRY = "ckptd.cli.asked_process"


@dataclass(frozen=True, slots=True)
class Command:
    """What is to be run, and for whom.

    Attributes:
        parent: id of the process that starts it, with which it ends.
        arguments: the command line, without the program's name.
        peer: who asked.
        rules: what that allows.
        zone: his time zone, as TZ has it.
        columns: width of his terminal; 0 when he has none.
        colors: whether he wants colours.
    """

    parent: int
    arguments: tuple[str, ...]
    peer: Peer
    rules: Rules
    settings: Settings
    zone: str = ""
    columns: int = 0
    colors: bool = False

    def to_text(self) -> str:
        """Write it as JSON."""
        peer, rules = self.peer, self.rules
        return json.dumps(
            {
                "parent": self.parent,
                "arguments": self.arguments,
                "peer": [peer.pid, peer.uid, peer.gid, sorted(peer.groups)],
                "rules": [rules.owner, sorted(rules.members), sorted(rules.admins)],
                "settings": settings_to_json(self.settings),
                "zone": self.zone,
                "columns": self.columns,
                "colors": self.colors,
            }
        )

    @classmethod
    def from_text(cls, text: str | bytes) -> Self:
        """Read what `to_text` wrote; KeyError, TypeError or ValueError when it is something else."""
        value: Mapping[str, Any] = json.loads(text)
        pid, uid, gid, groups = value["peer"]
        owner, members, admins = value["rules"]
        return cls(
            parent=value["parent"],
            arguments=tuple(value["arguments"]),
            peer=Peer(pid, uid, gid, frozenset(groups)),
            rules=Rules(owner, frozenset(members), frozenset(admins)),
            settings=settings_from_json(value["settings"]),
            zone=value["zone"],
            columns=value["columns"],
            colors=value["colors"],
        )
