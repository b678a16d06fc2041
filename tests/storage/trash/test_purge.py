"""Only what waited long enough and is what was put there is ever unlinked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ckptd.errors import StorageError
from ckptd.model import Openness
from ckptd.storage.trash import PurgeOutcome, holding, list_entries, purge, purging, put, restore, sweep, trash_bytes
from ckptd.storage.trash.entries import open_entry
from tests.storage.trash.making import DATA, DAY, NOW, exchange_for, removal, trash_of, trashed, tree, write

GRACE = 14 * DAY


def put_away(root: Path, root_fd: int, companions: tuple[str, ...] = ("a_metadata.json",)) -> str:
    write(root, "a.pth")
    for name in companions:
        write(root, name, name.encode())
    return put(root_fd, removal(root, "a.pth", companions)).entry


def test_what_waited_long_enough_goes_with_its_companions(root: Path, root_fd: int) -> None:
    entry = put_away(root, root_fd)
    blocks = sum(file.stat().st_blocks * 512 for file in (trash_of(root) / entry).iterdir() if file.name != "manifest.json")
    done = purge(root_fd, entry, NOW + GRACE, grace_seconds=GRACE)
    assert (done.outcome, done.freed_bytes, done.links, done.path) == (PurgeOutcome.PURGED, blocks, 0, "a.pth")
    assert os.listdir(trash_of(root)) == []
    assert purge(root_fd, entry, NOW + GRACE, grace_seconds=GRACE).outcome is PurgeOutcome.NO_ENTRY


@pytest.mark.parametrize(
    ("now", "grace", "outcome"),
    [
        (NOW, GRACE, PurgeOutcome.YOUNG),
        (NOW + GRACE - 0.001, GRACE, PurgeOutcome.YOUNG),
        (NOW + GRACE, GRACE, PurgeOutcome.PURGED),
        (NOW, 0.0, PurgeOutcome.PURGED),
        (NOW - 0.001, 0.0, PurgeOutcome.IN_THE_FUTURE),
        (NOW - 100 * DAY, GRACE, PurgeOutcome.IN_THE_FUTURE),
        (float("nan"), GRACE, PurgeOutcome.IN_THE_FUTURE),
        (NOW + GRACE, float("nan"), PurgeOutcome.YOUNG),
    ],
)
def test_the_grace_period(root: Path, root_fd: int, now: float, grace: float, outcome: PurgeOutcome) -> None:
    """0 takes it at once, but a clock that was set back never."""
    entry = put_away(root, root_fd)
    done = purge(root_fd, entry, now, grace_seconds=grace)
    assert done.outcome is outcome
    assert bool(done.why) == (outcome is not PurgeOutcome.PURGED)
    assert len(trashed(root)) == (0 if outcome is PurgeOutcome.PURGED else 2)


def change(root: Path, entry: str, name: str, how: str) -> None:
    place = trash_of(root) / entry / name
    before = place.stat()
    match how:
        case "a bit":
            data = bytearray(place.read_bytes())
            data[0] ^= 1
            place.write_bytes(data)
        case "shorter":
            os.truncate(place, 3)
        case "another":
            place.unlink()
            place.write_bytes(b"another")
        case "link":
            place.rename(root.parent / "moved")
            place.symlink_to(root.parent / "moved")
            return
        case "directory":
            place.unlink()
            place.mkdir()
            return
    os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("how", ["a bit", "shorter", "another", "link", "directory"])
@pytest.mark.parametrize("name", ["a.pth", "a_metadata.json"])
def test_what_changed_in_the_trash_goes_back_and_nothing_is_unlinked(root: Path, root_fd: int, how: str, name: str) -> None:
    """Whatever its times say; a link or a directory in its stead as well."""
    entry = put_away(root, root_fd)
    change(root, entry, name, how)
    done = purge(root_fd, entry, NOW + GRACE, grace_seconds=GRACE)
    assert done.outcome is PurgeOutcome.GONE_BACK
    assert done.back == ("a.pth", "a_metadata.json")
    assert done.freed_bytes == 0
    assert sorted(os.listdir(root)) == [".ckptd", "a.pth", "a_metadata.json"]
    assert os.listdir(trash_of(root)) == []
    if how == "link":
        assert (root.parent / "moved").exists()


def test_what_changed_stays_when_its_place_is_taken(root: Path, root_fd: int) -> None:
    entry = put_away(root, root_fd)
    change(root, entry, "a.pth", "a bit")
    write(root, "a.pth", b"new")
    for _ in range(2):
        done = purge(root_fd, entry, NOW + GRACE, grace_seconds=GRACE)
        assert done.outcome is PurgeOutcome.CHANGED
        assert "overwritten" in done.why
    assert tree(root) == {"a.pth": b"new"}
    assert len(trashed(root)) == 2
    assert list_entries(root_fd)[0].problem == ""


@pytest.mark.parametrize("name", ["a.pth", "a_metadata.json"])
def test_what_is_open_stays(root: Path, root_fd: int, name: str) -> None:
    entry = put_away(root, root_fd)
    with (trash_of(root) / entry / name).open("rb"):
        done = purge(root_fd, entry, NOW + GRACE, grace_seconds=GRACE)
    assert (done.outcome, [left.path for left in done.left]) == (PurgeOutcome.OPEN, [name])
    assert len(trashed(root)) == 2
    assert list_entries(root_fd)[0].problem == ""
    assert purge(root_fd, entry, NOW + GRACE, grace_seconds=GRACE).outcome is PurgeOutcome.PURGED


@pytest.mark.parametrize("when", ["while it is read", "after everything was read"])
@pytest.mark.parametrize("how", ["opened", "rewritten", "replaced"])
@pytest.mark.parametrize("name", ["a.pth", "a_metadata.json"])
def test_what_happens_to_it_meanwhile_is_seen(
    root: Path, root_fd: int, monkeypatch: pytest.MonkeyPatch, when: str, how: str, name: str
) -> None:
    """Before the unlinking somebody opens, rewrites or replaces it: it stays or goes back."""
    entry = put_away(root, root_fd)
    place = trash_of(root) / entry / name
    size, digest_of, set_state, opened = place.stat().st_size, purging.digest_of, purging.set_state, []

    def meddle() -> None:
        match how:
            case "opened":
                opened.append(place.open("rb"))
            case "rewritten":
                place.write_bytes(place.read_bytes().upper())
            case _:
                place.with_name("x").write_bytes(b"new")
                place.with_name("x").rename(place)

    def digest_slowly(fd: int) -> str:
        found = digest_of(fd)
        if when == "while it is read" and os.fstat(fd).st_size == size:
            meddle()
        return found

    def set_state_slowly(*args) -> None:
        if when == "after everything was read" and args[2] == "purging.json":
            meddle()
        set_state(*args)

    monkeypatch.setattr(purging, "digest_of", digest_slowly)
    monkeypatch.setattr(purging, "set_state", set_state_slowly)
    done = purge(root_fd, entry, NOW + GRACE, grace_seconds=GRACE)
    for file in opened:
        file.close()
    everything = {Path(path).name: data for path, data in (tree(root) | trashed(root)).items()}
    assert name in everything, "it is still there"
    if name == "a.pth" or (when == "while it is read" and how != "opened"):
        assert done.outcome is (PurgeOutcome.OPEN if how == "opened" else PurgeOutcome.GONE_BACK)
        assert "a.pth" in everything
        assert "a_metadata.json" in everything


def test_a_file_with_other_names_frees_nothing(root: Path, root_fd: int) -> None:
    file = write(root, "a.pth")
    os.link(file, root / "b.pth")
    entry = put(root_fd, removal(root, "a.pth")).entry
    assert list_entries(root_fd)[0].frees_bytes < file.parent.joinpath("b.pth").stat().st_blocks * 512
    done = purge(root_fd, entry, NOW, grace_seconds=0)
    assert (done.outcome, done.freed_bytes, done.links) == (PurgeOutcome.PURGED, 0, 1)
    assert tree(root) == {"b.pth": DATA}


def test_the_original_of_an_exchange_goes_and_the_smaller_file_stays(root: Path, root_fd: int) -> None:
    write(root, "a.pth")
    entry = exchange_for(root_fd, removal(root, "a.pth"), b"small").entry
    assert purge(root_fd, entry, NOW, grace_seconds=0).outcome is PurgeOutcome.PURGED
    assert tree(root) == {"a.pth": b"small"}


@pytest.mark.parametrize("what", ["no manifest", "broken", "a stranger's file", "interrupted", "kept"])
def test_what_is_not_understood_is_never_unlinked(root: Path, root_fd: int, what: str) -> None:
    entry = put_away(root, root_fd)
    place = trash_of(root) / entry
    match what:
        case "no manifest":
            (place / "manifest.json").unlink()
        case "broken":
            (place / "manifest.json").write_text("[]")
        case "a stranger's file":
            (place / "notes").write_bytes(b"a person's")
        case "interrupted":
            (place / "manifest.json").rename(place / "intent.json")
        case _:
            (place / "manifest.json").rename(place / "kept.json")
    before = trashed(root)
    done = purge(root_fd, entry, NOW + GRACE, grace_seconds=0)
    assert done.outcome is (PurgeOutcome.UNFINISHED if what == "interrupted" else PurgeOutcome.BROKEN)
    assert done.why
    assert trashed(root) == before


def test_an_entry_that_another_process_works_on_is_left_to_it(root: Path, root_fd: int) -> None:
    entry = put_away(root, root_fd)
    trash_fd = os.open(trash_of(root), os.O_RDONLY)
    with open_entry(trash_fd, entry):
        assert purge(root_fd, entry, NOW, grace_seconds=0).outcome is PurgeOutcome.BUSY
    os.close(trash_fd)


def test_where_nobody_can_say_whether_it_is_open_the_caller_decides(
    root: Path, root_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = put_away(root, root_fd)

    def refuse(*_: object) -> int:
        raise PermissionError(13, "another user's")

    monkeypatch.setattr(holding.fcntl, "fcntl", refuse)
    assert purge(root_fd, entry, NOW, grace_seconds=0).outcome is PurgeOutcome.OPENNESS_UNKNOWN
    assert len(trashed(root)) == 2
    done = purge(root_fd, entry, NOW, grace_seconds=0, accept=(Openness.CLOSED, Openness.UNKNOWN))
    assert done.outcome is PurgeOutcome.PURGED


@pytest.mark.parametrize("nth", [1, 2])
def test_when_the_disk_says_no_a_second_try_goes_on(
    root: Path, root_fd: int, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    entry = put_away(root, root_fd)
    real, calls = os.unlink, [0]

    def unlink(*args, **where) -> None:
        calls[0] += 1
        if calls[0] == nth:
            raise OSError(5, os.strerror(5))
        real(*args, **where)

    monkeypatch.setattr(os, "unlink", unlink)
    if nth == 1:
        with pytest.raises(StorageError, match="Input/output error"):
            purge(root_fd, entry, NOW, grace_seconds=0)
    else:
        assert [left.path for left in purge(root_fd, entry, NOW, grace_seconds=0).left] == ["a_metadata.json"]
    monkeypatch.undo()
    assert len(trashed(root)) == 3 - nth
    assert sweep(root_fd, NOW) == []
    assert purge(root_fd, entry, NOW, grace_seconds=0).outcome is PurgeOutcome.PURGED
    assert os.listdir(trash_of(root)) == []


def test_only_companions_that_stayed_behind_go_too(root: Path, root_fd: int) -> None:
    """Their checkpoint was restored, their place was taken, and nobody wanted them for as long as it takes."""
    entry = put_away(root, root_fd)
    write(root, "a_metadata.json", b"a person's")
    restore(root_fd, entry)
    done = purge(root_fd, entry, NOW + GRACE, grace_seconds=GRACE)
    assert (done.outcome, done.path, done.sha256) == (PurgeOutcome.PURGED, None, None), "the checkpoint was not purged"
    assert tree(root) == {"a.pth": DATA, "a_metadata.json": b"a person's"}
    assert trash_bytes(root_fd) == 0


def test_an_entry_without_anything_in_it_was_not_purged(root: Path, root_fd: int) -> None:
    """Its checkpoint may have been restored just before a kill."""
    entry = put_away(root, root_fd, ())
    (trash_of(root) / entry / "a.pth").rename(root / "a.pth")
    assert purge(root_fd, entry, NOW, grace_seconds=0).outcome is PurgeOutcome.NO_ENTRY
    assert (tree(root), list_entries(root_fd)) == ({"a.pth": DATA}, [])
