"""Keep the JSON beside a checkpoint: `ensure` writes what is missing, `read` gives what a person wrote.

Start here.  Whose a file is, examine.py says; what ours says, document.py; how it is written, layout.py; how a person's
text and values are kept, reading.py and merge.py; what it is called, names.py.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from os import stat_result
from typing import Any

from ckptd.errors import StorageError
from ckptd.metadata.document import (
    OWN_KEY,
    SCHEMA_VERSION,
    hide_homes,
    render,
    says_exports,
    with_exports,
    without_homes,
    write_document,
)
from ckptd.metadata.examine import Examined, Whose, examine, is_torn
from ckptd.metadata.layout import Raw, write_section
from ckptd.metadata.merge import PersonValues, edited_values, read_values
from ckptd.metadata.names import full_name, own_name, persons_name, sidecar_name, stem_name
from ckptd.metadata.reading import MOST_BYTES
from ckptd.model import Finding, Identity, Inspection, Metadata, Severity, Status
from ckptd.storage.atomic import Outcome, Written, exchange_if_same, write_new
from ckptd.storage.faults import NameTakenError, place_of
from ckptd.text import escape

#: What deserves a sidecar: a checkpoint that was read to its end, whatever was found in it.
_DESCRIBED = frozenset((Status.OK, Status.NEEDS_CODE, Status.UNSAFE, Status.DAMAGED))
#: Saves of others that may fall between our look and our write before it is left to the next pass.
_MOST_ATTEMPTS = 4


class Action(StrEnum):
    """What `ensure` did."""

    #: A new sidecar is in place.
    WRITTEN = "written"
    #: There is one of ours, and it says what is to be said.
    UNCHANGED = "unchanged"
    #: Ours, untouched by people, was written anew for a new content or a new version.
    REGENERATED = "regenerated"
    #: A person's edits are in it; only the value of `ckptd` was replaced.
    UPDATED = "updated"
    #: There is one, and it was left as it is: somebody is saving it, or the file system can't exchange files.
    KEPT = "kept"
    #: There is one that is no document; it was left as it is, and a finding says what is wrong.
    BROKEN = "broken"
    #: The disk said no; nothing was changed, and it is worth another try.
    FAILED = "failed"
    #: The file has nothing that a sidecar could say.
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class SidecarResult:
    """What became of the sidecar of one checkpoint.

    Attributes:
        name: of the sidecar in the checkpoint's directory; None when there is none.
        sha256: of what we wrote, for the index to know it as ours; None when nothing was written.
        findings: for the record of the checkpoint.
        identity: of what we wrote, when it was in place.
    """

    action: Action
    name: str | None = None
    sha256: str | None = None
    findings: tuple[Finding, ...] = ()
    identity: Identity | None = field(default=None, compare=False)


def ensure(
    dir_fd: int,
    checkpoint: str,
    inspection: Inspection,
    *,
    generated_at: float,
    siblings: Container[str] = (),
    known_digests: Collection[str] = frozenset(),
    like: stat_result | None = None,
    exports: Mapping[str, Any] | None = None,
) -> SidecarResult:
    """Write the sidecar of a checkpoint where it is missing or ours and out of date; idempotent, never raises for a disk.

    Args:
        dir_fd: a readable descriptor of the checkpoint's directory.
        checkpoint: its file name.
        inspection: what one read of it said.
        generated_at: seconds since the epoch.
        siblings: file names of other checkpoints in the directory; a set, where there are many.
        known_digests: of sidecars that we wrote here, as the index remembers them; a lost index costs nothing.
        like: stat of the checkpoint, whose group and permission bits a new sidecar takes.
        exports: all that is to be said about exports of this content, see `exports.render_exports`; None leaves what is there.
    """
    if inspection.status not in _DESCRIBED or inspection.sha256 is None:
        return SidecarResult(Action.SKIPPED)
    exports = without_homes(dict(exports)) if exports else exports
    result = SidecarResult(Action.KEPT)
    try:
        for _ in range(_MOST_ATTEMPTS):
            found = look(dir_fd, checkpoint, inspection.sha256, known_digests)
            chosen = choose(found, sidecar_name(checkpoint, siblings))
            result = _bring_up_to_date(dir_fd, checkpoint, inspection, chosen, generated_at, like, exports)
            if not _was_busy(result):
                break
    except (StorageError, ValueError) as error:  # ValueError: a number that JSON has no word for
        return SidecarResult(Action.FAILED, findings=(_failed(error),))
    return result


def state_exports(
    dir_fd: int,
    checkpoint: str,
    inspection: Inspection,
    exports: Mapping[str, Any],
    *,
    generated_at: float,
    known_digests: Collection[str] = frozenset(),
) -> SidecarResult | None:
    """Bring the exports that a sidecar names up to date and nothing else in it; never raises for a disk.

    All else stays as it was written, so that this needs no new look at the checkpoint, nor at what people say of it.

    Args:
        dir_fd: a readable descriptor of the checkpoint's directory.
        checkpoint: its file name.
        inspection: says which content the exports are of.
        exports: as for `ensure`.
        generated_at: seconds since the epoch.
        known_digests: as for `ensure`.

    Returns:
        What became of it; None when there is no sidecar of ours that speaks of this content: `ensure` writes one.
    """
    exports = without_homes(dict(exports))
    result: SidecarResult | None = None
    try:
        for _ in range(_MOST_ATTEMPTS):
            now = next(
                (one for one in look(dir_fd, checkpoint, inspection.sha256, known_digests).values() if _is_ours(one)), None
            )
            if now is None or not is_current(now.section, checkpoint, inspection):
                return None
            result = _write_exports(dir_fd, now, exports, generated_at)
            if not _was_busy(result):
                break
    except (StorageError, ValueError) as error:
        return SidecarResult(Action.FAILED, findings=(_failed(error),))
    return result


def read(dir_fd: int, checkpoint: str, inspection: Inspection) -> PersonValues | None:
    """Give what people wrote beside a checkpoint, or None: in our sidecar, in one of their own, in that of the model."""
    stated: dict[str, Any] = {}
    files, findings = [], []
    for examined in readable(dir_fd, checkpoint, inspection):
        if examined.whose is Whose.BROKEN:
            findings.append(_broken(dir_fd, examined))
        elif examined.document is not None and (values := edited_values(examined.document)):
            stated = _joined(stated, values)
            files.append(examined.name)
    if not files and not findings:
        return None
    return PersonValues(read_values(stated) if stated else Metadata(), tuple(files), tuple(findings))


def readable(dir_fd: int, checkpoint: str, inspection: Inspection) -> list[Examined]:
    """Give the files in which a person may speak of this checkpoint; what is said later wins."""
    examined = look(dir_fd, checkpoint, inspection.sha256)
    files = [one for one in examined.values() if one.whose in (Whose.EDITED, Whose.BROKEN) or _is_theirs(one)]
    name = persons_name(inspection.metadata.model_name)
    if name is not None and name not in examined:
        of_the_model = examine(dir_fd, name, checkpoint)
        if _is_theirs(of_the_model):
            files.insert(0, of_the_model)
    return files


def look(dir_fd: int, checkpoint: str, sha256: str | None, known_digests: Collection[str] = frozenset()) -> dict[str, Examined]:
    """Look at every name that a sidecar of this checkpoint may have."""
    names = (stem_name(checkpoint), full_name(checkpoint), own_name(checkpoint))
    return {name: examine(dir_fd, name, checkpoint, sha256, known_digests) for name in names}


def choose(found: dict[str, Examined], wanted: str) -> Examined:
    """Choose the file that is this checkpoint's sidecar, or the name that a new one takes.

    One that there is already stays the one, under whatever name.  Else `wanted`, unless a person's file bears it.
    """
    for examined in found.values():
        if _is_ours(examined):
            return examined
    return found[wanted] if found[wanted].whose is not Whose.PERSONS else list(found.values())[-1]


def is_current(section: dict[str, Any], checkpoint: str, inspection: Inspection) -> bool:
    """Tell whether our part of a sidecar speaks of this content, as this version reads it."""
    return (
        section.get("schema_version") == SCHEMA_VERSION
        and section.get("file") == checkpoint
        and section.get("sha256") == inspection.sha256
        and section.get("status") == inspection.status.value
        and section.get("inspector_version") == inspection.inspector_version
    )


def updated_text(examined: Examined, generated: dict[str, Any]) -> bytes:
    """Replace the value of `ckptd` in a person's text; every other byte stays.

    Keys that a person added inside of it stay too, and so do the fingerprints of what we once wrote at the top level: those
    values are not written anew here, so that they are still told from the person's.
    """
    if examined.document is None:
        raise ValueError("only a document can be updated")
    old = examined.document.inner(OWN_KEY)
    section: dict[str, Any] = dict(generated[OWN_KEY])
    section["generated"] = examined.section.get("generated", "")
    section["seal"] = None
    section |= {key: Raw(old.raw(key)) for key in old.members if key not in section}
    return examined.document.replaced(OWN_KEY, write_section(section)).encode()


def _bring_up_to_date(
    dir_fd: int,
    checkpoint: str,
    inspection: Inspection,
    now: Examined,
    generated_at: float,
    like: stat_result | None,
    exports: Mapping[str, Any] | None,
) -> SidecarResult:
    """Do what the file that was found calls for."""
    if _is_ours(now) and is_current(now.section, checkpoint, inspection):
        if exports is None:
            return SidecarResult(Action.UNCHANGED, now.name)
        return _write_exports(dir_fd, now, exports, generated_at)
    stated = known_exports(now, inspection) if exports is None else exports
    generated = render(inspection, checkpoint, generated_at=generated_at, exports=stated)
    durable = bool(stated)  # what is said of exports can't be made again from the checkpoint alone
    match now.whose:
        case Whose.MISSING:
            return write_or_replace(dir_fd, now, write_document(generated), Action.WRITTEN, like=like, durable=durable)
        case Whose.OURS:
            whole = write_document(generated)
            return write_or_replace(dir_fd, now, whole, Action.REGENERATED, like=like, durable=durable)
        case Whose.EDITED:
            text = updated_text(now, hide_homes(generated))
            if len(text) > MOST_BYTES:
                return SidecarResult(Action.KEPT, now.name, findings=(_too_large(dir_fd, now),))
            return write_or_replace(dir_fd, now, text, Action.UPDATED, like=like, durable=True)
        case Whose.PERSONS:
            return SidecarResult(Action.KEPT, None, findings=(_no_name(dir_fd, now),))
        case Whose.BROKEN:
            whole = write_document(generated)
            if is_torn(now, whole):
                return write_or_replace(dir_fd, now, whole, Action.REGENERATED, like=like, durable=False)
            return SidecarResult(Action.BROKEN, now.name, findings=(_broken(dir_fd, now),))


def _is_ours(examined: Examined) -> bool:
    return examined.whose in (Whose.OURS, Whose.EDITED)


def _write_exports(dir_fd: int, now: Examined, exports: Mapping[str, Any], generated_at: float) -> SidecarResult:
    """Write a sidecar of ours with other exports: every other value in it is right, and stays."""
    if now.document is None or says_exports(now.section, exports):
        return SidecarResult(Action.UNCHANGED, now.name)
    if now.whose is Whose.OURS:
        document = {key: member.value for key, member in now.document.members.items()}
        whole = write_document(document | {OWN_KEY: with_exports(now.section, exports, generated_at)})
        return write_or_replace(dir_fd, now, whole, Action.REGENERATED, like=None, durable=True)
    old = now.document.inner(OWN_KEY)
    section = with_exports({key: Raw(old.raw(key)) for key in old.members}, exports, generated_at) | {"seal": None}
    text = now.document.replaced(OWN_KEY, write_section(section)).encode()
    if len(text) > MOST_BYTES:
        return SidecarResult(Action.KEPT, now.name, findings=(_too_large(dir_fd, now),))
    return write_or_replace(dir_fd, now, text, Action.UPDATED, like=None, durable=True)


def _was_busy(result: SidecarResult) -> bool:
    return any(finding.code == "sidecar-busy" for finding in result.findings)


def known_exports(now: Examined, inspection: Inspection) -> dict[str, Any] | None:
    """Give what a sidecar says about exports of this very content."""
    exports = now.section.get("exports")
    return exports if isinstance(exports, dict) and now.section.get("sha256") == inspection.sha256 else None


def write_or_replace(
    dir_fd: int, now: Examined, data: bytes, action: Action, *, like: stat_result | None, durable: bool
) -> SidecarResult:
    """Put a text in the place of what was found there; KEPT when that is there no longer.

    Args:
        dir_fd: the directory.
        now: what was found.
        data: the new text.
        action: what it is called when it is done.
        like: stat of the checkpoint, for a new file; one that is replaced keeps its own group and bits.
        durable: False where it can be made again from the checkpoint alone.

    Raises:
        StorageError: the disk said no; nothing was changed.
    """
    if now.whose is Whose.MISSING:
        try:
            return _done(action, now.name, data, write_new(dir_fd, now.name, data, like=like, durable=durable))
        except NameTakenError:
            return SidecarResult(Action.KEPT, now.name, findings=(_busy(now.name),))
    done = exchange_if_same(dir_fd, now.name, now.sha256, data, like=now.status, durable=durable)
    if done.written is not None:
        return _done(action, now.name, data, done.written)
    finding = _not_updated(dir_fd, now) if done.outcome is Outcome.UNSUPPORTED else _busy(now.name)
    return SidecarResult(Action.KEPT, now.name, findings=(finding,))


def _done(action: Action, name: str, data: bytes, written: Written) -> SidecarResult:
    return SidecarResult(action, name, Examined(name, Whose.OURS, data).sha256, written.findings, written.identity)


def _is_theirs(examined: Examined) -> bool:
    """Tell a person's own file from a sidecar of another checkpoint."""
    return examined.whose is Whose.PERSONS and examined.document is not None and OWN_KEY not in examined.document.members


