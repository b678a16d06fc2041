"""What `ckptd doctor` says of roots, state, index, clock, room, limits, metadata and archives, each with its cure."""

from __future__ import annotations

import json
import os
import platform
import re
import socket
import sqlite3
import subprocess
import tempfile
from contextlib import closing
from importlib.metadata import requires
from pathlib import Path

import pytest

from ckptd import __version__
from ckptd.index.migrate import REVISIONS
from ckptd.jobs import checks, doctoring, doctoring_clock, doctoring_limits, doctoring_space, doctoring_versions
from ckptd.jobs.checks import Patient, good
from ckptd.jobs.doctoring import LOOKS, check_all, check_without_settings
from ckptd.jobs.doctoring_settings import check_settings
from ckptd.model import Severity
from ckptd.settings import load_settings
from ckptd.storage.lock import hold
from ckptd.storage.scratch import Scratch
from tests.index.test_upgrading import RELEASED
from tests.jobs.keeping import DAY, NOW, index_roots, make_series, open_app
from tests.neighbours.neighbour import NOBODY, ground


@pytest.fixture
def root():
    """Give a root that others get to; what pytest gives is closed to them."""
    with tempfile.TemporaryDirectory(prefix="ckptd-doctor-") as place:
        Path(place).chmod(0o755)
        made = Path(place, "models")
        made.mkdir()
        make_series(made, count=3)
        yield made


@pytest.fixture
def app(root):
    app = open_app(root)
    index_roots(app)
    return app


def give(directory, user):
    """Make a directory with all that is in it somebody else's."""
    for path in (directory, *directory.rglob("*")):
        os.chown(path, user, -1)


def troubles(app, name=""):
    """Give what wants a person, of the checks whose names begin so."""
    return [check for check in app.doctor() if not check.ok and check.name.startswith(name)]


def one(app, name, word):
    (found,) = [check for check in troubles(app, name) if word in check.message]
    assert found.cure, "every finding has its cure"
    return found


def test_a_healthy_installation_has_nothing_but_notes(app):
    """What this machine lacks may be a note; nothing is a warning."""
    assert [check for check in troubles(app) if check.severity is not Severity.INFO] == []


def test_a_look_that_fails_says_so_and_hinders_none_of_the_others(app, monkeypatch):
    """Every subject in turn: all others say what they say without it."""
    patient = Patient(app.settings, app.settings.roots[0] / ".ckptd", "index.sqlite", NOW)

    def faint(_patient):
        yield good("before", "this much was seen")
        raise RuntimeError("what nobody foresaw\x1b[31m")

    whole = check_all(patient)
    for place, (subject, _) in enumerate(LOOKS):
        looks = [*LOOKS[:place], (subject, faint), *LOOKS[place + 1 :]]
        found = check_all(patient, looks)
        (told,) = [check for check in found if "could not be looked at" in check.message]
        assert (told.name, told.severity) == (subject, Severity.ERROR)
        assert "RuntimeError: what nobody foresaw\\x1b[31m" in told.message
        assert "before" in {check.name for check in found}
        assert len(found) >= len(whole) - 8
        break_of = {check.name for check in whole} - {check.name for check in found}
        assert len(break_of) <= 8, break_of


def test_every_module_of_the_doctor_is_asked():
    """A subject is one file and one line; a file without its line would be forgotten."""
    source = Path(doctoring.__file__).read_text()
    for file in Path(doctoring.__file__).parent.glob("doctoring_*.py"):
        assert f"from ckptd.jobs.{file.stem} import" in source, file.name


# — versions and the daemon —


def test_a_daemon_of_another_version_is_named(app, root):
    """It goes on with the code that it was started with."""
    state = root / ".ckptd"
    with hold(state):
        assert [check.message for check in app.doctor() if check.name == "daemon"] == [
            f"it is of version {__version__}, as what is installed"
        ]
        (state / "lock").write_text(json.dumps({"pid": os.getpid(), "version": "0.0.9"}))
        assert "systemctl restart" in one(app, "daemon", "0.0.9").cure
        (state / "lock").write_text(json.dumps({"pid": os.getpid()}))  # before versions were written down
        assert one(app, "daemon", "older version").severity is Severity.WARNING


