"""The units of this repository under real systemd, in a container that `make install-service` found fresh.

The tests are in the order of a life: installed, watched, killed, reloaded, shared, and at the end uninstalled.
"""

from __future__ import annotations

import json
import shutil
import stat

import pytest

from tests.e2e.running import wait_for
from tests.ops.written import read_blocks
from tests.systemd.container import PROJECT, Container, find_obstacle, make_root
from tests.systemd.machine import CKPTD, CONFIG, SERVICE, Machine
from tests.systemd.making import RECIPE, SOURCE, make_checkpoints
from tests.systemd.page import commands
from tests.systemd.wheelhouse import copy_sources, fetch_wheels

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(find_obstacle() is not None, reason=f"real systemd was not shown: {find_obstacle()}"),
]

ROOT = "/srv/trained_models"
#: An administrator's settings; quick, so that nobody waits.
SETTINGS = f'roots = ["{ROOT}"]\nstate_dir = "/var/lib/ckptd"\nwatch.settle_seconds = 0.2\n'
#: The page's first command, from the wheels that the host fetched.
INSTALL = f"cd /srv/source && {commands('In one command').strip()} PIP_ARGS='--no-index --find-links=/srv/wheels'"
#: So short that a test can wait for it.
IMPATIENT = {"RestartSec": "100ms", "WatchdogSec": "5"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Give a directory of the host with checkpoints and scripts, which the container sees as /srv/made."""
    directory = tmp_path_factory.mktemp("made")
    directory.chmod(0o755)  # ordinary users of the container read there
    make_checkpoints(directory, "a.pth", "b.pth", "c.pth")
    shutil.copy(PROJECT / "tests" / "e2e" / "breaking.py", directory)
    return directory


@pytest.fixture(scope="module")
def installed(tmp_path_factory, made):
    """Boot a fresh Debian and say `make install-service` in it; give the machine, and what was said."""
    directory = tmp_path_factory.mktemp("container")
    (directory / "source").mkdir()
    copy_sources(directory / "source")
    binds = [
        f"--bind-ro={directory}/source:/srv/source",
        f"--bind-ro={fetch_wheels()}:/srv/wheels",
        f"--bind-ro={made}:/srv/made",
    ]
    with Container(make_root(), directory, binds) as container:
        said = container.run("sh", "-ec", INSTALL, timeout=600).stdout
        yield Machine(container, container.path(ROOT)), said


@pytest.fixture
def machine(installed):
    """Give the machine with a service that runs, with plain settings; what a test changed is put back."""
    machine, _ = installed
    machine.container.write(CONFIG, SETTINGS)
    machine.restart()
    yield machine
    machine.configure()


def test_make_install_service_leaves_an_active_confined_watched_service_that_indexes_a_dropped_checkpoint(installed, made):
    """In a fresh Debian container; with the settings that the install wrote."""
    machine, said = installed
    assert f"made {ROOT}" in said
    assert (machine.show(SERVICE, "ActiveState"), machine.show(SERVICE, "UnitFileState")) == ("active", "enabled")
    assert machine.show(SERVICE, "WatchdogUSec") == "1min"
    assert machine.show(SERVICE, "WatchdogTimestampMonotonic") != "0"
    status = machine.container.path(f"/proc/{machine.pid()}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split()[0] == machine.ask("id", "-u", "ckptd")
    assert (fields["CapEff"], fields["CapBnd"]) == ("0" * 16, "0" * 16)
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    machine.drop(made / "a.pth", "a.pth")
    record = machine.wait_indexed("a.pth", status="ok")
    assert machine.sidecar("a.pth")["ckptd"]["sha256"] == record["sha256"]


def test_a_second_install_disturbs_nothing(installed):
    """The same process goes on."""
    machine, _ = installed
    before = machine.pid()
    assert "nothing to do" in machine.install()
    assert machine.pid() == before
    assert machine.run(CKPTD, "service", "status").stdout.startswith("UNIT")


def test_systemd_knows_what_it_does(machine, made):
    """READY came, and STATUS says in words what goes on."""
    assert machine.show(SERVICE, "Type") == "notify"
    machine.drop(made / "b.pth", "words.pth")
    machine.wait_indexed("words.pth")
    wait_for(lambda: machine.show(SERVICE, "StatusText"), "words for people")


def test_only_what_the_settings_name_can_be_written(machine):
    """Not the system, not a neighbour's directory, no home, no temporary file that others see; the root can."""
    machine.run("mkdir", "-p", "/srv/other", "/home/ada")
    machine.run("chmod", "777", "/srv/other")
    inside = ("nsenter", "-t", machine.pid(), "-m", "--", "runuser", "-u", "ckptd", "--", "touch")
    for path in ("/srv/other/x", "/var/lib/x", "/etc/x", "/opt/ckptd/x", "/usr/x"):
        refused = machine.run("nsenter", "-t", machine.pid(), "-m", "--", "touch", path, check=False)
        assert "Read-only file system" in refused.stderr, path
    assert machine.run(*inside, "/home/ada/x", check=False).returncode != 0
    machine.run(*inside, "/tmp/of-the-service")
    assert not machine.container.path("/tmp/of-the-service").exists()
    machine.run(*inside, f"{ROOT}/x")
    assert (machine.root / "x").exists()


def test_the_journal_has_priorities_and_events(machine, made):
    """A look at warnings alone is possible, and each line is one JSON object."""
    machine.drop(made / "evil.pth", "evil.pth")
    machine.wait_event("checkpoint.rejected")
    entries = {}
    for entry in machine.journal():
        if entry["MESSAGE"].startswith("{"):
            event = json.loads(entry["MESSAGE"])
            entries[event["event"], event["level"]] = entry["PRIORITY"]
    assert entries["daemon.started", "info"] == "6"
    (rejected,) = [entries[key] for key in entries if key[0] == "checkpoint.rejected"]
    assert rejected in {"3", "4"}
    assert all(entries[name, level] == {"info": "6", "warning": "4", "error": "3"}.get(level, "2") for name, level in entries)


def test_kill_9_costs_a_restart_and_nothing_else(machine, made):
    """What was known is known, and what arrived meanwhile is indexed."""
    machine.configure(RestartSec="100ms")
    machine.restart()
    machine.drop(made / "b.pth", "before.pth")
    digest = machine.wait_indexed("before.pth")["sha256"]
    before = machine.pid()
    machine.run("kill", "-KILL", before)
    machine.drop(made / "c.pth", "meanwhile.pth")
    machine.wait_new_pid(before)
    assert machine.wait_indexed("meanwhile.pth")["status"] == "ok"
    assert machine.records()["before.pth"]["sha256"] == digest
    assert int(machine.show(SERVICE, "NRestarts")) >= 1


def test_a_hang_is_ended_by_the_watchdog(machine, made):
    """A process that stands still gives no sign of life; systemd ends it and starts another, and nothing is lost."""
    machine.configure(**IMPATIENT)
    machine.restart()
    before = machine.pid()
    machine.run("kill", "-STOP", before)
    machine.drop(made / "b.pth", "during.pth")
    machine.wait_new_pid(before)
    assert machine.wait_indexed("during.pth")["status"] == "ok"
    assert "Watchdog timeout" in machine.ask("journalctl", "-u", SERVICE, "-o", "cat")


@pytest.mark.parametrize(
    ("part", "named"), [("observer", f"observer of {ROOT}"), ("scheduler", "scheduler"), ("pool", "pool"), ("loop", None)]
)
def test_one_part_that_falls_silent_is_enough(machine, made, part, named):
    """All else goes on, but one part is dead: no sign of life, and so a new start, and nothing is lost.

    The part says so itself, but for the loop that passes everything on: that one can't say anything any more.
    """
    start = "/opt/ckptd/bin/python -P /srv/made/breaking.py --config /etc/ckptd/ckptd.toml run"
    # An idle worker that nobody ends is how the pool shows; its end is due in a second.
    machine.container.write(CONFIG, SETTINGS + "watch.guard_seconds = 0.3\ninspect.idle_seconds = 1\n")
    machine.configure(**IMPATIENT, Environment=f"CKPTD_SOAK_BREAK={part}", ExecStart=f"\nExecStart={start}")
    machine.restart()
    before, seen, bites = machine.pid(), len(machine.events()), machine.count_bites()
    machine.run("kill", "-USR1", before)
    machine.drop(made / "a.pth", f"after-{part}.pth")
    machine.wait_new_pid(before)
    if named is not None:
        assert machine.wait_event("daemon.unwell", seen, part=named)["level"] == "critical"
    assert machine.count_bites() > bites
    machine.wait_indexed(f"after-{part}.pth")


def test_a_reload_reads_the_settings_anew(machine, made):
    """In the same process; a file that makes no sense keeps the old ones, and the journal says why."""
    before = machine.pid()
    machine.container.write(CONFIG, SETTINGS + 'suffixes = [".pth", ".ckpt"]\n')
    machine.run("systemctl", "reload", SERVICE)
    machine.drop(made / "a.pth", "new.ckpt")
    machine.wait_indexed("new.ckpt")
    machine.container.write(CONFIG, "rots = 1\n")
    machine.run("systemctl", "reload", SERVICE, check=False)
    assert "rots" in machine.wait_event("settings.rejected")["reason"]
    machine.drop(made / "b.pth", "newer.ckpt")
    machine.container.write(CONFIG, SETTINGS)
    assert machine.wait_indexed("newer.ckpt")
    assert machine.pid() == before


def test_settings_that_make_no_sense_are_not_tried_again_and_again(machine):
    """Exit status 2: failed at once, with a sentence in the journal."""
    machine.container.write(CONFIG, "rots = 1\n")
    machine.configure(RestartSec="100ms")
    machine.run("systemctl", "restart", SERVICE, check=False)
    wait_for(lambda: machine.show(SERVICE, "ActiveState") == "failed", "the failure")
    assert (machine.show(SERVICE, "ExecMainStatus"), machine.show(SERVICE, "NRestarts")) == ("2", "0")
    assert "rots" in machine.ask("journalctl", "-u", SERVICE, "-o", "cat")


def test_a_secret_reaches_the_service_and_nobody_else(machine):
    """LoadCredential=: root's file, for the service alone; what is new counts with its next start, not with a reload."""
    path = f"/run/credentials/{SERVICE}/webhook"

    def read(user: str = "ckptd") -> str:
        return machine.ask("nsenter", "-t", machine.pid(), "-m", "--", "runuser", "-u", user, "--", "cat", path)

    machine.container.write("/etc/ckptd/secrets/webhook", "correct horse")
    machine.run("chmod", "600", "/etc/ckptd/secrets/webhook")
    machine.container.write(f"/etc/systemd/system/{SERVICE}.d/override.conf", commands("Secrets", "ini"))
    machine.run("systemctl", "daemon-reload")  # as `systemctl edit` does it
    machine.run("systemctl", "reload", SERVICE)
    assert read() == ""
    machine.follow(commands("Secrets"))
    assert read() == "correct horse"
    assert read("nobody") == ""
    machine.container.write("/etc/ckptd/secrets/webhook", "battery staple")
    machine.run("systemctl", "reload", SERVICE)
    assert read() == "correct horse"
    machine.follow(commands("Secrets"))
    assert read() == "battery staple"
    machine.run("rm", f"/etc/systemd/system/{SERVICE}.d/override.conf")


def test_an_export_is_made_and_proved_inside_the_unit(machine, made):
    """With every wall that its worker builds for itself: what the unit takes away is none of them."""
    machine.container.write("/srv/code/net.py", SOURCE)
    machine.container.write(CONFIG, SETTINGS + RECIPE)
    machine.install()
    machine.restart()
    machine.drop(made / "c.pth", "Net_c.pth")

    def look() -> dict:
        return machine.sidecar("Net_c.pth")["ckptd"].get("exports", {})

    exports = wait_for(lambda: (done := look()).keys() >= {"safetensors", "onnx"} and done, "both exports", 240)
    assert {one["verdict"] for one in exports.values()} == {"verified"}
    for one in exports.values():
        assert (machine.root / one["file"]).stat().st_size == one["size_bytes"]
        sandbox = one["sandbox"]
        assert {"landlock", "seccomp", "no_new_privs", "capabilities", "rlimits"} <= set(sandbox["applied"]), sandbox
    assert "namespaces" in exports["onnx"]["sandbox"]["applied"]


def test_a_directory_that_came_later_is_reached_after_an_install(machine):
    """Until then it is read-only for the service that runs, and the install before said that it was missing."""
    machine.container.write(CONFIG, SETTINGS + 'archive.directory = "/mnt/late"\n')
    cure = "install -d -o ckptd -g ckptd -m 0750 /mnt/late"
    assert f"note: /mnt/late is not there: {cure}, and install again" in machine.install()
    machine.follow(cure)
    write = ("runuser", "-u", "ckptd", "--", "touch", "/mnt/late/x")
    before = machine.pid()
    assert machine.run("nsenter", "-t", before, "-m", "--", *write, check=False).returncode != 0
    said = machine.install()
    assert "started ckptd.service again" in said
    assert "/mnt/late" not in said
    machine.run("nsenter", "-t", machine.pid(), "-m", "--", *write)
    assert machine.pid() != before
    assert "nothing to do" in machine.install()


def test_other_code_of_the_same_version_is_started_by_an_install(machine):
    """As after `git pull` and `make install-service`: the daemon that runs is of what lies there."""
    machine.install()
    before = machine.pid()
    packages = "/opt/ckptd/lib/python3.11/site-packages/ckptd"
    machine.follow(f"echo '# another line' >>{packages}/text.py")
    assert "started ckptd.service again" in machine.install()
    assert machine.pid() != before
    assert "nothing to do" in machine.install()


def test_several_people_share_a_root(machine, made):
    """A setgid directory of group ml, umask 002: the sidecar is of the group, can be edited by another member, and lives on.

    A directory that the service makes in a shared root is shared, too, and the user ckptd can do the same in a shell.  One root
    lies in a home directory, of which the service sees nothing else.
    """
    run = machine.run
    settings = SETTINGS.replace(f'"{ROOT}"', f'"{ROOT}", "/data/models", "/home/alice/models"')
    for name in ("alice", "bob"):
        run("useradd", "--create-home", name)
    machine.follow("mkdir /home/alice/models; chown alice /home/alice/models")
    machine.container.write(CONFIG, settings)
    said = machine.follow(commands("Directories that people share"))
    assert "the service joins ml" in said
    for name in ("alice", "bob"):
        run("usermod", "-aG", "ml", name)
    machine.follow("chgrp ml /home/alice/models; chmod 2770 /home/alice/models")
    machine.restart()
    save = "umask 002; cat /srv/made/{} >{}"
    run("runuser", "-u", "alice", "--", "sh", "-c", save.format("a.pth", "/data/models/model.pth"))
    sidecar = machine.container.path("/data/models/model_metadata.json")
    wait_for(sidecar.exists, "the sidecar beside alice's checkpoint")
    seen = sidecar.stat()
    ml = int(machine.ask("getent", "group", "ml").split(":")[2])
    assert (seen.st_gid, stat.S_IMODE(seen.st_mode)) == (ml, 0o664)
    edit = 'import json; p = "/data/models/model_metadata.json"; d = json.load(open(p)); d["notes"] = "of bob"; '
    edit += 'json.dump(d, open(p, "w"))'
    run("runuser", "-u", "bob", "--", "python3", "-c", edit)
    digest = json.loads(sidecar.read_text())["ckptd"]["sha256"]
    run("runuser", "-u", "alice", "--", "sh", "-c", save.format("b.pth", "/data/models/model.pth"))

    def is_of_new_content():
        return json.loads(sidecar.read_text() or "{}").get("ckptd", {}).get("sha256") not in (None, digest)

    wait_for(is_of_new_content, "the new content in the sidecar")
    assert json.loads(sidecar.read_text())["notes"] == "of bob"
    assert "ml" in machine.ask("id", "-nG", "ckptd").split()
    for user in ("ckptd", "root"):  # who follows the pages for administrators can do what the service does
        found = json.loads(machine.ask("runuser", "-u", user, "--", CKPTD, "doctor", "--json"))
        there = {one["name"]: one for one in found if one["name"].endswith("/data/models")}
        assert {"root /data/models", "files of /data/models", "metadata of /data/models"} <= there.keys()
        wrong = [one for one in found if not one["ok"] and one["name"].startswith(("state", "index", "trash"))]
        assert wrong + [one for one in there.values() if not one["ok"]] == [], user
    run("runuser", "-u", "alice", "--", "sh", "-c", save.format("c.pth", "/home/alice/models/own.pth"))
    wait_for(machine.container.path("/home/alice/models/own_metadata.json").exists, "the sidecar in a home directory")
    machine.configure(ExecStartPost=f"/opt/ckptd/bin/ckptd --config {CONFIG} jobs run report")  # within the confinement
    machine.restart()
    assert stat.S_IMODE((machine.root / "reports").stat().st_mode) == 0o2775
    seen_homes = run("nsenter", "-t", machine.pid(), "-m", "--", "find", "/home", "-maxdepth", "2").stdout.split()
    assert seen_homes == ["/home", "/home/alice", "/home/alice/models"]


def test_a_root_can_have_a_service_of_its_own(machine, made):
    """ckptd@ecg beside ckptd: its own settings, state, socket and process."""
    machine.follow(commands("One service for each root"))
    assert machine.show("ckptd@ecg.service", "ActiveState") == "active"
    machine.container.path("/data/ecg/beat.pth").write_bytes((made / "a.pth").read_bytes())
    machine.wait_indexed("beat.pth", config="/etc/ckptd/ecg.toml")
    assert "beat.pth" not in machine.records()
    assert machine.pid() not in (0, machine.pid("ckptd@ecg.service"))
    assert machine.container.path("/run/ckptd-ecg").is_dir()
    stop, *_ = read_blocks("upgrade.md")["To a newer version"].splitlines()
    machine.follow(stop)
    assert {machine.show(unit, "ActiveState") for unit in (SERVICE, "ckptd@ecg.service")} == {"inactive"}
    machine.install()
    assert {machine.show(unit, "ActiveState") for unit in (SERVICE, "ckptd@ecg.service")} == {"active"}
    machine.run(CKPTD, "service", "uninstall", "--instance", "ecg")
    assert machine.show("ckptd@ecg.service", "ActiveState") == "inactive"
    assert machine.show(SERVICE, "ActiveState") == "active"


def test_a_person_runs_a_service_of_her_own(machine, made):
    """By systemctl --user: no root, no user ckptd, her own settings and checkpoints."""
    machine.run("useradd", "--create-home", "carol")
    machine.run("loginctl", "enable-linger", "carol")
    runtime = f"/run/user/{machine.ask('id', '-u', 'carol')}"
    wait_for(machine.container.path(f"{runtime}/systemd/private").exists, "carol's service manager")
    asked = ("runuser", "-u", "carol", "--", "env", f"XDG_RUNTIME_DIR={runtime}", "HOME=/home/carol")
    said = machine.run(*asked, "sh", "-ec", commands("On a workstation")).stdout
    assert "started ckptd.service" in said
    target = machine.container.path("/home/carol/models")
    machine.run("runuser", "-u", "carol", "--", "cp", "/srv/made/a.pth", "/home/carol/models/mine.pth")
    wait_for((target / "mine_metadata.json").exists, "the sidecar of carol's checkpoint")
    assert machine.ask(*asked, "systemctl", "--user", "is-active", "ckptd") == "active"
    machine.run(*asked, CKPTD, "service", "uninstall", "--user")
    assert machine.ask(*asked, "systemctl", "--user", "is-active", "ckptd") == "inactive"
    assert (target / "mine_metadata.json").exists()


def test_a_lost_machine_comes_back_where_the_user_has_another_number(machine, made):
    """By the commands of the page: archives of the old number, and a service that may write where the settings say."""
    page = read_blocks("restore.md")
    machine.run("install", "-d", "-o", "ckptd", "-g", "ckptd", "-m", "0750", "/mnt/archives")
    machine.container.write(CONFIG, SETTINGS + 'archive.directory = "/mnt/archives"\n')
    machine.install()
    machine.drop(made / "a.pth", "kept.pth")
    digest = machine.wait_indexed("kept.pth")["sha256"]
    machine.run(CKPTD, "pin", "kept")
    machine.run(CKPTD, "archive", "write", "path=kept.pth")
    machine.follow(page["Before anything is lost"])
    number, group = machine.ask("id", "-u", "ckptd"), machine.ask("id", "-g", "ckptd")
    machine.follow(
        f"systemctl stop 'ckptd*'; userdel ckptd; groupadd --gid {group} other; useradd --uid {number} --gid {group} other;"
        f"find {ROOT} -mindepth 1 -maxdepth 1 ! -name .ckptd -exec rm -rf {{}} +;"
        "rm -rf /var/lib/ckptd /etc/ckptd /etc/systemd/system/ckptd* /etc/sysusers.d/ckptd.conf; systemctl daemon-reload"
    )
    machine.run(CKPTD, "service", "install", check=False)  # with settings that know of no archives; .ckptd is a stranger's
    assert machine.ask("id", "-u", "ckptd") not in (number, "")
    machine.follow(f"chgrp ckptd {ROOT}; chmod 2775 {ROOT}")  # the root is there, with the group that it has to have
    said = machine.follow(page["The disk with the checkpoints is lost, or the whole machine"])
    assert "not restored" not in said
    assert machine.show(SERVICE, "ActiveState") == "active"
    machine.wait_indexed("kept.pth", sha256=digest)
    assert json.loads(machine.ask(CKPTD, "show", "kept", "--json"))["pinned"]
    machine.drop(made / "b.pth", "since.pth")
    machine.wait_indexed("since.pth", status="ok")
    before = set(machine.container.path("/mnt/archives").glob("*.tar*"))
    machine.run(CKPTD, "archive", "write", "path=since.pth")  # the service does it, within its walls
    (archive,) = set(machine.container.path("/mnt/archives").glob("*.tar*")) - before
    assert archive.stat().st_uid == int(machine.ask("id", "-u", "ckptd"))
    assert "nothing to do" in machine.install()


def test_a_timer_does_without_a_daemon(machine, made):
    """The daemon is switched off; the timer's pass finds and describes what was dropped, and ends."""
    machine.run("systemctl", "disable", "--now", SERVICE)
    assert machine.show(SERVICE, "Result") == "success"  # it ended by itself, and in time
    machine.install("--scan")
    often = "[Timer]\nOnCalendar=\nOnCalendar=*:*:*\nRandomizedDelaySec=0\nAccuracySec=100ms\n"
    machine.container.write("/etc/systemd/system/ckptd-scan.timer.d/often.conf", often)
    machine.run("systemctl", "daemon-reload")
    machine.drop(made / "a.pth", "by-the-clock.pth")
    machine.run("systemctl", "restart", "ckptd-scan.timer")
    machine.wait_indexed("by-the-clock.pth")
    machine.run("systemctl", "disable", "--now", "ckptd-scan.timer")
    wait_for(lambda: machine.show("ckptd-scan.service", "ActiveState") in {"inactive", "failed"}, "the end of the pass")
    machine.sidecar("by-the-clock.pth")
    machine.run("rm", "/etc/systemd/system/ckptd-scan.timer.d/often.conf")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "reset-failed", "ckptd-scan.service", check=False)
    machine.run("systemctl", "enable", "--now", "ckptd-scan.timer")
    assert f"--daemon starts {SERVICE}" in machine.install()  # as after an upgrade
    assert machine.show(SERVICE, "ActiveState") == "inactive"
    assert machine.run(CKPTD, "service", "status").returncode == 0
    machine.container.write(CONFIG, "rots = 1\n")
    machine.run("systemctl", "start", "ckptd-scan.service", check=False)
    told = machine.run(CKPTD, "service", "status", check=False)
    assert (told.returncode, "ckptd-scan.service" in told.stdout) == (1, True)
    machine.run("systemctl", "disable", "--now", "ckptd-scan.timer")


