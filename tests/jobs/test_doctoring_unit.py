"""What `ckptd doctor` says of the units of systemd, and of what an installed service can reach."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

import pytest

from ckptd.jobs import bundling, checks, doctoring_reach, doctoring_unit
from ckptd.jobs.checks import Patient
from ckptd.jobs.doctoring_reach import check_reach
from ckptd.jobs.doctoring_unit import check_own_unit, check_unit
from ckptd.model import Severity
from ckptd.service import finding, surroundings
from ckptd.service.applying import Applier
from ckptd.service.installing import Order, prepare_install, render_wanted
from ckptd.service.places import Places
from ckptd.settings import load_settings
from ckptd.settings.load import LoadedSettings
from ckptd.storage.lock import hold
from tests.neighbours.neighbour import NOBODY
from tests.service.prefix import Prefix

SERVICE = {"Id": "ckptd.service", "LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled", "NRestarts": "0"}
TIMER = {"Id": "ckptd-scan.timer", "LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled"}
SCAN = {"Id": "ckptd-scan.service", "LoadState": "loaded", "ActiveState": "inactive", "Result": "success"}


@pytest.fixture
def systemctl(tmp_path, monkeypatch):
    """Give a function that puts a systemctl on the PATH."""

    def make(script):
        fake = tmp_path / "bin" / "systemctl"
        fake.parent.mkdir(exist_ok=True)
        fake.write_text(f"#!/bin/sh\n{script}\n")
        fake.chmod(0o755)
        monkeypatch.setenv("PATH", str(fake.parent), prepend=os.pathsep)

    return make


@pytest.fixture
def shows(systemctl, tmp_path):
    """Give a function that has systemctl show units."""

    def make(*units):
        shown = "\n".join("".join(f"{key}={value}\n" for key, value in unit.items()) for unit in units)
        (tmp_path / "shown").write_text(shown)
        systemctl(f'echo "$*" >{tmp_path}/asked; cat {tmp_path}/shown')

    return make


@pytest.fixture
def booted(tmp_path, monkeypatch):
    """Make this a machine that systemd started."""
    (tmp_path / "system").mkdir()
    monkeypatch.setattr(doctoring_unit, "_BOOTED", tmp_path / "system")


def units():
    return list(check_own_unit())


def troubles():
    return [(check.name.split()[-1], check.severity, check.message) for check in units() if not check.ok]


def test_without_systemd_or_a_unit_nothing_is_wrong(systemctl, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [(check.ok, "no systemctl" in check.message) for check in units()] == [(True, True)]
    systemctl("printf 'Id=ckptd.service\\nLoadState=not-found\\nActiveState=inactive\\n'")
    assert [(check.ok, "install.md" in check.message) for check in units()] == [(True, True)]


def test_an_active_unit_and_one_that_failed(shows):
    """Each instance by itself; restarts and a changed file are told."""
    instance = {**SERVICE, "Id": "ckptd@a.service", "ActiveState": "failed", "Result": "watchdog", "ExecMainStatus": "6"}
    shows(
        {**SERVICE, "NRestarts": "3", "MainPID": "7", "NeedDaemonReload": "yes"},
        instance,
        {**SERVICE, "Id": "ckptd@b.service", "ActiveState": "inactive", "UnitFileState": "disabled"},
    )
    found = [(check.name.split()[-1], check.ok, check.severity, check.message) for check in units()]
    assert found[0][:2] == ("ckptd.service", True)
    assert "restart it 3 times" in found[1][3]
    assert found[2][2] is Severity.INFO
    assert found[3][0] == "ckptd@a.service"
    assert found[3][2] is Severity.ERROR
    assert "failed (watchdog" in found[3][3]
    assert "inactive (disabled)" in found[4][3]


def test_a_unit_that_runs_and_is_not_started_at_boot(shows):
    """The next power cut would end it for good."""
    shows({**SERVICE, "UnitFileState": "disabled"})
    (check,) = [check for check in units() if not check.ok]
    assert (check.severity, check.cure) == (Severity.WARNING, "systemctl enable ckptd.service")
    shows(SERVICE)
    assert troubles() == []


@pytest.mark.parametrize(("now", "severity"), [(100_000.0, Severity.WARNING), (200_000.0, Severity.INFO)])
def test_a_restart_is_no_warning_for_ever(shows, monkeypatch, now, severity):
    """A day later it is a note, and systemd can be told to forget it."""
    monkeypatch.setattr(time, "monotonic", lambda: now)
    shows({**SERVICE, "NRestarts": "3", "ActiveEnterTimestampMonotonic": "50000000000"})
    (check,) = [check for check in units() if not check.ok]
    assert check.severity is severity
    assert "systemctl reset-failed ckptd.service" in check.cure


def test_a_systemd_that_hangs_does_not_hang_the_doctor(systemctl, monkeypatch):
    monkeypatch.setattr("ckptd.jobs.doctoring_unit._SECONDS", 0.2)
    systemctl("exec sleep 60")
    assert ["no answer" in check.message for check in units()] == [True]


# — a machine with a timer and no daemon —


def test_a_timer_is_enough(shows, tmp_path):
    """Nobody wanted the daemon there: that it does not run is no trouble."""
    shows({**SERVICE, "ActiveState": "inactive", "UnitFileState": "disabled"}, TIMER, SCAN)
    assert troubles() == []
    assert {"ckptd.service", "ckptd-scan.timer", "ckptd-scan.service"} <= set((tmp_path / "asked").read_text().split())
    assert {check.name.split()[-1] for check in units()} == {"ckptd-scan.timer", "ckptd-scan.service"}


def test_a_pass_that_fails_is_told(shows):
    """It is all that looks at the roots there."""
    shows(TIMER, {**SCAN, "ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "1"})
    (name, severity, message) = troubles()[0]
    assert (name, severity) == ("ckptd-scan.service", Severity.ERROR)
    assert "exit-code, exit status 1" in message


def test_a_timer_that_does_not_run_is_told_and_one_that_nobody_wants_is_not(shows):
    """Each install brings it along."""
    shows(SERVICE, {**TIMER, "ActiveState": "inactive", "UnitFileState": "disabled"}, SCAN)
    assert [check.name.split()[-1] for check in units()] == ["ckptd.service"]
    shows({**TIMER, "ActiveState": "inactive"}, SCAN)
    assert troubles() == [("ckptd-scan.timer", Severity.WARNING, "it is inactive (enabled)")]


def test_a_daemon_beside_a_timer_is_judged_all_the_same(shows):
    shows({**SERVICE, "ActiveState": "failed"}, TIMER, SCAN)
    assert [name for name, *_ in troubles()] == ["ckptd.service"]


# — whom to ask —


@pytest.fixture
def patient(tmp_path, monkeypatch):
    """Give a patient whose state is that of the service's user."""
    monkeypatch.setattr(checks, "SYSTEM_USER", "nobody")
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    os.chown(state, NOBODY, -1)
    return Patient(load_settings(None, {"roots": [str(tmp_path)]}, {}), state, "index.sqlite", 0.0)


