"""Who asked, where this process runs a verb for somebody at the socket."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field

from ckptd.control.rights import Peer, Rules
from ckptd.storage.access import name_user


@dataclass(frozen=True, slots=True)
class Asker:
    """In whose name this process runs a verb: it was asked by the socket.

    Attributes:
        peer: who he is.
        rules: what that allows.
        asked_to_end: signals that came, once it heeds them.
    """

    peer: Peer
    rules: Rules
    asked_to_end: list[int] = field(default_factory=list)

    def heed(self) -> None:
        """Take SIGTERM for a wish to end at the next safe point; what only reads ends at once."""
        signal.signal(signal.SIGTERM, lambda number, _frame: self.asked_to_end.append(number))

    @property
    def name(self) -> str:
        """His name, or his number where the system has none for him."""
        return name_user(self.peer.uid)

    @property
    def owner(self) -> int | None:
        """The user id whose files alone he may bring back; None when he may all."""
        return None if self.rules.is_admin(self.peer) else self.peer.uid
