"""A nursery with its zygote, and jobs that fail, lie, hang, crash and are killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ckptd.errors import WorkerError
from ckptd.sandbox.command import worker_command
from ckptd.sandbox.jail import Jail
from ckptd.sandbox.nursery import Job
from tests.sandbox.nursing import Nursing

HERE = str(Path(__file__).parent)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    nursing = Nursing(tmp_path_factory.mktemp("nursery"))
    yield nursing
    nursing.close()


@pytest.fixture
def nursing(shared):
    """One that lives on: whatever a job did, the same zygote does the next one."""
    shared.ask("echo")
    before = shared.zygote
    yield shared
    shared.clear()
    assert shared.ask("echo", value="next").answer["value"] == "next"
    assert shared.zygote == before


@pytest.fixture
def make(tmp_path):
    """Make a nursery that may lose its zygote."""
    made = []

    def make(**options) -> Nursing:
        made.append(Nursing(tmp_path, **options))
        return made[-1]

    yield make
    for nursing in made:
        nursing.close()


def own_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


# -- answers


def test_a_job_answers(nursing):
    """With its process's own number, from its scratch directory."""
    result = nursing.ask("echo", value=[1, "two"])
    assert result.error is None
    assert result.answer == {"pid": result.answer["pid"], "value": [1, "two"], "cwd": str(nursing.scratch)}
    assert result.answer["pid"] != nursing.zygote
    assert not is_alive(result.answer["pid"])
    assert result.seconds > 0
    assert result.peak_bytes > 1 << 20


def test_jobs_run_at_once_and_each_gets_one_result(nursing):
    """One that takes long holds up nobody."""
    long = nursing.submit("spin")
    short = {nursing.submit("echo", value=value): value for value in range(8)}
    assert {number: result.answer["value"] for number, result in nursing.results(8).items()} == short
    assert len(nursing.nursery) == 1
    nursing.nursery.cancel(long, WorkerError("nobody wants it"))
    assert nursing.results(1)[long].error.what == "nobody wants it"
    assert len(nursing.nursery) == 0


def test_descriptors_come_in_order_and_stay_the_callers(nursing, tmp_path):
    """A job gets duplicates, and nothing is left of them."""
    fds = []
    for number in range(5):
        (tmp_path / str(number)).write_text(f"content {number}")
        fds.append(os.open(tmp_path / str(number), os.O_RDONLY))
    before = own_fds()
    nursing.submit("spin", *fds, seconds=0.2)
    result = nursing.submit("try_read_passwd", *fds)
    answers = nursing.results(2)
    assert answers[result].answer == {"outcome": "EACCES"}
    directory = os.dup(nursing.fd)
    nursing.nursery.submit(Job(0, "read_fds", {}, tuple(fds), (), (), Jail(), 60.0))
    assert nursing.results(1)[0].answer == {"contents": [f"content {number}" for number in range(5)]}
    os.close(directory)
    assert own_fds() == before
    for fd in fds:
        os.close(fd)


def test_notes_come_while_it_works(nursing):
    """In order, escaped and bounded."""
    nursing.notes.clear()
    number = nursing.submit("note", texts=["first", "\x1b[31m", "x" * 1000])
    assert nursing.results(1)[number].error is None
    assert nursing.notes == [(number, "first"), (number, "\\x1b[31m"), (number, "x" * 200 + "…")]


def test_the_end_of_what_is_printed_comes_back(nursing):
    """A gigabyte of it costs no memory and hangs nothing."""
    before = _peak()
    result = nursing.ask("print_much", bytes=1 << 30)
    assert result.error is None
    assert result.words.endswith("the \\x1b[31mend")
    assert len(result.words) <= 4200
    assert _peak() - before < 8 << 20


def _peak() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


# -- failures


def test_an_exception_comes_with_its_place(nursing):
    """Escaped, with the line of the code that raised it."""
    why = nursing.ask("fail", text="no \x1b[2J such layer").error.why
    assert why.startswith("ValueError: no \\x1b[2J such layer (")
    assert "jobs_zygote.py:" in why


def test_an_exception_without_a_text_is_named(nursing):
    assert nursing.ask("fail_to_describe").error.why.startswith("OddError (")


def test_an_unknown_function_is_an_error(nursing):
    assert "KeyError" in nursing.ask("no_such_function").error.why


@pytest.mark.parametrize("request_", [{"value": [1]}, {"value": None}, {"value": "text"}, {"bytes": 9 << 20}])
def test_an_answer_is_an_object_of_bounded_size(nursing, request_):
    assert nursing.ask("answer_oddly", **request_).error is not None


