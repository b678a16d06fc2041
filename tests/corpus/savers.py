"""Every way in which people and programs write an object to a file."""

from __future__ import annotations

import pickle
import struct
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.corpus import zips


def save_zip(value: Any, path: Path, protocol: int = 2) -> None:
    """Save as torch does by default."""
    import torch

    torch.save(value, path, pickle_protocol=protocol)


def save_legacy(value: Any, path: Path, protocol: int = 2) -> None:
    """Save as torch did before 1.6."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(value, path, pickle_protocol=protocol, _use_new_zipfile_serialization=False)


def save_without_crc(value: Any, path: Path) -> None:
    """Save with all CRCs left out, as large-model code does for speed."""
    import torch

    torch.serialization.set_crc32_options(False)
    try:
        torch.save(value, path)
    finally:
        torch.serialization.set_crc32_options(True)


def save_to_stream(value: Any, path: Path) -> None:
    """Save through a Python file object, which names the folder "archive"."""
    import torch

    with path.open("wb") as file:
        torch.save(value, file)


def save_plain_pickle(value: Any, path: Path, protocol: int = 4) -> None:
    """Save by pickle.dump, as people do who never read the manual."""
    path.write_bytes(pickle.dumps(value, protocol))


def save_like_1_6(value: Any, path: Path) -> None:
    """Rewrite a zip as torch 1.6 to 1.12 wrote it: no byteorder, no alignment note, no serialization id."""
    rewrite(value, path, lambda name, raw: raw if name in ("version", "data.pkl") or name.startswith("data/") else None)


def save_big_endian(value: Any, path: Path, width: int = 4) -> None:
    """Rewrite a zip of `width`-byte elements as a big-endian machine would have written it."""

    def turn(name: str, raw: bytes) -> bytes:
        if name == "byteorder":
            return b"big"
        return b"".join(raw[i : i + width][::-1] for i in range(0, len(raw), width)) if name.startswith("data/") else raw

    rewrite(value, path, turn)


def rewrite(value: Any, path: Path, change: Callable[[str, bytes], bytes | None]) -> None:
    """Save, then write every member anew with our own zip writer, as `change` makes it; None leaves it out."""
    members = [(name, change(name, raw)) for name, raw in _members(value, path)]
    path.write_bytes(zips.make_zip([zips.Member(f"archive/{name}".encode(), raw) for name, raw in members if raw is not None]))


def _members(value: Any, path: Path) -> list[tuple[str, bytes]]:
    import zipfile

    save_zip(value, path)
    with zipfile.ZipFile(path) as archive:
        return [(name.partition("/")[2], archive.read(name)) for name in archive.namelist()]


@contextmanager
def located(tag: str) -> Any:
    """Make torch.save believe that every storage lies on another device, by its public registry of taggers."""
    from torch import serialization

    serialization.register_package(-1, lambda _storage: tag, lambda _storage, _location: None)
    try:
        yield
    finally:
        entries = serialization._package_registry
        entries[:] = [entry for entry in entries if entry[0] != -1]


def save_located(tag: str) -> Callable[[Any, Path], None]:
    """Give a saver whose files say that they come from `tag` ("cuda:0", "mps")."""

    def save(value: Any, path: Path) -> None:
        with located(tag):
            save_zip(value, path)

    return save


def save_tar(path: Path) -> None:
    """Write a state dict as torch 0.1 did: a float view with an offset, a long tensor, one shared storage."""
    from tests.corpus import asm, oldforms

    pairs = asm.listing(
        *[asm.listing(asm.text(n), oldforms.tar_tensor(k)) for n, k in (("w", 10), ("w_t", 11), ("n", 12), ("v", 13))]
    )
    body = asm.named("collections", "OrderedDict") + asm.sequence(pairs) + asm.REDUCE
    path.write_bytes(
        oldforms.tar(
            asm.program(body),
            storages=((1, "FloatStorage", struct.pack("<6f", *range(6))), (2, "LongStorage", struct.pack("<2q", 7, -8))),
            tensors=((10, 1, (2, 3), (3, 1), 0), (11, 1, (2, 2), (1, 3), 1), (12, 2, (2,), (1,), 0), (13, 3, (2,), (1,), 0)),
            views=((3, 1, 2, 4),),
        )
    )


def save_scripted(path: Path) -> None:
    """Write TorchScript by torch.jit.script."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU())).save(str(path))


def save_traced(path: Path) -> None:
    """Write TorchScript by torch.jit.trace."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(torch.nn.Linear(3, 2), torch.ones(1, 3)).save(str(path))


def save_legacy_view(path: Path) -> None:
    """Write the legacy format with a storage that is a view of another, as torch 0.2 to 0.3 did."""
    from tests.corpus import asm, oldforms

    root = oldforms.legacy_storage("100", 6)
    view = oldforms.legacy_storage("100", 6, view=asm.sequence(asm.text("101"), asm.integer(2), asm.integer(4)))
    body = asm.mapping({"root": asm.tensor(root, size=(6,), stride=(1,)), "view": asm.tensor(view, size=(2, 2), stride=(2, 1))})
    path.write_bytes(oldforms.legacy(asm.program(body), {"100": (6, struct.pack("<6f", *range(6)))}))
