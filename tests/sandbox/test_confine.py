"""Each wall by itself, and all together, against what an intruder would try; in forked children, on the real kernel."""

import ctypes
import errno
import mmap
import os
import platform
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ckptd.errors import WorkerError
from ckptd.sandbox import kernel, landlock
from ckptd.sandbox.confine import Layers, RefusedError
from ckptd.sandbox.limits import ALL_LAYERS, Limits
from ckptd.sandbox.once import run_confined

PARENT = os.getpid()
LIBC = ctypes.CDLL(None, use_errno=True)
#: MAP_NORESERVE, which Python has no name for: without it the machine's memory would be a wall of its own.
NO_RESERVE = 0x4000
IOPRIO_GET = {"x86_64": 252, "aarch64": 31}[platform.machine()]
#: What restrict calls need to be allowed at all.
GROUND = ("no_new_privs",)


def only(*names):
    return Limits(layers=tuple(name for name in ALL_LAYERS if name in names))


def without(*names):
    return Limits(layers=tuple(name for name in ALL_LAYERS if name not in names))


def read_passwd():
    return Path("/etc/passwd").read_text()[:4]


def list_root():
    return len(os.listdir("/"))


def write_file():
    fd = os.open("/tmp/ckptd-test-written", os.O_WRONLY | os.O_CREAT, 0o600)
    os.unlink("/tmp/ckptd-test-written")
    os.write(fd, b"x")


def open_socket():
    socket.socket(socket.AF_UNIX)


# Looked up by a connection, and read from a file at the first time: in a confined child it could not be.
"".encode("idna")


def connect_tcp(port):
    socket.create_connection(("127.0.0.1", port))


def fork():
    if os.fork() == 0:
        os._exit(0)


def execute():
    os.execv("/bin/true", ["true"])


def kill_parent():
    os.kill(PARENT, 0)


def trace_parent():
    if LIBC.ptrace(0x4206, PARENT, 0, 0) < 0:  # PTRACE_SEIZE
        raise OSError(ctypes.get_errno(), "ptrace")
    LIBC.ptrace(17, PARENT, 0, 0)


def read_parent():
    local = ctypes.create_string_buffer(8)
    here = (ctypes.c_size_t * 2)(ctypes.addressof(local), 8)
    there = (ctypes.c_size_t * 2)(id(LIBC), 8)
    if LIBC.process_vm_readv(PARENT, here, 1, there, 1, 0) < 0:
        raise OSError(ctypes.get_errno(), "process_vm_readv")


def change_mode(fd):
    os.fchmod(fd, 0o777)


def map_code():
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)


def make_code():
    area = mmap.mmap(-1, 4096)
    address = ctypes.addressof(ctypes.c_char.from_buffer(area))
    if LIBC.mprotect(ctypes.c_void_p(address), 4096, mmap.PROT_READ | mmap.PROT_EXEC) < 0:
        raise OSError(ctypes.get_errno(), "mprotect")


def map_file(fd):
    mmap.mmap(fd, 4096, prot=mmap.PROT_READ)


def new_namespace():
    if LIBC.unshare(0x10000000) < 0:
        raise OSError(ctypes.get_errno(), "unshare")


def open_ring():
    kernel.syscall("io_uring_setup", 1, 0)


def stat_passwd():
    os.stat("/etc/passwd")


def allocate():
    mmap.mmap(-1, 100_000_000_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE)


def many_fds():
    for _ in range(200):
        os.dup(1)


def try_it(attempt, *arguments, progress):
    try:
        return {"done": attempt(*arguments) is not NotImplemented}
    except MemoryError:
        return {"error": "MemoryError"}
    except OSError as error:
        return {"error": errno.errorcode[error.errno]}


def outcome(attempt, limits, *arguments, keep_fds=()):
    """Say what became of it: "done", the name of the error, or "killed"."""
    try:
        answer, _ = run_confined(try_it, attempt, *arguments, limits=limits, keep_fds=keep_fds)
    except WorkerError as error:
        return "killed" if "forbidden system call" in str(error) else str(error)
    return answer.get("error", "done")