@pytest.mark.parametrize(
    ("function", "request_", "why"),
    [
        ("end", {"status": 0}, "ended with exit status 0"),
        ("end", {"status": 7}, "ended with exit status 7"),
        ("crash", {}, "ended by SIGSEGV"),
    ],
)
def test_a_job_that_ends_without_an_answer(nursing, function, request_, why):
    result = nursing.ask(function, **request_)
    assert result.error.why == why
    assert result.layers.applied


@pytest.mark.parametrize("function", ["spin", "sleep", "stop_itself"])
def test_a_job_that_takes_too_long_is_killed(nursing, function):
    """Whether it computes, waits or has stopped itself."""
    result = nursing.ask(function, seconds=0.3)
    assert result.error is not None
    assert result.answer is None


def test_a_result_comes_when_nothing_can_change_any_more(nursing):
    """A thread that goes on writing ends with the answer's process."""
    assert nursing.ask("leave_thread").error is None
    size = (nursing.scratch / "growing").stat().st_size
    time.sleep(0.05)
    assert (nursing.scratch / "growing").stat().st_size == size


ANSWER = '{"answer":{"value":"forged"}}\n'
FORGED = [
    ("not JSON", [["hello\n", 1]], "it is not JSON"),
    ("a list", [["[1]\n", 1]], "it is not an object"),
    ("not finite", [['{"answer":{"x":NaN}}\n', 1]], "it is not JSON"),
    ("no text", [["\xff\xfe\n", 1]], "it is not JSON"),
    ("deep", [['{"answer":', 1], ["[", 200_000], ["\n", 1]], "it is not JSON"),
    ("many values", [['{"answer":[', 1], ["[],", 1_000_001], ["1]}\n", 1]], "values in one line"),
    ("another job's end", [['{"job":1,"exit":0,"peak_bytes":1}\n', 1]], "it does not have the agreed keys"),
    ("layers again", [['{"layers":{"applied":[],"missing":[],"landlock_abi":9}}\n', 1]], "it does not have the agreed keys"),
    ("more keys", [['{"answer":{},"error":"x"}\n', 1]], "it does not have the agreed keys"),
    ("answer of another type", [['{"answer":[]}\n', 1]], "it does not have the agreed keys"),
    ("two answers", [[ANSWER, 2]], "it went on after its answer"),
    ("notes without end", [['{"note":"x"}\n', 20_000]], "more than 10000 notes"),
    ("long notes without end", [['{"note":"', 1], ["x", 1 << 20], ['"}\n', 1]] * 20, "bytes"),
    ("a gigabyte without a newline", [["x" * 1024, 1 << 20]], "it is longer than"),
]


@pytest.mark.parametrize(("parts", "why"), [pytest.param(parts, why, id=name) for name, parts, why in FORGED])
def test_a_lie_is_an_error(nursing, parts, why):
    """Whatever comes on a job's channel, the nursery bears it and believes nothing."""
    result = nursing.ask("say", parts=parts, then="stay")
    assert why in result.error.why
    assert result.answer is None


def test_half_a_line_is_no_answer(nursing):
    result = nursing.ask("say", parts=[[ANSWER[:-2], 1]], then="end")
    assert result.error.why == "ended with exit status 0"


def test_the_error_of_a_job_is_escaped(nursing):
    """A job can write its error line itself."""
    result = nursing.ask("say", parts=[['{"error":"\\u001b[2J"}\n', 1]], then="end")
    assert result.error.why == "\\x1b[2J"


# -- the zygote


def test_a_zygote_that_dies_fails_its_jobs_and_the_next_starts_another(make):
    """And nothing of the jobs is left when they have their results."""
    nursing = make()
    nursing.ask("echo")
    first = nursing.zygote
    jobs = [nursing.submit("spin"), nursing.submit("spin")]
    nursing.until(lambda: len(nursing.nursery.pids) == 3)
    pids = nursing.nursery.pids
    os.kill(first, signal.SIGKILL)
    results = nursing.results(2)
    assert {results[job].error.why for job in jobs} == {"killed from outside, perhaps because memory was short"}
    assert not any(is_alive(pid) for pid in pids)
    assert nursing.ask("echo").error is None
    assert nursing.zygote != first


def test_a_zygote_that_cannot_start_says_why(make):
    nursing = make(command=worker_command("no_such_module", needs=()))
    assert nursing.ask("echo").error.why == "ended with exit status 1: ModuleNotFoundError: No module named 'no_such_module'"


def test_a_command_that_is_not_there_is_a_result(make):
    nursing = make(command=("/nonexistent/python",))
    assert nursing.ask("echo").error.why == "No such file or directory"


