"""Read what torch.save has written since 1.6, and TorchScript: a zip with one folder of records.

`data.pkl` holds the object, `data/<key>` the bytes of each storage, and a few small records say how they were written.
Source: torch/serialization.py, `_save` and `_load`, and caffe2/serialize/inline_container.cc, of torch 2.13.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping

from isal.isal_zlib import crc32

from ckptd.checkpoint.budgets import BUDGETS, Budgets
from ckptd.checkpoint.containers.pickled import note_dangerous, read_object
from ckptd.checkpoint.containers.zipped import Member, ZipFile, read_zip
from ckptd.checkpoint.contents import Contents, Span
from ckptd.checkpoint.globals import ITEM_BYTES
from ckptd.checkpoint.source import Source
from ckptd.errors import FormatError
from ckptd.model import Container
from ckptd.text import escape

#: What the small records say, where torch wrote them.
_RECORDS: Mapping[str, re.Pattern[bytes]] = {
    "version": re.compile(rb"[1-9][0-9]?\n"),
    "byteorder": re.compile(rb"little|big"),
    ".format_version": re.compile(rb"[0-9]{1,2}"),
    ".storage_alignment": re.compile(rb"[0-9]{1,5}"),
    ".data/serialization_id": re.compile(rb"[0-9]{40}"),
    ".data/version": re.compile(rb"[1-9][0-9]?\n"),
    "data/version": re.compile(rb"[1-9][0-9]?\n"),
}
#: torch takes exactly these as mark of a zip it reads.
ZIP_HEAD = b"PK\x03\x04"
#: A record that is looked at as a whole, beside the pickle.
_SMALL_BYTES = 64


def read_torch_zip(source: Source, budgets: Budgets = BUDGETS) -> Contents:
    """Read the records of a zip."""
    contents = Contents(Container.ZIP)
    try:
        file = read_zip(source, budgets)
    except FormatError as error:
        contents.problem("truncated" if "cut off" in error.why else "end-record", f"{error.what}: {error.why}")
        return contents
    if not file.members:
        contents.problem("member-missing", "the directory of the zip has no entry")
        contents.problems += file.problems
        return contents
    if not file.torchscript and not _is_by_torch(file):
        contents.foreign = _name_stranger(file)
        return contents
    contents.problems = list(file.problems)
    without_crc = not any(member.crc for member in file.members.values())
    if without_crc:
        contents.problem("crc-not-computed", "the file was saved without CRCs: flipped bits in it cannot be found")
    for name, member in file.members.items():
        contents.records[name] = Span(member.offset, member.length, None if without_crc else member.crc)
    _check_records(contents, source, file)
    if file.torchscript:
        contents.container = Container.TORCHSCRIPT
        _check_inflated(contents, source, file, budgets)
    _read_pickle(contents, source, file, budgets)
    _find_storages(contents, file)
    return contents


def _is_by_torch(file: ZipFile) -> bool:
    names = file.members
    return (
        "data.pkl" in names
        or ("version" in names and any(name.startswith("data/") for name in names))
        or ".data/serialization_id" in names
    )


def _name_stranger(file: ZipFile) -> str:
    names = list(file.members)
    if any(name.endswith(".npy") for name in names):
        return "a numpy archive (.npz)"
    if any(name in ("archive_format", "archive_version") for name in names):
        return "an exported program (.pt2) of torch.export"
    if any(name in ("[Content_Types].xml", "mimetype") for name in names):
        return "an office document"
    if any(name in ("config.json", "model.weights.h5") for name in names):
        return "a Keras model"
    return f"a zip archive that torch.save did not write (it holds {escape(names[0], 40)})"


def _check_records(contents: Contents, source: Source, file: ZipFile) -> None:
    """Look at the small records; torch believes what they say."""
    for name, pattern in _RECORDS.items():
        member = file.members.get(name)
        if member is None or (file.torchscript and member.method):
            continue
        said = source.read(member.offset, member.length) if member.length <= _SMALL_BYTES else b""
        if pattern.fullmatch(said) is None:
            contents.problem("bad-record", f"the record {name} does not say what torch.save writes")
        elif name == "byteorder":
            contents.byteorder = said.decode()
    if "version" not in file.members and "data/version" not in file.members:
        contents.problem("member-missing", "the zip has no record called version, without which torch loads nothing")


def _check_inflated(contents: Contents, source: Source, file: ZipFile, budgets: Budgets) -> None:
    """Inflate the code of a TorchScript program, bounded, to check its CRC: that is over what it inflates to."""
    left = budgets.inflated_bytes
    for name, member in file.members.items():
        if not member.method:
            continue
        del contents.records[name]
        data = _inflate(source, member, left)
        if data is None:
            contents.problem("zip-bomb", f"the member {escape(name, 80)} does not inflate to the size it announces")
            return
        left -= len(data)
        if crc32(data) != member.crc:
            contents.problem("crc-mismatch", f"the bytes of {escape(name, 80)} do not match their CRC-32")


def _inflate(source: Source, member: Member, most_bytes: int) -> bytes | None:
    if member.size > most_bytes or member.length > most_bytes:
        return None
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = stream.decompress(source.read(member.offset, member.length), member.size + 1)
    except zlib.error:
        return None
    return data if len(data) == member.size and stream.eof and not stream.unused_data else None


def _read_pickle(contents: Contents, source: Source, file: ZipFile, budgets: Budgets) -> None:
    member = file.members.get("data.pkl")
    if member is None:
        contents.problem("member-missing", "the zip has no data.pkl, which holds the object")
        return
    if member.length > budgets.pickle_bytes:
        contents.problem("pickle-bomb", f"the pickle has {member.length:,} bytes, more than {budgets.pickle_bytes:,}")
        note_dangerous(contents, source.read(member.offset, budgets.pickle_bytes))
        return
    if member.method:
        contents.problem("malformed-container", "data.pkl is compressed")
        note_dangerous(contents, _inflate(source, member, budgets.pickle_bytes) or b"")  # torch inflates it, and runs it
        return
    data = source.read(member.offset, member.length)
    span = contents.records["data.pkl"]
    contents.checked = span.crc is not None and crc32(data) == span.crc
    read_object(contents, data, budgets)


def _find_storages(contents: Contents, file: ZipFile) -> None:
    storages = contents.builder.storages
    for key, storage in storages.items():
        member = file.members.get(f"data/{key}")
        if member is None:
            if contents.is_read:
                contents.problem("storage-missing", f"storage {escape(key, 40)} is not in the file", storage)
            continue
        length = storage.numel * ITEM_BYTES[storage.dtype]
        if member.length != length:
            message = f"storage {escape(key, 40)} has {member.length:,} bytes, its tensors want {length:,}"
            contents.problem("storage-size-mismatch", message, storage)
            continue
        if member.method:
            contents.problem("compressed-member", f"storage {escape(key, 40)} is compressed", storage)
            continue
        contents.spans[key] = contents.records.pop(f"data/{key}")
    if contents.is_read and contents.container is Container.ZIP:
        for name in file.members:
            if name.startswith("data/") and name[5:] not in storages and name != "data/version":
                contents.problem("storage-unreferenced", f"nothing in the file refers to {escape(name, 80)}")