def test_a_lock_that_outlived_its_holder(app, root):
    """The pid in it is nobody's: a child has the descriptor."""
    dead = subprocess.Popen(["true"])
    dead.wait()
    with hold(root / ".ckptd"):
        (root / ".ckptd" / "lock").write_text(json.dumps({"pid": dead.pid}))
        assert "fuser" in one(app, "daemon", "outlived").cure


def test_a_daemon_that_nobody_can_talk_to(app, root):
    """A single pass holds the lock as well, so it is a note; where somebody listens, that place is named."""
    assert not [check for check in app.doctor() if check.name == "socket"]
    with hold(root / ".ckptd"):
        assert one(app, "socket", "nobody listens").severity is Severity.INFO
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(root / ".ckptd" / "ctl"))
            listening.listen()
            assert [check.message for check in app.doctor() if check.name == "socket"] == [
                f"somebody listens at {root}/.ckptd/ctl"
            ]


def test_every_package_that_is_required_is_looked_for():
    """What is missing is told before somebody meets it as a traceback."""
    required = {re.match(r"[\w.-]+", one)[0] for one in requires("ckptd") if "extra ==" not in one}
    assert {"ckptd", *required} == set(doctoring_versions.PACKAGES)


def test_a_package_that_is_missing(app, monkeypatch):
    monkeypatch.setattr(doctoring_versions, "PACKAGES", ("ckptd", "nowhere-to-be-found"))
    assert one(app, "versions", "nowhere-to-be-found").severity is Severity.ERROR


# — settings —


@pytest.fixture
def settings_of(tmp_path):
    """Give a function that makes a settings file and gives what is found about it."""

    def check(text="", mode=0o644, environ=None, **values):
        file = tmp_path / "ckptd.toml"
        file.write_text(text)
        file.chmod(mode)
        settings = load_settings(file, {"roots": [str(tmp_path)], **values}, environ or {})
        return [one for one in check_settings(Patient(settings, tmp_path / ".ckptd", "i", 0.0, file)) if not one.ok]

    return check


def test_settings_that_only_their_owner_writes_are_fine(settings_of):
    assert settings_of() == []


@pytest.mark.parametrize(("mode", "severity"), [(0o646, Severity.ERROR), (0o666, Severity.ERROR)])
def test_settings_that_everybody_can_write(settings_of, mode, severity):
    """Whoever writes them says what is removed, and whose code runs."""
    (found,) = settings_of(mode=mode)
    assert found.severity is severity
    assert "chmod" in found.cure


@pytest.mark.root
def test_settings_of_another_user_or_group(settings_of, tmp_path):
    settings_of()
    os.chown(tmp_path / "ckptd.toml", 65534, 65534)
    words = " ".join(found.message for found in settings_of(mode=0o664))
    assert "user nobody, whose it is, can write it" in words


def test_a_directory_in_which_everybody_can_swap_the_settings(settings_of, tmp_path):
    settings_of()
    tmp_path.chmod(0o777)
    (found,) = settings_of()
    assert f"everybody can write in {tmp_path}" in found.message
    tmp_path.chmod(0o1777)  # sticky: nobody else's file can be swapped
    assert settings_of() == []


def test_a_secret_in_settings_that_everybody_can_read(settings_of):
    """A password in the address that a program of the operator is given; without it the same file is fine."""
    text = '[[hook]]\non = "checkpoint.ready"\ncommand = ["/bin/true", "https://%shooks.example.org/x"]\n'
    (found,) = settings_of(text % "someone:geheim@", mode=0o644)
    assert "everybody can read it" in found.message
    assert "geheim" not in str(found)
    assert settings_of(text % "someone:geheim@", mode=0o640) == []
    assert settings_of(text % "") == []


def test_a_secret_file_that_others_can_read(settings_of, tmp_path):
    secret = tmp_path / "webhook-secret"
    text = f'[notify.webhook]\nurl = "https://hooks.example.org/x"\nsecret_file = "{secret}"\n'
    (found,) = settings_of(text)
    assert "No such file" in found.message
    secret.write_text("geheim")
    secret.chmod(0o644)
    (found,) = settings_of(text)
    assert "others can read" in found.message
    secret.chmod(0o600)
    assert settings_of(text) == []


