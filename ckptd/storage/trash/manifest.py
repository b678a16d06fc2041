"""The manifest of an entry: everything that it takes to undo a removal, and to say later why it was made.

It is written before anything is moved and never changed.  It lies in a directory of ours alone, and is read all the same as
if a stranger had written it: disks rot, and people edit.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ckptd.model import MOST_INT64, Identity, Json
from ckptd.storage.beneath import entry_name, split_relative
from ckptd.storage.state import STATE
from ckptd.storage.temporary import TEMPORARY_NAME

SCHEMA_VERSION = 1
#: Bytes of the longest manifest that is read; a path takes at most 6 times 4,096 in JSON, a reason 6,000.
MOST_BYTES = 4 << 20
MOST_COMPANIONS = 64
MOST_REASONS = 100
MOST_REASON = 1_000
#: Names in an entry that are ours, so that no user's file gets one of them.
INTENT, TRASHED, KEPT, PURGING, RESTORING = (
    "intent.json", "manifest.json", "kept.json", "purging.json", "restoring.json",
)  # fmt: skip
OWN_NAMES = frozenset((INTENT, TRASHED, KEPT, PURGING, RESTORING))

_SHA256_DIGITS = frozenset("0123456789abcdef")


class Operation(StrEnum):
    """How the checkpoint came into the entry."""

    PUT = "put"
    EXCHANGE = "exchange"


class ManifestError(ValueError):
    """It is no manifest; the text says why in one phrase."""


@dataclass(frozen=True, slots=True)
class TrashedFile:
    """One file of an entry.

    Attributes:
        what: "checkpoint", "sidecar" or "export".
        path: where it came from, relative to the root.
        stored: its name in the entry: its own, but where two are equal.
        identity: as it was in its place.
        uid, gid, mode: likewise.
    """

    what: str
    path: str
    stored: str
    sha256: str
    identity: Identity
    uid: int
    gid: int
    mode: int


@dataclass(frozen=True, slots=True)
class Replacing:
    """The file that took the place of a checkpoint; its identity is right but for the ctime."""

    sha256: str
    identity: Identity


@dataclass(frozen=True, slots=True)
class Manifest:
    """What was moved, from where, when, by whom and why.

    Attributes:
        removed_at: seconds since the epoch, UTC.
        replacement: the smaller file that an exchange put in its place; None for a put.
    """

    operation: Operation
    removed_at: float
    checkpoint: TrashedFile
    companions: tuple[TrashedFile, ...] = ()
    reasons: tuple[str, ...] = ()
    job: str = ""
    run: str = ""
    group: str | None = None
    replacement: Replacing | None = None

    @property
    def files(self) -> tuple[TrashedFile, ...]:
        """Give the checkpoint and then its companions."""
        return (self.checkpoint, *self.companions)


def encode_manifest(manifest: Manifest) -> bytes:
    """Write a manifest as JSON; bytes of paths that are no UTF-8 survive as lone surrogates."""
    value: dict[str, Json] = {
        "schema_version": SCHEMA_VERSION,
        "operation": manifest.operation.value,
        "removed_at": manifest.removed_at,
        "job": manifest.job,
        "run": manifest.run,
        "group": manifest.group,
        "reasons": list(manifest.reasons),
        "checkpoint": _file_to_json(manifest.checkpoint),
        "companions": [_file_to_json(file) for file in manifest.companions],
    }
    if manifest.replacement is not None:
        value["replacement"] = {
            "sha256": manifest.replacement.sha256,
            **_identity_to_json(manifest.replacement.identity),
        }
    return json.dumps(value, indent=1, allow_nan=False).encode("ascii") + b"\n"


def decode_manifest(data: bytes) -> Manifest:
    """Read a manifest; every path in it stays below the root and out of `.ckptd`, every name is one of a directory entry.

    Raises:
        ManifestError: it is none.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise ManifestError("it is no JSON") from None
    try:
        return _manifest(_mapping(value))
    except ManifestError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError):
        raise ManifestError("something is missing in it") from None