def test_an_uninstall_leaves_what_people_own(machine):
    """Units, drop-ins and the user's file are gone, nothing runs; settings, state, checkpoints and sidecars are there."""
    before = {path.name for path in machine.root.iterdir()}
    machine.run("rm", "-rf", "/data/ecg")  # of the user whom the machine had before
    machine.follow(commands("One service for each root"))
    machine.follow("echo '# of a person' >>/etc/systemd/system/ckptd@ecg.service.d/roots.conf")
    machine.run("make", "-C", "/srv/source", "uninstall-service")
    assert machine.ask("systemctl", "list-units", "--all", "--plain", "--no-legend", "ckptd*.service", "--state=active") == ""
    etc = machine.container.path("/etc")
    for place in ("systemd/system", "sysusers.d"):
        assert [path for path in (etc / place).rglob("*ckptd*") if path.is_file() or path.is_symlink()] == []
    assert (etc / "systemd/system/ckptd@ecg.service.d/roots.conf").exists()
    assert (etc / "ckptd" / "ckptd.toml").exists()
    assert machine.container.path("/var/lib/ckptd/index.sqlite").exists()
    assert {path.name for path in machine.root.iterdir()} >= before
    assert machine.ask("id", "-u", "ckptd").isdigit()
    assert machine.run("which", CKPTD, check=False).returncode == 1
    assert "nothing to do" in machine.run("/opt/ckptd/bin/ckptd", "service", "uninstall").stdout
