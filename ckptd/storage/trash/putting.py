"""Put a checkpoint into the trash, with what travels along."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Sequence
from contextlib import ExitStack

from ckptd.errors import StorageError
from ckptd.model import Identity, Openness
from ckptd.storage.state import open_trash_dir
from ckptd.storage.trash.contents import State
from ckptd.storage.trash.entries import OpenEntry, make_entry, remove_entry, set_state, write_intent
from ckptd.storage.trash.manifest import (
    MOST_COMPANIONS,
    MOST_REASON,
    MOST_REASONS,
    Manifest,
    Operation,
    Replacing,
    TrashedFile,
    is_own_name,
)
from ckptd.storage.trash.moving import CLOSED_ONLY, move_in
from ckptd.storage.trash.refusals import Refusal, RefusedError, said_no
from ckptd.storage.trash.sources import Source, Wanted, open_source
from ckptd.storage.trash.values import Left, Removal, Trashed


def put(root_fd: int, removal: Removal, *, accept: Collection[Openness] = CLOSED_ONLY) -> Trashed:
    """Move a checkpoint into the trash of its root, and its companions with it.

    The checkpoint goes first, so that after a kill a sweep knows from it what was meant.  A companion that changed, is open or
    gone stays where it is.

    Args:
        root_fd: a readable descriptor of the root.
        removal: what goes, and why.
        accept: what may be known about whether other processes have a file open; with UNKNOWN in it, files go about which
            nobody can say.  A descriptor of this process counts as another's.

    Raises:
        RefusedError: the checkpoint is not what was decided on, is open, or lies on another file system; it is in its place,
            but for KEPT_ASIDE, where a save that came between is kept in the trash.
        StateDirError: the trash is not ours alone.
        StorageError: the disk said no; the checkpoint is in its place, or the message says that it lies in the trash.
    """
    with ExitStack() as opened:
        trash_fd = open_trash_dir(root_fd)
        opened.callback(os.close, trash_fd)
        wanted = Wanted("checkpoint", removal.path, removal.identity, removal.sha256)
        source = opened.enter_context(open_source(root_fd, trash_fd, wanted))
        companions, left = _open_companions(root_fd, trash_fd, removal, source, opened)
        manifest = _manifest(removal, source, companions)
        entry = opened.enter_context(make_entry(trash_fd, removal.removed_at, removal.path))
        _move_checkpoint(entry, manifest, source, accept)
        moved, stayed = move_companions(entry, manifest.companions, [companion for _, companion in companions], accept)
        _seal(entry, source, [companion for _, companion in companions])
        kept = manifest.checkpoint
        links = source.seen.st_nlink
        frees = source.seen.st_blocks * 512 if links == 1 else 0
        return Trashed(entry.name, kept.path, kept.sha256, moved, (*left, *stayed), frees, links)


def _open_companions(
    root_fd: int, trash_fd: int, removal: Removal, source: Source, opened: ExitStack
) -> tuple[list[tuple[str, Source]], list[Left]]:
    companions, left = list[tuple[str, Source]](), list[Left]()
    inodes = {source.seen.st_ino}
    for companion in removal.companions:
        try:
            if len(companions) == MOST_COMPANIONS:
                raise StorageError("", why=f"more than {MOST_COMPANIONS} files don't travel with one checkpoint")
            wanted = Wanted(companion.what, companion.path, companion.identity, companion.sha256)
            if companion.identity.ino in inodes:  # a second descriptor of ours would make it look open
                raise StorageError("", why="it is another name of a file that is moved already")
            companions.append((companion.what, opened.enter_context(open_source(root_fd, trash_fd, wanted))))
        except StorageError as error:
            left.append(Left(companion.path, error.why))
        else:
            inodes.add(companion.identity.ino)
    return companions, left


def _manifest(removal: Removal, source: Source, companions: Sequence[tuple[str, Source]]) -> Manifest:
    names: set[str] = set()
    checkpoint = trashed_file("checkpoint", source, names)
    return manifest_of(removal, checkpoint, tuple([trashed_file(what, companion, names) for what, companion in companions]))


def manifest_of(
    removal: Removal, checkpoint: TrashedFile, companions: tuple[TrashedFile, ...] = (), replacement: Replacing | None = None
) -> Manifest:
    """Write down what is moved, and when, by whom and why; with a replacement it is an exchange."""
    return Manifest(
        operation=Operation.PUT if replacement is None else Operation.EXCHANGE,
        removed_at=float(removal.removed_at),
        checkpoint=checkpoint,
        companions=companions,
        reasons=tuple([reason[:MOST_REASON] for reason in removal.reasons[:MOST_REASONS]]),
        job=removal.job[:MOST_REASON],
        run=removal.run[:MOST_REASON],
        group=None if removal.group is None else removal.group[:MOST_REASON],
        replacement=replacement,
    )


def trashed_file(what: str, source: Source, names: set[str]) -> TrashedFile:
    """Say what is put, and choose its name in the entry: its own, where that is still free.

    Args:
        what: "checkpoint", "sidecar" or "export".
        source: the file in its place.
        names: those that are taken; the new one is added.
    """
    stored = source.name
    if is_own_name(stored) or stored in names:
        stored = f"{len(names)}.file"
        while stored in names:
            stored = f"0{stored}"
    names.add(stored)
    seen = source.seen
    return TrashedFile(
        what, source.path, stored, source.sha256, Identity.of(seen), seen.st_uid, seen.st_gid, seen.st_mode & 0o7777
    )


def _move_checkpoint(entry: OpenEntry, manifest: Manifest, source: Source, accept: Collection[Openness]) -> None:
    try:
        write_intent(entry, manifest)
        move_in(entry, manifest.checkpoint.stored, source, accept)
    except RefusedError as error:
        if error.refusal is Refusal.KEPT_ASIDE:
            keep(entry)
        else:
            remove_entry(entry)
        raise
    except StorageError:
        remove_entry(entry)
        raise


def keep(entry: OpenEntry) -> None:
    """Mark an entry as one that keeps a save which could not go back; a sweep does it where this fails."""
    with contextlib.suppress(OSError):
        set_state(entry, State.INTENT, State.KEPT)
        os.fsync(entry.fd)


def move_companions(
    entry: OpenEntry, files: Sequence[TrashedFile], sources: Sequence[Source], accept: Collection[Openness]
) -> tuple[tuple[str, ...], tuple[Left, ...]]:
    """Move companions into an entry; what can't be moved stays where it is.

    Args:
        entry: open and locked.
        files: of the manifest.
        sources: the same files in their places, one for each.
        accept: what may be known about whether others have them open.

    Returns:
        The paths of those that were moved, and the others.
    """
    moved, left = list[str](), list[Left]()
    for file, source in zip(files, sources, strict=True):
        try:
            move_in(entry, file.stored, source, accept)
        except StorageError as error:
            is_aside = isinstance(error, RefusedError) and error.refusal is Refusal.KEPT_ASIDE
            left.append(Left(file.path, f"{error.why}; {error.cure}" if is_aside else error.why))
        else:
            moved.append(file.path)
    return tuple(moved), tuple(left)


def _seal(entry: OpenEntry, source: Source, companions: Sequence[Source]) -> None:
    try:
        set_state(entry, State.INTENT, State.TRASHED)
        os.fsync(entry.fd)
        for directory in (source, *companions):
            os.fsync(directory.dir_fd)
    except OSError as error:
        told = said_no("put a file into the trash", source.path, error)
        why = f"it lies in the trash as {entry.name}, but that is not safe from a power cut: {told.why}"
        raise StorageError(told.what, path=told.path, why=why, cure=told.cure) from error
