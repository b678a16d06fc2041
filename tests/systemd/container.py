"""A Debian that boots real systemd in a container of systemd-nspawn: in half a second, and gone without a trace.

Its root is made once by mmdebstrap and kept in `.cache/systemd/`; every container writes into an overlay in memory instead: an
installed ckptd is 1.3 GB, which a busy disk would take minutes to remove.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ckptd.sandbox import kernel
from tests.e2e.running import wait_for

PROJECT = Path(__file__).parents[2]
CACHE = PROJECT / ".cache" / "systemd"

SUITE = "bookworm"
#: procps has the /bin/kill of ExecReload=, libpam-systemd starts the managers of users, make and venv are for the install.
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd"),
    *("python3", "python3-venv", "procps", "make"),
)
#: Programs that the harness runs.
TOOLS = ("systemd-nspawn", "mmdebstrap", "nsenter")

_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"}
#: What systemd's own filter for containers lacks, and the workers of ckptd confine themselves with.
_CALLS = "landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp"
#: Of a container's systemd: power off.  Source: systemd(1), "SIGNALS".
_POWER_OFF = signal.SIGRTMIN + 4
_CGROUPS = Path("/sys/fs/cgroup")


def find_obstacle() -> str | None:
    """Say why no container can be booted here, if none can."""
    if os.geteuid() != 0:
        return "only root can boot a container"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


def make_root() -> Path:
    """Give the directory with Debian in it; make it where there is none, which takes half a minute."""
    wanted = hashlib.sha256(" ".join([SUITE, *PACKAGES]).encode()).hexdigest()[:12]
    root = CACHE / f"root-{wanted}"
    with locked("root"):
        if not root.exists():
            fresh = root.with_suffix(".new")
            shutil.rmtree(fresh, ignore_errors=True)
            include = ",".join(PACKAGES)
            command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={include}", SUITE, fresh]
            subprocess.run(command, check=True, timeout=900, stdin=subprocess.DEVNULL)
            fresh.rename(root)
    return root


def find_own_cgroups(mounted: Path, own: str) -> list[Path]:
    """Give the group of this process in each hierarchy that systemd uses: one, or two on hosts with the old ones beside it.

    Args:
        mounted: where the hierarchies are mounted.
        own: the text of /proc/self/cgroup; number, controllers and path of each hierarchy.
    """
    paths = {line.split(":")[1]: line.split(":", 2)[2].strip("/") for line in own.splitlines()}
    if (mounted / "cgroup.procs").exists():
        return [mounted / paths.get("", "")]
    hierarchies = {mounted / "systemd": "name=systemd", mounted / "unified": ""}
    return [place / paths.get(name, "") for place, name in hierarchies.items() if place.is_dir()]


def remove_cgroup(group: Path) -> bool:
    """Remove a group with those below it, and say whether it is gone."""
    with contextlib.suppress(OSError):
        for inner, _, _ in os.walk(group, topdown=False):
            os.rmdir(inner)
    return not group.exists()


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Let one process alone make what the cache lacks; the others wait for it."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Container:
    """One booted Debian.

    Args:
        root: made by `make_root`; it is only read.
        directory: on the host, for the console's log.
        binds: options of systemd-nspawn that show directories of the host.

    Attributes:
        leader: its first process, systemd, as the host numbers it; 0 before it runs.
    """

    def __init__(self, root: Path, directory: Path, binds: Sequence[str] = ()) -> None:
        self._root = root
        self._binds = binds
        self._console = directory / "console.log"
        self._group = f"ckptd-test-{os.getpid()}-{time.monotonic_ns()}"
        self._groups: list[Path] = []
        self._nspawn: subprocess.Popen[bytes] | None = None
        self.leader = 0

    def __enter__(self) -> Container:
        try:
            self._start()
            wait_for(self._is_up, f"systemd in the container; see {self._console}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._nspawn is not None:
            self._power_off(self._nspawn)
        self._remove_cgroups()

    def run(self, *command: object, check: bool = True, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command in it as root, with a clean environment, and give what it printed."""
        done = subprocess.run(
            ["nsenter", "-t", str(self.leader), "-a", *map(str, command)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
        )
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def ask(self, *command: object) -> str:
        """Run a command in it, whatever its status, and give its stdout."""
        return self.run(*command, check=False).stdout.strip()

    def show(self, unit: str, name: str) -> str:
        """Give one property of a unit."""
        return self.ask("systemctl", "show", "--value", "-p", name, unit)

    def write(self, path: str, text: str) -> None:
        """Make a file in it, and the directories above."""
        place = Path(f"/proc/{self.leader}/root{path}")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")

    def path(self, path: str) -> Path:
        """Give a path of the host to what lies at a path in it."""
        return Path(f"/proc/{self.leader}/root{path}")

    def _start(self) -> None:
        self._groups = self._make_cgroups()
        parent = os.getpid()

        def enter() -> None:
            for group in self._groups:
                (group / "cgroup.procs").write_text(str(os.getpid()))
            # When this process is killed the container powers off: that is what SIGTERM means to systemd-nspawn.
            kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(1)

        command = ["systemd-nspawn", "--quiet", f"--directory={self._root}", f"--machine={self._group}", "--register=no"]
        command += ["--volatile=overlay", "--private-network", "--keep-unit", "--console=pipe"]
        command += [f"--system-call-filter={_CALLS}"]
        with self._console.open("wb") as console:
            self._nspawn = subprocess.Popen(
                [*command, *self._binds, "--boot"],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                preexec_fn=enter,  # noqa: PLW1509 — no other thread of this process holds a lock that this needs
            )

    def _is_up(self) -> bool:
        assert self._nspawn is not None
        assert self._nspawn.poll() is None, self._console.read_text(errors="replace")
        if not self.leader:
            self.leader = self._find_leader()
        return bool(self.leader) and self.ask("systemctl", "is-system-running") in {"running", "degraded"}

    def _find_leader(self) -> int:
        assert self._nspawn is not None
        pid = self._nspawn.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                    return int(child)
        return 0

    def _power_off(self, nspawn: subprocess.Popen[bytes]) -> None:
        leader = self.leader or self._find_leader()
        if leader and nspawn.poll() is None:
            os.kill(leader, _POWER_OFF)
        try:
            nspawn.wait(30)
        except subprocess.TimeoutExpired:
            if leader:
                os.kill(leader, signal.SIGKILL)  # the kernel ends all of a container with its first process
            nspawn.kill()
            nspawn.wait(30)

    def _make_cgroups(self) -> list[Path]:
        groups = [place / self._group for place in find_own_cgroups(_CGROUPS, Path("/proc/self/cgroup").read_text())]
        for group in groups:
            group.mkdir()
        return groups

    def _remove_cgroups(self) -> None:
        for group in self._groups:  # the kernel empties them a moment after the last process ended
            wait_for(lambda group=group: remove_cgroup(group), f"{group} to be empty")
