"""A zygote for tests: jobs that do what their request says, well or badly."""

import ctypes
import errno
import fcntl
import mmap
import os
import resource
import signal
import socket
import stat
import threading
import time
from pathlib import Path

from ckptd.sandbox.zygote import Task, run

LIBC = ctypes.CDLL(None, use_errno=True)
HUGE = 100_000_000_000
#: Without it the machine's memory would be a wall of its own.
NO_RESERVE = 0x4000


def echo(task: Task):
    return {"pid": os.getpid(), "value": task.request.get("value"), "cwd": os.getcwd()}


def read_fds(task: Task):
    return {"contents": [os.pread(fd, 100, 0).decode() for fd in task.fds]}


def sleep(task: Task):
    time.sleep(60)


def spin(task: Task):
    while True:
        pass


def note(task: Task):
    for text in task.request["texts"]:
        task.progress(text)
        time.sleep(0.12)
    return {}


def fail(task: Task):
    raise ValueError(task.request["text"])


def fail_to_describe(task: Task):
    class OddError(Exception):
        def __str__(self):
            raise RuntimeError("no text")

    raise OddError


def end(task: Task):
    os._exit(task.request["status"])


def crash(task: Task):
    ctypes.string_at(0)


def answer_oddly(task: Task):
    return task.request["value"] if "value" in task.request else {"x": "x" * task.request["bytes"]}


def look_around(task: Task):
    """Tell which descriptors there are, what the first is, and what a job sees of itself."""
    fds = [fd for fd in range(resource.getrlimit(resource.RLIMIT_NOFILE)[0]) if _is_open(fd)]
    status = os.fstat(0)
    return {
        "fds": fds,
        "given": task.fds,
        "is_null": stat.S_ISCHR(status.st_mode) and status.st_rdev == os.makedev(1, 3),
        "uid": os.getuid(),
        "gid": os.getgid(),
        "home": os.path.expanduser("~"),
        "variables": sorted(os.environ),
        "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
        "threads": resource.getrlimit(resource.RLIMIT_NPROC)[0],
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
    }


def _is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def use_tempfile(task: Task):
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        return {"directory": os.path.dirname(file.name), "cwd": os.getcwd()}


def print_much(task: Task):
    block = b"x" * 65535 + b"\n"
    for _ in range(task.request["bytes"] >> 16):
        os.write(1, block)
    print("the \x1b[31mend", flush=True)
    return {}


def say(task: Task):
    """Write to every descriptor that is not a file of the job's: each part so many times; then go on as told."""
    for fd in range(3, 64):
        if _is_open(fd) and fd not in task.fds:
            for text, times in task.request["parts"]:
                _write(fd, text.encode("latin-1"), times)
    if task.request["then"] == "end":
        os._exit(0)
    if task.request["then"] == "stay":
        time.sleep(60)
    return {"value": "true"}


def _write(fd, text, times):
    at_once = max(1, min(times, (1 << 16) // len(text)))
    while times > 0:
        view = memoryview(text * min(at_once, times))
        times -= at_once
        while view:
            view = view[os.write(fd, view) :]


def fork_bomb(task: Task):
    while True:
        os.fork()


def thread_bomb(task: Task):
    count = 0
    try:
        while True:
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
            count += 1
    except RuntimeError:
        return {"threads": count}


def leave_thread(task: Task):
    """Answer while a thread goes on writing."""
    file = Path("growing").open("ab", buffering=0)  # noqa: SIM115 - it stays open

    def write():
        while True:
            file.write(b"x")

    threading.Thread(target=write, daemon=True).start()
    return {}


def stop_itself(task: Task):
    os.kill(os.getpid(), signal.SIGSTOP)


def fill_file(task: Task):
    with Path("large").open("wb", buffering=0) as file:
        file.writelines(bytes(1 << 20) for _ in range(64))


# -- attempts: each does one thing that a wall is there for


def allocate_bytes(task):
    bytearray(HUGE)


def allocate_private(task):
    mmap.mmap(-1, HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE)


def allocate_shared(task):
    mmap.mmap(-1, HUGE, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | NO_RESERVE)


def allocate_much(task):
    """Take little by little what no single call would be refused for."""
    kept = [bytearray(1 << 20) for _ in range(200)]
    return len(kept)


def lock_memory(task):
    area = mmap.mmap(-1, 1 << 20)
    if LIBC.mlock(ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(area))), ctypes.c_size_t(1 << 20)) < 0:
        _fail()


def make_memory_file(task):
    os.memfd_create("x")


def open_many(task):
    for _ in range(2000):
        os.dup(1)


def reserve_blocks(task):
    """FALLOC_FL_KEEP_SIZE: blocks beyond the end, for which no limit on a file's size is asked."""
    fd = os.open("reserved", os.O_RDWR | os.O_CREAT, 0o600)
    if LIBC.fallocate(fd, 1, ctypes.c_long(0), ctypes.c_long(1 << 24)) < 0:
        _fail()


def read_passwd(task):
    Path("/etc/passwd").read_text()


def list_root(task):
    os.listdir("/root")


def read_elsewhere(task):
    Path(task.request["path"]).read_bytes()


def reopen_to_write(task):
    os.open(f"/proc/self/fd/{task.fds[-1]}", os.O_WRONLY)


def read_memory(task):
    os.open("/proc/self/mem", os.O_RDONLY)


def write_elsewhere(task):
    Path(task.request["path"], "written").write_text("x")


