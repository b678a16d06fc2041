"""Files that are two things at once: what an inspector takes them for is not what torch loads.  All run code under torch."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
from collections.abc import Iterator

from ckptd.model import Status
from tests.corpus import asm, oldforms, zips
from tests.corpus.case import NOT_OK, Case, raw

_UNSAFE = frozenset({Status.UNSAFE})
_BLOCK = 512


def cases(canary: str) -> list[Case]:
    """Give all of them."""
    return list(_cases(asm.call("os", "system", asm.text(f"touch {canary}"))))


def _cases(evil: bytes) -> Iterator[Case]:
    tar = oldforms.tar(asm.program(evil), storages=(), tensors=())
    magic = b"\x8a\x0a" + oldforms.MAGIC.to_bytes(10, "little")
    for name, mark in {"an old tar": b"", "a tar": b"ustar\x0000"}.items():
        legacy = _header(magic, mark, 0) + _tail(len(tar), 0)
        padding = -len(legacy) % _BLOCK
        tail = _tail(len(tar), padding)
        data = _header(magic, mark, len(tail)) + tail + tar
        yield raw(f"twofold-legacy and {name}", data, _UNSAFE, "torch asks for a tar before it reads a pickle")
    plain = asm.program(asm.text("x" * 90) + asm.POP + asm.EMPTY_DICT)
    yield raw("twofold-pickle and a tar", _header(b"}", b"", 0, end=b".") + tar, _UNSAFE, "a plain pickle and a tar")
    yield raw("twofold-pickle behind a pickle", plain + asm.program(evil), NOT_OK, "a second pickle")
    yield raw("twofold-tar without its mark", _unmarked(tar), _UNSAFE, "a tar of 1979")
    yield raw("twofold-tar of Python", _foreign_tar(asm.program(evil)), _UNSAFE, "torch finds members by their PAX names")
    info = pickle.dumps({"protocol_version": oldforms.LEGACY_PROTOCOL, "little_endian": True, "type_sizes": {}}, 2)
    rest = pickle.dumps(oldforms.LEGACY_PROTOCOL, 2) + info + asm.program(evil) + pickle.dumps([], 2) + bytes(500)
    yield raw("unmarked-legacy, a number as text", b"L%dL\n." % oldforms.MAGIC + rest, _UNSAFE, "no PROTO at the beginning")
    yield raw("unmarked-legacy, a number", magic + b"." + rest, _UNSAFE, "no PROTO at the beginning")
    yield raw("unmarked-pickle of today", evil + b"." + bytes(500), _UNSAFE, "no PROTO, and its STOP far from the end")
    yield raw("twofold-zip and a pickle", zips.checkpoint(asm.program(evil)) + tar, _UNSAFE, "a tar behind a zip")


def _header(head: bytes, mark: bytes, size: int, end: bytes = b"0.") -> bytes:
    """Write a pickle of 512 bytes, mostly one text, that is the header of a tar member of `size` bytes as well."""
    start = b"\x80\x02" + head
    length = _BLOCK - len(start) - 5 - 2
    block = bytearray(start + b"X" + struct.pack("<I", length) + b" " * length + (b"0" + end)[-2:])
    block[100:157] = b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % size + b"00000000000\0" + b" " * 8 + b"0"
    block[157:257] = bytes(100)
    block[257 : 257 + len(mark)] = mark
    block[345:500] = bytes(155)
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def _unmarked(tar: bytes) -> bytes:
    """Take "ustar" out of every header, and set the checksums right."""
    blocks = [bytearray(tar[at : at + _BLOCK]) for at in range(0, len(tar), _BLOCK)]
    for block in blocks:
        if block[257:262] == b"ustar":
            block[257:265], block[148:156] = bytes(8), b" " * 8
            block[148:156] = b"%06o\0 " % sum(block)
    return b"".join(blocks)


def _tail(length: int, padding: int) -> bytes:
    """Write what follows the magic number of a legacy file, up to a last storage of `length` bytes."""
    info = {"protocol_version": oldforms.LEGACY_PROTOCOL, "little_endian": True, "type_sizes": {"short": 2}}
    held = asm.tensor(oldforms.legacy_storage("1", length, "ByteStorage"), size=(length,), stride=(1,))
    body = asm.mapping({"w": oldforms.legacy_tensor(), "z": held, "p": asm.text("p" * padding)})
    return (
        pickle.dumps(oldforms.LEGACY_PROTOCOL, 2)
        + pickle.dumps(info, 2)
        + asm.program(body)
        + pickle.dumps(["0", "1"], 2)
        + struct.pack("<q", 4)
        + zips.FOUR_FLOATS
        + struct.pack("<q", length)
    )


def _foreign_tar(pickled: bytes) -> bytes:
    out = io.BytesIO()
    files = {"pickle": pickled, "tensors": pickle.dumps(0, 2), "storages": pickle.dumps(0, 2) + pickle.dumps([], 2)}
    with tarfile.open(fileobj=out, mode="w:", format=tarfile.PAX_FORMAT) as archive:
        for number, (name, content) in enumerate(files.items()):
            member = tarfile.TarInfo(f"x{number}")
            member.size, member.pax_headers = len(content), {"path": name}
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()
