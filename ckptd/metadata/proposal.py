"""Show what writing a sidecar anew would change, and do it when the person who asked has agreed."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Container
from datetime import datetime
from os import stat_result
from typing import NamedTuple

from ckptd.errors import UsageError
from ckptd.metadata.document import hide_homes, render, write_document
from ckptd.metadata.examine import Examined, Whose, is_torn
from ckptd.metadata.layout import write_unsealed
from ckptd.metadata.merge import regenerate
from ckptd.metadata.names import sidecar_name
from ckptd.metadata.sidecar import Action, SidecarResult, choose, known_exports, look, write_or_replace
from ckptd.model import Inspection
from ckptd.storage.faults import place_of
from ckptd.text import escape

#: Characters of one line of a diff; the lists of a sidecar are long lines.
_MOST_LINE = 2_000


class Proposal(NamedTuple):
    """What a sidecar says, what it would say, and the difference.

    Attributes:
        name: of the sidecar in the checkpoint's directory.
        current: its text; None when there is none yet.
        proposed: the text that `apply` writes; a person's values stand in it as they wrote them.
        diff: unified, escaped for a terminal; empty when nothing would change.
        found: what `apply` holds the file against before it replaces it.
    """

    name: str
    current: str | None
    proposed: str
    diff: str
    found: Examined


def propose(
    dir_fd: int,
    checkpoint: str,
    inspection: Inspection,
    *,
    generated_at: float,
    siblings: Container[str] = (),
    known_digests: Collection[str] = frozenset(),
) -> Proposal:
    """Work out what the sidecar would be if all that we once wrote were written anew; changes nothing.

    Values and keys of a person stay, in their own spelling; a value that we wrote gives way to what is known now.

    Raises:
        UsageError: there is a file that we can't work with; the message says what to do about it.
    """
    found = choose(look(dir_fd, checkpoint, inspection.sha256, known_digests), sidecar_name(checkpoint, siblings))
    proposed = _rewritten(found, checkpoint, inspection, _written_at(found))
    current = found.data.decode("utf-8", "replace") if found.status is not None else None
    if found.whose is Whose.PERSONS or (found.whose is Whose.BROKEN and not is_torn(found, proposed)):
        raise UsageError(
            "write the sidecar anew",
            path=place_of(dir_fd, found.name),
            why=escape(found.why) or "the file is not ours",
            cure="repair it or move it away, then try again",
        )
    if proposed != found.data:  # only then does the time change
        proposed = _rewritten(found, checkpoint, inspection, generated_at)
    text = proposed.decode()
    return Proposal(found.name, current, text, diff(found.name, current or "", text), found)


def apply(dir_fd: int, proposal: Proposal, *, like: stat_result | None = None) -> SidecarResult:
    """Write what was proposed, if the file is still the one that was shown.

    Raises:
        StorageError: the disk said no; nothing was changed.
    """
    if not proposal.diff:
        return SidecarResult(Action.UNCHANGED, proposal.name)
    return write_or_replace(dir_fd, proposal.found, proposal.proposed.encode(), Action.REGENERATED, like=like, durable=True)


def diff(name: str, current: str, proposed: str) -> str:
    """Give the unified difference of two texts, escaped for a terminal."""
    lines = difflib.unified_diff(
        current.splitlines(), proposed.splitlines(), f"{escape(name)} (now)", f"{escape(name)} (proposed)", lineterm=""
    )
    return "".join(f"{escape(line, _MOST_LINE)}\n" for line in lines)


def _rewritten(found: Examined, checkpoint: str, inspection: Inspection, generated_at: float) -> bytes:
    generated = render(inspection, checkpoint, generated_at=generated_at, exports=known_exports(found, inspection))
    if found.whose is not Whose.EDITED or found.document is None:
        return write_document(generated)
    merged, kept = regenerate(found.document, hide_homes(generated))
    if not kept:
        return write_document(generated)
    merged["ckptd"] = {**merged["ckptd"], "seal": None}
    return write_unsealed(merged)


def _written_at(found: Examined) -> float:
    try:
        return datetime.fromisoformat(found.section.get("generated_at", "")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return 0.0