def write_above(task):
    Path("../written").write_text("x")


def make_symlink(task):
    os.symlink("/etc/passwd", "output")


def make_fifo(task):
    os.mkfifo("output")


def make_device(task):
    os.mknod("output", stat.S_IFCHR | 0o600, os.makedev(1, 3))


def make_link(task):
    os.link("/etc/hostname", "output")


def bind_unix(task):
    socket.socket(socket.AF_UNIX).bind("output")


def open_unix(task):
    socket.socket(socket.AF_UNIX)


def open_pair(task):
    socket.socketpair()


def open_inet(task):
    socket.socket(socket.AF_INET)


def connect_tcp(task):
    with socket.socket(socket.AF_INET) as sock:
        sock.connect(("127.0.0.1", task.request["port"]))


def kill_parent(task):
    os.kill(os.getppid(), 0)


def kill_given(task):
    os.kill(task.request["pid"], 0)


def kill_everybody(task):
    os.kill(-1, 0)


def kill_group(task):
    os.kill(0, 0)


def signal_given_thread(task):
    if LIBC.syscall(234, task.request["pid"], task.request["pid"], 0) < 0:
        _fail()


def trace_parent(task):
    if LIBC.ptrace(0x4206, os.getppid(), 0, 0) < 0:  # PTRACE_SEIZE, which stops nobody
        _fail()


def read_parent(task):
    local = ctypes.create_string_buffer(8)
    here = (ctypes.c_size_t * 2)(ctypes.addressof(local), 8)
    there = (ctypes.c_size_t * 2)(id(LIBC), 8)
    if LIBC.process_vm_readv(os.getppid(), here, 1, there, 1, 0) < 0:
        _fail()


def execute(task):
    os.execv("/bin/true", ["true"])


def new_session(task):
    os.setsid()


def outlive_parent(task):
    if LIBC.prctl(1, 0, 0, 0, 0) < 0:
        _fail()


def limit_parent(task):
    resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (64, 64))


def renice_parent(task):
    os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)


def pin_parent(task):
    os.sched_setaffinity(os.getppid(), {0})


def change_mode(task):
    os.fchmod(task.fds[-1], 0o777)


def change_times(task):
    os.utime(task.fds[-1])


def change_flags(task):
    fcntl.fcntl(task.fds[-1], fcntl.F_SETFL, os.O_APPEND)


def lock_file(task):
    fcntl.flock(task.fds[-1], fcntl.LOCK_SH)


def lease_file(task):
    fcntl.fcntl(task.fds[-1], fcntl.F_SETLEASE, fcntl.F_RDLCK)


def new_namespace(task):
    if LIBC.unshare(0x10000000) < 0:
        _fail()


def name_host(task):
    socket.sethostname("elsewhere")


# -- what has to go on working


def write_here(task):
    Path("made").mkdir()
    Path("made/one").write_text("x")
    os.replace("made/one", "two")
    os.truncate("two", 0)
    Path("two").unlink()
    Path("made").rmdir()


def use_devices(task):
    Path("/dev/null").write_text("x")
    for name in ("urandom", "zero"):
        os.read(os.open(f"/dev/{name}", os.O_RDONLY), 8)


def import_more(task):
    import wave  # noqa: F401 - nobody else needs it, so it is read now


def run_thread(task):
    done = []
    thread = threading.Thread(target=done.append, args=(1,))
    thread.start()
    thread.join()
    assert done


def make_code(task):
    """Machine code that is made at run time, as oneDNN makes it."""
    area = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    area.write(b"\xc3")
    ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(area)))()


def signal_itself(task):
    os.kill(os.getpid(), 0)
    signal.raise_signal(signal.SIGCHLD)


def _fail():
    code = ctypes.get_errno()
    raise OSError(code, os.strerror(code))


JOBS = [echo, read_fds, sleep, spin, note, fail, fail_to_describe, end, crash, answer_oddly, look_around, use_tempfile]
JOBS += [print_much, say, fork_bomb, thread_bomb, leave_thread, stop_itself, fill_file]
ATTEMPTS = [allocate_bytes, allocate_private, allocate_shared, allocate_much, lock_memory, make_memory_file, open_many]
ATTEMPTS += [reserve_blocks, read_passwd, list_root, read_elsewhere, reopen_to_write, read_memory, write_elsewhere]
ATTEMPTS += [write_above, make_symlink, make_fifo, make_device, make_link, bind_unix, open_unix, open_pair, open_inet]
ATTEMPTS += [connect_tcp, kill_parent, kill_given, kill_everybody, kill_group, signal_given_thread, trace_parent]
ATTEMPTS += [read_parent, execute, new_session, outlive_parent, limit_parent, renice_parent, pin_parent, change_mode]
ATTEMPTS += [change_times, change_flags, lock_file, lease_file, new_namespace, name_host, write_here, use_devices]
ATTEMPTS += [import_more, run_thread, make_code, signal_itself, fill_file]


def attempt(act):
    """Make a job that tells how an attempt went."""

    def job(task: Task):
        try:
            act(task)
        except MemoryError:
            return {"outcome": "MemoryError"}
        except OSError as error:
            return {"outcome": errno.errorcode[error.errno]}
        return {"outcome": "done"}

    return job


def main(arguments):
    jobs = {act.__name__: act for act in JOBS}
    run(arguments, jobs | {f"try_{act.__name__}": attempt(act) for act in ATTEMPTS})
