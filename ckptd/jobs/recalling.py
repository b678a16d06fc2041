"""What need not be read, because the index knows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from ckptd.checkpoint.understanding import rename
from ckptd.errors import IndexUnavailableError
from ckptd.index.store import Recalled, Store
from ckptd.jobs.losses import Losses
from ckptd.jobs.reading import Place
from ckptd.jobs.roots import WatchedRoot
from ckptd.jobs.settling import Arrived
from ckptd.model import INSPECTOR_VERSION, Identity, Inspection, Severity, Status


class Known(NamedTuple):
    """A content that needs no reading, and where it was moved from, if it was."""

    inspection: Inspection
    source: str | None


class Word(NamedTuple):
    """What is told of a file; while it stays the same, reading the file again brings no news.

    Attributes:
        findings: codes of those that are more than information, but for what is said about the sidecar, which is no part of it.
    """

    sha256: str | None
    status: Status
    findings: frozenset[str]


def word_of(inspection: Inspection) -> Word:
    """Give what is told of a file that was read."""
    said = (one for one in inspection.findings if one.severity is not Severity.INFO and not one.code.startswith("sidecar-"))
    return Word(inspection.sha256, inspection.status, frozenset(one.code for one in said))


class Recalling:
    """Decide which of the files that arrived have to be read.

    Threading: belongs to the loop.
    """

    def __init__(self, roots: list[WatchedRoot], store: Store, losses: Losses) -> None:
        self._roots = roots
        self._store = store
        self._losses = losses
        self._unbelieved: set[Place] = set()
        self._words: dict[Place, Word] = {}

    def disbelieve(self, place: Place) -> None:
        """Have a file read the next time that it arrives, whatever is known of it."""
        self._unbelieved.add(place)

    def keep_only(self, is_there: Callable[[Place], bool]) -> None:
        """Forget what was noted of files that are not there any more."""
        self._unbelieved = {place for place in self._unbelieved if is_there(place)}
        self._words = {place: word for place, word in self._words.items() if is_there(place)}

    def pop_word(self, place: Place) -> Word | None:
        """Give what was told of a file before it was handed out to be read; None where it was not known as it lies there now.

        One that was saved again is not, nor one that comes back: that is news, whatever its bytes are.
        """
        return self._words.pop(place, None)

    def find_known(self, arrived: Sequence[Arrived]) -> dict[Identity, list[Recalled]]:
        """Ask the index once about all files that arrived; what it cannot say is read, which is slower and as right."""
        if not arrived:
            return {}
        # Numbers of devices change with a mount or a boot; a place that is the same but for that is the same.
        numbered_anew = [root.path for root in self._roots]
        try:
            return self._store.find_contents([file.identity for file in arrived], unnumbered=numbered_anew)
        except IndexUnavailableError:
            return {}

    def choose(self, file: Arrived, candidates: Sequence[Recalled]) -> Known | None:
        """Give what is known of a file; None when it has to be read.

        It has not when the index knows this very state of it, and not when it is a known file under a new name (its ctime
        alone changed, and nothing lies any more where it was).  A changed ctime alone may be a chmod or a further hard
        link, but also somebody who wrote and set the clock: such a file is read again, and so is one of which only another
        name is known.
        """
        place, root = file.place, self._roots[file.place[0]].path
        here = {
            one.path: one for one in candidates if one.root == root and one.inspection.inspector_version == INSPECTOR_VERSION
        }
        source = self._losses.find_source(place, file.identity, list(here))
        known = self._find(here.get(place[1]), here.get(source or ""), source, place[1])
        if place in self._unbelieved:
            self._unbelieved.discard(place)
            known = None
        if known is None:
            self._keep_word(place, root, candidates)
        if known is None and source is not None:  # it will be known as a file of its own, and the old place is empty
            self._losses.miss((place[0], source))
        return known

    def _keep_word(self, place: Place, root: str, candidates: Sequence[Recalled]) -> None:
        """Remember what was told of a file that is read again: for its sidecar, a newer inspector, a chmod or another link."""
        self._words.pop(place, None)
        for one in candidates:
            if (one.root, one.path) == (root, place[1]) and not one.is_gone:
                self._words[place] = word_of(one.inspection)

    def _find(self, same: Recalled | None, moved: Recalled | None, source: str | None, path: str) -> Known | None:
        if moved is not None:
            return Known(replace(moved.inspection, metadata=rename(moved.inspection.metadata, path)), source)
        return Known(same.inspection, None) if same is not None and same.is_exact else None
