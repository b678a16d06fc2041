"""The containers of the tests themselves: up in a moment, and gone without a trace, however their test ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.running import wait_for
from tests.systemd.container import PROJECT, Container, find_obstacle, find_own_cgroups, make_root, remove_cgroup

booting = pytest.mark.skipif(find_obstacle() is not None, reason=f"real systemd was not shown: {find_obstacle()}")

_BOOT_AND_WAIT = """
import sys, time
from pathlib import Path
from tests.systemd.container import Container, make_root
with Container(make_root(), Path(sys.argv[1])) as container:
    print(container.leader, flush=True)
    time.sleep(300)
"""


def mounts() -> set[str]:
    """Give where something is mounted; what other tests mount meanwhile lies below directories of their own."""
    places = {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    return {place for place in places if "/pytest-" not in place and "/ckptd-soak-" not in place}


def cgroups(owner: int) -> list[Path]:
    walk = os.walk("/sys/fs/cgroup")  # which passes over what goes meanwhile: others end groups of their own
    return [Path(directory, name) for directory, names, _ in walk for name in names if name.startswith(f"ckptd-test-{owner}-")]


@pytest.mark.root
@booting
def test_a_container_is_a_debian_with_systemd(tmp_path):
    """Of its own: what is written there is not there for the next, and the host sees nothing of it."""
    root, before = make_root(), mounts()
    for _ in range(2):
        with Container(root, tmp_path) as container:
            assert container.run("readlink", "/proc/1/exe").stdout.strip().endswith("/systemd")
            assert container.ask("systemctl", "list-units", "--failed", "--no-legend") == ""
            assert not container.path("/trace").exists()
            container.write("/trace", "x")
            leader = container.leader
        assert not Path(f"/proc/{leader}").exists()
        assert cgroups(os.getpid()) == []
    assert mounts() == before


@pytest.mark.root
@booting
def test_a_container_does_not_outlive_its_test(tmp_path):
    """Even where the test was killed."""
    make_root()
    command = [sys.executable, "-c", _BOOT_AND_WAIT, str(tmp_path)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        leader = process.stdout.readline().strip()
        assert Path(f"/proc/{leader}/comm").read_text() == "systemd\n"
        process.send_signal(signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{leader}").exists(), "the container to power off")
    for group in cgroups(process.pid):  # nobody was left to remove them; empty they are harmless
        wait_for(lambda group=group: remove_cgroup(group), f"{group} to be empty")


def test_the_hierarchies_of_old_and_new_hosts_are_told_apart(tmp_path):
    """One of its own on new ones, two on those that have the old ones beside it; each group below the one we are in."""
    (tmp_path / "systemd").mkdir()
    (tmp_path / "unified").mkdir()
    own = "5:memory:/\n1:name=systemd:/ci/job\n0::/ci\n"
    assert find_own_cgroups(tmp_path, own) == [tmp_path / "systemd" / "ci" / "job", tmp_path / "unified" / "ci"]
    (tmp_path / "cgroup.procs").touch()
    assert find_own_cgroups(tmp_path, "0::/user.slice/x\n") == [tmp_path / "user.slice" / "x"]
    assert find_own_cgroups(tmp_path, "0::/\n") == [tmp_path]
