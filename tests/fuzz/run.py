"""Run the fuzzer: `python -m tests.fuzz.run --count 1000000 --seed 1 --jobs 2`; exit 1 when the engine did anything wrong.

Every input is told by its seed and number.  What went wrong is written to --out as the file and a line that says why.
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

#: Far beyond what the engine's own budgets allow; below the worker's limit for a structure.
PATIENCE_SECONDS = 10.0


class TooLongError(BaseException):
    """One input took longer than `PATIENCE_SECONDS`; not an Exception, so that no reader swallows it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Start the workers, add up what they say."""
    options = _options(argv)
    if options.only is not None:
        return _work(options)
    command = [sys.executable, "-m", "tests.fuzz.run", *_passed_on(options)]
    began = time.monotonic()
    workers = [subprocess.Popen([*command, "--only", str(k)], stdout=subprocess.PIPE, text=True) for k in range(options.jobs)]
    totals: collections.Counter[str] = collections.Counter()
    problems: list[str] = []
    for number, worker in enumerate(workers):
        output = worker.communicate()[0].splitlines()
        if not output or worker.returncode not in (0, 1):
            problems.append(f"worker {number} died with {worker.returncode}; its input is in {options.out}/progress-{number}")
            continue
        answer = json.loads(output[-1])
        totals.update(answer["statuses"])
        problems += answer["problems"]
    seconds = time.monotonic() - began
    done = sum(n for status, n in totals.items() if not status.startswith("loaded"))
    print(f"{done} inputs in {seconds:.0f} s ({done / max(seconds, 1e-9):.0f}/s): {dict(totals.most_common())}")
    for problem in problems[:50]:
        print("PROBLEM", problem)
    print(f"{len(problems)} problems")
    return 1 if problems else 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--start", type=int, default=0, help="number of the first input")
    parser.add_argument(
        "--load-every", type=int, default=20, help="load and compare each n-th ok file; 0 for none, and no torch"
    )
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "ckptd-fuzz")
    parser.add_argument("--only", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    return options


def _passed_on(options: argparse.Namespace) -> Iterator[str]:
    for name in ("count", "seed", "jobs", "start", "load_every", "out"):
        yield from (f"--{name.replace('_', '-')}", str(getattr(options, name)))


def _work(options: argparse.Namespace) -> int:
    from tests.fuzz import probe, seeds
    from tests.fuzz.mutate import mutate

    canary = options.out / f"canary-{options.only}"
    canary.unlink(missing_ok=True)
    files = seeds.gather(str(canary), with_torch=bool(options.load_every))
    for data in files:
        probe.complaint(data)  # whatever is imported late is imported now
    judge = _loader(options.out) if options.load_every else None
    noise = _listen()
    signal.signal(signal.SIGALRM, _too_long)
    statuses: collections.Counter[str] = collections.Counter()
    problems: list[str] = []
    progress = os.open(options.out / f"progress-{options.only}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for number in range(options.start + options.only, options.start + options.count, options.jobs):
        os.pwrite(progress, f"{number:020d}\n".encode(), 0)
        data = mutate(random.Random(f"{options.seed}:{number}"), files)
        why, status = _one(data, noise)
        statuses[status] += 1
        if why is None and judge is not None and status == "ok" and statuses["ok"] % options.load_every == 0:
            why, verdict = judge(data)
            statuses[f"loaded: {verdict}"] += 1
        if why is None and canary.exists():
            why = "the canary is there: something was run"
            canary.unlink()
        if why is not None:
            kept = options.out / f"{options.seed}-{number}.pth"
            kept.write_bytes(data)
            problems.append(f"{kept}: {why}")
    print(json.dumps({"statuses": statuses, "problems": problems}))
    return 1 if problems else 0


def _one(data: bytes, noise: list[str]) -> tuple[str | None, str]:
    from tests.fuzz.probe import complaint

    faulthandler.dump_traceback_later(6 * PATIENCE_SECONDS, exit=True)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE_SECONDS)
    noise.clear()
    noise.append("listen")
    try:
        why, found = complaint(data)
    except TooLongError:
        why, found = f"took more than {PATIENCE_SECONDS} s", None
    finally:
        heard = noise[1:]
        noise.clear()
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
    if why is None and heard:
        why = f"it did more than read: {heard[:3]}"
    return why, "none" if found is None else str(found.status)


def _listen() -> list[str]:
    """Note what the engine does beside reading, while the first item of the list says so."""
    noise: list[str] = []
    watched = (
        "import",
        "exec",
        "compile",
        "open",
        "os.",
        "subprocess.",
        "socket.",
        "pickle.",
        "marshal.",
        "ctypes.",
        "shutil.",
    )

    def hook(event: str, args: tuple[object, ...]) -> None:
        if noise and event.startswith(watched) and len(noise) < 20:
            noise.append(f"{event} {args!r:.120}")

    sys.addaudithook(hook)
    return noise


def _too_long(_signal: int, _frame: object) -> None:
    raise TooLongError


def _loader(directory: Path) -> object:
    """Give the judge of ok files: `ckptd.load` must load them, and equal torch.load where that takes them."""
    import warnings

    import torch

    from ckptd.loading.load import load
    from tests.corpus.compare import differences

    warnings.simplefilter("ignore")
    scratch = Path(tempfile.mkdtemp(dir=directory)) / "fuzzed.pth"

    def judge(data: bytes) -> tuple[str | None, str]:
        scratch.write_bytes(data)
        try:
            ours = load(scratch, map_location="cpu")
        except Exception as error:
            return f"ok, and cannot be loaded: {type(error).__name__}: {error}", "refused"
        try:
            theirs = torch.load(scratch, map_location="cpu", weights_only=True)
        except Exception:  # torch takes less: numpy, Namespace, newer opcodes
            return None, "torch refuses"
        found = differences(ours, theirs)
        return (f"differs from torch.load: {found[:3]}" if found else None), "equal"

    return judge


if __name__ == "__main__":
    sys.exit(main())
