"""Who gets the next task, and when a file is late: tables and laws, without processes."""

import os
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptd.sandbox.deadline import MAX_EXTENSIONS, RENEW_BYTES, Deadline
from ckptd.sandbox.limits import Limits
from ckptd.sandbox.spread import DEPTH, DEPTH_BYTES, fair_share, pick, take_batch
from ckptd.sandbox.usage import cpu_seconds, wants_cpu

MIB = 1 << 20


@dataclass
class Worker:
    pending: int = 0
    pending_bytes: int = 0
    served: int = 0
    ready: bool = True


@dataclass
class File:
    size_bytes: int


@pytest.mark.parametrize(
    ("queued", "pending", "size", "share"),
    [
        (1, [0, 0], 2, 1),
        (2, [0, 0], 2, 1),
        (3, [0, 0], 2, 2),
        (16, [0], 2, 8),  # the other worker starts just now: its half waits for it
        (10, [6], 2, 8),
        (100, [0, 0], 2, DEPTH),
        (100, [0], 1, DEPTH),
        (1, [16, 16], 2, DEPTH),
    ],
)
def test_fair_share(queued, pending, size, share):
    assert fair_share(queued, pending, size) == share


@pytest.mark.parametrize(
    ("workers", "next_bytes", "share", "picked"),
    [
        ([Worker(3), Worker(0)], 1, 4, 1),
        ([Worker(3), Worker(2)], 1, 4, 1),
        ([Worker(4), Worker(4)], 1, 4, None),
        ([Worker(ready=False)], 1, 4, None),
        ([Worker(served=1000)], 1, 4, None),
        ([Worker(1, served=999)], 1, 4, None),
        ([Worker(1, DEPTH_BYTES)], 1, 4, None),
        ([Worker(1, 1)], DEPTH_BYTES, 4, None),
        ([Worker(0)], 1 << 40, 4, 0),  # however large, an idle worker takes it
        ([Worker(1, 1), Worker(2, 0)], DEPTH_BYTES, 4, 1),
        ([], 1, 4, None),
    ],
)
def test_pick(workers, next_bytes, share, picked):
    assert pick(workers, next_bytes, share, 1000) is (None if picked is None else workers[picked])


@pytest.mark.parametrize(
    ("worker", "sizes", "share", "taken"),
    [
        (Worker(), [1, 1, 1, 1], 3, 3),
        (Worker(2), [1, 1, 1], 3, 1),
        (Worker(), [100 * MIB, 1], 16, 1),
        (Worker(), [1, 100 * MIB, 1], 16, 1),
        (Worker(), [8 * MIB, 8 * MIB, 8 * MIB], 16, 2),
        (Worker(served=998), [1, 1, 1], 16, 2),
    ],
)
def test_take_batch(worker, sizes, share, taken):
    queue = deque(File(size) for size in sizes)
    assert [file.size_bytes for file in take_batch(queue, worker, share, 1000)] == sizes[:taken]
    assert [file.size_bytes for file in queue] == sizes[taken:]


@given(st.lists(st.integers(0, 40 * MIB), min_size=1, max_size=60), st.integers(1, 5))
def test_every_task_is_given_to_somebody(sizes, count):
    """Idle workers that finish all they have, again and again, empty any queue; nobody holds more than agreed."""
    queue, workers = deque(File(size) for size in sizes), [Worker() for _ in range(count)]
    rounds = 0
    while queue:
        rounds += 1
        assert rounds <= len(sizes), "a round gave nothing out"
        while queue:
            share = fair_share(len(queue), [worker.pending for worker in workers], count)
            worker = pick(workers, queue[0].size_bytes, share, 10**6)
            if worker is None:
                break
            batch = take_batch(queue, worker, share, 10**6)
            worker.pending += len(batch)
            worker.pending_bytes += sum(file.size_bytes for file in batch)
            assert worker.pending <= DEPTH
            assert worker.pending == 1 or worker.pending_bytes <= DEPTH_BYTES
        for worker in workers:
            worker.served, worker.pending, worker.pending_bytes = worker.served + worker.pending, 0, 0


LIMITS = Limits(structure_seconds=20, base_seconds=10, bytes_per_second=20e6)
SIZE = 200_000_000


@pytest.mark.parametrize(
    ("reports", "at"),
    [
        ([], 20),
        ([(5, 0)], 5 + 10 + 10),
        ([(5, 100_000_000)], 5 + 10 + 5),
        ([(5, 0), (6, 1000)], 25),  # less than a MiB renews nothing
        ([(5, 0), (6, RENEW_BYTES)], pytest.approx(6 + 10 + (SIZE - RENEW_BYTES) / 20e6)),
        ([(5, SIZE), (9, SIZE + 10**9)], 15),  # beyond the end there is nothing to wait for
        ([(5, 100_000_000), (9, 0)], 20),
        ([(5, -(10**9)), (9, -5)], 25),
        ([(5, SIZE)], 15),
    ],
)
def test_deadlines(reports, at):
    deadline = Deadline(LIMITS, SIZE, os.getpid(), 0.0)
    for now, done in reports:
        deadline.note_progress(done, now)
    assert deadline.at == at


def test_what_was_late_is_said():
    deadline = Deadline(LIMITS, SIZE, os.getpid(), 0.0)
    assert "structure took longer than 20 seconds" in str(deadline.late())
    deadline.note_progress(7, 1.0)
    assert "7 of 200000000 bytes" in str(deadline.late())


@pytest.mark.parametrize(
    ("used", "wants", "extended"),
    [
        (0.0, True, True),  # a processor that never came
        (9.9, True, True),
        (10.1, True, False),  # half of its 20 s: an endless loop
        (0.0, False, False),  # sleeps or hangs in a read
        (None, True, False),
    ],
)
def test_a_starved_worker_gets_its_time_again(used, wants, extended):
    """Only a worker that waits for a processor, and had little of it, is spared, and at most nine times."""
    start = cpu_seconds(os.getpid())
    deadline = Deadline(LIMITS, SIZE, os.getpid(), 0.0)
    now = {"used": lambda _: None if used is None else start + used, "wants": lambda _: wants}
    assert deadline.extend(20.0, **now) is extended
    assert deadline.at == (40.0 if extended else 20.0)
    if extended:
        assert [deadline.extend(40.0, **now) for _ in range(MAX_EXTENSIONS)] == [True] * (MAX_EXTENSIONS - 1) + [False]


def test_the_use_of_another_process_is_known():
    """A child that sleeps uses and wants nothing; one that spins does both, in whichever thread."""
    beside = "def spin():\n while True: pass\nimport threading\nthreading.Thread(target=spin).start()\nthreading.Event().wait()"
    for code, busy in (("input()", False), ("while True: pass", True), (beside, True)):
        child = subprocess.Popen([sys.executable, "-S", "-c", f"print(1, flush=True)\n{code}"], stdin=-1, stdout=-1)
        try:
            child.stdout.readline()
            time.sleep(0.05)
            before = cpu_seconds(child.pid)
            time.sleep(0.3)
            assert wants_cpu(child.pid) is busy
            assert (cpu_seconds(child.pid) - before > 0.01) is busy
        finally:
            child.kill()
            child.communicate()
    assert cpu_seconds(2**22 + 1) is None
    assert not wants_cpu(2**22 + 1)
