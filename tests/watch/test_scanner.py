"""A scan sees every wanted file, follows no link, and turns whatever is odd into a finding."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ckptd.model import Identity
from ckptd.watch import scanner
from ckptd.watch.links import Link
from ckptd.watch.scanner import Absent, Directory, Problem, RegularFile, Scan, observe, scan
from ckptd.watch.wanted import Wanted, compile_wanted
from tests.watch.watching import needs_root

PTH = compile_wanted((".pth",))


class Tree:
    """A root on disk, its descriptor, and shorthands."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def file(self, name: str, data: bytes = b"x") -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def scan(self, wanted: Wanted = PTH, below: str = "") -> Scan:
        return scan(self.fd, wanted, below)

    def observe(self, name: str, wanted: Wanted = PTH) -> object:
        return observe(self.fd, name, wanted)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    (tmp_path / "root").mkdir()
    made = Tree(tmp_path / "root")
    yield made
    os.close(made.fd)


def codes(found: Scan) -> dict[str, str]:
    return {problem.path: problem.finding.code for problem in found.problems}


def test_identities_are_what_stat_says(tree):
    """The five numbers, in the order of `Identity`, for files at any depth."""
    for name in ("a.pth", "run/b.pth", "run/deep/er/c.pth"):
        tree.file(name)
    found = tree.scan()
    assert found.files == {name: Identity.of((tree.path / name).stat()) for name in ("a.pth", "run/b.pth", "run/deep/er/c.pth")}
    assert found.devices == {tree.path.stat().st_dev}
    assert found.directories == 4
    assert (found.problems, found.unread, found.aliases) == ([], set(), {})


@pytest.mark.parametrize("seconds", [2**40, -(2**40)])
def test_times_beyond_all_calendars_are_the_last_that_fit(tree, seconds):
    """A clock that jumped, or a person, gives times that 64 bits of nanoseconds do not hold: the index gets the nearest."""
    path, most = tree.file("jumped.pth"), (1 << 63) - 1
    os.utime(path, (seconds, seconds))
    found = tree.scan().files["jumped.pth"]
    assert found == Identity.of(path.stat())
    assert found[3] == max(-most, min(path.stat().st_mtime_ns, most))


@pytest.mark.parametrize(
    "name",
    [
        ".hidden.pth",
        ".ckptd/trash/a.pth",
        ".git/a.pth",
        "a.pth.tmp",
        "a.pth.part",
        "a.pth.partial",
        "a.pth~",
        ".a.pth.Xa81bZ",
        ".nfs000000000a.pth",
        "a.txt",
        "pth",
        ".pth",
        "a.pth.tar",
    ],
)
def test_names_that_are_never_looked_at(tree, name):
    """Hidden, temporary, of another suffix, or ours."""
    tree.file(name)
    assert tree.scan().files == {}
    assert tree.observe(name) == Absent()


@pytest.mark.parametrize(
    "name", ["a.pth", "A.PTH", "a.b.c.pth", "tmp.pth", "~.pth", "ünï.pth", "a b.pth", "-rf.pth", "a\n.pth"]
)
def test_names_that_are_looked_at(tree, name):
    """Case of the suffix does not count, and a strange name is still a name."""
    tree.file(name)
    assert list(tree.scan().files) == [name]
    assert isinstance(tree.observe(name), RegularFile)


def test_compound_suffix(tree):
    """`.pth.tar` is wanted only when asked for, and does not make `.tar` wanted."""
    for name in ("a.pth", "b.pth.tar", "c.tar"):
        tree.file(name)
    assert set(tree.scan(compile_wanted((".pth", ".pth.tar"))).files) == {"a.pth", "b.pth.tar"}


