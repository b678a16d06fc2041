"""The verbs of the service: what they print, and what makes no sense."""

import dataclasses
from pathlib import Path

import pytest

from ckptd.service import places, surroundings
from tests.service.prefix import Prefix


@pytest.fixture
def prefix(tmp_path, monkeypatch):
    """Put a directory in the place of this machine."""
    machine = Prefix(tmp_path, monkeypatch)
    machine.root.mkdir(parents=True)
    monkeypatch.setattr(
        places,
        "find_system_places",
        lambda _, config: dataclasses.replace(machine.places, config=config or machine.places.config),
    )
    monkeypatch.setattr(surroundings, "look_around", lambda *_: machine.around)
    monkeypatch.setattr(surroundings, "TEMPORARY", (Path("/nowhere"),))
    return machine


def test_a_dry_run_says_what_would_be_done_and_does_nothing(run, prefix):
    """Each step on a line; the same as JSON."""
    done = run("service", "install", "--dry-run")
    assert done.status == 0
    assert f"would write {prefix.places.units}/ckptd.service\n" in done.out
    assert "would start ckptd.service, now and at each boot\n" in done.out
    assert prefix.files() == set()
    found = run("service", "install", "--dry-run", "--json").json
    assert found["dry_run"] is True
    assert "start ckptd.service, now and at each boot" in found["steps"]
    assert any(str(prefix.root) in note for note in found["notes"])


def test_an_install_and_an_uninstall_say_what_they_did(run, prefix):
    """In the past, and that there was nothing to do when there was not."""
    done = run("service", "install", "--json").json
    assert "started ckptd.service, now and at each boot" in done["steps"]
    prefix.runs("active", MainPID="42", StatusText="idle")
    assert "nothing to do" in run("service", "install").out
    status = run("service", "status")
    assert status.status == 0
    assert "idle" in status.out
    assert run("service", "status", "--json").json["files"][str(prefix.places.units / "ckptd.service")] == "in place"
    assert f"removed {prefix.places.units}/ckptd.service\n" in run("service", "uninstall").out
    assert prefix.files() == {"ckptd/ckptd.toml"}


@pytest.fixture
def own(prefix):
    """Give settings at a place of their own, with a root, for which the service was installed."""
    config, root = prefix.directory / "data" / "100% own" / "ckptd.toml", prefix.directory / "data" / "models"
    for directory in (config.parent, root):
        directory.mkdir(parents=True)
    config.write_text(f'roots = ["{root}"]\nstate_dir = "{prefix.places.state_dir}"\n')
    return config


def test_an_install_keeps_to_the_settings_of_the_one_before(run, prefix, own):
    """As after an upgrade: nobody names them again, and the roots stay those of the service."""
    run("service", "install", "--config", str(own))
    prefix.runs("active")
    before = {name: (prefix.directory / "etc" / name).read_bytes() for name in prefix.files()}
    done = run("service", "install", "--json").json
    assert done["steps"] == []
    assert any(str(own) in note and "--config names others" in note for note in done["notes"])
    assert {name: (prefix.directory / "etc" / name).read_bytes() for name in prefix.files()} == before
    assert not prefix.places.config.exists()
    assert set(run("service", "status", "--json").json["files"].values()) == {"in place"}
    assert any(note.startswith(str(own)) for note in run("service", "uninstall", "--json").json["notes"])


def test_other_settings_are_taken_when_they_are_named(run, prefix, own):
    """The way back, too."""
    run("service", "install", "--config", str(own))
    done = run("service", "install", "--config", str(prefix.places.config))
    assert f"replaced {prefix.places.units}/ckptd.service\n" in done.out
    assert f"--config {prefix.places.config} run" in (prefix.places.units / "ckptd.service").read_text()


def test_settings_of_the_service_that_are_gone_are_not_made_up(run, prefix, own):
    """Their disk may only be away."""
    run("service", "install", "--config", str(own))
    own.unlink()
    done = run("service", "install")
    assert done.status == 1
    assert "they are not there" in done.err
    assert not own.exists()


def test_a_service_that_does_not_run_is_status_1(run, prefix):
    """For scripts; and so is one that is not there."""
    run("service", "install")
    prefix.runs("failed", Result="watchdog")
    assert run("service", "status").status == 1
    prefix.runs("inactive", at_boot="", LoadState="not-found")
    assert run("service", "status").status == 1


@pytest.mark.parametrize("as_json", [False, True])
def test_what_explains_a_failure_is_said_when_a_start_fails(run, prefix, as_json):
    """The service needs its root, and the note about that names the cure; what was done before is told, too."""
    prefix.places.config.parent.mkdir(parents=True)
    prefix.places.config.write_text(f'roots = ["{prefix.directory}/away"]\nstate_dir = "{prefix.places.state_dir}"\n')
    prefix.fail("enable --now")
    done = run("service", "install", *(["--json"] if as_json else []))
    assert done.status == 1
    assert "systemctl enable ckptd.service" in done.err
    steps, notes = (done.json["steps"], done.json["notes"]) if as_json else (done.out, done.out)
    assert any(f"{prefix.directory}/away is not there" in note for note in (notes if as_json else [notes]))
    assert f"wrote {prefix.places.units}/ckptd.service" in steps
    assert "started ckptd.service" not in done.out


def test_nothing_is_started_where_nobody_wants_it(run, prefix):
    """--no-start: files are in place, and the way to start it is said."""
    done = run("service", "install", "--no-start")
    assert f"wrote {prefix.places.units}/ckptd.service\n" in done.out
    assert "systemctl enable --now ckptd.service does that" in done.out
    assert not [line for line in prefix.asked() if "enable" in line]


def test_a_timer_is_kept_until_a_daemon_is_named(run, prefix):
    """--scan once, and --daemon to go back."""
    assert "started ckptd-scan.timer" in run("service", "install", "--scan").out
    prefix.runs("active", unit="ckptd-scan.timer")
    assert "nothing to do" in run("service", "install").out
    assert "started ckptd.service" in run("service", "install", "--daemon").out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("install", "--user", "--instance", "ecg"), "go without each other"),
        (("install", "--user", "--scan"), "system's service alone"),
        (("install", "--instance", "ecg", "--daemon"), "system's service alone"),
        (("status", "--instance", "ecg", "--config", "/etc/x.toml"), "go without each other"),
        (("install", "--instance", "../etc"), "letters"),
        (("install", "--instance", "-x"), "letters"),
        (("uninstall", "--instance", "ckptd"), "ckptd is taken"),
    ],
)
def test_options_that_make_no_sense_together(run, arguments, words):
    """Status 2, and nothing is asked."""
    done = run("service", *arguments)
    assert done.status == 2
    assert words in done.err


def test_what_can_not_be_done_is_one_sentence(run, prefix, monkeypatch):
    """Status 1, and no traceback."""
    monkeypatch.setattr(surroundings, "TEMPORARY", (prefix.directory,))
    done = run("service", "install")
    assert done.status == 1
    assert done.err.startswith("ckptd: install the service: ")
    assert done.err.count("\n") == 1
