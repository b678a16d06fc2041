"""Rows about smaller checkpoints: a checkpoint with the state of Adam, written without it beside cp, and proven.

`main` is what measures, in a process of its own that holds neither torch nor numpy, as a job does.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from mmap import mmap
from pathlib import Path
from typing import Any

from bench.timing import Row, time_call
from ckptd.sandbox.command import worker_command

#: Memory that a step may take beyond what its process has at its start.
_MOST_PEAK_MIB = 64
_ROUNDS = 6
_CHUNK = 1 << 20


def make_trained(path: Path, weights_bytes: int) -> Path:
    """Save weights in tensors of 16 MB, and what Adam holds for them: twice as much."""
    import torch

    torch.manual_seed(0)
    count = max(1, weights_bytes // 16_000_000)

    def tensors() -> list[Any]:
        return [torch.rand(2000, 2000) for _ in range(count)]

    moments = zip(tensors(), tensors(), strict=True)
    state = {n: {"step": torch.tensor(3.0), "exp_avg": one, "exp_avg_sq": two} for n, (one, two) in enumerate(moments)}
    weights = {f"layers.{n}.weight": tensor for n, tensor in enumerate(tensors())}
    groups = [{"lr": 1e-3, "betas": (0.9, 0.999), "params": list(range(count))}]
    torch.save({"model": weights, "optimizer": {"state": state, "param_groups": groups}, "epoch": 3}, path)
    return path


def main(arguments: list[str]) -> None:
    """Print, as JSON, seconds of each step in each round, and MiB at the start and the peak of each."""
    import hashlib

    from ckptd.sandbox.limits import Limits
    from ckptd.sandbox.once import run_confined
    from ckptd.slim.planning import plan_slim, read_plan
    from ckptd.slim.proving import prove_slim
    from ckptd.slim.writing import write_draft

    checkpoint, place = Path(arguments[0]), Path(arguments[1])
    source = os.open(checkpoint, os.O_RDONLY)
    size = os.fstat(source).st_size
    shared = mmap(-1, 64 << 20)
    limits = Limits(nice=0)

    def plan() -> Any:
        return run_confined(plan_slim, source, shared, limits=limits, keep_fds={source}, size_bytes=size)[0]

    draft = read_plan(plan(), shared, size).draft
    kept, made, copy = place / "kept", place / "made", place / "copy"

    def write(path: Path) -> int:
        target = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        write_draft(draft, source, target, free_bytes=0, progress=lambda _: None)
        return target

    def prove(target: int) -> None:
        answer, _ = run_confined(
            prove_slim, source, target, ["optimizer"], limits=limits, keep_fds={source, target}, size_bytes=2 * size
        )
        assert "refused" not in answer, answer

    def hashed() -> None:
        for path in (checkpoint, kept):
            digest, buffer = hashlib.sha256(), memoryview(bytearray(_CHUNK))
            with path.open("rb", buffering=0) as file:
                while count := file.readinto(buffer):
                    digest.update(buffer[:count])

    os.close(write(kept))
    # Both are read from the disk once: how a file lies in memory depends on how it came there, and copying it on that.
    for fd in (source, os.open(kept, os.O_RDONLY)):
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    hashed()
    pairs = []
    for _ in range(_ROUNDS):
        mine, cpu = _anew(made, lambda: write(made))
        peer, peer_cpu = _anew(made, lambda: os.execvp("cp", ["cp", str(kept), str(made)]))
        pairs.append({"write": mine, "cp": peer, "write cpu": cpu, "cp cpu": peer_cpu})
    proofs = []
    for _ in range(3):
        times = {"plan": time_call(plan)}
        made.unlink()
        target = write(made)
        times["sync"] = time_call(lambda: os.fsync(target))  # noqa: B023 — called at once
        os.posix_fadvise(target, 0, 0, os.POSIX_FADV_DONTNEED)
        proofs.append({**times, "prove": time_call(lambda: prove(target)), "sha256": time_call(hashed)})  # noqa: B023 — called at once
        os.close(target)
    target = os.open(made, os.O_RDWR)
    peaks = {
        "plan": _peak(lambda: plan_slim(source, shared, lambda _: None)),
        "write": _peak(lambda: write(copy)),
        "prove": _peak(lambda: prove_slim(source, target, ["optimizer"], lambda _: None)),
    }
    print(json.dumps({"pairs": pairs[1:], "proofs": proofs, "peaks": peaks, "kept": kept.stat().st_size}))


def _anew(path: Path, call: Callable[[], object]) -> tuple[float, float]:
    """Make a file in a fork, the last one removed and the disk at rest; give the seconds, and those of a processor.

    Both use one name: else one of them gets the memory that was just freed, and the other has to find some.
    """
    path.unlink(missing_ok=True)
    os.sync()
    start = time.perf_counter()
    child = os.fork()
    if not child:
        call()
        os._exit(0)
    _, status, used = os.wait4(child, 0)
    assert not status
    return time.perf_counter() - start, used.ru_utime + used.ru_stime


def _peak(call: Callable[[], object]) -> list[float]:
    """Call in a fork; give its memory at the start and at the worst, in MiB."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        Path("/proc/self/clear_refs").write_text("5")  # the peak of a fork is its parent's, until it is reset
        start = _high_water()
        call()
        os.write(writing, json.dumps([start, _high_water()]).encode())
        os._exit(0)
    os.close(writing)
    answer = os.read(reading, 4096)
    os.close(reading)
    os.waitpid(child, 0)
    return json.loads(answer)


