"""What `ckptd doctor` says to root of what the daemon's user may: settings, secrets, programs, directories that are named."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from ckptd.errors import SettingsError
from ckptd.jobs import checks, reaching
from ckptd.jobs.checks import Patient
from ckptd.jobs.doctoring_exports import check_exports
from ckptd.jobs.doctoring_index import check_index
from ckptd.jobs.doctoring_jobs import check_jobs
from ckptd.jobs.doctoring_places import check_places
from ckptd.jobs.doctoring_roots import check_roots
from ckptd.jobs.doctoring_settings import check_settings
from ckptd.model import Severity
from ckptd.notify.secret import read_secret
from ckptd.service.places import find_system_places
from ckptd.settings import load_settings
from tests.jobs.keeping import NOW, index_roots, open_app
from tests.neighbours.neighbour import NOBODY

pytestmark = pytest.mark.root

STRANGER = 4711
HOOK = '[[hook]]\non = "checkpoint.ready"\ncommand = ["{}"]\n'


@pytest.fixture
def place(monkeypatch):
    """Give a place that everybody gets to, with the root and the state of a service that runs as nobody."""
    monkeypatch.setattr(checks, "SYSTEM_USER", "nobody")
    with tempfile.TemporaryDirectory(prefix="ckptd-rights-") as made:
        top = Path(made)
        top.chmod(0o755)
        for name in ("models", "state"):
            (top / name).mkdir()
            os.chown(top / name, NOBODY, NOBODY)
        (top / "state").chmod(0o700)
        yield top


@pytest.fixture
def ask(place):
    """Give a function that asks one look about settings; what it finds wrong."""

    def make(look, text="", mode=0o644, **tables):
        file = place / "ckptd.toml"
        file.write_text(text)
        file.chmod(mode)
        settings = load_settings(file, {"roots": [str(place / "models")], "state_dir": str(place / "state"), **tables}, {})
        patient = Patient(settings, Path(os.path.realpath(settings.state_dir)), "index.sqlite", 0.0, file)
        return [check for check in look(patient) if not check.ok]

    return make


# — roots —


def test_root_is_told_of_a_root_that_the_service_cannot_use(ask, place):
    """Root may everything, and that says nothing of the service."""
    assert ask(check_roots) == []
    os.chown(place / "models", STRANGER, STRANGER)
    (found,) = ask(check_roots)
    assert (found.severity, found.message) == (Severity.WARNING, "no metadata can be written there by the user nobody")
    assert "ckptd service install" in found.cure
    (place / "models").chmod(0o700)
    (found,) = ask(check_roots)
    assert found.message == "it cannot be listed by the user nobody"
    place.chmod(0o700)
    (found,) = ask(check_roots)
    assert f"the user nobody may not enter {place}" in found.message


def test_root_is_told_of_a_root_in_which_the_service_keeps_no_lock(ask, place):
    """A second ckptd would not be noticed."""
    inner = place / "models" / ".ckptd"
    inner.mkdir(mode=0o700)
    assert ["no lock can be kept" in found.message for found in ask(check_jobs)] == [True]
    os.chown(inner, NOBODY, NOBODY)
    assert ask(check_jobs) == []


def test_a_home_is_closed_and_the_service_is_let_past(ask, place, monkeypatch):
    """Its unit puts the root back; who asks as its user does not see it, and that is no trouble."""
    monkeypatch.setattr(reaching, "HOMES", (place,))
    place.chmod(0o700)
    assert ask(check_roots) == []
    with tempfile.TemporaryDirectory(prefix="ckptd-rights-") as made:
        Path(made).chmod(0o755)
        state = Path(made, "state")
        app = open_app(place / "models", state_dir=str(state))
        index_roots(app)
        app.close()
        for path in (state, *state.rglob("*"), *place.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        patient = Patient(app.settings, state, "index.sqlite", NOW)
        os.seteuid(NOBODY)
        try:
            found = [check for look in (check_roots, check_index, check_jobs) for check in look(patient) if not check.ok]
        finally:
            os.seteuid(0)
    assert [(check.severity, check.cure) for check in found] == [(Severity.INFO, "ask as root")]


# — directories that are named —


@pytest.mark.parametrize(
    ("tables", "key"),
    [
        ({"archive": {"directory": "{}"}}, "archive.directory"),
        ({"report": {"directory": "{}"}}, "report.directory"),
        ({"health": {"textfile": "{}/ckptd.prom"}}, "health.textfile"),
        ({"health": {"listen": "unix:{}/health.sock"}}, "health.listen"),
        ({"control": {"socket": "{}/ctl"}}, "control.socket"),
    ],
)
def test_root_is_told_of_each_directory_that_the_service_cannot_write(ask, place, tables, key):
    """Each with its setting; also when it is not there, for to the service what lies around is read-only."""
    named = place / "named"
    tables = {table: {name: value.format(named) for name, value in values.items()} for table, values in tables.items()}
    (found,) = ask(check_places, **tables)
    assert found.name == f"{key} {named}"
    assert found.severity is Severity.ERROR
    named.mkdir()
    (found,) = ask(check_places, **tables)
    assert found.message == "the user nobody can't write there"
    assert f"chown nobody {named}" in found.cure
    os.chown(named, NOBODY, -1)
    assert ask(check_places, **tables) == []
    place.chmod(0o700)
    assert {found.message for found in ask(check_places, **tables)} == {f"the user nobody may not enter {place}, above it"}


def test_a_directory_that_ckptd_makes_itself_is_a_note(ask, place):
    """In a root it may."""
    (found,) = ask(check_places, report={"directory": str(place / "models" / "reports")})
    assert found.severity is Severity.INFO


def test_to_a_confined_service_all_else_is_read_only(ask, place):
    """Its user could make a directory beside the root; the service can't."""
    os.chown(place, NOBODY, -1)
    (found,) = ask(check_places, report={"directory": str(place / "reports")})
    assert found.severity is Severity.ERROR