def is_own_name(name: str) -> bool:
    """Tell whether a name in an entry is ours: of a manifest, or of one in the making."""
    return name in OWN_NAMES or TEMPORARY_NAME.fullmatch(name) is not None


def check_path(path: str) -> str:
    """Pass a path that something may be moved from or to: below the root, and not in the state directory.

    Raises:
        OSError: EINVAL or EXDEV for a path that is none, or that leads out; see `split_relative`.
        ManifestError: it lies in `.ckptd`.
    """
    if split_relative(path)[0] == STATE.encode():
        raise ManifestError(f"it names a file in {STATE}")
    return path


def _manifest(value: dict[str, Any]) -> Manifest:
    if value["schema_version"] != SCHEMA_VERSION:
        raise ManifestError("another version of ckptd wrote it")
    companions, reasons = value["companions"], value["reasons"]
    if not isinstance(companions, list) or not isinstance(reasons, list) or len(companions) > MOST_COMPANIONS:
        raise ManifestError("its companions or reasons are no list")
    manifest = Manifest(
        operation=_operation(value["operation"]),
        removed_at=_time(value["removed_at"]),
        checkpoint=_file(value["checkpoint"]),
        companions=tuple([_file(companion) for companion in companions]),
        reasons=tuple([_text(reason) for reason in reasons[:MOST_REASONS]]),
        job=_text(value["job"]),
        run=_text(value["run"]),
        group=None if value["group"] is None else _text(value["group"]),
        replacement=_replacing(value["replacement"]) if "replacement" in value else None,
    )
    if (manifest.operation is Operation.EXCHANGE) != (manifest.replacement is not None):
        raise ManifestError("its operation does not fit what it says")
    if len({file.stored for file in manifest.files}) != len(manifest.files):
        raise ManifestError("two of its files have one name")
    return manifest


def _file_to_json(file: TrashedFile) -> dict[str, Json]:
    return {
        "what": file.what,
        "path": file.path,
        "stored": file.stored,
        "sha256": file.sha256,
        **_identity_to_json(file.identity),
        "uid": file.uid,
        "gid": file.gid,
        "mode": f"{file.mode:04o}",
    }


def _file(value: object) -> TrashedFile:
    found = _mapping(value)
    stored = found["stored"]
    try:
        path = check_path(_string(found["path"]))
        entry_name(_string(stored))
    except OSError:
        raise ManifestError("it names a file that can't be one") from None
    if is_own_name(stored):
        raise ManifestError("it gives a file the name of a manifest")
    mode = int(_string(found["mode"]), 8)
    return TrashedFile(
        what=_text(found["what"]),
        path=path,
        stored=stored,
        sha256=_digest(found["sha256"]),
        identity=_identity(found),
        uid=_integer(found["uid"]),
        gid=_integer(found["gid"]),
        mode=mode & 0o7777,
    )


def _identity_to_json(identity: Identity) -> dict[str, Json]:
    return {**identity._asdict()}


def _identity(value: object) -> Identity:
    found = _mapping(value)
    return Identity(*[_integer(found[name]) for name in Identity._fields])


def _replacing(value: object) -> Replacing:
    return Replacing(_digest(_mapping(value)["sha256"]), _identity(value))


def _operation(value: object) -> Operation:
    try:
        return Operation(_string(value))
    except ValueError:
        raise ManifestError("its operation is none that is known") from None


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ManifestError("it is no manifest")
    return value


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _text(value: object) -> str:
    return _string(value)[:MOST_REASON]


def _digest(value: object) -> str:
    text = _string(value)
    if len(text) != 64 or not _SHA256_DIGITS.issuperset(text):
        raise ManifestError("a digest in it is none")
    return text


def _integer(value: object) -> int:
    # Inode and device numbers are unsigned 64 bits wide, times signed.
    if type(value) is not int or not -MOST_INT64 - 1 <= value <= 2 * MOST_INT64 + 1:
        raise TypeError
    return value


def _time(value: object) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):  # type: ignore[arg-type]  # the type was looked at
        raise ManifestError("it does not say when")
    return float(value)  # type: ignore[arg-type]  # likewise