@pytest.mark.root
def test_of_the_service_the_managers_of_no_user_are_asked(patient, shows, tmp_path, monkeypatch):
    """Neither by its user, as who upgrades it does, nor by somebody else: he has no manager, or another one."""
    shows({**SERVICE, "ActiveState": "failed"})
    for asker in (0, NOBODY, 4711):
        monkeypatch.setattr(os, "geteuid", lambda asker=asker: asker)
        assert [check.severity for check in check_unit(patient) if not check.ok] == [Severity.ERROR]
        assert "--user" not in (tmp_path / "asked").read_text(), asker
    own = dataclasses.replace(patient, state_dir=tmp_path / "own")
    list(check_unit(own))
    assert "--user" in (tmp_path / "asked").read_text()


@pytest.mark.root
def test_a_service_of_which_nobody_can_be_asked_is_a_warning(patient, systemctl, booted, tmp_path):
    """Silence is no health; where no service is to be, it is none of anybody's business."""
    systemctl("echo 'Failed to connect to bus' >&2; exit 1")
    (check,) = check_unit(patient)
    assert (check.ok, check.severity) == (False, Severity.WARNING)
    assert "Failed to connect to bus" in check.message
    (check,) = check_unit(dataclasses.replace(patient, state_dir=tmp_path / "own"))
    assert check.ok