def test_a_state_that_cannot_be_made_is_told(ask, place, monkeypatch):
    """The service that is installed for these settings would not start."""
    monkeypatch.setattr(checks, "find_service", lambda config: find_system_places() if config == place / "ckptd.toml" else None)
    (place / "state").rmdir()
    assert "can't make it" in ask(check_places)[0].message


@pytest.mark.parametrize("name", ["ckptd", "ckptd-ecg"])
def test_a_runtime_directory_of_the_service_is_made_by_systemd(ask, name):
    assert ask(check_places, control={"socket": f"/run/{name}/ctl"}) == []


def test_the_daemons_user_is_told_of_a_closed_way_himself(ask, place):
    """He can't look beyond it, and need not."""
    (place / "closed").mkdir(mode=0o700)
    settings = load_settings(
        None, {"roots": [str(place / "models")], "report": {"directory": str(place / "closed" / "in")}}, {}
    )
    os.seteuid(NOBODY)
    try:
        (found,) = check_places(Patient(settings, place / "state", "index.sqlite", 0.0))
    finally:
        os.seteuid(0)
    assert found.message == f"the user nobody may not enter {place / 'closed'}, above it"


# — settings, secrets, certificates —


def test_root_is_told_of_settings_that_the_service_cannot_read(ask):
    """It would not start, and root reads everything."""
    assert ask(check_settings) == []
    (found,) = ask(check_settings, mode=0o640)
    assert found.message == "the user nobody can't read it"
    assert "chgrp nogroup" in found.cure
    assert "chmod 640" in found.cure


SECRET = '[notify.webhook]\nurl = "https://hooks.example.org/x"\nsecret_file = "{}"\n'


@pytest.mark.parametrize(
    ("owner", "group", "mode"),
    [
        (0, NOBODY, 0o640), (0, 0, 0o600), (0, 0, 0o640), (0, NOBODY, 0o660), (NOBODY, 0, 0o600), (NOBODY, 0, 0o604),
        (STRANGER, NOBODY, 0o640), (0, NOBODY, 0o641), (NOBODY, NOBODY, 0o620), (0, 0, 0o644),
    ],
)  # fmt: skip
def test_the_doctor_and_the_daemon_say_the_same_of_a_secret(ask, place, owner, group, mode):
    """Whoever asks the doctor: a secret is fine where the daemon's user is given it, and else both say why it is not."""
    secret = place / "secret"
    secret.write_text("geheim")
    os.chown(secret, owner, group)
    secret.chmod(mode)
    found = ask(check_settings, SECRET.format(secret))
    os.setegid(NOBODY)
    groups = os.getgroups()
    os.setgroups([])
    os.seteuid(NOBODY)
    try:
        told = ""
        read_secret(str(secret), {})
    except SettingsError as error:
        told = str(error)
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
    assert [check.name for check in found] == (["settings notify.webhook.secret_file"] if told else [])
    if told and "denied" not in told:
        assert found[0].message.partition(" is refused: ")[2] in told


