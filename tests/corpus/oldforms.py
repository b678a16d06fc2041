"""The two containers from before 2020, built by hand: five pickles in a row, and a tar of three files."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
from collections.abc import Mapping, Sequence

from tests.corpus import asm

#: Source: torch/serialization.py, MAGIC_NUMBER and PROTOCOL_VERSION.
MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001


def legacy(pickled: bytes, storages: Mapping[str, tuple[int, bytes]] | None = None) -> bytes:
    """Write five pickles and the storages (key → number of elements, bytes) behind them."""
    held = {"0": (4, struct.pack("<4f", 1, 2, 3, 4))} if storages is None else storages
    info = {"protocol_version": LEGACY_PROTOCOL, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    heads = [pickle.dumps(part, 2) for part in (MAGIC, LEGACY_PROTOCOL, info)]
    keys = pickle.dumps(list(held), 2)
    return b"".join(heads) + pickled + keys + b"".join(struct.pack("<q", count) + raw for count, raw in held.values())


def legacy_storage(key: str = "0", numel: int = 4, kind: str = "FloatStorage", view: bytes = asm.NONE) -> bytes:
    """Refer to a storage as the legacy format does: one item more, the view."""
    parts = (asm.text("storage"), asm.named("torch", kind), asm.text(key), asm.text("cpu"), asm.integer(numel), view)
    return asm.sequence(*parts) + asm.BINPERSID


def legacy_tensor(**fields: object) -> bytes:
    """Rebuild a tensor from a legacy storage."""
    return asm.tensor(legacy_storage(), **fields)


def tar(
    pickled: bytes,
    storages: Sequence[tuple[int, str, bytes]] = ((1, "FloatStorage", struct.pack("<4f", 1, 2, 3, 4)),),
    tensors: Sequence[tuple[int, int, tuple[int, ...], tuple[int, ...], int]] = ((2, 1, (2, 2), (2, 1), 0),),
    views: Sequence[tuple[int, int, int, int]] = (),
    members: Mapping[str, bytes] | None = None,
) -> bytes:
    """Write the tar of torch 0.1: tensors are referred to by number in the pickle.

    Args:
        pickled: the object, with persistent ids ("2") where a tensor stands.
        storages: number, class and bytes of each.
        tensors: number, number of its storage (or None), sizes, strides, offset.
        views: number of the view, of its root, offset and length in elements.
        members: files that replace or join the four.

    Source: torch/serialization.py, `_legacy_load.legacy_load`, and `torch.save` of release 0.1.12.
    """
    held = _tar_storages(storages, views)
    listed = _tar_tensors(tensors)
    info = pickle.dumps({"protocol_version": 1000, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 8}}, 2)
    files = {"sys_info": info, "pickle": pickled, "tensors": listed, "storages": held, **(members or {})}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:", format=tarfile.PAX_FORMAT) as archive:
        for name, raw in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
    return out.getvalue()


def _tar_storages(storages: Sequence[tuple[int, str, bytes]], views: Sequence[tuple[int, int, int, int]]) -> bytes:
    widths = {"DoubleStorage": 8, "LongStorage": 8, "FloatStorage": 4, "IntStorage": 4, "HalfStorage": 2, "ShortStorage": 2}
    out = pickle.dumps(len(storages), 2)
    for key, kind, raw in storages:
        out += asm.program(asm.sequence(asm.integer(key), asm.text("cpu"), asm.named("torch", kind)))
        out += struct.pack("<q", len(raw) // widths.get(kind, 1)) + raw
    return out + pickle.dumps(list(views), 2)


def _tar_tensors(tensors: Sequence[tuple[int, int, tuple[int, ...], tuple[int, ...], int]]) -> bytes:
    out = pickle.dumps(len(tensors), 2)
    for key, held, size, stride, offset in tensors:
        out += asm.program(asm.sequence(asm.integer(key), asm.integer(held), asm.named("torch", "FloatTensor")))
        out += struct.pack(f"<ii{len(size)}q{len(stride)}qq", len(size), 0, *size, *stride, offset)
    return out


def tar_tensor(key: int = 2) -> bytes:
    """Refer to a tensor of the tar by its number."""
    return asm.text(str(key)) + asm.BINPERSID
