"""Another local user can't make the daemon write, delete or read outside its root: real daemon, real user, real files.

The daemon runs as root, which is the worst case: nothing but its own care keeps it from what lies outside.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.e2e.running import run_ckptd, running, wait_for
from tests.neighbours.neighbour import NOBODY, do, doing

pytestmark = pytest.mark.root
QUICK = {
    "CKPTD_WATCH__SETTLE_SECONDS": "0.05",
    "CKPTD_WATCH__GUARD_SECONDS": "0.2",
    "CKPTD_WATCH__RECONCILE_SECONDS": "1",
    "CKPTD_EXPORT__QUIET_SECONDS": "0",
}


def save(path, seed=0):
    torch.manual_seed(seed)
    torch.save({"weight": torch.randn(64)}, path)


def settled(daemon, ground, name="sentinel.pth"):
    """Save one more checkpoint and wait for it: whatever came before it was looked at by then."""
    save(ground.root / name, seed=len(name))
    return daemon.wait_record(name, status="ok")


def assert_only(daemon, name):
    """See that of one file alone anything was read; the others are named for what they are."""
    records = daemon.records()
    assert records.pop(name)["status"] == "ok"
    assert {(record["status"], record["sha256"]) for record in records.values()} <= {
        ("not_a_checkpoint", None),
        ("unreadable", None),
    }


def test_he_is_another_user_and_has_no_way_of_his_own(place):
    """What the other tests stand on: he can write in the root, and neither read nor write outside."""
    assert do("print(os.getuid(), os.getgid(), os.getgroups())") == f"{NOBODY} {NOBODY} []"
    do("open(sys.argv[1] + '/x', 'w').close(); os.unlink(sys.argv[1] + '/x')", place.root)
    assert (
        do("print(os.access(sys.argv[1], os.R_OK), os.access(sys.argv[2], os.W_OK))", place.secret, place.outside)
        == "False False"
    )
    place.assert_untouched()


def test_symbolic_links_lead_nowhere(place):
    """To a file, to a directory, to a directory above, and dangling; as a checkpoint and as a directory of them."""
    with running(place.root, env=QUICK) as daemon:
        do(
            "root, outside = sys.argv[1:]\n"
            "os.symlink(f'{outside}/secret.pth', f'{root}/file.pth')\n"
            "os.symlink(f'{outside}/inner', f'{root}/directory')\n"
            "os.symlink('..', f'{root}/above')\n"
            "os.symlink('../outside/secret.pth', f'{root}/relative.pth')\n"
            "os.symlink(f'{outside}/new.pth', f'{root}/dangling.pth')\n"
            "os.symlink('/proc/self/environ', f'{root}/environ.pth')\n",
            place.root,
            place.outside,
        )
        settled(daemon, place)
        assert_only(daemon, "sentinel.pth")
    place.assert_untouched()
    place.assert_unread()


def test_the_kernel_or_else_ckptd_stands_before_hard_links(place):
    """He can make none to another's file where fs.protected_hardlinks is set; where it is not, the file stays what it is."""
    protected = Path("/proc/sys/fs/protected_hardlinks").read_text().strip() == "1"
    code = "try:\n    os.link(sys.argv[1], sys.argv[2])\nexcept PermissionError:\n    print('refused')"
    assert do(code, place.secret, place.root / "link.pth") == ("refused" if protected else "")
    (place.root / "link.pth").unlink(missing_ok=True)
    save(place.root / "net.pth")
    os.link(place.secret, place.root / "link.pth")  # as a kernel without that protection would let him
    os.link(place.outside / "victim.json", place.root / "net_metadata.json")
    os.link(place.outside / "empty.json", place.root / "sentinel_metadata.json")  # which looks like torn by a power cut
    with running(place.root, env=QUICK) as daemon:
        settled(daemon, place)
        daemon.wait_record("net.pth", status="ok")
        wait_for(lambda: "link.pth" in daemon.records(), "the linked file")
    for verb in (("sidecar", "net.pth", "--regenerate", "--yes"), ("sidecar", "sentinel.pth", "--regenerate", "--yes")):
        run_ckptd("--root", place.root, *verb)
    place.assert_untouched()