def test_settings_that_make_no_sense_hinder_nothing_but_what_needs_them(tmp_path):
    """Every problem is a line, and versions, sandbox and units are looked at all the same."""
    found = check_without_settings(tmp_path / "ckptd.toml", ["ckptd.toml: a: is not a setting", "ckptd.toml: b: is not either"])
    assert [check.message for check in found if check.name == "settings" and not check.ok][:2] == [
        "ckptd.toml: a: is not a setting",
        "ckptd.toml: b: is not either",
    ]
    assert {"versions", "sandbox", "systemd unit"} <= {check.name for check in found}


# — roots and state —


def test_a_root_that_is_not_there(app, root):
    root.rename(root.with_name("elsewhere"))
    assert "correct `roots`" in one(app, "root ", "no such directory").cure


@pytest.mark.root
def test_a_state_of_another_user_or_open_to_others(app, root, tmp_path):
    """Whoever can write there could steer a removal."""
    state = root / ".ckptd"
    state.chmod(0o755)
    assert "chmod 700" in one(app, "root", "others may enter").cure
    assert "mode 0755" in one(app, "state", "steer").message
    state.chmod(0o700)
    assert troubles(app, "root") == []
    for path in (root, state):
        os.chown(path, 65534, -1)  # as root asks, this is the daemon's user, whose index it is
    assert troubles(app, "root") == []
    elsewhere = open_app(root, state_dir=str(tmp_path / "state"))  # but with a state of root's own, ckptd does not use it
    index_roots(elsewhere)
    assert "chown -R 0" in one(elsewhere, "root", "belongs to user 65534").cure


@pytest.mark.root
@pytest.mark.parametrize("owner", [0, 4711])
@pytest.mark.parametrize("kind", ["file", "link", "pipe"])
def test_a_journal_is_read_only_where_it_is_a_file_of_who_may_be_asked(app, root, tmp_path, owner, kind):
    """A link leads to what its maker likes, a pipe would be waited for, and a stranger's word says nothing of the clock."""
    app.close()
    line = '{"event":"seen","at":%r}\n' % (NOW + 10_000 * DAY)
    (root / ".ckptd" / "index.sqlite").unlink()
    journal = root / ".ckptd" / "journal.jsonl"
    journal.unlink(missing_ok=True)
    match kind:
        case "file":
            journal.write_text(line)
        case "link":
            (tmp_path / "elsewhere").write_text(line)
            journal.symlink_to(tmp_path / "elsewhere")
        case _:
            os.mkfifo(journal)
    give(root / ".ckptd", owner)
    is_believed = (owner, kind) == (0, "file")
    assert any("earlier" in check.message for check in troubles(app, "clock")) == is_believed


@pytest.mark.root
def test_a_process_that_a_stranger_names_is_not_taken_for_the_daemon(app, root):
    """He could name the first one, which is root's, and have everything judged for root."""
    app.close()
    with hold(root / ".ckptd"):
        (root / ".ckptd" / "lock").write_text(json.dumps({"pid": 1, "version": "0.0.9"}))
        give(root / ".ckptd", 4711)
        patient = Patient(app.settings, root / ".ckptd", "index.sqlite", NOW)
        assert (patient.find_daemon(), patient.find_user()) == (None, 4711)
        assert "0.0.9" not in str(app.doctor())


def test_a_state_that_is_a_link(app, root, tmp_path):
    """It is not followed: whoever can write to the root could have made it."""
    (root / ".ckptd").rename(tmp_path / "state")
    (root / ".ckptd").symlink_to(tmp_path / "state")
    assert "move it away" in one(app, "root", "is a link or a file").cure
    assert "move it away" in one(app, "state", "is a link or a file").cure
    assert not [check for check in app.doctor() if check.name.startswith("index")]


