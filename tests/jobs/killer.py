"""Kill a job at its n-th step, and look whether every checkpoint is still somewhere: `python -m tests.jobs.killer`.

One process that has imported everything forks a child for each kill; it has one thread, so that forking is safe.  The child
counts what it asks of the operating system and of SQLite, and ends itself by SIGKILL at the n-th: what `kill -9` does to a job,
at every place where it can matter.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from ckptd.jobs.retaining import recover
from tests.jobs.keeping import DAY, NOW, Clock, index_roots, make_series, open_app

#: What changes the world: calls into C, by name; a kill before each of them is a kill after the one before.
_CALLS = frozenset(
    """
    rename link unlink remove mkdir rmdir write pwrite writev sendfile copy_file_range posix_fallocate truncate ftruncate fsync
    fdatasync utime chmod fchmod chown fchown execute executemany commit rollback
""".split()
)
#: The same by way of ctypes, which the interpreter does not tell: the function of ours that does it.
_OURS = frozenset({"rename", "rename_between"})
_STRICT = {"keep_last": 2, "keep_best": 0}
_POLICIES: dict[str, dict[str, Any]] = {
    "apply": {},
    "trash": {"ladder": ["trash"]},
    "slim": {"ladder": ["slim"]},
}


def operate(root: Path, operation: str, archive_format: str) -> None:
    """Do one operation as a command would."""
    clock = Clock(NOW + 20 * DAY) if operation == "purge" else Clock()
    app = open_app(root, clock=clock, policy=_STRICT | _POLICIES.get(operation, {}), archive={"format": archive_format})
    try:
        match operation:
            case "purge":
                app.purge_trash()
            case "restore":
                app.restore(json.loads((root.parent / "victim").read_text()))
            case "untrash":
                app.restore_trash(json.loads((root.parent / "victim").read_text()))
            case _:
                app.apply()
    finally:
        app.close()


def prepare(root: Path, operation: str, archive_format: str) -> dict[str, str]:
    """Make the root as it is before the operation; path → digest of every checkpoint that must never be lost."""
    make_series(root, count=5, optimizer=operation == "slim")
    app = open_app(root, policy=_STRICT | _POLICIES.get(operation, {}), archive={"format": archive_format})
    index_roots(app)
    wanted = {path.name: digest_of(path) for path in root.glob("*.pth")}
    if operation in ("purge", "restore", "untrash"):
        app.apply()
        victim = min(set(wanted) - {path.name for path in root.glob("*.pth")})
        (root.parent / "victim").write_text(json.dumps(victim))
        if operation == "restore":
            app.purge_trash(everything=True)
    app.close()
    return wanted


def digest_of(path: Path) -> str:
    """Hash a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def find_problems(root: Path, wanted: dict[str, str], archive_format: str) -> list[str]:
    """Put in order what the kill left, and say which checkpoint is nowhere."""
    app = open_app(root, archive={"format": archive_format})
    try:
        with app.working("check") as context:
            recover(context)
        problems = _find_lost(app, root, wanted)
        with app.working("check") as context:
            recover(context)  # a second look finds nothing to do
        app.close()
        index_roots(app)
        app.apply()
        problems += [f"after the next run: {problem}" for problem in _find_lost(app, root, wanted)]
    finally:
        app.close()
    hidden = list((root / "archives").glob(".*")) if (root / "archives").exists() else []
    problems += [f"left over: {path}" for path in hidden if archive_format != "pack"]
    return problems


def _find_lost(app: Any, root: Path, wanted: dict[str, str]) -> list[str]:
    here = {digest_of(path) for path in root.glob("*.pth")}
    trashed = {}
    for entry in app.trash():
        if entry.problem:
            return [f"the trash has a problem: {entry.problem}"]
        trashed[entry.sha256] = entry
    archived = {}
    for archive in app.archives():
        if app.verify_archives([archive.name])[archive.name]:
            return [f"{archive.name} is not whole"]
        archived |= {member.sha256: archive.name for member in app.archive_members(archive.name)}
    lost = [f"{path} is nowhere" for path, sha256 in wanted.items() if sha256 not in here | set(trashed) | set(archived)]
    for path in root.glob("*.pth"):  # nothing torn bears the name of a checkpoint
        import torch

        try:
            torch.load(path, weights_only=False)
        except Exception as error:
            lost.append(f"{path.name} can't be loaded: {error}")
    return lost