#: What he puts where a metadata file of "net.pth" would lie.
IN_THE_WAY = {
    "a link to a file": "os.symlink(f'{outside}/victim.json', name)",
    "a link to an empty file": "os.symlink(f'{outside}/empty.json', name)",
    "a link to nothing": "os.symlink(f'{outside}/made.json', name)",
    "a link to a directory": "os.symlink(f'{outside}/inner', name)",
    "a FIFO": "os.mkfifo(name)",
    "a socket": "made = socket.socket(socket.AF_UNIX); made.bind(name)",
    "a directory": "os.mkdir(name)",
}


@pytest.mark.parametrize("what", IN_THE_WAY)
def test_what_lies_where_a_metadata_file_would(open_place, what):
    """It is left alone, ours takes another name or none, and the daemon goes on."""
    names = ("net_metadata.json", "net.pth_metadata.json", "net.pth.ckptd.json", "net.safetensors", "net.pth.safetensors")
    for name in names:
        do(
            "root, outside, name = sys.argv[1:]\nname = f'{root}/{name}'\n" + IN_THE_WAY[what],
            open_place.root,
            open_place.outside,
            name,
        )
    before = {name: (open_place.root / name).lstat() for name in names}
    env = {**QUICK, "CKPTD_EXPORT__TARGETS": '["safetensors"]'}
    with running(open_place.root, env=env) as daemon:
        save(open_place.root / "net.pth")
        daemon.wait_record("net.pth", status="ok")
        settled(daemon, open_place)
        wait_for((open_place.root / "sentinel.safetensors").exists, "the export of another")
    open_place.assert_untouched()
    for name, seen in before.items():
        now = (open_place.root / name).lstat()
        assert (now.st_ino, now.st_mode, now.st_uid) == (seen.st_ino, seen.st_mode, seen.st_uid)


def test_an_export_does_not_follow_a_link_in_its_place(open_place):
    """Made in the moment between two exports, or long before: the name is taken, and what it leads to is another's."""
    do("os.symlink(f'{sys.argv[2]}/victim.safetensors', f'{sys.argv[1]}/net.safetensors')", open_place.root, open_place.outside)
    env = {**QUICK, "CKPTD_EXPORT__TARGETS": '["safetensors"]'}
    with running(open_place.root, env=env) as daemon:
        save(open_place.root / "net.pth")
        daemon.wait_record("net.pth", status="ok")
        settled(daemon, open_place)
        wait_for((open_place.root / "sentinel.safetensors").exists, "the export of another")
        run_ckptd("--root", open_place.root, "export", "net.pth", "--force", "--target", "safetensors")
    assert (open_place.root / "net.safetensors").is_symlink()
    open_place.assert_untouched()


def test_fifos_sockets_and_devices_are_not_opened(place):
    """With names of checkpoints: the daemon neither waits for them nor reads them."""
    do(
        "root = sys.argv[1]\nos.mkfifo(f'{root}/fifo.pth'); s = socket.socket(socket.AF_UNIX); s.bind(f'{root}/socket.pth')",
        place.root,
    )
    os.mknod(place.root / "zero.pth", 0o666 | 0o020000, os.makedev(1, 5))  # he can't; an old image may have some
    os.mknod(place.root / "disk.pth", 0o666 | 0o060000, os.makedev(7, 99))
    with running(place.root, env=QUICK) as daemon:
        settled(daemon, place)
        assert_only(daemon, "sentinel.pth")
    place.assert_untouched()


def test_a_huge_directory_holds_nobody_up(open_place):
    """20,000 entries and 200 that claim to be checkpoints, while another file is waited for."""
    with running(open_place.root, env=QUICK) as daemon:
        do(
            "root = sys.argv[1]\nos.mkdir(f'{root}/many')\n"
            "for n in range(20_000):\n    open(f'{root}/many/{n}', 'w').close()\n"
            "for n in range(200):\n    open(f'{root}/many/{n}.pth', 'w').write('x')\n",
            open_place.root,
        )
        settled(daemon, open_place)
        assert daemon.process.poll() is None
    open_place.assert_untouched()


