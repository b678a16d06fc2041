"""`kill -9` at every step: what was a checkpoint is in its place or in the trash, whole, and everything goes on from there.

The long form: CKPTD_SOAK_KILLS=1000 makes so many kills in the last test, on a tree that lives through all of them.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from ckptd.storage import kernel
from ckptd.storage.trash import Healing, Removal, list_entries, purge, put, restore, sweep
from tests.storage.trash.kills import is_killed, without_flags
from tests.storage.trash.making import DATA, NOW, exchange_for, removal, trash_of, trashed, tree, write

KILLS = int(os.environ.get("CKPTD_SOAK_KILLS", "40"))
SMALL = b"the weights alone " * 20
SIDECAR = b'{"notes": "a person wrote this"}'
COMPANIONS = ("a_metadata.json", "exports/a.onnx")
WAYS = {"flags": lambda: None, "no flags": without_flags}


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no sync wait for the disk: what a kill leaves is what the kernel knows, and that is all that is asked here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[[], tuple[Path, int]]:
    """Make a new root each time, with a checkpoint and what travels with it."""
    made, fds = [0], []

    def make() -> tuple[Path, int]:
        made[0] += 1
        root = tmp_path / str(made[0])
        write(root, "a.pth")
        write(root, COMPANIONS[0], SIDECAR)
        write(root, COMPANIONS[1], b"export")
        fds.append(os.open(root, os.O_RDONLY))
        return root, fds[-1]

    yield make
    for fd in fds:
        os.close(fd)


BEFORE = {"a.pth": DATA, COMPANIONS[0]: SIDECAR, COMPANIONS[1]: b"export"}


def everything(root: Path) -> dict[bytes, list[str]]:
    """Give all bytes that lie anywhere, each file once however many names it has."""
    found, seen = {}, set()
    for directory, _, names in os.walk(root):
        for name in names:
            path = os.path.join(directory, name)
            if os.stat(path).st_ino not in seen:
                seen.add(os.stat(path).st_ino)
                found.setdefault(Path(path).read_bytes(), []).append(path)
    return found


def places(root: Path, data: bytes) -> list[str]:
    """Give everywhere that these bytes lie."""
    return everything(root).get(data, [])


def heal(root_fd: int) -> list[Healing]:
    """Sweep, and see that a second sweep has nothing to do."""
    healed = sweep(root_fd, NOW)
    assert sweep(root_fd, NOW) == []
    assert [entry.problem for entry in list_entries(root_fd) if entry.problem] == []
    return [one.healing for one in healed]


def kill_everywhere(fresh: Callable, prepare: Callable, action: Callable, check: Callable, way: str = "flags") -> set[Healing]:
    """Kill an action at its 1st, 2nd … change of the disk, sweep and check; what the sweeps did."""
    seen, number = set(), 0
    while True:
        number += 1
        root, root_fd = fresh()
        ready = prepare(root, root_fd)
        if not is_killed(number, lambda: action(root_fd, ready), WAYS[way]):  # noqa: B023 — called within the turn
            break
        seen.update(heal(root_fd))
        assert len(places(root, DATA)) == 1, "in place or in the trash, exactly once"
        check(root, root_fd)
    assert number > 8
    return seen


@pytest.mark.parametrize("way", list(WAYS))
def test_put(fresh: Callable, way: str) -> None:
    """Everything is where it was, or all of it is in the trash and comes back."""
    outcomes = set()

    def check(root: Path, root_fd: int) -> None:
        entries = list_entries(root_fd)
        outcomes.add(len(entries))
        if not entries:
            assert tree(root) == BEFORE
            put(root_fd, removal(root, "a.pth", COMPANIONS))
            entries = list_entries(root_fd)
        assert tree(root) == {}
        restore(root_fd, entries[0].name)
        assert tree(root) == BEFORE
        assert os.listdir(trash_of(root)) == []

    seen = kill_everywhere(fresh, lambda root, _: removal(root, "a.pth", COMPANIONS), put, check, way)
    assert outcomes == {0, 1}
    assert {Healing.UNDONE, Healing.FINISHED} <= seen


def test_exchange(fresh: Callable) -> None:
    """The name has the original, or the smaller file and the trash has the original; nothing half of either is left."""
    outcomes = set()

    def check(root: Path, root_fd: int) -> None:
        entries = list_entries(root_fd)
        outcomes.add(len(entries))
        if not entries:
            assert tree(root) == BEFORE
            assert os.listdir(root / ".ckptd/trash") == [] if trash_of(root).exists() else True
            return
        assert tree(root) == {**BEFORE, "a.pth": SMALL}
        assert list(trashed(root).values()) == [DATA]
        restore(root_fd, entries[0].name, "whole.pth")
        assert tree(root) == {**BEFORE, "a.pth": SMALL, "whole.pth": DATA}

    seen = kill_everywhere(
        fresh, lambda root, _: removal(root, "a.pth"), lambda fd, order: exchange_for(fd, order, SMALL), check
    )
    assert outcomes == {0, 1}
    assert seen == {Healing.EMPTY, Healing.UNDONE, Healing.FINISHED}


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("to", [None, "made/anew/b.pth"])
def test_restore(fresh: Callable, way: str, to: str | None) -> None:
    """It is still in the trash, or back with all that travels with it, where it was to go."""
    outcomes, back = set(), BEFORE
    if to is not None:
        back = {"made/anew/b.pth": DATA, "made/anew/b_metadata.json": SIDECAR, COMPANIONS[1]: b"export"}

    def check(root: Path, root_fd: int) -> None:
        entries = list_entries(root_fd)
        outcomes.add(len(entries))
        if entries:
            assert tree(root) == {}
            restore(root_fd, entries[0].name, to)
        assert tree(root) == back
        assert all(file.stat().st_nlink == 1 for file in root.rglob("*.pth"))
        assert os.listdir(trash_of(root)) == []

    def prepare(root: Path, root_fd: int) -> str:
        return put(root_fd, removal(root, "a.pth", COMPANIONS)).entry

    seen = kill_everywhere(fresh, prepare, lambda fd, entry: restore(fd, entry, to), check, way)
    assert outcomes == {0, 1}
    assert {Healing.RESTORED, Healing.EMPTY} <= seen


def test_purge(fresh: Callable) -> None:
    """All of it is still in the trash, or all of it is gone; never a checkpoint without the notes that a person wrote to it."""
    outcomes, seen, number = set(), set(), 0
    while True:
        number += 1
        root, root_fd = fresh()
        entry = put(root_fd, removal(root, "a.pth", COMPANIONS)).entry
        if not is_killed(number, lambda: purge(root_fd, entry, NOW, grace_seconds=0)):  # noqa: B023 — called within the turn
            break
        seen.update(heal(root_fd))
        entries = list_entries(root_fd)
        outcomes.add(len(entries))
        assert len(trashed(root)) == (3 if entries else 0)
        if entries:
            assert purge(root_fd, entry, NOW, grace_seconds=0).outcome == "purged"
        assert os.listdir(trash_of(root)) == []
    assert outcomes == {0, 1}
    assert seen == {Healing.NOT_PURGED, Healing.PURGED, Healing.EMPTY}


@pytest.mark.parametrize("way", ["flags", "exchange"])
def test_a_save_that_falls_together_with_the_kill_is_not_lost(fresh: Callable, way: str) -> None:
    """Somebody saves just before the rename, and the kill comes at every step after: the save is in its place."""
    saved = b"what somebody saved meanwhile"
    outcomes = set()

    def prepare(root: Path, root_fd: int) -> tuple[Path, Removal]:
        (root / "editor~").write_bytes(saved)
        return root, removal(root, "a.pth")

    def action(root_fd: int, ready: tuple[Path, Removal]) -> None:
        root, order = ready
        inner, done = kernel.rename_between, []

        def rename(*args) -> None:
            if not done:
                done.append(True)
                os.replace(root / "editor~", root / "a.pth")
            inner(*args)

        kernel.rename_between = rename
        try:
            exchange_for(root_fd, order, SMALL) if way == "exchange" else put(root_fd, order)
        except Exception as error:
            assert getattr(error, "refusal", None) == "changed", error  # noqa: PT017 — in a child of its own

    number = 0
    while True:
        number += 1
        root, root_fd = fresh()
        ready = prepare(root, root_fd)
        if not is_killed(number, lambda: action(root_fd, ready)):  # noqa: B023 — called within the turn
            break
        was_saved = not (root / "editor~").exists()
        outcomes.update(heal(root_fd))
        assert (root / "a.pth").read_bytes() == (saved if was_saved else DATA)
        assert places(root, SMALL) == []
        assert list_entries(root_fd) == []
    assert Healing.GIVEN_BACK in outcomes


def test_a_sweep_that_is_killed_is_finished_by_the_next(fresh: Callable) -> None:
    """At each of its own steps, on what a kill in the middle of a put, a restore or a purge left."""

    def put_away(root: Path, root_fd: int) -> str:
        return put(root_fd, removal(root, "a.pth", COMPANIONS)).entry

    scenes = [
        (lambda root, _: removal(root, "a.pth", COMPANIONS), put),
        (put_away, restore),
        (put_away, lambda fd, entry: purge(fd, entry, NOW, grace_seconds=0)),
        (lambda root, _: removal(root, "a.pth"), lambda fd, order: exchange_for(fd, order, SMALL)),
    ]
    kills = 0
    for prepare, action in scenes:
        for first in range(1, 60, 5):
            for second in range(1, 60, 3):
                root, root_fd = fresh()
                ready = prepare(root, root_fd)
                if not is_killed(first, lambda: action(root_fd, ready)):  # noqa: B023 — called within the turn
                    break
                if not is_killed(second, lambda: sweep(root_fd, NOW)):  # noqa: B023 — called at once
                    break
                kills += 2
                heal(root_fd)
                was_purged = action is scenes[2][1] and not list_entries(root_fd)
                assert len(places(root, DATA)) == (0 if was_purged else 1)
    assert kills > 40


def test_a_long_life_with_many_kills(tmp_path: Path) -> None:
    """Puts, exchanges, restores and purges in any order on one tree, each killed somewhere: no checkpoint is ever lost."""
    chance, kills, turn = random.Random(20261124), 0, 0
    root_fd = None
    try:
        root = tmp_path / "models"
        living = {}
        for index in range(8):
            data = b"checkpoint %d " % index * 50
            living[data] = write(root, f"run{index % 3}/c{index}.pth", data)
            write(root, f"run{index % 3}/c{index}_metadata.json", b"of %d" % index)
        root_fd = os.open(root, os.O_RDONLY)
        while kills < KILLS:
            turn += 1
            action, dying = _any_action(chance, root, root_fd, turn)
            way = chance.choice(list(WAYS)) if dying is not SMALL else "flags"
            kills += is_killed(chance.randrange(1, 45), action, WAYS[way])
            heal(root_fd)
            lying = everything(root)
            for data in list(living):
                where = lying.get(data, [])
                if not where and data == dying:  # a purge was at it, and it was its turn
                    del living[data]
                    again = b"checkpoint of turn %d " % turn * 50
                    living[again] = write(root, f"run{turn % 3}/t{turn}.pth", again)
                    write(root, f"run{turn % 3}/t{turn}_metadata.json", b"of %d" % turn)
                else:
                    assert len(where) == 1, (turn, where)
    finally:
        if root_fd is not None:
            os.close(root_fd)


def _any_action(chance: random.Random, root: Path, root_fd: int, turn: int) -> tuple[Callable[[], object], bytes | None]:
    """Choose what is done next, and the bytes that may be gone afterwards."""
    at = NOW + turn
    entries = [entry for entry in list_entries(root_fd) if entry.holds_checkpoint]
    files = sorted(path for path in tree(root) if path.endswith(".pth"))
    if files and (not entries or chance.random() < 0.5):
        path = chance.choice(files)
        sidecar = path.removesuffix(".pth") + "_metadata.json"
        order = removal(root, path, [sidecar] if (root / sidecar).exists() else [], at=at)
        if chance.random() < 0.3:
            order = removal(root, path, at=at)
            return lambda: exchange_for(root_fd, order, b"small %d" % turn), SMALL
        return lambda: put(root_fd, order), None
    entry = chance.choice(entries)
    data = (trash_of(root) / entry.name / entry.manifest.checkpoint.stored).read_bytes()
    if chance.random() < 0.3:
        return lambda: purge(root_fd, entry.name, at, grace_seconds=0), data
    to = None if chance.random() < 0.5 else f"back{turn % 4}/r{turn}.pth"
    if (root / (to or entry.manifest.checkpoint.path)).exists():
        to = f"back/other{turn}.pth"
    return lambda: restore(root_fd, entry.name, to), None