FREE = only()
#: attempt → outcome with no wall, and the outcome with just one wall, for each wall that stops it.
#: A wall taken away makes its column "done".
ATTEMPTS = {
    read_passwd: {"landlock": "EACCES", "seccomp": "EPERM"},
    list_root: {"landlock": "EACCES", "seccomp": "EPERM"},
    write_file: {"landlock": "EACCES", "seccomp": "EPERM", "rlimits": "EFBIG"},
    open_socket: {"seccomp": "killed"},
    fork: {"seccomp": "killed"},
    execute: {"landlock": "EACCES", "seccomp": "killed"},
    kill_parent: {"landlock": "EPERM", "seccomp": "killed"},
    trace_parent: {"landlock": "EPERM", "seccomp": "killed"},
    read_parent: {"landlock": "EPERM", "seccomp": "killed"},
    map_code: {"seccomp": "EPERM"},
    make_code: {"seccomp": "EPERM"},
    new_namespace: {"seccomp": "killed"},
    stat_passwd: {"seccomp": "EPERM"},
    allocate: {"rlimits": "ENOMEM"},
    many_fds: {"rlimits": "EMFILE", "seccomp": "EPERM"},
}


@pytest.mark.parametrize(
    ("attempt", "wall", "expected"),
    [(attempt, wall, expected) for attempt, walls in ATTEMPTS.items() for wall, expected in walls.items()],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_one_wall_alone_stops_it(attempt, wall, expected):
    """Each wall does its own part when all the others are down, so one that is missing would be missed."""
    assert outcome(attempt, only(wall, *GROUND)) == expected


@pytest.mark.parametrize("attempt", [a for a in ATTEMPTS if a is not execute], ids=lambda a: a.__name__)
def test_without_walls_it_would_work(attempt):
    """The attempts are real: with no wall each of them succeeds."""
    assert outcome(attempt, FREE) == "done"


@pytest.mark.parametrize("attempt", [*ATTEMPTS, open_ring], ids=lambda a: a.__name__)
def test_all_walls_stop_everything(attempt):
    assert outcome(attempt, Limits()) != "done"


def test_the_file_itself_can_only_be_read(tmp_path):
    """A descriptor that is open for reading gives no way to change its file's mode, or to map it."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 4096)
    fd = os.open(path, os.O_RDONLY)
    try:
        assert outcome(change_mode, FREE, fd, keep_fds={fd}) == "done"
        assert outcome(change_mode, Limits(), fd, keep_fds={fd}) == "EPERM"
        assert outcome(map_file, FREE, fd, keep_fds={fd}) == "done"
        assert outcome(map_file, Limits(), fd, keep_fds={fd}) == "EPERM"
    finally:
        os.close(fd)


def test_landlock_forbids_tcp():
    """ABI 4 and later: no connection, even without seccomp."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert outcome(connect_tcp, FREE, port) == "done"
        assert outcome(connect_tcp, only("landlock", *GROUND), port) == "EACCES"


def status(progress):
    return dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())


def test_privileges_are_gone():
    """No new privileges, and of the capabilities that root has none is left."""
    free, _ = run_confined(status, limits=FREE, keep_fds=())
    locked, _ = run_confined(status, limits=only("no_new_privs", "capabilities"), keep_fds=())
    assert (free["NoNewPrivs"], locked["NoNewPrivs"]) == ("0", "1")
    assert {locked[name] for name in ("CapEff", "CapPrm", "CapInh")} == {"0" * 16}


def dumpable(progress):
    return {"dumpable": LIBC.prctl(3, 0, 0, 0, 0), "core": resource.getrlimit(resource.RLIMIT_CORE)[1]}


def test_nothing_of_it_reaches_a_core_dump():
    assert run_confined(dumpable, limits=FREE, keep_fds=())[0]["dumpable"] == 1
    assert run_confined(dumpable, limits=only("no_new_privs", "rlimits"), keep_fds=())[0] == {"dumpable": 0, "core": 0}


