"""Tell by its bytes, never by its name, how a file is wrapped, and read it by the reader for that."""

from __future__ import annotations

import os

from ckptd.checkpoint.budgets import BUDGETS, Budgets
from ckptd.checkpoint.containers.legacy import is_legacy, read_legacy
from ckptd.checkpoint.containers.oldtar import RECORD_BYTES, is_tar, opens_as_tar, read_tar
from ckptd.checkpoint.containers.pickled import note_dangerous
from ckptd.checkpoint.containers.plainpickle import is_pickle, read_plain_pickle, read_text_pickle
from ckptd.checkpoint.containers.torchzip import ZIP_HEAD, read_torch_zip
from ckptd.checkpoint.containers.zipped import ends_like_a_zip
from ckptd.checkpoint.contents import Contents
from ckptd.checkpoint.source import Source
from ckptd.checkpoint.strangers import name_stranger
from ckptd.model import Container

_HEAD_BYTES = 4_096
_TAR_BLOCK = 512


def read_contents(source: Source, budgets: Budgets = BUDGETS) -> Contents:
    """Read the structure of a file: no byte of a storage is looked at.

    Raises:
        ChangedError: the file became shorter while it was read.
        OSError: the disk says no.
    """
    head = source.read(0, min(source.size, _HEAD_BYTES))
    if head.startswith(ZIP_HEAD):
        return read_torch_zip(source, budgets)
    if opens_as_tar(head):  # before any pickle, as torch does
        return _two_in_one(source, budgets) if is_pickle(head) else read_tar(source, budgets)
    if is_legacy(head):
        return read_legacy(source, budgets)
    if is_pickle(head):
        return read_plain_pickle(source, budgets)
    if source.size and source.size < len(ZIP_HEAD) and ZIP_HEAD.startswith(head):
        return _cut_off(Container.ZIP)
    found = read_text_pickle(source)
    if found is not None:
        return found
    contents = Contents(Container.UNKNOWN)
    contents.foreign = name_stranger(head, source.size)
    return contents


def _two_in_one(source: Source, budgets: Budgets) -> Contents:
    """Refuse a pickle whose first bytes are a tar's header: torch loads the tar, others see the pickle."""
    contents = Contents(Container.TAR)
    contents.problem("two-containers", "the file is a pickle and a tar at once: torch loads the tar, other readers the pickle")
    note_dangerous(contents, source.read(0, min(source.size, budgets.pickle_bytes)))
    return contents


def _cut_off(container: Container) -> Contents:
    contents = Contents(container)
    contents.problem("truncated", "the file ends in its first bytes")
    return contents


def looks_complete(fd: int, size: int) -> bool:
    """Tell by a few bytes whether whoever writes this file may have finished: its container has its end.

    A zip has an end record, a tar two empty blocks, a pickle a STOP.  A file of the legacy container shows its end only to
    who reads it whole, so it counts as complete; so does what is no checkpoint.  An empty file, and one that begins with
    zeros, is still to be written.

    Raises:
        OSError: the disk says no.
    """
    head = os.pread(fd, _TAR_BLOCK, 0)
    if not any(head):
        return False
    if head.startswith(ZIP_HEAD) or ZIP_HEAD.startswith(head):
        return size >= 22 and ends_like_a_zip(os.pread(fd, 22, size - 22))
    if is_legacy(head):
        return True
    if is_tar(head):
        return size % RECORD_BYTES == 0 and not any(os.pread(fd, 2 * _TAR_BLOCK, max(0, size - 2 * _TAR_BLOCK)))
    if head[:1] == b"\x80":
        return os.pread(fd, 1, size - 1) == b"."
    return True
