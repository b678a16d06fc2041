"""The pool against workers that behave, die, hang and lie; real processes, all walls up."""

import os
import signal
import time
from pathlib import Path

import pytest

from ckptd.errors import WorkerError
from ckptd.sandbox.limits import ALL_LAYERS, Limits

SHORT = Limits(structure_seconds=0.4, base_seconds=0.4)


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def children() -> set[int]:
    pid = os.getpid()
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1]) == pid:
                    found.add(int(name))
            except (FileNotFoundError, ProcessLookupError):
                pass
    return found


def test_a_task_is_answered_behind_every_wall(drive):
    """The worker reads the descriptor it was given, and says that all walls stand."""
    result = drive().ask("echo", value={"deep": [1, None, "\udc80 é"]})
    assert result.error is None
    assert result.answer["bytes"] == "content"
    assert result.answer["value"] == {"deep": [1, None, "\udc80 é"]}
    assert result.layers.applied == ALL_LAYERS
    assert result.layers.landlock_abi >= 1
    assert not result.layers.degraded


def test_a_worker_stays_warm(drive):
    """One process answers one task after the other, each from the start of its file."""
    driver = drive()
    answers = [driver.ask("echo").answer for _ in range(3)]
    assert len({answer["pid"] for answer in answers}) == 1
    assert {answer["bytes"] for answer in answers} == {"content"}


def test_no_worker_is_started_without_work(drive):
    driver = drive(size=2)
    driver.step(0.01)
    assert driver.pool.pids == []
    assert driver.pool.next_deadline() is None


def test_work_is_spread_over_all_workers(drive):
    """Twelve equal tasks of two warm workers are six each, none of them piled up."""
    driver = drive(size=2)
    driver.warm(2)
    numbers = [driver.submit("sleep", seconds=0.02) for _ in range(12)]
    results = driver.results(12)
    by_worker = [results[number].answer["pid"] for number in numbers]
    assert sorted(by_worker.count(pid) for pid in set(by_worker)) == [6, 6]


def test_many_tasks_get_one_result_each(drive):
    """More tasks than workers can hold are all answered, each once, with its own value."""
    driver = drive(size=2)
    numbers = {driver.submit("echo", value=value): value for value in range(300)}
    results = driver.results(300)
    assert {number: results[number].answer["value"] for number in numbers} == numbers


def test_nothing_waits_behind_a_large_file(drive, tmp_path):
    """A worker with a large file gets no second task while it reads, so an idle one can take it."""
    large = tmp_path / "large"
    with large.open("wb") as stream:
        stream.truncate(1 << 30)
    driver = drive(size=2)
    driver.warm(2)
    slow = driver.submit("sleep", file=large, seconds=5.0)
    quick = [driver.submit("echo") for _ in range(20)]
    driver.until(lambda: len(driver.pool.results) >= 20)
    assert {result.id for result in driver.pool.results} == set(quick)
    assert slow in driver.results(21)


def test_a_crash_costs_one_task(drive):
    """The task that was being worked on fails, with the signal named; those behind it are answered by another worker."""
    driver = drive()
    before = [driver.submit("echo") for _ in range(3)]
    culprit = driver.submit("crash")
    behind = [driver.submit("echo", value=i) for i in range(5)]
    results = driver.results(9)
    assert "SIGSEGV" in str(results[culprit].error)
    assert all(results[number].error is None for number in [*before, *behind])
    assert [results[number].answer["value"] for number in behind] == [0, 1, 2, 3, 4]
    assert results[before[0]].answer["pid"] != results[behind[0]].answer["pid"]


def test_a_kill_from_outside_costs_one_task(drive):
    """SIGKILL to a busy worker: its task is told so, the others go on."""
    driver = drive()
    (pid,) = driver.warm()
    first = driver.submit("spin")
    behind = [driver.submit("echo") for _ in range(3)]
    os.kill(pid, signal.SIGKILL)
    results = driver.results(4)
    assert "killed from outside" in str(results[first].error)
    assert all(results[number].error is None for number in behind)


def test_an_idle_worker_killed_unnoticed_costs_nothing(drive):
    """A task that is submitted to a dead worker, before anybody looked, goes to a new one."""
    driver = drive()
    (pid,) = driver.warm()
    os.kill(pid, signal.SIGKILL)
    while not is_gone(pid):
        time.sleep(0.001)
    assert driver.ask("echo").error is None


def test_answers_given_before_a_death_count(drive):
    """A worker that answers and dies before the parent looks loses nothing that it said."""
    driver = drive()
    (pid,) = driver.warm()
    first = driver.submit("echo", value=1)
    second = driver.submit("end", status=3)
    while not is_gone(pid):
        time.sleep(0.001)
    third = driver.submit("echo", value=3)
    results = driver.results(3)
    assert results[first].answer["value"] == 1
    assert "exit status 3" in str(results[second].error)
    assert results[third].answer["value"] == 3