def test_a_zygote_that_does_not_start_in_time_is_ended(make):
    nursing = make(command=(sys.executable, "-c", "import time; time.sleep(60)"), start_seconds=0.3)
    assert nursing.ask("echo").error.what == "a worker did not start in time"
    assert nursing.nursery.pids == []


NONSENSE = {
    "not JSON": b"hello\n",
    "not ready": b'{"job":1,"pid":1}\n',
    "a job that nobody asked for": b'{"ready":true}\n{"job":77,"pid":1}\n',
    "other keys": b'{"ready":true}\n{"job":1}\n',
    "a process without a number": b'{"ready":true}\n{"job":1,"pid":0}\n',
}


@pytest.mark.parametrize("data", NONSENSE.values(), ids=NONSENSE)
def test_a_zygote_that_says_nonsense_is_ended(make, data):
    nursing = make(command=(sys.executable, "-c", f"import os, time; os.write(0, {data!r}); time.sleep(60)"))
    assert nursing.ask("echo").error.what == "a worker's answer was refused"


def test_a_zygote_that_does_nothing_any_more_is_ended(make):
    """It said that it is ready, and forks nobody."""
    code = "import os, time; os.write(0, b'{\"ready\":true}\\n'); time.sleep(60)"
    nursing = make(command=(sys.executable, "-c", code), start_seconds=3.0)
    assert nursing.ask("echo").error.what == "a worker did not do as it was told"


def test_close_ends_everything(make):
    """Jobs without a result get none, and nothing is left."""
    before = own_fds()
    nursing = make()
    for _ in range(3):
        nursing.submit("spin")
    nursing.until(lambda: len(nursing.nursery.pids) == 4)
    pids = nursing.nursery.pids
    nursing.nursery.close()
    assert not any(is_alive(pid) for pid in pids)
    assert not nursing.nursery.results
    assert own_fds() == before + 2  # the selector and the scratch directory


def test_close_before_the_zygote_is_ready(make):
    nursing = make()
    nursing.submit("echo")
    (pid,) = nursing.nursery.pids
    nursing.nursery.close()
    assert not is_alive(pid)


@pytest.mark.parametrize("when", ["before", "after"])
def test_cancel(make, when):
    """A job that is cancelled has the reason as its error, whether it was forked or not; one that is over is left alone."""
    nursing = make()
    number = nursing.submit("spin")
    if when == "after":
        nursing.until(lambda: len(nursing.nursery.pids) == 2)
    nursing.nursery.cancel(number, WorkerError("it wrote too much"))
    assert nursing.results(1)[number].error.what == "it wrote too much"
    nursing.nursery.cancel(number, WorkerError("too late"))


def test_requests_that_cannot_be_sent_cost_nothing(make):
    """No JSON, too many descriptors, or a number that is taken: an exception, and no descriptor is left."""
    nursing = make()
    nursing.submit("spin")
    before = own_fds()
    with pytest.raises(TypeError):
        nursing.submit("echo", value=b"bytes")
    with pytest.raises(ValueError, match="42 descriptors, of 30 at most"):
        nursing.submit("echo", *[nursing.fd] * 41)
    with pytest.raises(ValueError, match="runs already"):
        nursing.nursery.submit(Job(1, "echo", {}, (), (), (), Jail(), 1.0))
    assert own_fds() == before


def test_a_closed_descriptor_is_a_result(make):
    """It is the caller's mistake, and no reason to lose the other jobs."""
    nursing = make()
    before = own_fds()
    assert nursing.ask("echo", 999).error.why == "Bad file descriptor"
    nursing.nursery.close()
    assert own_fds() == before


def test_a_large_request_arrives(nursing):
    """Of more than the socket holds, with descriptors before and behind it."""
    sent = {nursing.submit("echo", value="x" * size): size for size in (10, 6 << 20, 20, 1 << 20)}
    results = nursing.results(4)
    assert {number: len(results[number].answer["value"]) for number in sent} == sent


ORPHAN = """
import os, selectors, sys, time
from pathlib import Path
from tests.sandbox.nursing import Nursing
nursing = Nursing(Path(sys.argv[1]))
nursing.submit("spin")
nursing.until(lambda: len(nursing.nursery.pids) == 2)
print(*nursing.nursery.pids, flush=True)
time.sleep(60)
"""


def test_nothing_outlives_the_parent(tmp_path):
    """SIGKILL to it ends the zygote and a job that is busy and would never look."""
    root = Path(__file__).parents[2]
    parent = subprocess.Popen([sys.executable, "-c", ORPHAN, str(tmp_path)], stdout=subprocess.PIPE, cwd=root)
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert all(is_alive(pid) for pid in pids)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    end = time.monotonic() + 10
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < end, "a process lives on"
        time.sleep(0.01)