#: Swaps a directory against a link to another, again and again.
SWAP = "name, link = sys.argv[1:]\nwhile True:\n    exchange(name, link); time.sleep(0.0003)\n"


def test_a_directory_that_is_swapped_while_files_arrive(open_place):
    """For some seconds `runs` is now a directory with checkpoints, now a link to one outside with files of the same names."""
    root = open_place.root
    do("os.mkdir(f'{sys.argv[1]}/runs'); os.symlink(f'{sys.argv[2]}/inner', f'{sys.argv[1]}/other')", root, open_place.outside)
    save(root.parent / "n.pth")
    data = (root.parent / "n.pth").read_bytes()
    with running(root, env={**QUICK, "CKPTD_EXPORT__TARGETS": '["safetensors"]'}) as daemon:
        fd = os.open(root / "runs", os.O_RDONLY)
        with doing(SWAP, root / "runs", root / "other"):
            for n in range(40):
                made = os.open(f"n{n}.pth", os.O_WRONLY | os.O_CREAT, 0o666, dir_fd=fd)
                os.write(made, data)
                os.close(made)
                time.sleep(0.05)
        os.close(fd)
        settled(daemon, open_place)
    open_place.assert_untouched()
    open_place.assert_unread()


def test_jobs_and_restores_while_a_directory_is_swapped(open_place):
    """Trash, archive, restore and slim go by descriptors: what they name may be swapped at any moment."""
    root = open_place.root
    do("os.mkdir(f'{sys.argv[1]}/runs'); os.symlink(f'{sys.argv[2]}/inner', f'{sys.argv[1]}/other')", root, open_place.outside)
    for n in range(6):
        save(root / "runs" / f"BiLSTM_ECG_acc8{n}_2025010{n + 1}.pth", seed=n)
        os.utime(root / "runs" / f"BiLSTM_ECG_acc8{n}_2025010{n + 1}.pth", (n, n))
    config = root.parent / "ckptd.toml"
    config.write_text(
        f'roots = ["{root}"]\n[policy]\nmode = "apply"\nkeep_last = 1\nkeep_best = 0\nkeep_within_seconds = 0\n'
        'min_age_seconds = 0\nmax_fraction = 1.0\nladder = ["trash"]\n'
    )
    run_ckptd("--config", config, "scan")
    with doing(SWAP, root / "runs", root / "other"):
        for _ in range(2):
            run_ckptd("--config", config, "apply")
            for entry in json.loads(run_ckptd("--config", config, "trash", "ls", "--json").stdout or "[]"):
                run_ckptd("--config", config, "trash", "restore", entry["entry"])
            run_ckptd("--config", config, "archive", "write", "epoch>=0 or size>0")
    open_place.assert_untouched()


#: Puts a link in the place of a directory.
TAKE_AWAY = """
root, outside = sys.argv[1:]
os.rename(f"{root}/.ckptd", f"{root}/was")
os.symlink(f"{outside}/inner", f"{root}/.ckptd")
"""


def test_a_restore_does_not_follow_a_link_in_the_place_of_its_directory(open_place):
    """The checkpoint waits in the trash; its directory is by now a link to another's."""
    root = open_place.root
    (root / "runs").mkdir(mode=0o777)
    save(root / "runs" / "BiLSTM_ECG_acc80_20250101.pth")
    save(root / "BiLSTM_ECG_acc90_20250102.pth", seed=1)
    config = root.parent / "ckptd.toml"
    config.write_text(
        f'roots = ["{root}"]\n[policy]\nkeep_last = 1\nkeep_best = 0\nkeep_within_seconds = 0\n'
        'min_age_seconds = 0\nmax_fraction = 1.0\nladder = ["trash"]\n'
    )
    run_ckptd("--config", config, "scan")
    run_ckptd("--config", config, "apply")
    listed = json.loads(run_ckptd("--config", config, "trash", "ls", "--json").stdout)
    assert listed, "the older one went to the trash"
    do(
        TAKE_AWAY.replace(".ckptd", "runs"),
        root,
        open_place.outside,
    )
    done = run_ckptd("--config", config, "restore", "BiLSTM_ECG_acc80_20250101")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    open_place.assert_untouched()