@pytest.mark.root
def test_root_looks_into_the_state_of_the_service_and_changes_nothing(app, root, monkeypatch):
    """That it is the service's is no trouble; what is strange in the trash is. What lies there is its own afterwards, too."""
    app.close()
    monkeypatch.setattr(checks, "SYSTEM_USER", "nobody")
    state = root / ".ckptd"
    (state / "trash" / "strange").mkdir(mode=0o700, parents=True)
    (state / "trash").chmod(0o700)
    give(root, NOBODY)
    (found,) = [check for check in troubles(app) if check.severity is not Severity.INFO]
    assert (found.name, found.message) == (f"trash of {root}", "strange: it is not an entry of ckptd's")
    assert any(check.ok and check.name.startswith("files of") for check in app.doctor())
    assert {path.lstat().st_uid for path in state.rglob("*")} == {NOBODY}


@pytest.mark.root
def test_root_does_not_look_into_the_state_of_a_stranger(app, root):
    """He could have put anything there; one line says whom to ask instead."""
    app.close()
    state = root / ".ckptd"
    give(root, 4711)
    for name in ("index.sqlite", "journal.jsonl"):
        (state / name).unlink(missing_ok=True)
        os.mkfifo(state / name)
    (state / "strange").touch()
    found = [check for check in troubles(app) if check.severity is not Severity.INFO]
    assert [check.name.partition(" ")[0] for check in found] == ["state"]
    assert "sudo -u '#4711'" in found[0].cure
    assert "strange" not in str(app.doctor())


@pytest.mark.root
def test_a_pipe_in_the_place_of_the_index_is_damage(app, root):
    """It is not waited for."""
    app.close()
    (root / ".ckptd" / "index.sqlite").unlink()
    os.mkfifo(root / ".ckptd" / "index.sqlite")
    assert one(app, "index", "Invalid argument")


@pytest.mark.root
def test_a_stranger_is_told_whom_to_ask_and_nothing_wrong():
    """Somebody who may not look into the state directory: one line says so, and no check takes that for damage."""
    with ground(0o755) as place:
        make_series(place.root, count=1)
        app = open_app(place.root)
        index_roots(app)
        give(place.root, 4711)
        patient = Patient(app.settings, place.root / ".ckptd", "index.sqlite", NOW, None)
        looks = [(subject, look) for subject, look in LOOKS if subject not in ("sandbox", "unit", "exports")]
        os.seteuid(65534)
        try:
            found = [check for check in check_all(patient, looks) if not check.ok and check.severity is not Severity.INFO]
        finally:
            os.seteuid(0)
    assert [check.name.partition(" ")[0] for check in found] == ["state"]
    assert "'#4711'" in found[0].cure


@pytest.mark.root
def test_a_shared_root_whose_group_cannot_be_set(app, root):
    """The daemon's user is not in the group; or files there do not take the group by themselves."""
    os.chown(root, -1, 4242)
    root.chmod(0o775)
    assert troubles(app, "root") == []  # root sets any group
    os.chown(root / ".ckptd", 65534, -1)
    found = one(app, "root", "shared by group 4242")
    assert "usermod -aG 4242 nobody" in found.cure
    os.chown(root, -1, 65534)
    root.chmod(0o775)
    assert "chmod g+s" in one(app, "root", "does not take that group").cure
    root.chmod(0o2775)
    assert troubles(app, "root") == []
    root.chmod(0o3775)
    assert one(app, "root", "sticky").severity is Severity.INFO


def test_a_root_in_which_everybody_can_rename(app, root):
    """The state of ckptd could be taken away by anybody; the sticky bit is a way out."""
    root.chmod(0o777)
    assert "chmod +t" in one(app, "root", "everybody on this machine").cure
    root.chmod(0o1777)
    assert [check.severity for check in troubles(app, "root")] == [Severity.INFO]


# — index —


def test_an_index_that_is_damaged_is_offered_a_reindex(app, root):
    app.close()
    (root / ".ckptd" / "index.sqlite").write_bytes(b"no database" * 1_000)
    assert "ckptd reindex" in one(app, "index", "not a database").cure


