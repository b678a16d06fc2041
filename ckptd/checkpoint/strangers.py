"""Name a file that is no checkpoint for what it is: one table of marks, and a few questions to text."""

from __future__ import annotations

import re

#: What a file begins with → what it is.  Source: the specifications of these formats, and file(1)'s magic.
_MARKS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs.github.com/spec/", "a git-LFS pointer: the checkpoint itself was not downloaded (git lfs pull)"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF-", "a PDF document"),
    (b"\x1f\x8b", "gzip-compressed data: unpack it first"),
    (b"BZh", "bzip2-compressed data: unpack it first"),
    (b"\xfd7zXZ\0", "xz-compressed data: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed data: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive: unpack it first"),
    (b"Rar!", "a RAR archive: unpack it first"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes it"),
    (b"\x93NUMPY", "a numpy array (.npy)"),
    (b"GGUF", "a GGUF model"),
    (b"\x7fELF", "a program or library (ELF)"),
    (b"MZ", "a Windows program"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"PK\x07\x08", "a zip archive in several parts"),
    (b"#!", "a script"),
)
_HTML = re.compile(rb"(?i)\s*(?:<!doctype html|<html|<head|<body)")
_XML = re.compile(rb"\s*<\?xml|\s*<[A-Za-z][A-Za-z0-9]*[\s>/]")
_JSON = re.compile(rb"""\s*(?:\{\s*(?:"|\})|\[\s*(?:["{\[\]0-9-]|true|false|null))""")
_SAFETENSORS = re.compile(rb"""\s*\{\s*"[^"]{0,200}"\s*:\s*\{""")
#: A safetensors header is at most this long.  Source: the format's own limit.
_SAFETENSORS_HEADER = 100_000_000


def name_stranger(head: bytes, size: int) -> str:
    """Say what a file is by its first bytes (some 4 KiB of them) and its size, with an article."""
    if not size:
        return "an empty file"
    for mark, meaning in _MARKS:
        if head.startswith(mark):
            return meaning
    if not any(head):
        return "a file of zeros: space was set aside for it and never written" if size > 1 else "a single zero byte"
    if _HTML.match(head):
        return "an HTML page: a download gave a web page instead of the file"
    if _is_safetensors(head, size):
        return "a safetensors file"
    if _JSON.match(head):
        return "JSON text"
    if _XML.match(head):
        return "an XML document: a download may have given an error message instead of the file"
    return "text" if _is_text(head) else "data of a format that ckptd does not know"


def _is_safetensors(head: bytes, size: int) -> bool:
    length = int.from_bytes(head[:8], "little")
    return 2 <= length <= min(size - 8, _SAFETENSORS_HEADER) and _SAFETENSORS.match(head, 8) is not None


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # a character may be cut at the end
            return False
    return not any(byte < 0x20 and byte not in b"\t\n\r\f\x1b" for byte in head)
