"""Nobody else enters the directory from which deletions are steered."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ckptd.errors import StorageError
from ckptd.storage.sharing import check_directory
from ckptd.storage.state import StateDirError, ensure_state_dir
from tests.storage.forks import NOBODY, run_as_nobody


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_it_is_made_for_its_user_alone_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    previous = os.umask(umask)
    try:
        made = ensure_state_dir(tmp_path / ".ckptd")
    finally:
        os.umask(previous)
    assert made == tmp_path / ".ckptd"
    assert mode_of(made) == 0o700
    assert mode_of(made / "scratch") == 0o700


def test_it_is_found_again_with_what_it_holds(tmp_path: Path) -> None:
    (ensure_state_dir(tmp_path / ".ckptd") / "index.db").write_text("kept")
    assert (ensure_state_dir(tmp_path / ".ckptd") / "index.db").read_text() == "kept"


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o770, 0o701, 0o777, 0o710])
@pytest.mark.parametrize("which", [".ckptd", ".ckptd/scratch"])
def test_open_to_others_it_is_refused_with_the_cure(tmp_path: Path, which: str, mode: int) -> None:
    ensure_state_dir(tmp_path / ".ckptd")
    (tmp_path / which).chmod(mode)
    with pytest.raises(StateDirError, match=f"its mode is {mode:04o}.*chmod 700 {tmp_path / which}") as raised:
        ensure_state_dir(tmp_path / ".ckptd")
    assert raised.value.permanent
    assert mode_of(tmp_path / which) == mode, "a mode that somebody chose is not ours to change"


@pytest.mark.root
@pytest.mark.parametrize("which", [".ckptd", ".ckptd/scratch"])
def test_of_another_user_it_is_refused(tmp_path: Path, which: str) -> None:
    ensure_state_dir(tmp_path / ".ckptd")
    os.chown(tmp_path / which, NOBODY, NOBODY)
    with pytest.raises(StateDirError, match=f"its owner is user {NOBODY} and ckptd runs as user 0"):
        ensure_state_dir(tmp_path / ".ckptd")


@pytest.mark.parametrize("which", [".ckptd", ".ckptd/scratch"])
@pytest.mark.parametrize("target", ["dir", "file", "link", "dangling"])
def test_a_link_or_a_file_is_refused(tmp_path: Path, which: str, target: str) -> None:
    ensure_state_dir(tmp_path / ".ckptd")
    place = tmp_path / which
    if which == ".ckptd":
        (place / "scratch").rmdir()
    place.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    match target:
        case "file":
            place.write_text("")
        case "dangling":
            place.symlink_to(tmp_path / "nowhere")
        case _:
            place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateDirError):
        ensure_state_dir(tmp_path / ".ckptd")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_missing_parent_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"No such file or directory \(make it"):
        ensure_state_dir(tmp_path / "nowhere" / ".ckptd")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.root
def test_a_parent_that_cannot_be_written_is_told_with_the_cure(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for parent in [*tmp_path.parents][:3]:  # pytest's own are private, and with xdist there is one more of them
        if not parent.stat().st_mode & 0o001:
            parent.chmod(0o755)

    def inside() -> None:
        with pytest.raises(StorageError, match=r"Permission denied .*set state_dir"):
            ensure_state_dir(tmp_path / ".ckptd")

    run_as_nobody(inside)


@pytest.mark.parametrize(("mode", "codes"), [(0o1777, ["directory-sticky"]), (0o2775, []), (0o1755, []), (0o777, [])])
def test_a_shared_sticky_directory_is_told(tmp_path: Path, dir_fd: int, mode: int, codes: list[str]) -> None:
    tmp_path.chmod(mode)
    assert [finding.code for finding in check_directory(dir_fd)] == codes
