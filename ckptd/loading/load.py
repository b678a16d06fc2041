"""Load a checkpoint without running it: what was inspected is what is loaded, through one descriptor."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Any

from ckptd.checkpoint.reader import Structure, read_structure
from ckptd.checkpoint.source import ChangedError
from ckptd.checkpoint.tensors import storages_of
from ckptd.errors import CkptdError, FormatError, NeedsCodeError, StorageError, UnsafeError, UsageError
from ckptd.loading.rebuild import rebuild
from ckptd.loading.safetensors import load_safetensors, opens_as_safetensors
from ckptd.loading.storages import MapLocation, Storages
from ckptd.model import Container, Identity, Severity, Status

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


def load(path: str | os.PathLike[str], map_location: MapLocation = None, *, mmap: bool = False) -> Any:
    """Give the object that torch.load gives, built from ckptd's own reading of the file.

    State dicts, checkpoint dicts and tensors of every kind come out with equal types, dtypes, strides and sharing; so do
    numpy scalars and arrays, dates, paths and `argparse.Namespace`, which `torch.load(weights_only=True)` refuses.  The
    CRC-32 of every storage is checked on the way (torch.load never does that).

    A safetensors file comes as a dict of its tensors, tied ones as one object; the integers of ckptd's int8 exports come as the
    floats they were made of.

    Args:
        path: a checkpoint in any container, or a safetensors file.
        map_location: as for torch.load.  Without it, tensors saved on a device that this machine does not have come to the
            CPU with a warning, where torch.load raises.
        mmap: map the file instead of reading it (zip and safetensors only).  CRCs are not checked then, and whoever truncates
            or rewrites the file in place while the tensors live kills this process with SIGBUS; torch.save does just that.

    Raises:
        NeedsCodeError: loading it would run code (a pickled module, an unknown class, TorchScript).
        UnsafeError: it names code that no model needs, or was built to deceive.
        FormatError: it is damaged or no checkpoint.
        StorageError: it cannot be read, or was changed while it was read.
    """
    fd = _open(path)
    try:
        before = Identity.of(os.fstat(fd))
        structure = _read(fd, path)
        # Only what is no checkpoint: what `ckptd inspect` says of a file holds here, too.
        if structure.status is Status.NOT_A_CHECKPOINT and opens_as_safetensors(fd):
            loaded: Any = _of_this_file(path, lambda: load_safetensors(fd, map_location, mmap=mmap))
        else:
            loaded = _load(fd, structure, path, map_location, mmap=mmap)
        if Identity.of(os.fstat(fd)) != before:
            raise StorageError("the file was changed while it was read", path=path, cure="load it again")
        return loaded
    finally:
        os.close(fd)


def _load(fd: int, structure: Structure, path: str | os.PathLike[str], map_location: MapLocation, *, mmap: bool) -> Any:
    _refuse(structure, path)
    if mmap and structure.container is not Container.ZIP:
        raise UsageError("cannot map", path=path, why=f"it is a {structure.container} file", cure="load it with mmap=False")
    return _of_this_file(path, lambda: _build(structure, Storages(fd, structure, map_location, mmap=mmap)))


def _of_this_file(path: str | os.PathLike[str], load: Callable[[], Any]) -> Any:
    """Let errors from below learn which file it was."""
    try:
        return load()
    except CkptdError as error:
        raise type(error)(error.what, path=os.fspath(path), why=error.why, cure=error.cure) from error


def _open(path: str | os.PathLike[str]) -> int:
    try:
        fd = os.open(path, _FLAGS)
    except OSError as error:
        raise StorageError("cannot open", path=os.fspath(path), why=error.strerror or str(error)) from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise StorageError("cannot load", path=os.fspath(path), why="it is no regular file")
    return fd


def _read(fd: int, path: str | os.PathLike[str]) -> Structure:
    try:
        return read_structure(fd)
    except OSError as error:
        raise StorageError("cannot read", path=os.fspath(path), why=error.strerror or str(error)) from error
    except ChangedError as error:
        raise StorageError("the file was changed while it was read", path=os.fspath(path), cure="load it again") from error


def _refuse(structure: Structure, path: str | os.PathLike[str]) -> None:
    """Raise what the reading of the structure found, as the caller can act on it."""
    status = structure.status
    why = next((found.message for found in structure.findings if found.severity is not Severity.INFO), "")
    cure = "see `ckptd inspect`"
    match status:
        case Status.OK:
            return
        case Status.UNSAFE:
            raise UnsafeError("refused to load", path=os.fspath(path), why=why, cure=cure)
        case Status.NEEDS_CODE:
            raise NeedsCodeError(
                "cannot load without running code",
                path=os.fspath(path),
                why=why,
                cure="save a state_dict instead of the module",
            )
        case _:
            raise FormatError("cannot load", path=os.fspath(path), why=why, cure=cure)


def _build(structure: Structure, storages: Storages) -> Any:
    # Bytes first: what a device has to say (no such device, no memory) is torch's own error and not the file's.
    for _, tensor in structure.tensors:
        for held in storages_of(tensor):
            storages.untyped(held)
    return rebuild(structure.root, storages)
