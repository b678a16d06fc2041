"""Read an archive from its first to its last byte and say which members are right, which are lost, and what else is wrong."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

from ckptd.archive.interface import SUMS_NAME, Entry, Lost, Progress, Verification
from ckptd.archive.placing import forget_cached
from ckptd.archive.tar.catalog import Catalog, open_reader, read_catalog
from ckptd.archive.tar.frames import Codec, DamageError, thread_count
from ckptd.archive.tar.headers import Header
from ckptd.archive.tar.layout import expected_files, name_of, place_entry, sums_of
from ckptd.archive.tar.stream import TOO_MUCH, TarReader

#: How many things beyond members an answer names; a hostile archive could have any number.
_MOST_FLAWS = 100
_SUMS = SUMS_NAME.encode()


def verify_archive(codec: Codec, fd: int, progress: Progress) -> Verification:
    """Verify an open archive; see `Format.verify`."""
    forget_cached(fd)
    tail = codec.read_tail(fd, os.fstat(fd).st_size)
    with ThreadPoolExecutor(thread_count()) as pool, open_reader(fd, codec, tail, pool) as reader:
        try:
            catalog = read_catalog(reader, tail)
        except DamageError as error:
            return Verification(None, (), (Lost("", error.why),))
        checker = _Checker(catalog, reader, progress)
        checker.check()
        return checker.answer()


class _Checker:
    """Compare member by member what comes out of an archive with what its manifest says."""

    def __init__(self, catalog: Catalog, reader: TarReader, progress: Progress) -> None:
        self._catalog, self._reader, self._progress = catalog, reader, progress
        self._expected = expected_files(catalog.manifest)
        self._good: set[str] = set()
        self._seen: set[str] = set()
        self._reasons: dict[str, str] = {}
        self._flaws = [Lost("", why) for why in catalog.flaws]
        self._top = catalog.top
        self._done_bytes = 0
        self._has_sums = False

    def check(self) -> None:
        """Read on to the end, over whatever is damaged."""
        header = self._next()
        while header is not None:
            header = self._next() if self._check_member(header) else self._reader.find_header(self._is_wanted)

    def answer(self) -> Verification:
        """Say what was found."""
        manifest = self._catalog.manifest
        if self._reader.is_cut:
            self._add_flaw(TOO_MUCH)
        if not self._has_sums:
            self._add_flaw(f"{SUMS_NAME} is missing, or says something else than the manifest")
        lost = tuple(
            Lost(entry.name, self._reasons.get(entry.name, "its part of the archive is missing or damaged"))
            for entry in manifest.entries
            if entry.name not in self._good
        )
        good = tuple(entry.name for entry in manifest.entries if entry.name in self._good)
        return Verification(manifest, good, lost + tuple(self._flaws))

    def _next(self) -> Header | None:
        try:
            return self._reader.next_header()
        except DamageError as error:
            self._add_flaw(error.why)
            return self._reader.find_header(self._is_wanted)

    def _is_wanted(self, header: Header) -> bool:
        _, name = name_of(header.path)
        entry = self._expected.get(name)
        if entry is None:
            return name == _SUMS and not self._has_sums
        return header.is_file and header.size == entry.size_bytes and entry.name not in self._good

    def _check_member(self, header: Header) -> bool:
        """Check what a header announces; False when there is a gap in it."""
        top, name = name_of(header.path)
        self._top = self._top or top
        entry = self._expected.get(name) if top == self._top else None
        try:
            if entry is not None:
                self._check_entry(header, entry)
            elif name == _SUMS and top == self._top and not self._has_sums:
                self._check_sums(header)
            else:
                why = "it is in the archive, and not in the manifest"
                self._add_flaw(why, header.path.decode("utf-8", "surrogateescape"))
        except DamageError as error:
            if entry is not None:
                self._reasons.setdefault(entry.name, error.why)
            return False
        return True

    def _check_entry(self, header: Header, entry: Entry) -> None:
        if entry.name in self._seen:
            self._add_flaw("it is there a second time, and tar takes the last", entry.name)
        self._seen.add(entry.name)
        if header.size != entry.size_bytes:
            raise DamageError("what the archive holds under its name has another size")
        if not header.is_file or entry.name in self._good:
            self._reasons.setdefault(entry.name, "what the archive holds under its name is no plain file")
            return
        digest = hashlib.sha256()
        for part in self._reader.body():
            digest.update(part)
            self._done_bytes += len(part)
            self._progress(self._done_bytes)
        if digest.hexdigest() != entry.sha256:
            self._reasons[entry.name] = "its bytes differ from the manifest: they were changed after they were written"
            return
        self._good.add(entry.name)
        if header != place_entry(self._top, entry).header:
            self._add_flaw("its mode or its time differs from the manifest", entry.name)

    def _check_sums(self, header: Header) -> None:
        expected = sums_of(self._catalog.manifest, self._catalog.rendered)
        if header.is_file and header.size == len(expected):
            self._has_sums = b"".join(self._reader.body()) == expected

    def _add_flaw(self, why: str, name: str = "") -> None:
        flaw = Lost(name, why)
        if flaw not in self._flaws and len(self._flaws) < _MOST_FLAWS:
            self._flaws.append(flaw)