@pytest.mark.parametrize("name", ["archives", "reports"])
def test_archives_and_reports_are_not_written_through_a_link_of_his(open_place, name):
    """In their default places in the root; a place outside is the settings' to say."""
    root = open_place.root
    save(root / "BiLSTM_ECG_acc80_20250101.pth")
    run_ckptd("--root", root, "scan")
    do("os.symlink(f'{sys.argv[2]}/inner', f'{sys.argv[1]}/{sys.argv[3]}')", root, open_place.outside, name)
    verb = ("archive", "write", "size>0") if name == "archives" else ("jobs", "run", "report")
    done = run_ckptd("--root", root, *verb)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert run_ckptd("--root", root, "apply").returncode == 0, "what needs neither goes on"
    open_place.assert_untouched()


#: What he makes before ckptd ever looked at the root.
PREMADE = {
    "a directory of his": "os.mkdir(name, 0o777)",
    "a directory of his with an index": "os.mkdir(name, 0o700); open(f'{name}/index.sqlite', 'w').close()",
    "a link to a directory of root": "os.symlink(f'{outside}/inner', name)",
    "a link to the directory above": "os.symlink(outside, name)",
    "a link to a directory of his": "os.mkdir(f'{root}/his', 0o777); os.symlink('his', name)",
    "a file": "open(name, 'w').close()",
    "a FIFO": "os.mkfifo(name)",
}


@pytest.mark.parametrize("what", PREMADE)
def test_a_state_directory_that_he_made_is_refused_in_one_sentence(open_place, what):
    """Whoever owns it could steer what is removed: nothing is read from it, and nothing is written to it."""
    code = "root, outside = sys.argv[1:]\nname = f'{root}/.ckptd'\n"
    do(code + PREMADE[what], open_place.root, open_place.outside)
    save(open_place.root / "net.pth")
    for verb in ("scan", "run", "reindex"):
        done = run_ckptd("--root", open_place.root, verb)
        assert done.returncode == 1, (verb, done.stdout, done.stderr)
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("ckptd: ")]
        assert ".ckptd" in line
        assert "Traceback" not in done.stderr
    assert run_ckptd("--root", open_place.root, "doctor").returncode == 1
    open_place.assert_untouched()
    assert not list(open_place.root.glob("*_metadata.json"))
    if (open_place.root / "his").exists():
        assert os.listdir(open_place.root / "his") == []


def test_a_state_directory_that_he_takes_away_while_the_daemon_runs(open_place):
    """In a root without the sticky bit he can rename it and put a link in its place: nothing is written where that leads."""
    root = open_place.root
    with running(root, env=QUICK) as daemon:
        settled(daemon, open_place, "first.pth")
        do(
            TAKE_AWAY,
            root,
            open_place.outside,
        )
        for n in range(20):
            save(root / f"later{n}.pth", seed=n)
        wait_for(lambda: daemon.process.poll() is not None, "the daemon to end")
        assert daemon.process.poll() == 1
        assert "removed while ckptd ran" in daemon.log.read_text()
    open_place.assert_untouched()


def test_a_state_directory_that_is_swapped_again_and_again(open_place):
    """Commands that open it anew each time find it, or refuse what lies there.

    But for SQLite, which opens by its path what it keeps beside a file: where the directory is swapped in that very moment, it
    makes that elsewhere.  That is why the doctor warns of a state in a root that everybody may write to.
    """
    root = open_place.root
    save(root / "net.pth")
    run_ckptd("--root", root, "scan")
    do("os.symlink(f'{sys.argv[2]}/inner', f'{sys.argv[1]}/other')", root, open_place.outside)
    with doing(SWAP, root / ".ckptd", root / "other"):
        for verb in (("scan",), ("pin", "net.pth"), ("jobs", "run", "scrub"), ("trash", "ls"), ("ls",)):
            run_ckptd("--root", root, *verb)
    inner = open_place.outside / "inner"
    for companion in ("-wal", "-shm"):
        (inner / f"index.sqlite{companion}").unlink(missing_ok=True)
    before = open_place.before["outside/inner"][3]
    os.utime(inner, ns=(before, before))
    open_place.assert_untouched()


