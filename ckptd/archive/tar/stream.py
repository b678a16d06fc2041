"""Read a tar out of pieces, some of which may be gaps; whatever is behind a gap begins at the start of a piece."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from types import TracebackType
from typing import Self

from ckptd.archive.tar.frames import DamageError
from ckptd.archive.tar.headers import BLOCK_BYTES, END, Header, name_bytes, padding_of, parse_block
from ckptd.archive.tar.pieces import Piece

TOO_MUCH = "there is more in it than its manifest says, and the rest was not read"
_ENDS_EARLY = "it ends too early"


class TarReader:
    """Members one by one: a header, then its body; what of the body isn't read is stepped over.

    Attributes:
        most_bytes: of all pieces together; a file that unpacks to more is not read further.
        is_cut: that was so.
    """

    def __init__(self, pieces: Generator[Piece], most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.is_cut = False
        self._pieces = pieces
        self._seen_bytes = 0
        self._left = memoryview(b"")
        self._body_bytes = self._padding_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pieces.close()

    def next_header(self) -> Header | None:
        """Step over what is left of the member before, and give the next header; None at the end of the tar.

        Raises:
            DamageError: here is a gap, or no header; `find_header` goes on behind it.
        """
        self.skip(self._body_bytes + self._padding_bytes)
        header = self._read_header()
        if header is None:
            self._check_end()
        return header

    def find_header(self, is_wanted: Callable[[Header], bool]) -> Header | None:
        """Give the next header that begins a piece and is wanted; None when there is none.

        Only what is wanted counts: in the middle of a checkpoint there may be headers of a tar of its own.
        """
        while self._next_piece():
            try:
                header = self._read_header()
            except DamageError:
                continue
            if header is not None and is_wanted(header):
                return header
        return None

    def body(self) -> Iterator[memoryview]:
        """Give the body of the member whose header came last.

        Raises:
            DamageError: here is a gap.
        """
        while self._body_bytes:
            part = self._some(self._body_bytes)
            self._body_bytes -= len(part)
            yield part

    def skip(self, count: int) -> None:
        """Step over bytes.

        Raises:
            DamageError: here is a gap.
        """
        while count:
            count -= len(self._some(count))

    def _read_header(self) -> Header | None:
        """Read a header; None for a block of zeros."""
        self._body_bytes = self._padding_bytes = 0
        block = self._exactly(BLOCK_BYTES)
        if not any(block):
            return None
        kind, header = _parsed(block)
        if length := name_bytes(kind, header):
            name = self._exactly(length + padding_of(length))[:length]
            _, header = _parsed(self._exactly(BLOCK_BYTES))
            header = header._replace(path=name.partition(b"\0")[0])
        self._body_bytes, self._padding_bytes = header.size, padding_of(header.size)
        return header

    def _exactly(self, count: int) -> bytes:
        parts = []
        while count:
            parts.append(self._some(count))
            count -= len(parts[-1])
        return b"".join(parts)

    def _some(self, most: int) -> memoryview:
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                raise DamageError(_ENDS_EARLY)
            self._take(piece)
        part = self._left[:most]
        self._left = self._left[len(part) :]
        return part

    def _take(self, piece: Piece) -> None:
        if piece.why:
            raise DamageError(piece.why)
        self._seen_bytes += len(piece.data)
        if self._seen_bytes > self.most_bytes:
            self._pieces.close()
            self.is_cut = True
            raise DamageError(TOO_MUCH)
        self._left = memoryview(piece.data)

    def _next_piece(self) -> bool:
        self._left = memoryview(b"")
        for piece in self._pieces:
            try:
                self._take(piece)
            except DamageError:
                continue
            return True
        return False

    def _check_end(self) -> None:
        rest = self._exactly(len(END) - BLOCK_BYTES)
        if any(rest) or self._left or next(self._pieces, None) is not None:
            raise DamageError("there is something behind its end")


def _parsed(block: bytes) -> tuple[bytes, Header]:
    parsed = parse_block(block)
    if parsed is None:
        raise DamageError("a tar header is damaged")
    return parsed
