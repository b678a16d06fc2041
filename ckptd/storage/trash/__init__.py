"""The trash of a root: the only way in which ckptd takes a user's file away.

Start at `put` (putting.py) and at the states of an entry (entries.py); sweeping.py says what a kill leaves and how it is put
right; purging.py has the one line that unlinks.  docs/trash.md says all of it for people.
"""

from ckptd.storage.trash.exchanging import exchange, replacement_file
from ckptd.storage.trash.listing import Entry, list_entries, trash_bytes
from ckptd.storage.trash.purging import purge
from ckptd.storage.trash.putting import put
from ckptd.storage.trash.refusals import Refusal, RefusedError
from ckptd.storage.trash.restoring import restore
from ckptd.storage.trash.sweeping import sweep
from ckptd.storage.trash.values import (
    Companion,
    Healed,
    Healing,
    Left,
    Purged,
    PurgeOutcome,
    Removal,
    Replaced,
    Replacement,
    Restored,
    Trashed,
)

__all__ = [
    "Companion",
    "Entry",
    "Healed",
    "Healing",
    "Left",
    "PurgeOutcome",
    "Purged",
    "Refusal",
    "RefusedError",
    "Removal",
    "Replaced",
    "Replacement",
    "Restored",
    "Trashed",
    "exchange",
    "list_entries",
    "purge",
    "put",
    "replacement_file",
    "restore",
    "sweep",
    "trash_bytes",
]