def test_a_state_directory_of_its_own_is_out_of_his_reach(open_place):
    """With state_dir outside, taking `.ckptd` away costs the trash and the lock of the root, and no index."""
    root, state = open_place.root, open_place.root.parent / "state"
    with running(root, env={**QUICK, "CKPTD_STATE_DIR": str(state)}) as daemon:
        settled(daemon, open_place, "first.pth")
        do(
            TAKE_AWAY,
            root,
            open_place.outside,
        )
        time.sleep(1)
    open_place.assert_untouched()
    assert (state / "index.sqlite").exists()


def test_he_cannot_read_what_is_the_daemons(place):
    """Index, journal, trash and lock are closed to him, whatever the umask of the daemon was."""
    before = os.umask(0)
    try:
        with running(place.root, env=QUICK) as daemon:
            settled(daemon, place)
            code = (
                "root = sys.argv[1]\n"
                "for name in ('', 'index.sqlite', 'index.sqlite-wal', 'journal.jsonl', 'lock', 'scratch', 'root-id'):\n"
                "    for flags in (os.O_RDONLY, os.O_WRONLY, os.O_PATH):\n"
                "        try:\n"
                "            os.close(os.open(f'{root}/.ckptd/{name}', flags))\n"
                "        except PermissionError:\n"
                "            continue\n"
                "        except IsADirectoryError:\n"
                "            continue\n"
                "        print(name or '.', flags)\n"
            )
            assert do(code, place.root) in ("", f". {os.O_PATH}")
    finally:
        os.umask(before)


def test_a_name_that_he_chooses_is_escaped_wherever_it_is_shown(place):
    """Escape sequences, line ends and half of UTF-8, in logs and tables."""
    do("root = os.fsencode(sys.argv[1])\nopen(root + b'/\\x1b[2Jevil\\n\\xff.pth', 'wb').write(b'x')", place.root)
    with running(place.root, env=QUICK) as daemon:
        settled(daemon, place)
    shown = subprocess.run([sys.executable, "-m", "ckptd", "--root", place.root, "ls"], capture_output=True, timeout=60)
    for text in (shown.stdout, daemon.log.read_bytes()):
        assert b"\x1b" not in text
        assert b"\xff" not in text
    place.assert_untouched()


def test_sockets_in_the_root_are_not_talked_to(place):
    """He listens where a daemon's socket could be thought to lie; nobody connects."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place.root / "ctl"))
        os.chown(place.root / "ctl", NOBODY, NOBODY)
        listening.listen()
        listening.settimeout(0)
        save(place.root / "net.pth")
        run_ckptd("--root", place.root, "scan")
        run_ckptd("--root", place.root, "jobs")
        with pytest.raises(BlockingIOError):
            listening.accept()
    place.assert_untouched()


def test_no_socket_is_made_where_he_could_put_another_in_its_place(open_place):
    """The settings name a place in a root that everybody writes to: one sentence, and nothing of root is given to anybody."""
    root, socket_path = open_place.root, open_place.root / "run"
    done = run_ckptd("--root", root, "run", env={"CKPTD_CONTROL__SOCKET": str(socket_path)})
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "others may write to its directory" in line
    assert not socket_path.exists()
    open_place.assert_untouched()


def test_a_link_of_his_in_the_place_of_the_socket_leads_nowhere(place):
    """Be the directory sticky or not: what it leads to keeps its mode and its group."""
    do("os.symlink(f'{sys.argv[2]}/secret.pth', f'{sys.argv[1]}/run')", place.root, place.outside)
    done = run_ckptd("--root", place.root, "run", env={"CKPTD_CONTROL__SOCKET": str(place.root / "run")})
    assert done.returncode == 1
    assert "control.socket" in done.stderr
    assert (place.root / "run").is_symlink()
    place.assert_untouched()