def test_an_endless_loop_ends_on_the_clock(drive):
    """A worker that hangs in the structure is killed, and the task behind it is answered."""
    driver = drive(limits=SHORT)
    (pid,) = driver.warm()
    hung = driver.submit("spin")
    behind = driver.submit("echo")
    results = driver.results(2)
    assert "structure took longer than 0.4 seconds" in str(results[hung].error)
    assert results[behind].error is None
    assert is_gone(pid)


def test_progress_renews_the_time(drive, tmp_path):
    """A file that takes longer than the limits in all, but keeps coming, is read to its end."""
    large = tmp_path / "large"
    with large.open("wb") as stream:
        stream.truncate(8 << 20)
    driver = drive(limits=Limits(structure_seconds=1.0, base_seconds=1.0))
    number = driver.submit("creep", file=large, steps=8, step_bytes=1 << 20)
    assert driver.results(1)[number].error is None


def test_progress_that_goes_nowhere_does_not(drive, tmp_path):
    """Reports without a further MiB renew nothing: a worker can't buy time with words."""
    large = tmp_path / "large"
    with large.open("wb") as stream:
        stream.truncate(1 << 20)
    driver = drive(limits=SHORT)
    number = driver.submit("creep", file=large, steps=1000, step_bytes=10)
    assert "reading stopped after" in str(driver.results(1)[number].error)


def test_a_caller_that_was_away_does_not_blame_the_worker(drive):
    """An answer that lies in the socket counts, even when its deadline passed before anybody looked."""
    driver = drive(limits=SHORT)
    driver.warm()
    number = driver.submit("echo")
    time.sleep(0.6)
    driver.pool.tick(time.monotonic())
    assert driver.results(1)[number].error is None


#: name → parts, each so many times.
BAD_LINES = {
    "no JSON": [("forged\n", 1)],
    "binary": [("\x80\x02\x00\xff\x00}q\x00.\n", 1)],
    "a list": [("[1,2]\n", 1)],
    "deep": [("[", 100_000), ("\n", 1)],
    "an answer of somebody else": [('{"id":999,"answer":{}}\n', 1)],
    "an id of another type": [('{"id":true,"answer":{}}\n', 1)],
    "an unknown key": [('{"id":1,"answer":{},"more":1}\n', 1)],
    "an answer that is no object": [('{"id":1,"answer":[]}\n', 1)],
    "NaN": [('{"id":1,"answer":{"a":NaN}}\n', 1)],
    "too many values": [('{"id":1,"answer":{"a":[', 1), ("[],", 600_000), ("0]}}\n", 1)],
    "progress that is no number": [('{"id":1,"progress":"all"}\n', 1)],
    "a second greeting": [('{"layers":{}}\n', 1)],
}


@pytest.mark.parametrize("parts", BAD_LINES.values(), ids=BAD_LINES.keys())
def test_a_lie_ends_the_worker(drive, parts):
    """Whatever is not the agreed answer is an error for its task, and the worker goes."""
    driver = drive()
    (pid,) = driver.warm()
    number = driver.submit("write", parts=parts)
    behind = driver.submit("echo")
    results = driver.results(2)
    assert isinstance(results[number].error, WorkerError)
    assert results[behind].error is None
    assert results[behind].answer["pid"] != pid
    assert is_gone(pid)


def test_a_line_without_an_end_is_cut_off(drive):
    """A worker that writes more than 8 MiB without a newline is ended, however much it has to say."""
    driver = drive()
    result = driver.ask("write", parts=[("x" * 4096, 2049)])
    assert "longer than 8388608 bytes" in str(result.error)


def test_an_answer_of_just_the_limit_passes_and_one_byte_more_does_not(drive):
    """The bound of an answer is the bound, on the worker's side too."""
    driver = drive()
    room = 8 * 2**20 - len('{"id":1,"answer":{"text":""}}\n')
    assert len(driver.ask("large", bytes=room).answer["text"]) == room
    assert "8388609 bytes" in str(driver.ask("large", bytes=room + 1).error)


def test_what_was_not_asked_ends_an_idle_worker(drive):
    """A line after the answer is an oddity; nothing that was not asked for is believed."""
    driver = drive()
    result = driver.ask("write", parts=[('{"id":1,"answer":{"forged":true}}\n', 1)], then_answer=True)
    assert result.answer == {"forged": True}
    driver.until(lambda: not driver.pool.pids)
    assert driver.ask("echo").error is None


def test_hanging_up_ends_the_worker(drive):
    """A worker that closes its channel and stays is killed."""
    driver = drive()
    (pid,) = driver.warm()
    assert "closed its channel" in str(driver.ask("hang_up").error)
    assert is_gone(pid)