def _high_water() -> float:
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def _ratio(rounds: list[dict[str, float]], mine: str, peer: str) -> float:
    return statistics.median(times[mine] / times[peer] for times in rounds)


def measure_slim(place: Path, quick: bool) -> list[Row]:
    """Slim a checkpoint of 1.5 GB, of which 500 MB are weights."""
    checkpoint = make_trained(place / "trained.pth", 50_000_000 if quick else 500_000_000)
    command = worker_command("bench.rows_slim", needs=("isal",))
    done = subprocess.run([*command, str(checkpoint), str(place)], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    ratio, against = _ratio(told["pairs"], "write", "cp"), _ratio(told["proofs"], "prove", "sha256")
    cpu_ratio = _ratio(told["pairs"], "write cpu", "cp cpu")
    median = {
        name: statistics.median(times[name] for times in rounds)
        for rounds in (told["pairs"], told["proofs"])
        for name in rounds[0]
    }
    work = f"slim of {checkpoint.stat().st_size / 1e6:.0f} MB to {told['kept'] / 1e6:.0f} MB"
    rows = [
        Row(f"{work}, written", f"{median['write']:.3f} s", f"cp {median['cp']:.3f} s", f"{ratio:.2f}", "≤ 1.3", ratio <= 1.3),
        Row(
            f"{work}, processor time of that",
            f"{median['write cpu']:.3f} s",
            f"cp {median['cp cpu']:.3f} s",
            f"{cpu_ratio:.2f}",
            "",
            None,
        ),
        Row(f"{work}, planned", f"{median['plan']:.3f} s", "", "", "", None),
        Row(f"{work}, synced", f"{median['sync']:.3f} s", "", "", "", None),
        Row(
            f"{work}, proven",
            f"{median['prove']:.3f} s",
            f"SHA-256 of both files {median['sha256']:.3f} s",
            f"{against:.2f}",
            "",
            None,
        ),
    ]
    for step, (start, peak) in told["peaks"].items():
        grown = peak - start
        measured, owed = f"{grown:.0f} MiB", f"≤ {_MOST_PEAK_MIB} MiB"
        rows.append(
            Row(
                f"{work}, memory to {step} above the start",
                measured,
                f"start {start:.0f} MiB",
                "",
                owed,
                grown <= _MOST_PEAK_MIB,
            )
        )
    return rows
