"""Check a weights export against its checkpoint, in a process that did not write it: `check_file`.

The `safetensors` library, which is what a user would open the file with, says what is in it; then every byte is compared with
what it should be, and every value with the original.  While the bytes pass, the file is hashed, and the checkpoint's CRCs are
checked.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np

from ckptd.errors import FormatError
from ckptd.export.encodings import Encoding, Part, Piece
from ckptd.export.safetensors_file import Plan, plan_file
from ckptd.export.weights import Array, Sums, Weights, read_bytes
from ckptd.loading.safetensors_header import read_header
from ckptd.model import Identity, Json
from ckptd.text import escape

if TYPE_CHECKING:
    from ckptd.export.interface import WeightsTarget

_MOST_NAMES = 3
#: Buffers on their way to the digest.
_WAITING = 4


def check_file(weights: Weights, export: str | os.PathLike[str] | int, target: WeightsTarget) -> dict[str, Json]:
    """Compare an export with its checkpoint and sync it.

    Args:
        weights: of the checkpoint, read in this process.
        export: path of the file, or a descriptor that stays the caller's.
        target: what was written.

    Raises:
        StorageError: one of the files became shorter.
        OSError: the disk says no.
    """
    if isinstance(export, int):
        return _check(weights, export, target)
    fd = os.open(export, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return _check(weights, fd, target)
    finally:
        os.close(fd)


def _check(weights: Weights, fd: int, target: WeightsTarget) -> dict[str, Json]:
    encoding = target.encoding()
    plan = plan_file(weights, encoding)
    before = Identity.of(os.fstat(fd))
    answer: dict[str, Json] = {"tolerance": encoding.tolerance, "compared": len(plan.parts)}
    with _digest() as digest:
        reason = _describe_by_library(fd, plan) or _describe_by_header(fd, before.size_bytes, plan)
        if not reason:
            comparison = _Comparison(weights, encoding, fd, digest)
            comparison.run(plan)
            reason = comparison.reason
            answer |= comparison.answer()
        else:
            _hash_rest(fd, 0, before.size_bytes, digest)
    os.fsync(fd)
    identity = Identity.of(os.fstat(fd))
    if identity != before:
        reason = "the file was changed while it was checked"
    answer |= {"verdict": "failed" if reason else "verified", "reason": reason, "sha256": digest.hexdigest()}
    return answer | {"size_bytes": identity.size_bytes, "identity": list(identity)}


def _describe_by_library(fd: int, plan: Plan) -> str:
    """Say how what the library sees differs from what was planned; empty when it does not."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(f"/proc/self/fd/{fd}", framework="np") as opened:
            names = set(opened.keys())
            wanted = {entry.name: entry for entry in plan.entries}
            if names != wanted.keys():
                return f"the safetensors library sees other tensors in it: {_listed(names ^ wanted.keys())}"
            for name, entry in wanted.items():
                seen = opened.get_slice(name)
                if seen.get_dtype() != entry.word or tuple(seen.get_shape()) != entry.shape:
                    return f"the safetensors library sees another dtype or shape of {escape(name, 80)}"
            if dict(opened.metadata() or {}) != dict(plan.metadata):
                return "the safetensors library sees other metadata in it"
    except (SafetensorError, OSError, ValueError) as error:
        return f"the safetensors library cannot open it: {escape(str(error))}"
    return ""


def _describe_by_header(fd: int, size: int, plan: Plan) -> str:
    """Say how our own reading of the header differs: the bytes are found by it."""
    try:
        header = read_header(lambda offset, length: read_bytes(fd, offset, length).tobytes(), size)
    except FormatError as error:
        return f"it cannot be read: {error.why}"
    if header.data_offset != len(plan.header) or size != plan.size_bytes:
        return "it is laid out in another way than it was written"
    # Empty tensors begin where others do: their order says nothing.
    if sorted(header.entries) != sorted(plan.entries):
        return "its header gives a tensor another place than it was written to"
    return ""


