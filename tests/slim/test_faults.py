"""Bad days: full disks, changing files, damage, workers that lie.  The target is empty then, and nothing else was touched."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from ckptd.errors import WorkerError
from ckptd.sandbox.confine import Layers
from ckptd.slim import planning
from ckptd.slim.refusal import SlimError, SlimInterruptedError
from tests.corpus import objects, savers
from tests.slim.slimmed import call, opened, slim


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    """A checkpoint of a few megabytes, so that it takes several writes."""
    import torch

    model, optimizer = objects.trained("Adam")
    value = {"model": model.state_dict() | {"large": torch.randn(700_000)}, "optimizer": optimizer.state_dict(), "epoch": 3}
    savers.save_zip(value, tmp_path / "a.pth")
    return tmp_path / "a.pth"


def assert_untouched(checkpoint: Path, before: bytes, names: set[str]) -> None:
    """Nothing but the target was made, and that is empty."""
    assert checkpoint.read_bytes() == before
    assert {path.name for path in checkpoint.parent.iterdir()} == names
    assert (checkpoint.parent / "b.pth").stat().st_size == 0


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_disk_that_says_no(checkpoint, monkeypatch, number, code):
    """At every write, and worth another try."""
    before, calls, write = checkpoint.read_bytes(), [], os.pwrite

    def failing(fd, data, offset):
        calls.append(offset)
        if len(calls) > number:
            raise OSError(code, os.strerror(code))
        return write(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", failing)
    with pytest.raises(SlimInterruptedError, match=os.strerror(code)) as told:
        slim(checkpoint, checkpoint.parent / "b.pth")
    assert not told.value.permanent
    assert_untouched(checkpoint, before, {"a.pth", "b.pth"})


def test_a_disk_that_says_no_at_the_end(checkpoint, monkeypatch):
    """What can't be synced is not there."""
    before = checkpoint.read_bytes()

    def failing(_):
        raise OSError(errno.EIO, "")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(SlimInterruptedError, match=os.strerror(errno.EIO)):
        slim(checkpoint, checkpoint.parent / "b.pth")
    assert_untouched(checkpoint, before, {"a.pth", "b.pth"})