def test_ignored_directories_are_not_entered(tree):
    """An unreadable or endless directory that is ignored costs nothing."""
    for name in ("wandb/a.pth", "runs/wandb/b.pth", "runs/c.pth"):
        tree.file(name)
    wanted = compile_wanted((".pth",), ("wandb/",))
    found = tree.scan(wanted)
    assert set(found.files) == {"runs/c.pth"}
    assert found.directories == 2
    assert tree.observe("runs/wandb/b.pth", wanted) == Absent()


def test_part_of_a_tree(tree):
    """Paths stay relative to the root when only a directory below it is scanned."""
    for name in ("a.pth", "run/b.pth", "run/deep/c.pth"):
        tree.file(name)
    assert set(tree.scan(below="run").files) == {"run/b.pth", "run/deep/c.pth"}
    assert tree.scan(below="gone").files == {}
    assert tree.scan(below="gone").unread == set()
    assert tree.scan(below=".ckptd").files == {}


def stale(*_: object, **__: object) -> None:
    raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))


class StaleEntry:
    """An entry that its directory lists and of which the server knows nothing."""

    stat = staticmethod(stale)

    def __init__(self, entry: os.DirEntry[str]) -> None:
        self.name = entry.name


@pytest.mark.parametrize(("module", "call"), [(scanner, "_open_below"), (os, "stat")])
def test_what_the_server_has_no_handle_of_is_trouble_and_not_absent(tree, monkeypatch, module, call):
    """A share that was mounted anew below us: the files are there."""
    tree.file("run/a.pth")
    with monkeypatch.context() as patched:
        patched.setattr(module, call, stale)
        seen = tree.observe("run/a.pth")
    assert isinstance(seen, Problem)
    assert (seen.identity, seen.finding.code) == (None, "file-unreadable")


def test_what_the_server_has_no_handle_of_is_in_doubt_for_a_scan(tree, monkeypatch):
    """A directory, or a file in one that can be listed; what vanished meanwhile is just gone."""
    for name in ("a.pth", "run/b.pth", "z.pth"):
        tree.file(name)
    open_it, list_it = os.open, os.scandir

    def open_stale(path: str, *rest: int, **options: int) -> int:
        return stale() if path == "run" else open_it(path, *rest, **options)

    @contextmanager
    def list_stale(fd: int) -> Iterator[Iterator[object]]:
        with list_it(fd) as entries:
            yield (StaleEntry(entry) if entry.name == "a.pth" else entry for entry in entries)

    monkeypatch.setattr(os, "open", open_stale)
    monkeypatch.setattr(os, "scandir", list_stale)
    found = tree.scan()
    assert (set(found.files), found.unread) == ({"z.pth"}, {"a.pth", "run"})
    assert codes(found) == {"a.pth": "file-unreadable", "run": "directory-unreadable"}


def test_link_inside_the_root_is_an_alias(tree):
    """`best.pth -> run/epoch3.pth` shows as another name, and so does a link to a directory; neither is a file twice."""
    tree.file("run/epoch3.pth")
    (tree.path / "best.pth").symlink_to("run/epoch3.pth")
    (tree.path / "via.pth").symlink_to("latest/epoch3.pth")
    (tree.path / "latest").symlink_to("run")
    found = tree.scan()
    assert set(found.files) == {"run/epoch3.pth"}
    assert found.aliases == {"best.pth": "run/epoch3.pth", "via.pth": "run/epoch3.pth", "latest": "run"}
    assert found.problems == []
    assert tree.observe("best.pth") == Link("run/epoch3.pth")


