"""Which hooks a row of the audit is for.  Pure."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ckptd.index.archived import VERIFIED
from ckptd.index.following import Event
from ckptd.jobs.grouping import find_group
from ckptd.model import Record
from ckptd.settings import HookSettings
from ckptd.settings.retention import PolicySettings

#: What a hook is run on → rows of the audit that are that.  An archive is read back before it is written down.
_ROWS: Mapping[str, tuple[str, ...]] = {
    "checkpoint.ready": ("checkpoint.ready",),
    "checkpoint.rejected": ("checkpoint.rejected",),
    "export.verified": ("export.verified",),
    "archive.verified": ("archive.written", "archive.found", "archive.verified"),
}


@dataclass(frozen=True, slots=True)
class Hook:
    """One hook.

    Attributes:
        digest: of its settings, by which its pending runs are found again after a restart.
    """

    digest: str
    settings: HookSettings

    @classmethod
    def of(cls, settings: HookSettings) -> Hook:
        """Name a hook by what it is."""
        return cls(hashlib.blake2b(settings.model_dump_json().encode(), digest_size=16).hexdigest(), settings)


def find_wanted(hooks: Iterable[Hook]) -> tuple[str, ...]:
    """Give the rows of the audit that any hook is run on."""
    return tuple(sorted({row for hook in hooks for row in _ROWS[hook.settings.on]}))


def is_meant(hook: Hook, event: Event) -> bool:
    """Say whether a hook is run on a row of the audit, as far as the row says it."""
    if event.what not in _ROWS[hook.settings.on]:
        return False
    if event.what == "archive.found":  # after a kill; what it says of the archive was just read
        return event.why.get("state", VERIFIED) == VERIFIED
    return not event.is_repetition  # one that moved is news to who takes it from there


def fits(hook: Hook, event: Event, record: Record | None, settings: PolicySettings) -> bool:
    """Say whether the hook's pattern fits: the path, the file's name or the group; the name of an archive."""
    path = event.path or str(event.why.get("archive", ""))
    texts = [path, path.rpartition("/")[2], *([] if record is None else [_group_of(record, settings)])]
    return any(fnmatch.fnmatchcase(text, hook.settings.match) for text in texts if text is not None)


@dataclass(frozen=True, slots=True)
class _Named:
    model: str | None
    dataset: str | None
    architecture: str | None
    quantization: str | None
    stage: str | None
    path: str


def _group_of(record: Record, settings: PolicySettings) -> str | None:
    if record.inspection is None:
        return None
    said = record.inspection.metadata
    named = _Named(said.model_name, said.dataset, said.architecture, said.quantization, said.stage, record.path)
    source = said.sources.get("model_name")
    return find_group(named, 0.0 if source is None else source.confidence, settings)