class _Comparison:
    """Every byte of an export against what it should be, in the order of the file, and every value against the original."""

    def __init__(self, weights: Weights, encoding: Encoding, fd: int, digest: _Digest) -> None:
        self._weights = weights
        self._encoding = encoding
        self._fd = fd
        self._digest = digest
        self._wrong: list[str] = []
        self._beyond: list[str] = []
        self._damaged: tuple[str, ...] = ()
        self._max_abs = self._max_rel = 0.0
        self._worst = ""

    @property
    def reason(self) -> str:
        """What is wrong, strongest first; empty when nothing is."""
        if self._damaged:
            return f"the checkpoint is damaged: {_listed(self._damaged)} does not match its CRC-32"
        if self._wrong:
            return f"the export has other bytes than it should in {_listed(self._wrong)}"
        if self._beyond and math.isinf(self._max_abs) and self._encoding.findings():
            return self._encoding.findings()[0]
        if self._beyond:
            return f"values differ by more than the tolerance in {_listed(self._beyond)}"
        return ""

    def answer(self) -> dict[str, Json]:
        """Give the differences; infinite ones, which JSON has not, as None."""
        most, relative = self._max_abs, self._max_rel
        return {
            "max_abs": most if math.isfinite(most) else None,
            "max_rel": relative if math.isfinite(relative) else None,
            "worst": escape(self._worst, 80) or None,
        }

    def run(self, plan: Plan) -> None:
        """Compare."""
        sums = Sums()
        head = read_bytes(self._fd, 0, len(plan.header))
        self._digest.update(head)
        if head.tobytes() != plan.header:
            self._wrong.append("the header")
        for part, entry in zip(plan.parts, plan.entries, strict=True):
            at = len(plan.header) + entry.begin
            meter = _Meter()
            for piece in part.pieces(sums):
                got = read_bytes(self._fd, at, piece.data.nbytes)
                self._digest.update(got)
                at += got.nbytes
                if not _are_equal(got, piece.data.reshape(-1).view(np.uint8)):
                    _note(self._wrong, part.name)
                if part.is_lossy:
                    self._measure(part, piece, got, meter)
            self._rank(part, meter)
        self._damaged = sums.finish(self._weights)

    def _measure(self, part: Part, piece: Piece, got: Array, meter: _Meter) -> None:
        assert piece.original is not None
        seen = piece._replace(data=got.view(piece.data.dtype).reshape(piece.data.shape))
        values = self._encoding.decode(seen)
        with np.errstate(invalid="ignore", over="ignore"):
            difference = np.abs(piece.original - values)
            beyond = not (difference <= self._encoding.bound(seen)).all()
        if beyond:  # or NaN, or infinite in both
            difference, beyond = _judge(piece.original, values, self._encoding.bound(seen))
        if beyond:
            _note(self._beyond, part.name)
        meter.see(difference, piece.original)

    def _rank(self, part: Part, meter: _Meter) -> None:
        relative = meter.relative
        self._max_abs = max(self._max_abs, meter.difference)
        if relative > self._max_rel or (part.is_lossy and not self._worst):
            self._max_rel, self._worst = relative, part.name


class _Meter:
    """The largest difference in a tensor, and its largest value."""

    def __init__(self) -> None:
        self.difference = 0.0
        self._largest = 0.0

    @property
    def relative(self) -> float:
        """The largest difference as a part of the largest value."""
        if not self.difference:
            return 0.0
        return self.difference / self._largest if self._largest else math.inf

    def see(self, difference: Array, original: Array) -> None:
        """Look at some values."""
        self.difference = max(self.difference, float(difference.max(initial=0.0)))
        low, high = float(original.min()), float(original.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            finite = original[np.isfinite(original)]
            low, high = float(finite.min(initial=0.0)), float(finite.max(initial=0.0))
        self._largest = max(self._largest, abs(low), abs(high))


def _judge(original: Array, values: Array, bound: Array) -> tuple[Array, bool]:
    """Compare where there are NaN and infinities, which have to be the same in both."""
    finite = np.isfinite(original)
    same = np.where(np.isnan(original), np.isnan(values), original == values)
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.where(finite, np.abs(original - values), np.where(same, 0, np.inf))
    return difference, not (np.where(finite, difference <= bound, same)).all()


def _are_equal(one: Array, other: Array) -> bool:
    whole = one.nbytes - one.nbytes % 8  # eight at a time, for speed
    return np.array_equal(one[:whole].view(np.uint64), other[:whole].view(np.uint64)) and np.array_equal(
        one[whole:], other[whole:]
    )


def _note(names: list[str], name: str) -> None:
    if name not in names[-1:]:
        names.append(name)


def _listed(names: Any) -> str:
    shown = [escape(name, 80) for name in sorted(names)[:_MOST_NAMES]]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if len(names) > len(shown) else "")


def _hash_rest(fd: int, at: int, size: int, digest: _Digest) -> None:
    while at < size:
        data = read_bytes(fd, at, min(1 << 20, size - at))
        digest.update(data)
        at += data.nbytes


class _Digest:
    """SHA-256 in a thread of its own: it takes longer than the comparison, and on two cores both take as long as one."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._full: SimpleQueue[Array | None] = SimpleQueue()
        self._free: SimpleQueue[None] = SimpleQueue()
        for _ in range(_WAITING):
            self._free.put(None)
        self._thread = Thread(target=self._run, name="ckptd-digest", daemon=True)
        self._thread.start()

    def update(self, data: Array) -> None:
        """Add bytes, which nobody may change any more; waits while there are many before them."""
        self._free.get()
        self._full.put(data)

    def finish(self) -> None:
        """Wait for the end."""
        self._full.put(None)
        self._thread.join()

    def hexdigest(self) -> str:
        """Give the digest of all, after `finish`."""
        return self._digest.hexdigest()

    def _run(self) -> None:
        while (data := self._full.get()) is not None:
            self._digest.update(data.data)
            self._free.put(None)


@contextmanager
def _digest() -> Iterator[_Digest]:
    digest = _Digest()
    try:
        yield digest
    finally:
        digest.finish()