def test_link_out_of_the_root_is_a_finding_and_never_followed(tree, tmp_path):
    """A link to /etc/passwd or to another disk: told about, not read."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret.pth").write_bytes(b"x")
    (tree.path / "a.pth").symlink_to(tmp_path / "elsewhere" / "secret.pth")
    (tree.path / "old-runs").symlink_to(tmp_path / "elsewhere")
    (tree.path / "rooted.pth").symlink_to("../elsewhere/secret.pth")
    found = tree.scan()
    assert found.files == {}
    assert codes(found) == {"a.pth": "link-outside", "old-runs": "link-outside", "rooted.pth": "link-outside"}
    assert tree.observe("old-runs/secret.pth") == Absent()
    assert tree.scan(below="old-runs").files == {}


def test_links_that_lead_nowhere(tree):
    """A broken link or a loop is a finding when its name is wanted, and nothing otherwise."""
    (tree.path / "gone.pth").symlink_to("nothing.pth")
    (tree.path / "loop.pth").symlink_to("loop.pth")
    (tree.path / "notes").symlink_to("nothing.txt")
    assert codes(tree.scan()) == {"gone.pth": "link-broken", "loop.pth": "link-broken"}


def test_link_to_what_is_not_looked_at(tree):
    """A link into the trash is no alias of a checkpoint."""
    tree.file(".ckptd/trash/a.pth")
    (tree.path / "a.pth").symlink_to(".ckptd/trash/a.pth")
    assert codes(tree.scan()) == {"a.pth": "link-unwatched"}


def test_what_is_no_regular_file_is_a_problem_with_its_identity(tree):
    """A FIFO, a socket or a directory named like a checkpoint gets a record; what is in the directory is still found."""
    os.mkfifo(tree.path / "fifo.pth")
    tree.file("dir.pth/inner.pth")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tree.path / "s.pth"))
    server.close()
    found = tree.scan()
    assert set(found.files) == {"dir.pth/inner.pth"}
    assert codes(found) == dict.fromkeys(("fifo.pth", "dir.pth", "s.pth"), "not-regular")
    assert {p.path: p.identity for p in found.problems} == {
        name: Identity.of((tree.path / name).stat()) for name in ("fifo.pth", "dir.pth", "s.pth")
    }
    assert "a FIFO" in next(p.finding.message for p in found.problems if p.path == "fifo.pth")
    assert isinstance(tree.observe("fifo.pth"), Problem)
    assert tree.observe("dir.pth") == Directory()


@pytest.mark.root
@needs_root
def test_device_named_like_a_checkpoint(tree):
    """Opening some devices has effects; a scan only asks what it is."""
    os.mknod(tree.path / "null.pth", 0o20666, os.makedev(1, 3))
    assert "a character device" in tree.scan().problems[0].finding.message


def test_hostile_names_are_escaped_in_messages(tree):
    """A name can hold an escape sequence that clears the terminal."""
    os.mkfifo(tree.path / "\x1b[2J.pth")
    problem = tree.scan().problems[0]
    assert problem.path == "\x1b[2J.pth"
    assert "\x1b" not in problem.finding.message


def test_unreadable_directory_puts_its_content_in_doubt(tree):
    """What is known below it must not count as vanished.  Asked by a process of another user, as root may read all."""
    tree.file("open/a.pth")
    tree.file("closed/b.pth")
    (tree.path / "closed").chmod(0)
    code = (
        "import os, sys\n"
        "from ckptd.watch.scanner import scan\n"
        "from ckptd.watch.wanted import compile_wanted\n"
        "fd = os.open(sys.argv[1], os.O_RDONLY)\n"
        "if os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "found = scan(fd, compile_wanted(('.pth',)))\n"
        "print(sorted(found.files), sorted(found.unread), [p.finding.code for p in found.problems])\n"
    )
    for parent in (tree.path, *tree.path.parents):
        if parent.stat().st_uid == os.geteuid() and parent.name.startswith(("pytest-", "root", "test_")):
            parent.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", code, tree.path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['open/a.pth'] ['closed'] ['directory-unreadable']"


def test_directory_that_vanishes_during_the_walk_is_no_problem(tree, monkeypatch):
    """Between the listing and the opening, somebody removed it, or put a link in its place."""
    for name in ("a/x.pth", "b/y.pth", "c/z.pth"):
        tree.file(name)
    kept = scanner._keep_entered

    def remove_meanwhile(names, prefix, wanted):
        if not prefix:
            (tree.path / "a" / "x.pth").unlink()
            (tree.path / "a").rmdir()
            (tree.path / "b").rename(tree.path / ".b")
            (tree.path / "b").symlink_to(".b")
        return kept(names, prefix, wanted)

    monkeypatch.setattr(scanner, "_keep_entered", remove_meanwhile)
    found = tree.scan()
    assert (set(found.files), found.unread, found.problems) == ({"c/z.pth"}, set(), [])


def test_depth_is_bounded_and_what_lies_deeper_is_in_doubt(tree):
    """A tree made to exhaust descriptors or the stack ends in a finding."""
    fd = os.dup(tree.fd)
    for _ in range(scanner.MAX_DEPTH + 50):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(os.open("deep.pth", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)
    tree.file("d/shallow.pth")
    before = len(os.listdir("/proc/self/fd"))
    found = tree.scan()
    assert set(found.files) == {"d/shallow.pth"}
    assert [problem.finding.code for problem in found.problems] == ["directory-too-deep"]
    assert len(found.unread) == 1
    assert len(os.listdir("/proc/self/fd")) == before
    assert tree.observe("d/" * 200 + "deep.pth") == Absent()


def test_huge_directory_is_a_finding_and_is_read_all_the_same(tree, monkeypatch):
    """A million entries: nothing is kept of the unwanted ones."""
    monkeypatch.setattr(scanner, "HUGE_DIRECTORY", 500)
    for number in range(600):
        tree.file(f"{number}.txt")
    tree.file("a.pth")
    found = tree.scan()
    assert set(found.files) == {"a.pth"}
    assert codes(found) == {"": "directory-huge"}


def test_problems_are_bounded(tree, monkeypatch):
    """Ten thousand FIFOs make no report of ten thousand lines."""
    monkeypatch.setattr(scanner, "MAX_PROBLEMS", 5)
    for number in range(20):
        os.mkfifo(tree.path / f"{number}.pth")
    assert len(tree.scan().problems) == 5


def test_observe_says_the_same_as_a_scan(tree):
    """One look at each path, and one scan of all: two ways to the same facts."""
    names = ["a.pth", "run/b.pth", "run/c.txt"]
    for name in names:
        tree.file(name)
    found = tree.scan()
    for name in names:
        seen = tree.observe(name)
        assert (seen.identity if isinstance(seen, RegularFile) else None) == found.files.get(name)
    assert tree.observe("run") == Directory()
    assert tree.observe("") == Directory()
    assert tree.observe("never-was.pth") == Absent()
    assert tree.observe("a.pth/below.pth") == Absent()


@pytest.mark.parametrize("path", ["../outside.pth", "/etc/a.pth", "/b.pth", "a//b.pth", "./a.pth", "a/../b.pth", "a.pth/"])
def test_observe_never_leaves_the_root(tree, tmp_path, path):
    """A hint is a string from watchdog: it goes nowhere but down."""
    (tmp_path / "outside.pth").write_bytes(b"x")
    for name in ("b.pth", "a/b.pth"):
        tree.file(name)
    assert tree.observe(path) == Absent()


def test_scan_of_a_deleted_root_is_empty_not_an_error(tree):
    """The guard tells an empty root from a lost one; the scan only says what it saw."""
    os.rmdir(tree.path)
    assert tree.scan().files == {}


def test_a_breath_is_taken_in_one_large_directory(tmp_path):
    """A share with all files in one directory is walked for minutes; what the breath raises ends the walk at once."""
    for number in range(3_000):
        (tmp_path / f"{number}.pth").touch()
    breaths = []
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        scan(fd, compile_wanted((".pth",), ()), breathe=lambda: breaths.append(1))
        assert len(breaths) >= 2

        def leave():
            raise KeyboardInterrupt

        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(KeyboardInterrupt):
            scan(fd, compile_wanted((".pth",), ()), breathe=leave)
        assert len(os.listdir("/proc/self/fd")) == before
    finally:
        os.close(fd)
