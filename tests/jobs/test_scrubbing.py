"""Reading again: what rotted is found, named and told with the way back; what somebody changed is no rot."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess

import pytest

from ckptd.index.ledger import Check, load_checks, put_check
from ckptd.jobs import copies, rereading
from ckptd.model import Identity, PlaceState
from ckptd.policy.scrub import Outcome, find_bad
from ckptd.storage.trash import Removal, put
from tests.jobs.scrubbed import NAME, Bench, Ticking, make, rot, tensor_at

LARGE = 20_000  # rows: 2.5 MB, more than is read in one go


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    made.close()


@pytest.fixture
def two(tmp_path):
    made = Bench(tmp_path, "models", "others")
    yield made
    made.close()


def only_bad(outcome):
    (found,) = outcome.summary["bad"]
    return found


# — what is whole —


def test_what_is_whole_is_written_down_as_such(bench):
    """All of it was read, nothing is told but the figures."""
    sizes = [bench.save(f"{n}.pth", n).stat().st_size for n in range(3)]
    outcome = bench.scrub()
    assert (outcome.outcome, outcome.reason) == ("ok", "")
    assert bench.outcomes() == {"0.pth": "ok", "1.pth": "ok", "2.pth": "ok"}
    assert {key: outcome.summary[key] for key in ("checked", "ok", "left", "checked_bytes", "bad")} == {
        "checked": 3,
        "ok": 3,
        "left": 0,
        "checked_bytes": sum(sizes),
        "bad": [],
    }
    assert [entry["event"] for entry in bench.log] == ["scrub.finished"]


def test_no_time_of_a_file_changes(bench):
    """Neither mtime nor atime, which an ordinary reader would set: it is older than the mtime."""
    path = bench.save()
    os.utime(path, ns=(1_000_000_000, path.stat().st_mtime_ns))
    before = path.stat()
    bench.scrub()
    after = path.stat()
    assert (after.st_atime_ns, after.st_mtime_ns, after.st_ctime_ns) == (
        1_000_000_000,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )


def test_bytes_come_from_the_disk_and_not_from_memory(bench, monkeypatch):
    """The kernel is asked to drop the whole file before its first byte is read, and what was read after it was."""
    path, asked = bench.save(rows=LARGE), []
    advise, read = os.posix_fadvise, os.preadv
    monkeypatch.setattr(os, "posix_fadvise", lambda fd, *rest: asked.append(rest) or advise(fd, *rest))
    monkeypatch.setattr(os, "preadv", lambda fd, *rest: asked.append("read") or read(fd, *rest))
    bench.scrub()
    assert asked.index((0, 0, os.POSIX_FADV_DONTNEED)) < asked.index("read")
    dropped = sum(rest[1] for rest in asked if rest != "read" and rest[2] == os.POSIX_FADV_DONTNEED)
    assert dropped == path.stat().st_size


def test_what_is_not_good_or_not_known_is_not_read(bench):
    """A damaged file and one without a digest have nothing that they could be compared with."""
    bench.save("good.pth")
    path = bench.save("bad.pth", 1)
    path.write_bytes(path.read_bytes()[:-10])
    bench.index(path)
    bench.scrub()
    assert bench.outcomes() == {"good.pth": "ok"}


# — rot —


@pytest.mark.parametrize("rows", [64, LARGE])
def test_rot_is_found_and_named_by_tensor(bench, rows):
    """By the CRCs of the file itself; error event, audit, check row, and the outcome of the run."""
    path = bench.save("run/a.pth", 3, rows=rows)
    rot(path, tensor_at(3, rows))
    before = path.read_bytes(), path.stat()
    outcome = bench.scrub()
    assert outcome.outcome == "failed"
    assert f"{path}: its bytes are no longer those that were saved: {NAME}" in outcome.reason
    assert "no other good copy" in outcome.reason
    assert bench.outcomes() == {"run/a.pth": "rotten"}
    (told,) = bench.events("scrub.rotten")
    assert (told["log_level"], told["path"], told["tensors"]) == ("error", "run/a.pth", [NAME])
    ((where, why),) = bench.audit("scrub.rotten")
    assert (where, why["tensors"]) == ("run/a.pth", [NAME])
    assert (path.read_bytes(), path.stat()) == before
    record = bench.store.find_record(*bench.split(path))
    assert record.state is PlaceState.READY


@pytest.mark.parametrize("how", ["no crc", "legacy"])
@pytest.mark.parametrize("rows", [64, LARGE])
def test_without_crcs_a_copy_says_which_tensor(bench, how, rows):
    """What CRCs can't tell, a comparison with the good copy does, to the bit."""
    path = bench.save("a.pth", 3, how=how, rows=rows)
    copy = bench.copy(path, "b.pth")
    rot(path, tensor_at(3, rows))
    outcome = bench.scrub()
    (told,) = bench.events("scrub.rotten")
    assert told["tensors"] == [NAME]
    assert f"{NAME}: 1 bit differs from the good copy" in told["reason"]
    assert (told["copy"], told["bad_copies"]) == (str(copy), [])
    assert bench.outcomes() == {"a.pth": "rotten", "b.pth": "ok"}
    assert outcome.summary["rotten"] == 1