def test_an_index_of_a_newer_program(app, root):
    app.close()
    with closing(sqlite3.connect(root / ".ckptd" / "index.sqlite")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    assert "docs/ops/upgrade.md" in one(app, "index", "9999 is newer").cure


def test_an_index_of_an_older_program_is_told_and_left_as_it_is(tmp_path):
    """The doctor changes nothing; while a daemon works with it, that one is to be started again."""
    root = tmp_path / "models"
    (root / ".ckptd").mkdir(parents=True, mode=0o700)
    file = root / ".ckptd" / "index.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript((RELEASED / f"{REVISIONS[-2]}.sql").read_text().replace("@HOST@", platform.node()))
    app = open_app(root)
    assert one(app, "index", "older").severity is Severity.INFO
    with hold(root / ".ckptd"):
        assert one(app, "index", "the daemon that runs works with it").severity is Severity.WARNING
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (REVISIONS[-2],)


# — clock, room, limits —


def test_a_clock_that_was_set_back(app, root):
    """By the audit, and by the journal where there is no index."""
    with closing(sqlite3.connect(root / ".ckptd" / "index.sqlite")) as connection:
        newest = connection.execute("SELECT max(at) FROM audit").fetchone()[0]
    app = open_app(root, clock=lambda: newest - 3 * DAY)
    found = one(app, "clock", "3 days earlier")
    assert "timedatectl" in found.cure
    app.close()
    (root / ".ckptd" / "index.sqlite").unlink()
    (root / ".ckptd" / "journal.jsonl").write_text('{"event":"seen","at":%r}\n{"torn' % (newest + 30 * DAY))
    assert "earlier" in one(app, "clock", "days earlier").message


def test_a_clock_that_nothing_keeps_right_is_a_note(app, monkeypatch):
    monkeypatch.setattr(doctoring_clock, "is_disciplined", lambda: False)
    assert one(app, "clock", "keep it right").severity is Severity.INFO
    monkeypatch.setattr(doctoring_clock, "is_disciplined", lambda: True)
    assert troubles(app, "clock") == []


def test_the_kernel_answers_about_its_clock():
    """Whatever the answer is here, the question is understood."""
    assert doctoring_clock.is_disciplined() in (True, False)


def test_little_room_is_told_once_for_all_places_on_a_disk(app, root, monkeypatch):
    monkeypatch.setattr(doctoring_space, "LEAST_FREE_BYTES", 1 << 62)
    found = one(app, "disk of", "is free")
    assert f"root {root}, state directory" in found.name
    monkeypatch.setattr(doctoring_space, "LEAST_FREE_BYTES", 0)
    monkeypatch.setattr(doctoring_space, "LEAST_FREE_FILES", 1 << 62)
    assert "inode" in one(app, "disk of", "more files").cure


@pytest.mark.root
def test_a_root_that_became_read_only(app, root):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", root], check=True)
    try:
        assert "kernel's log" in one(app, "disk of", "read-only").cure
    finally:
        subprocess.run(["umount", root], check=True)


def test_limits_that_are_nearly_used_up(app, tmp_path, monkeypatch):
    """Watches, instances, open files."""
    (tmp_path / "max_user_watches").write_text("1\n")
    (tmp_path / "max_user_instances").write_text("1\n")
    monkeypatch.setattr(doctoring_limits, "_INOTIFY", tmp_path)
    monkeypatch.setattr(doctoring_limits, "_LEAST_FILES", 1 << 40)
    assert "max_user_watches=65536" in one(app, "inotify watches", "limit of this user is 1").cure
    assert "max_user_instances=512" in one(app, "inotify instances", "the limit is 1").cure
    assert "LimitNOFILE" in one(app, "open files", "of this shell").cure


def test_inotify_instances_are_counted(app):
    """One more program, one more instance."""
    user = 54_321  # nobody else is that one
    assert doctoring_limits.count_instances(user) == 0
    code = "import ctypes, sys; ctypes.CDLL(None).inotify_init(); print(1, flush=True); sys.stdin.read()"
    with subprocess.Popen(["python3", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, user=user) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert doctoring_limits.count_instances(user) == 1
        process.stdin.close()


# — walls —


def test_the_walls_are_said_to_be_those_of_who_asks(app):
    """Of a service's nobody outside of its unit can tell; what it read with fewer has a finding."""
    (check,) = [check for check in app.doctor() if check.name == "sandbox"]
    assert check.message.startswith("a worker that is started here is")
    assert "sandbox-degraded" in check.message


# — metadata and leftovers —


def sidecars(root):
    return sorted(root.glob("*_metadata.json"))


def test_metadata_that_is_broken_torn_foreign_missing_or_alone(app, root):
    """Each kind is told, none is touched."""
    broken, torn, _ = sidecars(root)
    broken.write_text('{"model_name": "x",')
    torn.write_bytes(b"\0" * 100)
    assert "repair the JSON" in one(app, "metadata", broken.name).cure
    assert one(app, "metadata", torn.name).severity is Severity.INFO
    torn.unlink()
    torn.mkdir()
    assert one(app, "metadata", "a directory").severity is Severity.INFO
    torn.rmdir()
    assert "ckptd scan" in one(app, "metadata", "1 checkpoints have none").cure
    assert broken.read_text() == '{"model_name": "x",'


def test_metadata_without_its_checkpoint_is_kept_and_told(root):
    app = open_app(root)
    app.scan()
    gone = min(root.glob("*.pth"))
    gone.unlink()
    app.scan(believe_losses=True)
    assert "kept on purpose" in one(app, "metadata", "without their checkpoint").cure


def test_what_a_kill_left_is_told_when_it_is_old(app, root):
    """Young ones may be in use."""
    left = root / ".ckptd-0123456789abcdef.tmp"
    left.write_bytes(b"half")
    scratch = Scratch.make(root / ".ckptd")
    scratch.path.joinpath("x").write_bytes(b"x")
    assert troubles(app, "leftovers") == []
    later = open_app(root, clock=lambda: left.stat().st_ctime + 2 * DAY)
    assert "sweeps" in one(later, "leftovers", left.name).cure
    os.close(scratch.fd)  # its process is gone, and its lock with it
    os.utime(scratch.path, (NOW, NOW))
    assert "sweeps" in one(later, "leftovers", "scratch").cure


def test_what_nobody_knows_in_a_state_directory(app, root):
    """Ours are all known: nothing is said of a directory that every part of ckptd has used."""
    app.apply()
    assert troubles(app, "leftovers") == []
    (root / ".ckptd" / "evil\x1b[31m.sh").write_text("x")
    found = one(app, "leftovers", "none of ckptd's")
    assert "evil\\x1b[31m.sh" in found.message


def test_an_export_that_is_gone(app, root):
    with app.store.batch() as batch:
        batch.record_output(str(root), "net.onnx", "1" * 64, "export", now=NOW)
    assert "ckptd export" in one(app, "exports", "net.onnx").cure


# — archives —


@pytest.fixture
def archived(root):
    app = open_app(root, policy={"mode": "apply"})
    index_roots(app)
    app.archive("epoch>=0")
    (archive,) = app.archives()
    return app, Path(archive.directory, archive.name)


def test_an_archive_that_is_gone_or_cut(archived):
    """Seen without reading it."""
    app, file = archived
    assert troubles(app, "archives") == []
    data = file.read_bytes()
    file.write_bytes(data[:-1])
    assert "archive verify" in one(app, "archives", "when it was read last").cure
    file.unlink()
    assert "bring it back" in one(app, "archives", "No such file").cure


def test_an_archive_that_nobody_read_for_long(archived, root):
    later = open_app(root, clock=lambda: NOW + 400 * DAY)
    assert "--deep" in one(later, "archives", "more than a year").cure


def test_deep_reads_every_archive(archived):
    """A flipped byte is seen by that alone."""
    app, file = archived
    assert [check.ok for check in app.doctor(deep=True) if check.name == "archives read"] == [True]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert troubles(app, "archives read") == []
    found = [check for check in app.doctor(deep=True) if check.name == "archives read"]
    assert not all(check.ok for check in found)
    assert all(check.cure for check in found if not check.ok)
