"""The journal: what was written comes back, whatever a kill or a full disk did in between."""

from __future__ import annotations

import json
import os
import resource
import signal
import stat
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptd.errors import StorageError
from ckptd.storage.journal import MOST_LINE_BYTES, NAME, Journal

#: A path as the kernel takes it: any bytes but NUL.
PATHS = st.binary(max_size=40).map(lambda data: os.fsdecode(data.replace(b"\0", b"")))
LINES = st.lists(
    st.dictionaries(st.text(max_size=5), PATHS | st.integers() | st.booleans() | st.none(), max_size=3), max_size=4
)
FIRST = [
    {"event": "seen", "root": "/r", "path": "a.pth", "at": 1.5},
    {"event": "seen", "root": "/r", "path": "b\udcff.pth", "at": 2},
]


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path)


def content(journal):
    return list(journal.replay())


def test_lines_come_back_in_their_order(journal):
    """Batch after batch, oldest first."""
    journal.append(FIRST)
    journal.append([{"n": 1}])
    assert content(journal) == [*FIRST, {"n": 1}]


def test_a_journal_that_was_never_written_is_empty(journal):
    """And stays absent: reading and writing nothing make no file."""
    journal.append([])
    assert content(journal) == []
    assert not os.listdir(journal._state_dir)


def test_the_journal_is_for_its_user_alone(journal, tmp_path):
    """0600, whatever the umask."""
    before = os.umask(0)
    try:
        journal.append([{}])
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600


@given(batches=st.lists(LINES, max_size=4))
def test_whatever_is_written_is_read(tmp_path_factory, batches):
    """Bytes that are no UTF-8 included: surrogates survive."""
    journal = Journal(tmp_path_factory.mktemp("state"))
    for batch in batches:
        journal.append(batch)
    assert content(journal) == [line for batch in batches for line in batch]


def test_a_kill_at_any_byte_costs_the_torn_line_and_nothing_else(journal, tmp_path):
    """Cut after every byte of two lines: what was whole before is there, and so is what is written after."""
    journal.append(FIRST)
    whole = (tmp_path / NAME).read_bytes()
    ends = [at + 1 for at, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        (tmp_path / NAME).write_bytes(whole[:cut])
        # A line that lost nothing but its newline is whole.
        expected = FIRST[: sum(end - 1 <= cut for end in ends)]
        assert content(journal) == expected
        journal.append([{"after": cut}])
        assert content(journal) == [*expected, {"after": cut}]


BROKEN = {
    "empty": b"\n",
    "two": b"{}{}\n",
    "list": b"[1]\n",
    "null": b"null\n",
    "zeros": b"\0" * 4096,
    "no-utf8": b'{"a": "\xff"}\n',
    "deep": b"[" * 100_000 + b"\n",
    "long": b"x" * (2 * MOST_LINE_BYTES),
    "long-object": b"{" + b" " * MOST_LINE_BYTES + b"}\n",
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_line_is_passed_over(journal, tmp_path, broken):
    """Whatever stands there instead of an object; the lines around it count."""
    journal.append([{"n": 1}])
    with (tmp_path / NAME).open("ab") as file:
        file.write(broken)
    journal.append([{"n": 2}])
    assert content(journal) == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize(
    "make", [lambda path: path.symlink_to("elsewhere"), os.mkfifo, os.mkdir], ids=["link", "fifo", "directory"]
)
def test_what_is_no_file_is_refused(journal, tmp_path, make):
    """A link could lead anywhere, and a FIFO would be waited for."""
    make(tmp_path / NAME)
    for act in (lambda: journal.append([{}]), lambda: content(journal)):
        with pytest.raises(StorageError) as caught:
            act()
        assert caught.value.path == str(tmp_path / NAME)
        assert "no regular file" in caught.value.why
        assert caught.value.cure
    assert not (tmp_path / "elsewhere").exists()


def test_a_state_directory_that_is_gone_is_a_storage_error(tmp_path):
    """Worth another try, and named."""
    with pytest.raises(StorageError, match="No such file") as caught:
        Journal(tmp_path / "gone").append([{}])
    assert not caught.value.permanent


@pytest.mark.root
def test_a_full_disk_takes_nothing_of_a_batch(tmp_path):
    """The batch that did not fit leaves no line behind, and can be written again once there is room."""
    state = tmp_path / "state"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", state], check=True)
    try:
        journal = Journal(state)
        journal.append([{"n": 1}])
        large = [{"n": n, "text": "x" * 1000} for n in range(200)]
        with pytest.raises(StorageError, match="No space left") as caught:
            journal.append(large)
        assert not caught.value.permanent
        assert "free some space" in caught.value.cure
        assert content(journal) == [{"n": 1}]
        journal.append([{"n": 2}])
        assert content(journal) == [{"n": 1}, {"n": 2}]
    finally:
        subprocess.run(["umount", "-l", state], check=True)


def test_a_write_that_stops_half_way_is_taken_back(tmp_path):
    """Under a limit on file sizes the kernel writes what fits: the half line is cut off again."""
    journal = Journal(tmp_path)
    journal.append(FIRST)
    size = (tmp_path / NAME).stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, before[1]))
    try:
        with pytest.raises(StorageError, match="limit on file sizes"):
            journal.append([{"text": "x" * 100}])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert (tmp_path / NAME).stat().st_size == size
    assert content(journal) == FIRST


def test_kills_while_writing_lose_no_line_that_was_acknowledged(tmp_path):
    """SIGKILL in the middle of batches, several times over one file: every batch that returned is there."""
    script = (
        "import sys\nfrom pathlib import Path\nfrom ckptd.storage.journal import Journal\n"
        "journal, n = Journal(Path(sys.argv[1])), 0\n"
        "while True:\n"
        "    journal.append([{'n': n + i, 'text': 'x' * 500, 'by': sys.argv[2]} for i in range(20)])\n"
        "    n += 20\n    print(n, flush=True)\n"
    )
    acknowledged = {}
    for by in map(str, range(3)):
        process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path), by], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        lines = [int(process.stdout.readline()) for _ in range(5)]
        process.kill()
        acknowledged[by] = max([*lines, *(int(line) for line in process.stdout.read().split())])
        process.wait()
    journal = Journal(tmp_path)
    journal.append([{"after": True}])
    found = content(journal)
    assert found[-1] == {"after": True}
    for by, count in acknowledged.items():
        assert [line["n"] for line in found if line.get("by") == by][:count] == list(range(count))


def test_a_line_is_plain_json(journal, tmp_path):
    """ASCII, one object a line, so that any tool reads it."""
    journal.append(FIRST)
    assert [json.loads(line) for line in (tmp_path / NAME).read_text("ascii").splitlines()] == FIRST