def run_killed(root: Path, operation: str, archive_format: str, number: int) -> tuple[bool, int]:
    """Do the operation in a child that ends itself at its `number`-th step; whether it was killed, and how many it took."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _be_killed(root, operation, archive_format, number, writer)
    os.close(writer)
    with os.fdopen(reader) as answer:
        text = answer.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return True, number
    assert text.isdigit(), text
    return False, int(text)


def _be_killed(root: Path, operation: str, archive_format: str, number: int, writer: int) -> None:
    count = 0

    def hook(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        if event == "c_call":
            if getattr(argument, "__name__", "") not in _CALLS:
                return
        elif event != "call" or frame.f_code.co_name not in _OURS or not frame.f_code.co_filename.endswith("kernel.py"):
            return
        count += 1
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        threading.setprofile(hook)
        sys.setprofile(hook)
        operate(root, operation, archive_format)
        sys.setprofile(None)
        os.write(writer, str(count).encode())
    except BaseException:
        os.write(writer, traceback.format_exc().encode())
    finally:
        os._exit(0)


def check_in_child(root: Path, wanted: dict[str, str], archive_format: str) -> list[str]:
    """Look for problems in a child, so that no thread of a compressor is left in this process."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        try:
            answer = find_problems(root, wanted, archive_format)
        except BaseException:
            answer = [traceback.format_exc()]
        os.write(writer, json.dumps(answer).encode()[:60_000])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        text = file.read()
    os.waitpid(pid, 0)
    found: list[str] = json.loads(text)
    return found


def prepare_in_child(root: Path, operation: str, archive_format: str) -> dict[str, str]:
    """Make the root in a child, for the same reason."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        os.write(writer, json.dumps(prepare(root, operation, archive_format)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        text = file.read()
    os.waitpid(pid, 0)
    wanted: dict[str, str] = json.loads(text)
    return wanted


def main() -> None:
    """Kill one operation at every step, or at some; print one JSON line for each kill."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("operation", choices=[*_POLICIES, "purge", "restore", "untrash"])
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--format", default="tar.gz")
    parser.add_argument("--most", type=int, default=0, help="so many kills, chosen by the seed; 0 is one at every step")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    template, trial = asked.scratch / "template", asked.scratch / "trial"
    (trial / "models").mkdir(parents=True)
    wanted = prepare_in_child(trial / "models", asked.operation, asked.format)
    shutil.copytree(trial, template)  # and back for each kill, to the path that the index knows
    _, steps = run_killed(trial / "models", asked.operation, asked.format, 1 << 60)
    shutil.rmtree(trial)
    numbers = list(range(1, steps + 1))
    if asked.most and asked.most < len(numbers):
        numbers = sorted(random.Random(asked.seed).sample(numbers, asked.most))
    for number in numbers:
        # Copies have other inodes: the index is told anew, and what lies in the trash is known by its manifest.
        shutil.copytree(template, trial)
        _reindex(trial / "models", asked.format)
        was_killed, _ = run_killed(trial / "models", asked.operation, asked.format, number)
        problems = check_in_child(trial / "models", wanted, asked.format)
        print(json.dumps({"step": number, "of": steps, "killed": was_killed, "problems": problems}), flush=True)
        shutil.rmtree(trial)


def _reindex(root: Path, archive_format: str) -> None:
    """Have the index know the copied files by their own numbers."""
    pid = os.fork()
    if pid == 0:
        app = open_app(root, archive={"format": archive_format})
        index_roots(app)
        os._exit(0)
    os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
