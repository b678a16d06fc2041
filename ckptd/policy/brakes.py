"""Losses that are too large to be believed: they freeze, and a person is asked.

A share that was unmounted, a disk that dropped out, a `mv` of the wrong directory all look like "the files are gone".
Nothing is marked missing in a frozen part; what is seen there is still taken in, and the freeze ends when the files are
back or the operator confirms.  New files end none, nor does another disk in the lost one's place.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from ckptd.model import RawIdentity
from ckptd.policy.reconcile import Changes

#: Losing more than this share of the known files at once is an incident.
LOST_FRACTION = 0.20
#: Below this many lost files the share says little: three of five is an evening of tidying up.
LOST_AT_LEAST = 10


@dataclass(frozen=True, slots=True)
class Freeze:
    """A part of a root in which nothing may be taken for gone.

    Attributes:
        part: directory relative to the root that holds all of `lost`; "" is the root.
        why: one phrase for a person, numbers in it.
        lost: the places that are not there, sorted.
    """

    part: str
    why: str
    lost: tuple[str, ...]

    def covers(self, path: str) -> bool:
        """Say whether this path lies in the frozen part."""
        return self.part == "" or path == self.part or path.startswith(self.part + "/")


def find_freezes(
    changes: Changes,
    known: Mapping[str, RawIdentity],
    devices: Collection[int] = (),
    *,
    before: Iterable[Freeze] = (),
) -> tuple[Freeze, ...]:
    """Say which parts a reconciled scan freezes.

    Moved places are not lost, and neither are those in doubt.

    Args:
        changes: of `known` and the scan.
        known: as it was given to `reconcile`.
        devices: st_dev of every directory that was read; empty when the scan was of a part or nobody noted them.
        before: what was frozen at the last look; what is still gone of it stays frozen, whatever came in the meantime.
    """
    freezes = _find_lost_mounts(changes, known, devices)
    explained = {path for freeze in freezes for path in freeze.lost}
    lost = tuple(path for path in changes.vanished if path not in explained)
    total = _count_present(changes)
    if len(lost) >= LOST_AT_LEAST and len(lost) > LOST_FRACTION * total:
        why = f"{len(lost):,} of {total:,} known files are gone at once, more than {LOST_FRACTION:.0%}"
        freezes.append(Freeze(find_common_directory(lost), why, lost))
        explained.update(lost)
    gone = {*changes.vanished, *changes.doubtful} - explained
    return (*freezes, *_find_held(before, gone))


def _find_held(before: Iterable[Freeze], gone: Collection[str]) -> Iterator[Freeze]:
    """Give what is left of earlier freezes."""
    for freeze in before:
        held = tuple(path for path in freeze.lost if path in gone)
        if held:
            yield Freeze(find_common_directory(held), f"files that were gone at once are not back: {len(held):,}", held)


def _count_present(changes: Changes) -> int:
    """Count the places that were there before the scan."""
    lists = (changes.changed, changes.vanished, changes.moved, changes.renumbered, changes.doubtful)
    return changes.same + sum(map(len, lists))


def _find_lost_mounts(changes: Changes, known: Mapping[str, RawIdentity], devices: Collection[int]) -> list[Freeze]:
    if not devices:
        return []
    # A device that only got another number is not lost, though its old number is seen nowhere.
    present = set(devices) | {known[path][0] for path in changes.renumbered}
    lost: dict[int, list[str]] = {}
    for path in changes.vanished:
        if known[path][0] not in present:
            lost.setdefault(known[path][0], []).append(path)
    why = "the file system that held {:,} known files is not mounted"
    return [Freeze(find_common_directory(paths), why.format(len(paths)), tuple(paths)) for paths in lost.values()]


def find_common_directory(paths: Collection[str]) -> str:
    """Give the deepest directory that holds all of the files; "" is the root."""
    lowest, highest = min(paths).split("/")[:-1], max(paths).split("/")[:-1]
    common = []
    for one, other in zip(lowest, highest, strict=False):
        if one != other:
            break
        common.append(one)
    return "/".join(common)