def read_priority(progress):
    return {
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "disk": LIBC.syscall(ctypes.c_long(IOPRIO_GET), 1, 0) >> 13,
        "oom": int(Path("/proc/self/oom_score_adj").read_text()),
    }


def test_it_steps_back_behind_everything():
    """Nice 19, the idle class of the disk, first to go when memory is short; nothing of that at nice 0."""
    answer, _ = run_confined(read_priority, limits=only("priority"), keep_fds=())
    assert answer == {"nice": 19, "disk": 3, "oom": 800}
    mine = read_priority(None)
    assert run_confined(read_priority, limits=Limits(layers=("priority",), nice=0), keep_fds=())[0] == mine


def start_thread(progress):
    seen = []
    thread = threading.Thread(target=lambda: seen.append(threading.get_native_id()))
    thread.start()
    thread.join()
    return {"another": seen[0] != os.getpid()}


def test_a_thread_may_be_started():
    """Hashing runs beside reading: threads are the one thing that may be started."""
    assert run_confined(start_thread, limits=Limits(), keep_fds=())[0] == {"another": True}


def work(progress):
    values = sorted(str(i) for i in range(100_000))
    time.sleep(0.001)
    return {"last": values[-1], "random": len(os.urandom(8)), "time": time.time() > 0, "big": len(bytearray(50_000_000))}


def test_ordinary_work_goes_on():
    assert run_confined(work, limits=Limits(required=True), keep_fds=())[0]["last"] == "99999"


def open_fds(progress):
    return {"fds": [int(name) for name in os.listdir("/proc/self/fd")]}


def test_other_descriptors_are_closed():
    """What the parent has open is gone, the first three included; only what was asked for stays."""
    secret = os.open("/etc/passwd", os.O_RDONLY)
    kept = os.open("/etc/passwd", os.O_RDONLY)
    try:
        fds = run_confined(open_fds, limits=FREE, keep_fds={kept})[0]["fds"]
    finally:
        os.close(secret)
        os.close(kept)
    assert kept in fds
    assert secret not in fds
    assert len(fds) == 6  # null three times, the channel, the kept one, and the listing itself


CLOSE = """
import os
from ckptd.sandbox.confine import close_other_fds
close_other_fds({0, 1, 2})
print(os.fstat(2).st_nlink >= 0)
"""


def test_the_first_descriptors_can_be_kept():
    """An empty range from 0 means "all" to os.closerange."""
    done = subprocess.run([sys.executable, "-c", CLOSE], capture_output=True, text=True)
    assert done.stdout == "True\n"


# -- what is missing


def test_a_wall_that_is_switched_off_is_reported():
    """Its name and the reason are in a finding; the others stand."""
    _, layers = run_confined(work, limits=without("seccomp"), keep_fds=())
    assert layers.missing == (("seccomp", "switched off"),)
    assert [finding.code for finding in layers.findings()] == ["sandbox-degraded"]


def test_manners_are_no_wall():
    """Without its low priority a worker is as safe as with it: no finding, no refusal."""
    _, layers = run_confined(work, limits=Limits(layers=without("priority").layers, required=True), keep_fds=())
    assert layers.missing == (("priority", "switched off"),)
    assert layers.findings() == ()


@pytest.mark.parametrize("name", [name for name in ALL_LAYERS if name != "priority"])
def test_required_refuses_for_each_wall(name):
    limits = Limits(layers=without(name).layers, required=True)
    with pytest.raises(RefusedError, match=name):
        run_confined(work, limits=limits, keep_fds=())


def test_a_process_with_threads_is_not_locked_by_halves():
    """Landlock would leave the other thread free, so it says that it can't."""
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        with pytest.raises(RuntimeError, match="threads run already"):
            landlock.restrict()
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_kernel_without_landlock_says_so(code):
    """Not built in, or not switched on: an OSError, which `confine` reports with its words."""

    def syscall(name, *arguments):
        raise OSError(code, os.strerror(code))

    with pytest.raises(OSError, match=os.strerror(code)):
        landlock.restrict(syscall)