def test_without_crcs_and_copies_it_is_rot_all_the_same(bench):
    """The digest says so; nothing says which tensor."""
    path = bench.save("a.pth", 3, how="no crc")
    rot(path, tensor_at(3))
    outcome = bench.scrub()
    assert bench.outcomes() == {"a.pth": "rotten"}
    assert bench.events("scrub.rotten")[0]["tensors"] == []
    assert only_bad(outcome)["reason"] == "its bytes are no longer those that were saved"


def test_rot_beside_the_tensors_is_told_as_that(bench):
    """In the description of the tensors, which has a CRC; in padding, which no CRC covers; behind the last record."""
    paths = [bench.save(f"{name}.pth", seed) for seed, name in enumerate("abc")]
    for path in paths:
        bench.copy(path, f"{path.stem}2.pth")
    described, padding, directory = paths[0].read_bytes(), paths[1].read_bytes(), paths[2].read_bytes()
    rot(paths[0], described.index(b"conv1.bias"))
    rot(paths[1], padding.index(b"ZZZZZZZZ") + 2)
    rot(paths[2], directory.index(b"PK\x01\x02") + 13)  # a date in the directory at the end
    bench.scrub()
    told = {entry["path"]: entry for entry in bench.events("scrub.rotten")}
    assert [told[f"{name}.pth"]["tensors"] for name in "abc"] == [[], [], []]
    assert "no tensor is touched, but" in told["a.pth"]["reason"]
    assert "data.pkl: 1 bit differs" in told["a.pth"]["reason"]
    for name in "bc":
        assert "no tensor is touched, but what lies between the records: 1 bit" in told[f"{name}.pth"]["reason"]


def test_names_out_of_the_file_are_escaped(bench):
    """A tensor can be called anything."""
    import torch

    path = bench.paths[0] / "a.pth"
    torch.save({"evil\x1b[31m": torch.arange(64.0)}, path)
    bench.index(path)
    rot(path, torch.arange(64.0).numpy().tobytes())
    outcome = bench.scrub()
    assert bench.events("scrub.rotten")[0]["tensors"] == ["evil\\x1b[31m"]
    assert "\x1b" not in outcome.reason