def test_short_writes_are_finished(checkpoint, monkeypatch):
    """A kernel may take less than it is given, and give less than it is asked for."""
    write, read = os.pwrite, os.preadv
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: write(fd, data[: max(1, len(data) // 2)], offset))
    monkeypatch.setattr(
        os, "preadv", lambda fd, buffers, offset: read(fd, [buffers[0][: max(1, len(buffers[0]) // 3)]], offset)
    )
    assert slim(checkpoint, checkpoint.parent / "b.pth").dropped == ("optimizer",)


def test_room_that_has_to_stay_free(checkpoint, monkeypatch):
    """Before the first byte, and in words."""
    before = checkpoint.read_bytes()
    monkeypatch.delattr(os, "pwrite")
    with pytest.raises(SlimInterruptedError, match=r"would take 2\.7 MiB, and 1024\.0 PiB of the disk have to stay free"):
        slim(checkpoint, checkpoint.parent / "b.pth", free_bytes=1 << 60)
    assert_untouched(checkpoint, before, {"a.pth", "b.pth"})


def test_room_that_runs_out_meanwhile(checkpoint, monkeypatch):
    """It is looked at again while the file grows."""
    from ckptd.slim import writing

    told = os.statvfs(checkpoint.parent)
    looks: list[int] = []

    class Filling:
        f_frsize = 1

        def __init__(self) -> None:
            looks.append(1)
            self.f_bavail = told.f_bavail * told.f_frsize if len(looks) < 2 else 0

    monkeypatch.setattr(os, "fstatvfs", lambda _: Filling())
    monkeypatch.setattr(writing, "_LOOK_BYTES", 1 << 20)
    with pytest.raises(SlimInterruptedError, match="stay free"):
        slim(checkpoint, checkpoint.parent / "b.pth", free_bytes=1 << 20)
    assert len(looks) == 2


def test_progress_is_told_and_may_end_the_work(checkpoint):
    """Bytes of the smaller file, rising to its size; what it raises comes through."""
    told: list[int] = []
    found = slim(checkpoint, checkpoint.parent / "b.pth", progress=told.append)
    assert told == sorted(told)
    assert told[-1] == found.size_bytes
    before = checkpoint.read_bytes()

    def stop(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        slim(checkpoint, checkpoint.parent / "b.pth", progress=stop)
    assert_untouched(checkpoint, before, {"a.pth", "b.pth"})


def test_damage_in_what_stays_is_found(checkpoint):
    """A flipped bit in a weight: nothing is made of a file that is not what was saved."""
    raw = bytearray(checkpoint.read_bytes())
    raw[len(raw) // 2] ^= 1
    checkpoint.write_bytes(raw)
    with pytest.raises(SlimError, match="CRC-32 they were saved with: it is damaged") as told:
        slim(checkpoint, checkpoint.parent / "b.pth")
    assert told.value.permanent
    assert_untouched(checkpoint, bytes(raw), {"a.pth", "b.pth"})


def test_damage_in_what_goes_is_found_too(checkpoint):
    """A damaged file is never made smaller, wherever the damage is."""
    import torch

    moment = torch.load(checkpoint)["optimizer"]["state"][4]["exp_avg"].numpy().tobytes()
    raw = bytearray(checkpoint.read_bytes())
    raw[raw.find(moment)] ^= 1
    checkpoint.write_bytes(raw)
    with pytest.raises(SlimError, match="CRC-32 they were saved with"):
        slim(checkpoint, checkpoint.parent / "b.pth")


@pytest.mark.parametrize("change", [lambda path: path.open("ab").write(b"x"), os.utime])
def test_a_file_that_changes_meanwhile(checkpoint, change):
    """Longer, or only touched: it is not the file that was read."""

    def changing(done: int) -> None:
        change(checkpoint)

    with pytest.raises(SlimError):
        slim(checkpoint, checkpoint.parent / "b.pth", progress=changing)
    assert (checkpoint.parent / "b.pth").stat().st_size == 0


def test_a_file_that_is_cut_short_meanwhile(checkpoint):
    """Worth another try: somebody is writing."""

    def cutting(function, *arguments, **options):
        answer = call(function, *arguments, **options)
        os.truncate(checkpoint, 100_000)
        return answer

    with pytest.raises(SlimInterruptedError, match="ended while it was read"):
        slim(checkpoint, checkpoint.parent / "b.pth", confined=cutting)


def test_places_that_are_none(checkpoint, tmp_path):
    """A target that holds something is not written to, and what is no file is not read."""
    (tmp_path / "full").write_bytes(b"mine")
    with (tmp_path / "full").open("r+b") as target, checkpoint.open("rb") as source:
        with pytest.raises(SlimError, match="not an empty file"):
            slim_fds(source.fileno(), target.fileno())
        reading, writing = os.pipe()
        with pytest.raises(SlimError, match="no regular file"):
            slim_fds(reading, target.fileno())
        os.close(reading)
        os.close(writing)
    assert (tmp_path / "full").read_bytes() == b"mine"


def slim_fds(source: int, target: int) -> Any:
    """Call with descriptors as they are."""
    from ckptd.slim.slimming import slim_checkpoint

    return slim_checkpoint(source, target, confined=call)


def lying(name: str, change):
    """Give a way to call confined functions of which one has its answer changed."""

    def called(function, *arguments, **options):
        answer, layers = call(function, *arguments, **options)
        if function.__name__ == name:
            answer = change(answer, *arguments)
        return answer, layers

    return called


def _swap(answer, *_):
    answer["storages"][0], answer["storages"][6] = answer["storages"][6], answer["storages"][0]
    return answer


def _lose(answer, _, shared):
    pickle = bytes(shared[: answer["pickle_bytes"]]).replace(b"epoch", b"epoc2")
    shared[: len(pickle)] = pickle
    return answer


def _drop_more(answer, *_):
    return {**answer, "dropped": [*answer["dropped"], "epoch"]}


@pytest.mark.parametrize("change", [_swap, _lose, _drop_more])
def test_a_plan_that_is_wrong_is_found_by_the_proof(checkpoint, change):
    """Whoever made it: storages swapped, a key renamed, a part that is only said to be gone."""
    with pytest.raises(SlimError, match=r"not the same without them|CRC|can't be read"):
        slim(checkpoint, checkpoint.parent / "b.pth", confined=lying("plan_slim", change))
    assert (checkpoint.parent / "b.pth").stat().st_size == 0


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"dropped": [], "pickle_bytes": 1, "storages": [], "byteorder": "little"},
        {"dropped": ["a"], "pickle_bytes": 1 << 40, "storages": [], "byteorder": "little"},
        {"dropped": ["a"], "pickle_bytes": -1, "storages": [], "byteorder": "little"},
        {"dropped": ["a"], "pickle_bytes": True, "storages": [], "byteorder": "little"},
        {"dropped": ["a"], "pickle_bytes": 1, "storages": [[0, 1 << 40, None]], "byteorder": "little"},
        {"dropped": ["a"], "pickle_bytes": 1, "storages": [[-1, 4, None]], "byteorder": "little"},
        {"dropped": ["a"], "pickle_bytes": 1, "storages": [[0, 90, None]] * 2, "byteorder": "little"},
        {"dropped": ["a"], "pickle_bytes": 1, "storages": [[0]], "byteorder": "little"},
        {"dropped": ["a"], "pickle_bytes": 1, "storages": [[0, 4, 1 << 32]], "byteorder": "little"},
        {"dropped": ["a"], "pickle_bytes": 1, "storages": 3, "byteorder": "little"},
        {"dropped": ["a"], "pickle_bytes": 1, "storages": [], "byteorder": "middle"},
        {"dropped": [3], "pickle_bytes": 1, "storages": [], "byteorder": "little"},
    ],
)
def test_a_plan_that_is_none_is_refused(answer):
    """A confined process that was taken over may answer anything."""
    with pytest.raises(WorkerError):
        planning.read_plan(answer, bytearray(100), 100)


@pytest.mark.parametrize(
    "answer", [{}, {"sha256": 3, "source_sha256": "", "tensors": 0, "checked_bytes": 0}, {"refused": "x", "why": "\x1b[2J"}]
)
def test_a_proof_that_is_none_is_refused(checkpoint, answer):
    """No word, no file."""
    with pytest.raises(SlimError) as told:
        slim(checkpoint, checkpoint.parent / "b.pth", confined=lying("prove_slim", lambda *_: answer))
    assert "\x1b" not in str(told.value)
    assert (checkpoint.parent / "b.pth").stat().st_size == 0


def test_a_worker_that_dies(checkpoint):
    """Worth another try."""

    def dying(*_, **__):
        raise WorkerError("a worker ended before it answered", why="ended by SIGKILL")

    with pytest.raises(SlimInterruptedError, match="ended by SIGKILL"):
        slim(checkpoint, checkpoint.parent / "b.pth", confined=dying)


def test_weaker_walls_are_told(checkpoint):
    """Never silently."""

    def weak(function, *arguments, **options):
        return call(function, *arguments, **options)[0], Layers(("seccomp",), (("landlock", "no such system call"),))

    found = slim(checkpoint, checkpoint.parent / "b.pth", confined=weak)
    assert [one.code for one in found.findings] == ["sandbox-degraded"]


def test_the_descriptors_stay_the_callers(checkpoint):
    """Neither is closed, and the position of the source is not used."""
    with opened(checkpoint, checkpoint.parent / "b.pth") as (source, target):
        os.lseek(source, 5, os.SEEK_SET)
        slim_fds(source, target)
        assert os.lseek(source, 0, os.SEEK_CUR) == 5
        os.fstat(target)