#: ABI → rights on files, network and scopes that it knows.  Source: the table in Documentation/userspace-api/landlock.rst.
RIGHTS = {
    1: (0x1FFF, 0, 0),
    2: (0x3FFF, 0, 0),
    3: (0x7FFF, 0, 0),
    4: (0x7FFF, 3, 0),
    5: (0xFFFF, 3, 0),
    6: (0xFFFF, 3, 3),
    7: (0xFFFF, 3, 3),
    99: (0xFFFF, 3, 3),
}


@pytest.mark.parametrize("abi", RIGHTS)
def test_every_right_that_the_kernel_knows_is_taken(abi, monkeypatch):
    asked = []

    def syscall(name, *arguments):
        if name == "landlock_create_ruleset":
            if arguments[2]:
                return abi
            asked.append(tuple(arguments[0]))
            return os.open("/dev/null", os.O_RDONLY)
        return 0

    monkeypatch.setattr(landlock, "_count_threads", lambda: 1)
    assert landlock.restrict(syscall) == abi
    assert asked == [RIGHTS[abi]]


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        [],
        {"applied": 1, "missing": [], "landlock_abi": 7},
        {"applied": [], "missing": [[1]], "landlock_abi": 0},
        {"applied": [], "missing": [], "landlock_abi": 1e999},
    ],
)
def test_layers_from_a_stranger_are_checked(value):
    with pytest.raises(WorkerError):
        Layers.from_json(value)


def test_layers_survive_the_way():
    layers = Layers(("rlimits",), (("landlock", "Function not implemented"),), 0)
    assert Layers.from_json(layers.to_json()) == layers


def test_limits_survive_the_command_line():
    limits = Limits(memory_bytes=1 << 30, required=True, layers=("seccomp",))
    assert Limits.from_text(limits.to_text()) == limits


# -- death of the parent

ORPHAN = """
import os, selectors, sys, time
from ckptd.sandbox.limits import ALL_LAYERS, Limits
from ckptd.sandbox.once import run_confined
def spin(progress):
    os.write(9, str(os.getpid()).encode() + b"\\n")
    while True: pass
os.dup2(1, 9)
run_confined(spin, limits=Limits(), keep_fds={9})
"""

ORPHAN_POOL = """
import os, selectors, sys, time
from ckptd.sandbox.command import worker_command
from ckptd.sandbox.limits import Limits
from ckptd.sandbox.pool import Pool, Task
selector = selectors.DefaultSelector()
pool = Pool(selector, worker_command("acts_worker", needs=(), paths=[sys.argv[1]]), size=1, limits=Limits(), idle_seconds=60)
pool.submit(Task(1, os.open("/dev/null", os.O_RDONLY), {"do": "echo"}))
pool.submit(Task(2, os.open("/dev/null", os.O_RDONLY), {"do": "spin"}))
while not pool.results:
    for key, _ in selector.select(1): key.data()
print(pool.pids[0], flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("script", [ORPHAN, ORPHAN_POOL], ids=["once", "pool"])
def test_no_worker_outlives_its_parent(script):
    """SIGKILL to the parent ends a worker that is busy and would never look at its channel."""
    parent = subprocess.Popen([sys.executable, "-c", script, str(Path(__file__).parent)], stdout=subprocess.PIPE)
    worker = int(parent.stdout.readline())
    assert Path(f"/proc/{worker}").exists()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    end = time.monotonic() + 10
    while is_alive(worker):
        assert time.monotonic() < end, "the worker lives on"
        time.sleep(0.01)


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_parent_that_is_gone_already_is_noticed():
    """A worker that starts after its parent's death ends before it does anything."""
    code = "from ckptd.sandbox.confine import die_with; die_with(1); print('alive')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")


def test_confine_is_what_serve_and_once_use():
    """Called by hand in a fresh process it does the same."""
    code = (
        "from ckptd.sandbox.confine import confine; from ckptd.sandbox.limits import Limits\n"
        "print(confine(Limits(), keep_fds={0, 1, 2}).missing, flush=True)\n"
        "open('/etc/passwd')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "()\n"
    assert "PermissionError" in done.stderr
