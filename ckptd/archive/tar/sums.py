"""SHA256SUMS: what `sha256sum -c` reads."""

from __future__ import annotations

from collections.abc import Iterable


def render_sums(digests: Iterable[tuple[bytes, str]]) -> bytes:
    """Write a line for each path and its digest in hex.

    Where a path holds a backslash or an end of line, those are escaped, and a backslash before the digest says so.
    Source: "md5sum invocation" in the manual of GNU coreutils; a carriage return by what sha256sum 9.1 writes and reads.
    """
    return b"".join(_line(path, digest.encode("ascii")) for path, digest in digests)


def _line(path: bytes, digest: bytes) -> bytes:
    escaped = path.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    mark = b"\\" if escaped != path else b""
    return mark + digest + b"  " + escaped + b"\n"