def test_the_cure_of_a_secret_is_one(ask, place):
    """After the commands that are named, doctor and daemon are content."""
    secret = place / "secret"
    secret.write_text("geheim")
    secret.chmod(0o600)
    (found,) = ask(check_settings, SECRET.format(secret))
    assert "LoadCredential=secret:" in found.cure
    assert os.system(found.cure.partition(";")[0]) == 0
    assert ask(check_settings, SECRET.format(secret)) == []


def test_a_secret_in_a_closed_directory_is_told_whoever_asks(ask, place):
    """The daemon's user, who meets it himself, and root."""
    secret = place / "secrets" / "webhook"
    secret.parent.mkdir(mode=0o700)
    secret.touch(0o640)
    os.chown(secret, 0, NOBODY)
    (found,) = ask(check_settings, SECRET.format(secret))
    assert found.message.endswith("can't be read by the user nobody")
    os.seteuid(NOBODY)
    try:
        settings = load_settings(place / "ckptd.toml", {"roots": [str(place / "models")]}, {})
        patient = Patient(settings, place / "state", "index.sqlite", 0.0, place / "ckptd.toml")
        (again,) = (check for check in check_settings(patient) if not check.ok)
    finally:
        os.seteuid(0)
    assert again == found


def test_certificates_that_the_service_cannot_read(ask, place):
    """Nothing would be sent."""
    authorities = place / "ca.pem"
    text = f'[notify.webhook]\nurl = "https://hooks.example.org/x"\nca_file = "{authorities}"\n'
    assert "No such file" in ask(check_settings, text)[0].message
    authorities.touch(0o600)
    assert ask(check_settings, text)[0].message == "the user nobody can't read it"
    authorities.chmod(0o644)
    assert ask(check_settings, text) == []


# — who can write —


def test_settings_in_a_directory_of_somebody_else(ask, place):
    """He puts others in their place; any directory on the way is enough."""
    os.chown(place, STRANGER, -1)
    (found,) = ask(check_settings)
    assert found.severity is Severity.ERROR
    assert f"user {STRANGER}, whose it is, can write in {place}" in found.message
    os.chown(place / "ckptd.toml", STRANGER, -1)
    (found,) = ask(check_settings)  # once, though there are two ways
    assert f"user {STRANGER}, whose it is, can write it" in found.message
    for path in (place, place / "ckptd.toml"):
        os.chown(path, 0, STRANGER)
    place.chmod(0o775)
    (found,) = ask(check_settings)
    assert (found.severity, f"group {STRANGER} can write in {place}" in found.message) == (Severity.WARNING, True)
    place.chmod(0o1775)
    assert ask(check_settings) == []


@pytest.mark.parametrize("text", [HOOK, '[notify.command]\ncommand = ["{}"]\n'])
def test_who_can_write_a_program_that_is_run(ask, place, text):
    """It is run as the service: whoever can write it can do what that may."""
    program = place / "bin" / "program"
    program.parent.mkdir()
    assert [check.message for check in ask(check_settings, text.format(program))] == ["there is no such program"]
    program.write_text("#!/bin/sh\n")
    (found,) = ask(check_settings, text.format(program))
    assert found.message == "the user nobody can't run it"
    program.chmod(0o755)
    assert ask(check_settings, text.format(program)) == []
    program.chmod(0o757)
    assert "everybody can write it" in ask(check_settings, text.format(program))[0].message
    program.chmod(0o755)
    os.chown(program.parent, STRANGER, -1)
    (found,) = ask(check_settings, text.format(program))
    assert found.cure == f"chown nobody {program.parent}"


# — trust —


def test_trusted_code_of_the_service_is_trusted_when_root_asks(ask, place):
    """It is the service that runs it; what is a stranger's is refused for both."""
    code = place / "code"
    code.mkdir()
    (code / "net.py").write_text("def net(): ...")
    for path in (code, code / "net.py"):
        os.chown(path, NOBODY, NOBODY)
    assert ask(check_exports, trust={"directories": [str(code)]}) == []
    os.chown(code, STRANGER, -1)
    (found,) = ask(check_exports, trust={"directories": [str(code)]})
    assert "belongs to" in found.message