@pytest.mark.root
def test_where_systemd_did_not_start_the_machine_its_silence_is_fine(patient, systemctl, monkeypatch, tmp_path):
    """A container has a user ckptd, too."""
    monkeypatch.setattr(doctoring_unit, "_BOOTED", tmp_path / "nowhere")
    systemctl("exit 1")
    assert [check.ok for check in check_unit(patient)] == [True]


def test_an_own_unit_that_nobody_can_be_asked_of_is_a_warning(systemctl, booted, tmp_path, monkeypatch):
    """As after su: the unit is there, and how it stands is not known."""
    systemctl("exit 1")
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert [check.ok for check in units()] == [True]
    (tmp_path / "systemd" / "user").mkdir(parents=True)
    (tmp_path / "systemd" / "user" / "ckptd.service").touch()
    (check,) = units()
    assert check.severity is Severity.WARNING
    assert "su" in check.cure


@pytest.mark.root
def test_the_log_of_a_bundle_is_that_of_the_service(patient, tmp_path, monkeypatch):
    """Whoever makes the bundle; where he may not read it, that stands in its place."""
    fake = tmp_path / "bin" / "journalctl"
    fake.parent.mkdir()
    monkeypatch.setenv("PATH", str(fake.parent), prepend=os.pathsep)
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)

    def make(script):
        fake.write_text(f'#!/bin/sh\necho "$*" >{tmp_path}/asked\n{script}\n')
        fake.chmod(0o755)
        return dict(read_parts(patient))["log.txt"]

    assert make('echo \'{"event": "daemon.started"}\'') == '{"event": "daemon.started"}\n'
    asked = (tmp_path / "asked").read_text()
    assert "--user" not in asked
    assert "--unit=ckptd-scan" in asked
    assert "members of systemd-journal" in make("true")


def read_parts(patient):
    ward = bundling._Ward(patient, (), str, str)
    return [(name, gather(ward)) for name, _, gather in bundling.PARTS if name == "log.txt"]


# — what an installed service can reach —


@pytest.fixture
def prefix(tmp_path, monkeypatch):
    """Give a machine with the service installed, for a root and a directory of archives."""
    monkeypatch.setattr(surroundings, "TEMPORARY", (Path("/nowhere"),))
    monkeypatch.setattr(surroundings, "HOMES", (Path("/nowhere"),))
    machine = Prefix(tmp_path, monkeypatch)
    for name in ("models", "archives", "more"):
        (tmp_path / "data" / name).mkdir(parents=True)
    monkeypatch.setattr(finding, "find_system_places", lambda *instance: find_places(machine, *instance))
    configure(machine)
    install(machine)
    return machine


def install(machine: Prefix) -> None:
    applier = Applier(machine.manager)
    for step in prepare_install(Order(machine.places), machine.around, machine.manager).steps:
        applier.apply(step)


def find_places(machine: Prefix, instance: str | None = None) -> Places:
    if instance is None:
        return machine.places
    config = machine.places.config.with_name(f"{instance}.toml")
    return dataclasses.replace(machine.places, config=config, service=f"ckptd@{instance}.service")


def configure(machine: Prefix, text: str = "", config: Path | None = None) -> None:
    data = machine.directory / "data"
    file = config or machine.places.config
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f'roots = ["{data}/models"]\nstate_dir = "{machine.places.state_dir}"\n{text}')


