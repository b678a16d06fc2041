"""Messages and rules for tests."""

from __future__ import annotations

from typing import Any

from ckptd.notify.folding import Rules
from ckptd.notify.message import Happening, Message

NOW = 1_800_000_000.0
#: What a name out of a file can hold.
EVIL = "evil\r\nBcc: all@example.org\x1b[2J\u202e\udcff.pth"


def message(**values: Any) -> Message:
    """Build a message with something in each part."""
    defaults: dict[str, Any] = {
        "id": "0a1b2c3d",
        "what": Happening.RAISED,
        "kind": "checkpoint-damaged",
        "severity": "error",
        "subject": "/srv/models",
        "title": "damaged checkpoint",
        "text": "a.pth: it ends before its content does",
        "cure": "save it again",
        "host": "gpu1",
        "count": 3,
        "new": 3,
        "first_at": NOW - 60,
        "last_at": NOW - 1,
        "at": NOW,
        "examples": ("a.pth", "b.pth", "c.pth"),
    }
    return Message(**{**defaults, **values})


def rules(**values: Any) -> Rules:
    """Build rules: ten seconds to gather, an hour to fold."""
    return Rules(**{"host": "gpu1", "gather_seconds": 10.0, "fold_seconds": 3600.0, **values})