def _joined(stated: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    joined = {**stated, **values}
    for key, value in values.items():
        before = stated.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            joined[key] = {**before, **value}
    return joined


def _broken(dir_fd: int, examined: Examined) -> Finding:
    place = escape(place_of(dir_fd, examined.name))
    return Finding(
        "sidecar-broken",
        Severity.WARNING,
        f"{place} is left alone: {escape(examined.why)} (repair it, or move it away and a new one is written)",
    )


def _no_name(dir_fd: int, examined: Examined) -> Finding:
    place = escape(place_of(dir_fd, examined.name))
    why = examined.why or "it is taken by a file that is not ours"
    return Finding("sidecar-no-name", Severity.WARNING, f"no sidecar can be written to {place}: {why} (move or rename it)")


def _not_updated(dir_fd: int, examined: Examined) -> Finding:
    place = escape(place_of(dir_fd, examined.name))
    return Finding(
        "sidecar-not-updated",
        Severity.INFO,
        f"{place} is out of date: this file system can't exchange two files, and to replace one without that could lose "
        "somebody's save (move it away and a new one is written)",
    )


def _too_large(dir_fd: int, examined: Examined) -> Finding:
    place = escape(place_of(dir_fd, examined.name))
    return Finding("sidecar-not-updated", Severity.INFO, f"{place} is out of date: it would become larger than 1 MiB")


def _busy(name: str) -> Finding:
    return Finding("sidecar-busy", Severity.INFO, f"{escape(name)} is being saved by somebody; it is looked at again later")


def _failed(error: Exception) -> Finding:
    return Finding("sidecar-not-written", Severity.WARNING, escape(str(error), limit=1000))