def test_an_exception_is_told_and_escaped(drive):
    """What the function raises reaches the caller as harmless text, and the worker is replaced."""
    driver = drive()
    (pid,) = driver.warm()
    error = driver.ask("fail", text="\x1b[31mred").error
    assert "ValueError: \\x1b[31mred" in str(error)
    assert driver.ask("echo").answer["pid"] != pid


def test_too_much_memory_is_an_error(drive):
    """100 GB are not to be had; the task says so."""
    assert "more memory" in str(drive().ask("allocate", bytes=100_000_000_000).error)


def test_a_fork_ends_the_worker(drive):
    assert "forbidden system call" in str(drive().ask("fork").error)


def test_an_answer_that_the_caller_refuses_ends_the_worker(drive):
    """`read` decides what an answer is; its refusal is the result."""

    def read(answer):
        if answer["value"] == "bad":
            raise KeyError("value")
        return answer["value"]

    driver = drive(read=read)
    (pid,) = driver.warm()
    assert driver.ask("echo", value="good").answer == "good"
    assert "KeyError" in str(driver.ask("echo", value="bad").error)
    assert is_gone(pid)


def test_a_worker_is_replaced_after_its_share(drive):
    """No worker answers more than `max_tasks`."""
    driver = drive(max_tasks=4)
    numbers = [driver.submit("echo") for _ in range(10)]
    results = driver.results(10)
    pids = [results[number].answer["pid"] for number in numbers]
    assert sorted(pids.count(pid) for pid in set(pids)) == [2, 4, 4]


def test_idle_workers_end(drive):
    """After the idle time no worker is alive and the pool wants nothing."""
    driver = drive(size=2, idle_seconds=0.05)
    driver.submit("echo")
    driver.results(1)
    driver.until(lambda: driver.pool.next_deadline() is None)
    assert driver.pool.pids == []
    assert driver.ask("echo").error is None


def test_nothing_is_left_behind(drive):
    """Descriptors and processes are as before, after answers, crashes, hangs and a close with work in it."""
    before, family = open_fds(), children()
    driver = drive(size=2, limits=SHORT)
    for act in ("echo", "crash", "fork", "hang_up", "spin", "echo"):
        driver.submit(act)
    driver.results(6)
    driver.submit("echo")
    driver.submit("spin")
    driver.step(0.05)
    driver.close()
    assert all(result.error is None for result in driver.pool.results), "a task that the close interrupted has no result"
    assert children() == family
    assert open_fds() == before


def test_a_request_that_is_no_json_is_the_callers_error(drive):
    """The descriptor is closed all the same."""
    driver = drive()
    before = open_fds()
    with pytest.raises(TypeError):
        driver.submit("echo", value=object())
    assert open_fds() == before


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("/nonexistent/python",), "No such file or directory"),
        (("/bin/sh", "-c", "echo the library is missing >&2; exit 3"), "exit status 3: the library is missing"),
        (("/bin/sh", "-c", "kill -SEGV $$"), "SIGSEGV"),
        (("/bin/sh", "-c", "echo hello >&0"), "not JSON"),
    ],
    ids=["no program", "exit", "signal", "garbage"],
)
def test_a_worker_that_cannot_start_is_an_error_and_no_spin(drive, command, expected):
    """After three tries with waits between them the task gets the reason; the pool then sleeps until the next try."""
    driver = drive(command=command)
    starts = []
    start = driver.pool._start
    driver.pool._start = lambda now: (starts.append(now), start(now))[1]
    result = driver.ask("echo")
    assert expected in str(result.error)
    assert len(starts) == 3
    assert starts[1] - starts[0] >= 0.1
    assert starts[2] - starts[1] >= 0.5
    driver.submit("echo")
    for _ in range(20):
        driver.step(0.01)
    assert len(starts) == 3
    assert driver.pool.next_deadline() > time.monotonic() + 1


def test_a_start_that_hangs_is_ended(drive):
    """A worker that never says that it is confined is killed and counted as a failed start."""
    driver = drive(command=("/bin/sh", "-c", "exec sleep 60"), limits=Limits(start_seconds=0.05))
    assert "did not start in time" in str(driver.ask("echo").error)


def test_missing_walls_are_reported(drive):
    """A wall less is a finding for the file; the worker works on."""
    without = tuple(name for name in ALL_LAYERS if name != "landlock")
    result = drive(limits=Limits(layers=without)).ask("echo")
    assert result.error is None
    (finding,) = result.layers.findings()
    assert finding.code == "sandbox-degraded"
    assert "landlock (switched off)" in finding.message


def test_missing_walls_are_refused_when_required(drive):
    """With `required` no task is done without a wall, and the first refusal is the answer."""
    without = tuple(name for name in ALL_LAYERS if name != "seccomp")
    error = drive(limits=Limits(layers=without, required=True)).ask("echo").error
    assert error.permanent
    assert "seccomp (switched off)" in str(error)
    assert "best_effort" in error.cure
