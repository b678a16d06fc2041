"""`ckptd.inspect` as its callers meet it: every path gets an answer, and the answer adds up."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import ckptd
from ckptd.checkpoint import inspection as engine
from ckptd.checkpoint.budgets import BUDGETS
from ckptd.checkpoint.inspection import inspect_fd, inspect_path
from ckptd.model import Container, Kind, Status


def _save(value: object, path: Path) -> Path:
    torch.save(value, path)
    return path


def test_a_state_dict_adds_up(tmp_path):
    """Count, parameters, bytes and dtypes are those of the object; the digest is that of the file."""
    weight = torch.arange(12.0).reshape(3, 4)
    path = _save(
        {"a.weight": weight, "b.weight": weight, "n": torch.tensor([7]), "h": torch.ones(5).half()}, tmp_path / "x.pth"
    )
    found = ckptd.inspect(path)
    assert (found.status, found.container, found.kind) == (Status.OK, Container.ZIP, Kind.STATE_DICT)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    totals = found.tensors
    assert (totals.count, totals.parameters, totals.bytes) == (4, 12 + 1 + 5, 48 + 8 + 10)
    assert dict(totals.dtypes) == {"float32": 12, "int64": 1, "float16": 5}
    first = totals.records[0]
    assert (first.name, first.shape, first.bytes, first.minimum, first.maximum) == ("a.weight", (3, 4), 48, 0.0, 11.0)
    assert first.norm == pytest.approx(float(weight.norm()), rel=1e-5)
    assert first.storage == totals.records[1].storage


def test_the_optimizer_has_its_share(tmp_path):
    """Bytes that only the optimizer needs are counted as its own, and its elements are no parameters."""
    model = torch.nn.Linear(10, 10)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 10)).sum().backward()
    optimizer.step()
    path = _save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}, tmp_path / "x.pth")
    found = ckptd.inspect(path)
    assert found.tensors.parameters == 110
    assert found.tensors.optimizer_bytes == 2 * 440 + 2 * 4
    assert (found.kind, found.metadata.epoch) == (Kind.CHECKPOINT, 3)


def test_a_sparse_tensor_counts_what_is_stored(tmp_path):
    """The size of a sparse tensor can be astronomical; its elements are those in the file."""
    indices = torch.tensor([[0, 5], [1, 2**31 - 2]])
    path = _save({"s": torch.sparse_coo_tensor(indices, torch.ones(2), (2**31 - 1, 2**31 - 1))}, tmp_path / "x.pth")
    found = ckptd.inspect(path)
    assert (found.status, dict(found.tensors.dtypes)) == (Status.OK, {"float32": 2})


def test_one_number_in_a_tensor_is_read(tmp_path):
    """People save the epoch and the best score as tensors; bfloat16 and big-endian files too."""
    value = {"state_dict": {"w": torch.ones(2)}, "epoch": torch.tensor(4), "best_acc": torch.tensor(0.75, dtype=torch.bfloat16)}
    found = ckptd.inspect(_save(value, tmp_path / "x.pth"))
    assert found.metadata.epoch == 4
    assert dict(found.metadata.metrics) == {"accuracy": 0.75}


def _special_files(directory: Path) -> dict[str, str]:
    os.mkfifo(directory / "fifo.pth")
    (directory / "dir.pth").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(directory / "socket.pth"))
    (directory / "link.pth").symlink_to("/etc/hostname")
    (directory / "broken.pth").symlink_to("nowhere\x1b[31m")
    return {
        "fifo.pth": "named pipe",
        "dir.pth": "directory",
        "socket.pth": "socket",
        "link.pth": "symbolic link to /etc/hostname",
        "broken.pth": "nowhere\\x1b[31m",
    }


def test_what_is_no_file_is_named(tmp_path):
    """FIFOs, directories, sockets, devices and links are answered at once and named."""
    for name, meaning in _special_files(tmp_path).items():
        found = inspect_path(tmp_path / name)
        assert found.status is Status.NOT_A_CHECKPOINT
        assert meaning in found.findings[0].message
    assert "character device" in inspect_path("/dev/zero").findings[0].message


def test_what_cannot_be_opened_says_why(tmp_path):
    """A missing file and a name that none can have are unreadable."""
    for path in (tmp_path / "missing.pth", "a\0b.pth", "/proc/self/mem/x"):
        assert inspect_path(path).status is Status.UNREADABLE


def test_a_descriptor_of_something_else(tmp_path):
    """Whoever hands in the descriptor of a directory gets an answer too."""
    fd = os.open(tmp_path, os.O_RDONLY)
    assert inspect_fd(fd, "x.pth").status is Status.NOT_A_CHECKPOINT
    os.close(fd)


def test_a_file_beyond_the_limit(tmp_path):
    """A file larger than ckptd reads is refused before it is read."""
    fd = os.open(_save({"w": torch.ones(9)}, tmp_path / "x.pth"), os.O_RDONLY)
    found = inspect_fd(fd, "x.pth", budgets=replace(BUDGETS, file_bytes=100))
    assert (found.status, found.findings[0].code) == (Status.FAILED, "file-too-large")


def test_a_file_that_never_rests(tmp_path):
    """A file that is written to during each of three reads is failed, with the reason; one that rests again is not."""
    path = _save({"w": torch.ones(9)}, tmp_path / "x.pth")
    fd = os.open(path, os.O_RDONLY)
    found = inspect_fd(fd, "x.pth", progress=lambda _: os.utime(path))
    assert (found.status, found.findings[0].code) == (Status.FAILED, "changed-while-reading")
    times = iter([1])
    found = inspect_fd(fd, "x.pth", progress=lambda _: os.utime(path) if next(times, None) else None)
    assert found.status is Status.OK


def test_a_file_that_is_cut_while_it_is_read(tmp_path):
    """Cut for good, it is damaged; the read that met the cut is not believed."""
    path = _save({"w": torch.ones(1_000_000)}, tmp_path / "x.pth")
    fd = os.open(path, os.O_RDONLY)
    cut = iter([2_000_000])
    found = inspect_fd(fd, "x.pth", progress=lambda _: [os.truncate(path, size) for size in cut])
    assert found.status is Status.DAMAGED
    assert found.size_bytes == 2_000_000


def test_the_inspector_fails_closed(tmp_path, monkeypatch):
    """Whatever breaks inside, the file gets the status failed and nobody an exception."""

    def broken(*_args: object) -> None:
        raise RecursionError("\x1b[2J")

    monkeypatch.setattr(engine, "read_source", broken)
    found = inspect_path(_save({"w": torch.ones(1)}, tmp_path / "x.pth"))
    assert (found.status, found.findings[0].code) == (Status.FAILED, "inspector-error")
    assert "\x1b" not in found.findings[0].message


def test_inspecting_imports_little(tmp_path):
    """Neither torch nor numpy nor pydantic is imported for a small file."""
    path = _save({"w": torch.ones(10)}, tmp_path / "x.pth")
    heavy = "{'torch', 'numpy', 'pydantic', 'sqlalchemy', 'structlog', 'rich', 'click', 'watchdog', 'apscheduler'}"
    code = f"import sys, ckptd; s = ckptd.inspect({str(path)!r}).status; print(s, {heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "ok set()\n"


def test_a_large_file_is_judged_by_numpy(tmp_path):
    """Plain Python would take minutes for what numpy does in a moment."""
    path = _save({"w": torch.ones(3_000_000)}, tmp_path / "x.pth")
    code = f"import sys, ckptd; ckptd.inspect({str(path)!r}); print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_no_thread_is_left(tmp_path):
    """A large file is hashed by a thread that ends with the inspection."""
    before = threading.active_count()
    assert inspect_path(_save({"w": torch.ones(500_000)}, tmp_path / "x.pth")).status is Status.OK
    assert threading.active_count() <= before