def look(machine: Prefix, config: Path | None = None):
    file = config or machine.places.config
    settings: LoadedSettings = load_settings(file, {}, {})
    patient = Patient(settings, machine.places.state_dir, "index.sqlite", 0.0, file)
    return [(check.ok, check.severity, check.message) for check in check_reach(patient)]


def test_a_service_that_reaches_what_the_settings_name(prefix):
    assert look(prefix) == [(True, Severity.INFO, "it can reach what the settings name")]


def test_settings_that_name_more_than_the_service_reaches(prefix):
    """To it that is read-only, whatever the rights; the cure is one command."""
    configure(prefix, f'archive = {{ directory = "{prefix.directory}/data/archives" }}\n')
    why = f"the settings name what it can't reach: {prefix.directory}/data/archives"
    assert look(prefix) == [(False, Severity.ERROR, why)]  # of both units, and once
    install(prefix)
    assert all(ok for ok, *_ in look(prefix))


def test_a_service_that_runs_since_before_a_directory_was_there(prefix, monkeypatch):
    """What its unit lets it write is what lay there when it started."""
    root = prefix.directory / "data" / "models"
    monkeypatch.setattr(doctoring_reach, "find_unreached", lambda _pid, paths: tuple(path for path in paths if path == root))
    assert all(ok for ok, *_ in look(prefix))
    prefix.places.state_dir.mkdir(parents=True, mode=0o700)
    with hold(prefix.places.state_dir):
        (found,) = [message for ok, _, message in look(prefix) if not ok]
    assert found.endswith(f": {root}")


def test_settings_that_name_less_are_a_note(prefix):
    configure(prefix, f'archive = {{ directory = "{prefix.directory}/data/archives" }}\n')
    install(prefix)
    configure(prefix)
    assert {severity for _, severity, _ in look(prefix)} == {Severity.INFO}
    assert all("data/archives" in message for _, _, message in look(prefix))


def test_a_drop_in_that_is_gone(prefix):
    """The service could write nowhere."""
    prefix.places.drop_in("ckptd.service").unlink()
    assert [ok for ok, *_ in look(prefix)] == [False, True]


def test_a_root_that_is_away_takes_no_group_with_it(prefix):
    """What group it has can't be seen just now; that the service has it is no trouble."""
    drop_in = prefix.places.drop_in("ckptd.service")
    drop_in.write_text(drop_in.read_text() + "SupplementaryGroups=ml\n")
    assert all(ok for ok, *_ in look(prefix))


def test_an_instance_has_settings_of_its_own(prefix):
    """And a drop-in of its own; the unit is the template's."""
    config = prefix.places.config.with_name("ecg.toml")
    configure(prefix, config=config)
    places = find_places(prefix, "ecg")
    drop_in = places.drop_in(places.service)
    drop_in.parent.mkdir()
    drop_in.write_text(render_wanted(places)[drop_in])
    assert [ok for ok, *_ in look(prefix, config)] == [True]
    configure(prefix, f'archive = {{ directory = "{prefix.directory}/data/archives" }}\n', config)
    assert [ok for ok, *_ in look(prefix, config)] == [False]


def test_other_settings_are_none_of_the_service(prefix, tmp_path):
    """Who asks about a root of his own hears nothing of it."""
    own = tmp_path / "own.toml"
    own.write_text(f'roots = ["{tmp_path}/data/more"]\n')
    assert look(prefix, own) == []


@pytest.mark.root
def test_a_state_of_root_is_not_taken_for_that_of_the_service(prefix, monkeypatch):
    """It was made by hand, and the service, which has a user of its own, can't use it."""
    monkeypatch.setattr(checks, "SYSTEM_USER", "nobody")
    file, state = prefix.places.config, prefix.places.state_dir
    patient = Patient(load_settings(file, {}, {}), state, "index.sqlite", 0.0, file)
    assert patient.find_user() == NOBODY
    state.mkdir(parents=True)
    assert patient.find_user() == NOBODY
    assert dataclasses.replace(patient, config=None).find_user() == 0