def test_one_wrong_reading_is_not_rot(bench):
    """The second reading gives the right bytes: memory or a cable, and a warning."""
    path = bench.save(rows=LARGE)
    right = path.read_bytes()
    rot(path, 1_000_000)
    seen = path.stat()

    def heal():
        with path.open("r+b") as file:
            file.write(right)
        os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))

    blocks = -(-len(right) // rereading.BLOCK_BYTES)
    bench.stop.at[1 + blocks + 1] = heal  # once before the file, once before each block, then the second reading
    outcome = bench.scrub()
    assert outcome.outcome == "ok"
    assert bench.outcomes() == {"a.pth": "ok"}
    assert [entry["log_level"] for entry in bench.events("scrub.unsteady")] == ["warning"]


def test_readings_that_differ_from_each_other_are_told(bench):
    """Then it is not only the disk."""
    path = bench.save()
    rot(path, 1_000)
    bench.stop.at[3] = lambda: rot(path, 1_001)  # before the second reading
    bench.scrub()
    assert "two readings differ from each other too" in bench.events("scrub.rotten")[0]["reason"]


def test_rot_is_written_down_at_once(bench):
    """Whatever becomes of the rest of the run."""
    rot(bench.save("a.pth"), 1_000)
    bench.save("b.pth", 1)
    seen = []
    bench.stop.at[4] = lambda: seen.append(bench.outcomes())  # when the turn of the second one comes
    bench.scrub()
    assert seen == [{"a.pth": "rotten"}]


# — the last good copy —


def test_another_place_is_offered_and_its_command_repairs(two):
    """In another root; the rotten file is moved aside and not overwritten, whatever its name holds."""
    path = two.save('it\'s a "test"/a b.pth', 3)
    copy = two.save("c.pth", 3, root=1)
    rot(path, tensor_at(3))
    rotten = path.read_bytes()
    outcome = two.scrub()
    (told,) = two.events("scrub.rotten")
    assert told["copy"] == str(copy)
    assert "CRC-32" in told["reason"]  # a file that says itself what is damaged is not compared
    assert str(copy) in only_bad(outcome)["cure"]
    subprocess.run(["sh", "-ec", told["command"]], check=True)
    assert path.read_bytes() == copy.read_bytes()
    assert path.with_name("a b.pth.rotten").read_bytes() == rotten


def test_a_copy_that_rotted_too_is_not_offered(bench):
    """Each is read before it is offered; the same file under another name is no copy at all."""
    path = bench.save("a.pth", 3)
    other = bench.save("b.pth", 3)
    link = bench.paths[0] / "c.pth"
    os.link(path, link)
    bench.index(link)
    bench.index(path)
    rot(path, tensor_at(3))
    rot(other, tensor_at(3))
    bench.scrub()
    told = {entry["path"]: entry for entry in bench.events("scrub.rotten")}
    assert set(told) == {"a.pth", "b.pth", "c.pth"}
    assert all("copy" not in entry for entry in told.values())
    assert told["a.pth"]["bad_copies"] == [
        f"{other}: its bytes are not those either",
        f"{link}: it is the same file under another name",
    ]


def test_what_lies_in_the_place_of_a_copy_is_not_opened_unless_it_is_a_file(bench):
    """A FIFO would let its writer go on."""
    path = bench.save("a.pth", 3)
    fifo = bench.copy(path, "b.pth")
    fifo.unlink()
    os.mkfifo(fifo)
    rot(path, tensor_at(3))
    bench.scrub()
    assert bench.events("scrub.rotten")[0]["bad_copies"] == [f"{fifo}: another file lies there than was read before"]


def trash(bench, path):
    root, relative = bench.split(path)
    seen = Identity.of(path.stat())
    entry = put(bench.roots[0].handle.fd, Removal(relative, seen, bench.digest(path), bench.now, ("test",), "test", "run"))
    with bench.store.batch() as batch:
        batch.record_state(root, relative, PlaceState.TRASHED, now=bench.now)
    return entry.entry


def test_the_trash_is_offered(bench):
    """When no other place has it; the entry comes back under the path of the rotten one."""
    path = bench.save("sub/a.pth", 3)
    trash(bench, bench.save("other.pth", 4))
    bench.now += 1
    entry = trash(bench, bench.save("b.pth", 3))
    rot(path, tensor_at(3))
    bench.scrub()
    (told,) = bench.events("scrub.rotten")
    assert (told["copy"], told["bad_copies"]) == (f"the trash ({entry})", [])
    assert told["command"].endswith(f"&& ckptd trash restore {entry} --to sub/a.pth")


def test_an_archive_is_offered_and_named_tensors_come_from_it(bench):
    """Restored into scratch to be read; nothing of it stays there."""
    path = bench.save("a.pth", 3, how="no crc")
    archive = bench.archive(path)
    rot(path, tensor_at(3))
    bench.scrub()
    (told,) = bench.events("scrub.rotten")
    assert (told["copy"], told["tensors"]) == (archive.name, [NAME])
    assert told["command"].endswith(f"&& ckptd restore a.pth --from {archive.name}")
    assert "read just now" in told["cure"]
    assert bench.scratch() == []


def test_an_archive_is_offered_unread_where_there_is_no_room(bench):
    """Better than nothing, and said."""
    path = bench.save("a.pth", 3)
    archive = bench.archive(path)
    bench.fill_disks()
    rot(path, tensor_at(3))
    bench.scrub()
    (told,) = bench.events("scrub.rotten")
    assert told["copy"] == archive.name
    assert "not read just now" in told["cure"]
    assert bench.scratch() == []


def test_a_damaged_archive_is_not_offered(bench):
    """Its member was tried, and its digest is wrong."""
    path = bench.save("a.pth", 3, rows=LARGE)
    archive = bench.archive(path)
    rot(archive, archive.stat().st_size // 2)
    rot(path, tensor_at(3, LARGE))
    bench.scrub()
    (told,) = bench.events("scrub.rotten")
    assert "copy" not in told
    assert told["bad_copies"][0].startswith(f"{archive.name}: ")
    assert bench.scratch() == []


def test_an_archive_with_other_bytes_under_that_name_is_not_offered(bench):
    """Whoever replaced it gave it a manifest that agrees with it."""
    path = bench.save("a.pth", 3)
    archive = bench.archive(path)
    path.write_bytes(make(4))
    bench.index(path)
    bench.archive(path).replace(archive)
    path.write_bytes(make(3))
    bench.index(path)
    rot(path, tensor_at(3))
    bench.scrub()
    (told,) = bench.events("scrub.rotten")
    assert "copy" not in told
    assert told["bad_copies"] == [f"{archive.name}: its bytes are not those either"]


def test_a_nearer_copy_comes_first(bench):
    """A place before the trash, the trash before an archive; what can't be used is passed over."""
    path = bench.save("a.pth", 3)
    bench.archive(path)
    entry = trash(bench, bench.save("b.pth", 3))
    place = bench.save("c.pth", 3)
    lost = copies.Lost(*bench.split(path), bench.digest(path))
    roots = [(root.path, root.handle.fd) for root in bench.roots]
    found = [(copy.where, copy.shown) for copy in copies.list_copies(bench.store, roots, lost)]
    assert [where for where, _ in found] == ["place", "trash", "archive"]
    assert found[0][1] == str(place)
    (bench.paths[0] / ".ckptd" / "trash" / entry / "b.pth").unlink()
    place.unlink()
    assert [copy.where for copy in copies.list_copies(bench.store, roots, lost)] == ["place", "archive"]


# — what is no rot —


def test_a_file_that_somebody_changed_is_left_to_ingest(bench):
    """Another mtime, size or inode: other bytes are what one expects."""
    touched, replaced, grown = (bench.save(f"{name}.pth", 1) for name in ("touched", "replaced", "grown"))
    rot(touched, 300)
    os.utime(touched)
    seen = replaced.stat()
    replaced.with_suffix(".new").write_bytes(make(2))
    replaced.with_suffix(".new").replace(replaced)
    os.utime(replaced, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    seen = grown.stat()
    with grown.open("ab") as file:
        file.write(b"more")
    os.utime(grown, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    outcome = bench.scrub()
    assert outcome.outcome == "ok"
    assert set(bench.outcomes().values()) == {"changed"}
    assert bench.audit("scrub.rotten") == []


@pytest.mark.parametrize("what", ["gone", "fifo", "link", "directory", "parent"])
def test_what_is_no_file_any_more_is_not_opened(bench, what, monkeypatch):
    """Links lead elsewhere, and whoever opens a FIFO lets its writer go on."""
    path = bench.save("run/a.pth", 1)
    aside = bench.paths[0] / "aside"
    if what == "parent":
        path.parent.rename(aside)
        path.parent.symlink_to(aside)
    else:
        path.rename(aside)
    match what:
        case "fifo":
            os.mkfifo(path)
        case "link":
            path.symlink_to(aside)
        case "directory":
            path.mkdir()
    opened, real = [], rereading.open_beneath

    def watch(root_fd, relpath, flags):
        if not flags & os.O_PATH:
            opened.append(relpath)
        return real(root_fd, relpath, flags)

    monkeypatch.setattr(rereading, "open_beneath", watch)
    assert bench.scrub().outcome == "ok"
    assert bench.outcomes() == {"run/a.pth": "changed"}
    assert opened == []


def meanwhile(what, path):
    """Do something to a file while it is read; its times stay as they were where that is possible."""
    seen = path.stat()
    match what:
        case "replaced":
            path.with_suffix(".new").write_bytes(make(9, rows=LARGE))
            path.with_suffix(".new").replace(path)
        case "removed":
            path.unlink()
            return
        case "cut":
            os.truncate(path, 1_500_000)
        case "written":
            with path.open("r+b") as file:
                file.seek(2_000_000)
                file.write(b"other bytes")
            return
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))


@pytest.mark.parametrize("when", [3, 6])
@pytest.mark.parametrize("what", ["replaced", "removed", "cut", "written"])
def test_a_file_that_changes_while_it_is_read_is_no_rot(bench, what, when):
    """In its first or its second reading: its identity is compared before and after."""
    path = bench.save(rows=LARGE)
    rot(path, 100)  # whatever it was before: what lies there now is another file
    bench.stop.at[when] = lambda: meanwhile(what, path)  # asked before the file and before each of its three blocks
    bench.scrub()
    assert bench.outcomes() == {"a.pth": "changed"}


# — what can't be read —


def fail_reading(monkeypatch, code, at=0):
    real = os.preadv

    def read(fd, buffers, offset):
        if offset >= at:
            raise OSError(code, os.strerror(code))
        return real(fd, buffers, offset)

    monkeypatch.setattr(os, "preadv", read)


def test_a_disk_that_fails_is_an_outcome_of_its_own(bench, monkeypatch):
    """Error event and audit; a copy that can't be read either is not offered."""
    path = bench.save("a.pth", rows=LARGE)
    bench.save("b.pth", rows=LARGE)
    fail_reading(monkeypatch, errno.EIO, 1 << 20)
    outcome = bench.scrub()
    assert bench.outcomes() == {"a.pth": "unreadable", "b.pth": "unreadable"}
    assert outcome.outcome == "failed"
    assert f"{path}: it can't be read: Input/output error" in outcome.reason
    assert "1 more" in outcome.reason
    assert [where for where, _ in bench.audit("scrub.unreadable")] == ["a.pth", "b.pth"]
    assert bench.events("scrub.unreadable")[0]["bad_copies"] == [f"{bench.paths[0]}/b.pth: Input/output error"]


def test_an_error_about_a_file_that_was_taken_away_is_no_failing_disk(bench, monkeypatch):
    """Network file systems answer so."""
    path = bench.save(rows=LARGE)
    fail_reading(monkeypatch, errno.ESTALE, 1 << 20)
    bench.stop.at[3] = path.unlink
    assert bench.scrub().outcome == "ok"
    assert bench.outcomes() == {"a.pth": "changed"}


def test_a_copy_is_offered_for_what_a_disk_does_not_give(bench, monkeypatch):
    """An archive has it still."""
    path = bench.save("a.pth", 3)
    archive = bench.archive(path)
    ino, real = path.stat().st_ino, os.preadv

    def read(fd, buffers, offset):
        if os.fstat(fd).st_ino == ino:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(fd, buffers, offset)

    monkeypatch.setattr(os, "preadv", read)
    bench.scrub()
    assert bench.events("scrub.unreadable")[0]["copy"] == archive.name


def test_a_missing_right_is_no_failing_disk(bench, monkeypatch):
    """The cure is the right, and no copy is looked for."""
    bench.save("a.pth", 3)
    bench.save("b.pth", 3)

    def refuse(root_fd, relpath, flags, real=rereading.open_beneath):
        if relpath == "a.pth" and not flags & os.O_PATH:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(root_fd, relpath, flags)

    monkeypatch.setattr(rereading, "open_beneath", refuse)
    outcome = bench.scrub()
    assert bench.outcomes() == {"a.pth": "unreadable", "b.pth": "ok"}
    assert only_bad(outcome)["cure"] == "give the user that runs ckptd the right to read it"
    assert "copy" not in bench.events("scrub.unreadable")[0]


def test_another_users_file_is_read_without_that_flag(bench, monkeypatch):
    """O_NOATIME is for owners; others read all the same."""
    bench.save()

    def refuse(root_fd, relpath, flags, real=rereading.open_beneath):
        if flags & os.O_NOATIME:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return real(root_fd, relpath, flags)

    monkeypatch.setattr(rereading, "open_beneath", refuse)
    bench.scrub()
    assert bench.outcomes() == {"a.pth": "ok"}


# — roots —


def test_a_lost_root_is_not_read_and_told(two):
    """Nothing of it is bad; the other one is read."""
    two.save("a.pth")
    two.save("b.pth", root=1)
    two.roots[1].incident = "it is not mounted"
    outcome = two.scrub()
    assert two.outcomes() == {"a.pth": "ok"}
    assert outcome.outcome == "failed"
    assert "it is not mounted" in outcome.reason
    assert outcome.summary["roots_lost"] == [os.path.realpath(two.paths[1])]


def test_a_root_that_goes_while_it_is_read_makes_no_file_bad(bench, monkeypatch):
    """An unplugged disk is one incident, and not a hundred rotten checkpoints."""
    for number in range(3):
        bench.save(f"{number}.pth")
    bench.roots[0].learn(bench.store)
    fail_reading(monkeypatch, errno.EIO)
    bench.stop.at[2] = lambda: (bench.paths[0].rename(bench.paths[0].with_name("elsewhere")), bench.paths[0].mkdir())
    outcome = bench.scrub()
    assert bench.outcomes() == {}
    assert outcome.summary["left"] == 2
    assert outcome.summary["roots_lost"] == [str(bench.paths[0])]


# — time —


def names_checked(bench):
    return sorted(bench.outcomes())


def test_a_run_ends_with_its_time_and_the_next_goes_on(bench):
    """The budget is looked at between files; the longest unread come first, and then it begins anew."""
    for number in range(6):
        bench.save(f"{(number + 3) % 6}.pth", days=10 - number)  # not in the order of their names
    clock = Ticking(step=bench.settings.scrub.seconds / 10)
    outcome = bench.scrub(clock)
    done = names_checked(bench)
    assert 0 < len(done) < 4
    assert done == ["3.pth", "4.pth", "5.pth"][: len(done)]
    assert outcome.summary["left"] == 6 - len(done)
    bench.now += 60
    bench.scrub(clock)
    assert names_checked(bench) == sorted(["3.pth", "4.pth", "5.pth", "0.pth", "1.pth", "2.pth"][: 2 * len(done)])
    for _ in range(4):
        bench.now += 60
        bench.scrub(clock)
    assert len({check.at for check in bench.store.ask(load_checks).values()}) > 1
    assert len(names_checked(bench)) == 6


@pytest.mark.parametrize("speed", [0.6, 0.8])
def test_a_file_that_takes_too_long_is_given_up_and_told(bench, speed):
    """Far too slow: soon; a little too slow: when its time is up.  The others have their turn, in this run or the next."""
    huge = bench.save("huge.pth", rows=8 * LARGE, days=10)
    bench.save("small.pth")
    blocks = huge.stat().st_size >> 20
    outcome = bench.scrub(Ticking(step=bench.settings.scrub.seconds / (speed * blocks)))
    assert bench.outcomes()["huge.pth"] == "unfinished"
    assert outcome.outcome == "ok"
    (told,) = bench.events("scrub.unfinished")
    assert "scrub.seconds" in told["reason"]
    assert outcome.summary["checked_bytes"] < huge.stat().st_size
    bench.stop.after = 2
    bench.scrub()
    assert bench.outcomes() == {"huge.pth": "unfinished", "small.pth": "ok"}


def test_a_file_begun_is_finished(bench):
    """The time of the run is up in its middle."""
    bench.save("a.pth", rows=8 * LARGE, days=10)
    bench.save("b.pth")
    blocks = (bench.paths[0] / "a.pth").stat().st_size >> 20
    outcome = bench.scrub(Ticking(step=bench.settings.scrub.seconds / (blocks + 4)))
    assert bench.outcomes() == {"a.pth": "ok"}
    assert (outcome.outcome, outcome.summary["left"]) == ("ok", 1)


def test_a_stop_ends_the_run_between_two_blocks(bench):
    """What was read is written down; what was begun is read again, and the run is repeated."""
    bench.save("a.pth", days=10)
    bench.save("b.pth", rows=8 * LARGE)
    bench.stop.after = 5
    outcome = bench.scrub()
    assert outcome.outcome == "interrupted"
    assert bench.outcomes() == {"a.pth": "ok"}
    assert outcome.summary["left"] == 1


def test_a_new_content_is_a_new_turn(bench):
    """Its place was read before, these bytes never were."""
    for name in ("a.pth", "b.pth"):
        bench.save(name, 1, days=2)
    bench.scrub()
    bench.now += 60
    path = bench.save("b.pth", 2)
    bench.stop.after = 2  # the second file is not begun any more
    bench.scrub()
    checks = {path: check for (_, path), check in bench.store.ask(load_checks).items()}
    assert checks["b.pth"].at == bench.now
    assert checks["b.pth"].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert checks["a.pth"].at == bench.now - 60


# — what is bad stays bad until it was read again —


def bad(bench):
    places = {(root, path): bench.store.find_place(root, path) for root, path in bench.store.ask(load_checks)}
    contents = {place: known.sha256 for place, known in places.items() if known is not None and not known.is_missing}
    return {path: outcome for (_, path), outcome in find_bad(bench.store.ask(load_checks), contents).items()}


def test_a_repaired_file_is_read_first_and_good_again(bench):
    """Somebody copied a good copy over it; until it is read it is bad, and it is read before all others."""
    path = bench.save("a.pth", 3)
    copy = bench.save("b.pth", 3)
    rot(path, tensor_at(3))
    bench.now += 1
    bench.scrub()
    assert bad(bench) == {"a.pth": Outcome.ROTTEN}
    shutil.copy2(copy, path)
    bench.now = os.stat(path).st_ctime + 0.001
    with bench.store.batch() as batch:  # the check was made before the file was written anew
        batch.tell(put_check, Check(*bench.split(path), bench.digest(path), bench.now - 5, "rotten"))
    bench.scrub()
    assert bad(bench) == {"a.pth": Outcome.ROTTEN}  # not what the index knows yet: it is left to ingest
    bench.index(path)
    for number in range(3):
        bench.save(f"new{number}.pth", number, days=99)
    bench.stop.after = 2
    bench.scrub()
    assert bench.outcomes()["a.pth"] == "ok"
    assert [entry["path"] for entry in bench.events("scrub.healed")] == ["a.pth"]
    assert bench.audit("scrub.healed") == [("a.pth", {"before": "rotten"})]
    assert bad(bench) == {}


def test_a_rename_does_not_wash_rot_clean(bench):
    """The check stays with the old name; under its new one the file is bad as well, and the first to be read."""
    path = bench.save("a.pth", 3)
    rot(path, tensor_at(3))
    bench.scrub()
    digest = bench.digest(path)
    path.rename(path.with_name("z.pth"))
    root = bench.roots[0].path
    with bench.store.batch() as batch:
        batch.record_moved(root, "a.pth", "z.pth", Identity.of(path.with_name("z.pth").stat()), now=bench.now)
    assert find_bad(bench.store.ask(load_checks), {(root, "z.pth"): digest}) == {(root, "z.pth"): Outcome.ROTTEN}
    bench.save("b.pth", 4, days=10)
    bench.stop.after = 3
    bench.scrub()
    assert bench.outcomes() == {"a.pth": "rotten", "z.pth": "rotten"}


def test_what_is_bad_stays_so_when_it_can_not_be_read_to_its_end(bench):
    """A run that is too short for it has not seen that it is whole."""
    path = bench.save("a.pth", 3, rows=8 * LARGE)
    rot(path, tensor_at(3, 8 * LARGE))
    bench.scrub()
    bench.scrub(Ticking(step=0.45 * bench.settings.scrub.seconds))
    assert bench.events("scrub.unfinished")
    assert bench.outcomes() == {"a.pth": "rotten"}


# — beside —


def test_a_run_without_checkpoints(bench):
    """Nothing to do is fine."""
    outcome = bench.scrub()
    assert (outcome.outcome, outcome.summary["checked"]) == ("ok", 0)


def test_what_the_scrub_does_with_damage_in_many_tensors(bench):
    """A whole block of zeros: each tensor in it is named, at most a hundred."""
    import torch

    path = bench.paths[0] / "a.pth"
    torch.save({f"layer{n}.weight": torch.full((64,), float(n + 1)) for n in range(150)}, path)
    bench.index(path)
    seen, data = path.stat(), path.read_bytes()
    start, end = (data.index(torch.full((64,), float(n)).numpy().tobytes()) for n in (1, 150))
    with path.open("r+b") as file:
        file.seek(start)
        file.write(bytes(end - start))
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    bench.scrub()
    (told,) = bench.events("scrub.rotten")
    assert told["tensors"]
    assert len(told["tensors"]) <= 100
