"""Install and uninstall on real files below a directory: what is written, what is left alone, what is refused."""

import dataclasses
import grp
import os
import stat
from pathlib import Path

import pytest

from ckptd.errors import CkptdError, SettingsError
from ckptd.service import applying, installing, refusing, surroundings
from ckptd.service.applying import Applier
from ckptd.service.faults import ServiceError
from ckptd.service.installing import Order, prepare_install, render_wanted
from ckptd.service.stamp import stamp
from ckptd.service.status import find_status
from ckptd.service.steps import Plan
from ckptd.service.systemctl import make_user
from ckptd.service.uninstalling import prepare_uninstall
from ckptd.service.units import read_members
from ckptd.settings import load_settings
from tests.service.prefix import Prefix

WRITTEN = {
    "ckptd/ckptd.toml",
    "sysusers.d/ckptd.conf",
    "systemd/system/ckptd.service",
    "systemd/system/ckptd@.service",
    "systemd/system/ckptd-scan.service",
    "systemd/system/ckptd-scan.timer",
    "systemd/system/ckptd.service.d/roots.conf",
    "systemd/system/ckptd-scan.service.d/roots.conf",
}
DROP_IN = "systemd/system/ckptd.service.d/roots.conf"


@pytest.fixture
def prefix(tmp_path, monkeypatch):
    """Give a machine on which nothing is installed; its directories lie in /tmp, which no real root may."""
    monkeypatch.setattr(surroundings, "TEMPORARY", (Path("/nowhere"),))
    monkeypatch.setattr(surroundings, "HOMES", (Path("/nowhere"),))
    monkeypatch.setattr(applying, "USER", grp.getgrgid(os.getgid()).gr_name)  # there is no user ckptd here
    return Prefix(tmp_path, monkeypatch)


def install(prefix: Prefix, **further) -> tuple[int, tuple[str, ...]]:
    """Install, and give how many steps that took and what was noted."""
    plan = prepare_install(Order(prefix.places, **further), prefix.around, prefix.manager)
    carry_out(prefix, plan)
    return len(plan.steps), plan.notes


def uninstall(prefix: Prefix) -> tuple[str, ...]:
    plan = prepare_uninstall(prefix.places, prefix.around, prefix.manager)
    carry_out(prefix, plan)
    return plan.notes


def carry_out(prefix: Prefix, plan: Plan) -> None:
    applier = Applier(prefix.manager, make_user)
    for step in plan.steps:
        applier.apply(step)


def text(prefix: Prefix, name: str) -> str:
    return (prefix.directory / "etc" / name).read_text()


def test_a_fresh_machine_gets_all_of_it(prefix):
    """Settings with a root that is made, the user, the units, the drop-in, and a start at the end."""
    install(prefix)
    assert prefix.files() == WRITTEN
    assert prefix.asked() == [
        f"systemd-sysusers {prefix.places.sysusers}",
        "systemctl daemon-reload",
        "systemctl reset-failed ckptd.service",
        "systemctl enable --now ckptd.service",
    ]
    settings = load_settings(prefix.places.config, {}, {})
    assert (settings.roots, settings.state_dir) == ((prefix.root,), prefix.places.state_dir)
    assert stat.S_IMODE(prefix.root.stat().st_mode) == 0o2775
    assert f"ReadWritePaths=-{prefix.root}\n" in text(prefix, DROP_IN)


def test_the_new_settings_show_every_other_one(prefix):
    """As comments, with their defaults; and the file says when to install again."""
    install(prefix)
    written = text(prefix, "ckptd/ckptd.toml")
    assert "#suffixes = " in written
    assert "ckptd service install" in written


def test_what_is_written_can_be_read_by_everybody(prefix):
    """Whatever the umask of the one who installs: the service reads its settings as another user."""
    before = os.umask(0o077)
    try:
        install(prefix)
        assert os.umask(0o077) == 0o077, "who installs has his own again"
    finally:
        os.umask(before)
    for name in WRITTEN:
        file = prefix.directory / "etc" / name
        assert file.stat().st_mode & 0o044 == 0o044, name
        assert file.parent.stat().st_mode & 0o055 == 0o055, file.parent


@pytest.fixture
def neighbour(monkeypatch):
    """Give a way to have somebody else do something in the moment after a directory was made."""
    make = os.mkdir

    def arm(act) -> None:
        def make_and_act(path, *args, **further):
            make(path, *args, **further)
            if Path(path).name == "trained_models":
                act()

        monkeypatch.setattr(applying.os, "mkdir", make_and_act)

    return arm


@pytest.mark.parametrize("is_link", [True, False])
def test_a_root_that_was_swapped_while_it_was_made_is_not_shared(prefix, neighbour, is_link):
    """Whoever can write beside it could have put a link to anything there, or a directory with somebody's files."""
    target = prefix.directory / "target"
    target.mkdir(mode=0o700)
    (target / "secret").touch()
    before = (target.stat().st_gid, target.stat().st_mode)

    def swap() -> None:
        prefix.root.rmdir()
        prefix.root.symlink_to(target) if is_link else target.rename(prefix.root)

    neighbour(swap)
    with pytest.raises(ServiceError, match="make a directory"):
        install(prefix)
    moved = target if is_link else prefix.root
    assert (moved.stat().st_gid, moved.stat().st_mode) == before


def test_a_link_on_the_way_to_a_new_root_is_not_followed(prefix):
    """It was not there when the path was looked at."""
    plan = prepare_install(Order(prefix.places), prefix.around, prefix.manager)
    (prefix.directory / "elsewhere").mkdir()
    prefix.root.parent.symlink_to(prefix.directory / "elsewhere")
    with pytest.raises(ServiceError, match="make a directory"):
        carry_out(prefix, plan)
    assert list((prefix.directory / "elsewhere").iterdir()) == []


@pytest.fixture
def shared(monkeypatch):
    """Give a table by which directories belong to groups: last part of the path → the group's name and number."""
    groups: dict[str, tuple[str, int]] = {}
    look = surroundings.look_at

    def look_at(path: Path) -> surroundings.Directory:
        seen, group = look(path), groups.get(path.name)
        if group is None or seen.mode is None:
            return seen
        return dataclasses.replace(seen, mode=0o2770, group=group[0], gid=group[1])

    monkeypatch.setattr(surroundings, "look_at", look_at)
    return groups


def configure(prefix: Prefix, *roots: str, further: str = "", name: str = "ckptd") -> None:
    """Write settings with roots below the directory of the test, which are made."""
    paths = [prefix.directory / root for root in roots]
    for path in paths:
        path.mkdir(parents=True, exist_ok=True)
    config = prefix.places.config.with_name(f"{name}.toml")
    config.parent.mkdir(parents=True, exist_ok=True)
    named = ", ".join(f'"{path}"' for path in paths)
    config.write_text(f'roots = [{named}]\nstate_dir = "{prefix.places.state_dir}"\n{further}')


def install_instance(prefix: Prefix, name: str) -> tuple[str, ...]:
    """Install the instance of a name, by settings that are there or with a root of its own, and give what was noted."""
    config = prefix.places.config.with_name(f"{name}.toml")
    places = dataclasses.replace(prefix.places, service=f"ckptd@{name}.service", config=config)
    order = Order(places, () if config.exists() else (prefix.directory / name,))
    plan = prepare_install(order, prefix.around, prefix.manager)
    carry_out(prefix, plan)
    return plan.notes


def test_the_user_of_the_service_is_in_the_groups_that_share_the_roots(prefix, shared):
    """So that a command said as that user can do what the service can; a group whose name is none goes by its number."""
    shared |= {"a": ("vision", 1001), "b": ("ml", 1002), "c": ("1005", 1005), "d": ("domain users", 1006), "e": ("50%", 1007)}
    configure(prefix, "a", "b", "c", "d", "e")
    install(prefix)
    assert read_members(text(prefix, "sysusers.d/ckptd.conf")) == ("ml", "vision")
    assert f"systemd-sysusers {prefix.places.sysusers}" in prefix.asked()
    assert "SupplementaryGroups=vision ml 1005 1006 1007\n" in text(prefix, DROP_IN)
    shared["c"] = ("ecg", 1005)
    install(prefix)
    assert read_members(text(prefix, "sysusers.d/ckptd.conf")) == ("ecg", "ml", "vision")
    assert f"systemd-sysusers {prefix.places.sysusers}" in prefix.asked()
    prefix.runs("active")
    assert install(prefix)[0] == 0


def test_the_groups_of_archives_are_joined_too(prefix, shared):
    """Whatever the settings have written to is to be written to."""
    shared["archives"] = ("backup", 1009)
    (prefix.directory / "archives").mkdir()
    configure(prefix, "a", further=f'archive.directory = "{prefix.directory}/archives"\n')
    install(prefix)
    assert "SupplementaryGroups=backup\n" in text(prefix, DROP_IN)


def test_a_service_beside_another_takes_no_group_away(prefix, shared):
    """One file makes the user of all of them."""
    shared |= {"models": ("ml", 1001), "ecg": ("heart", 1002)}
    configure(prefix, "models")
    install(prefix)
    configure(prefix, "ecg", name="ecg")
    install_instance(prefix, "ecg")
    assert read_members(text(prefix, "sysusers.d/ckptd.conf")) == ("heart", "ml")
    install(prefix)
    assert read_members(text(prefix, "sysusers.d/ckptd.conf")) == ("heart", "ml")


def test_a_group_that_nothing_needs_is_given_up(prefix, shared, monkeypatch):
    """The next boot does not let the service in again; whom it is in already, only a person can take out, and is told."""
    shared |= {"a": ("vision", 1001), "b": ("ml", 1002)}
    configure(prefix, "a", "b")
    install(prefix)
    monkeypatch.setattr(installing, "find_user", lambda: surroundings.ServiceUser(997, frozenset({997, 1001, 1002})))
    monkeypatch.setattr(grp, "getgrnam", lambda name: {"ml": grp.struct_group(("ml", "", 1002, []))}[name])
    configure(prefix, "a")
    (told,) = [note for note in install(prefix)[1] if "gpasswd" in note]
    assert told.endswith("gpasswd -d ckptd ml")
    assert read_members(text(prefix, "sysusers.d/ckptd.conf")) == ("vision",)
    assert "SupplementaryGroups=vision\n" in text(prefix, DROP_IN)


def test_no_group_is_given_up_while_it_is_not_known_who_needs_it(prefix, shared):
    """A root whose disk is away, and settings of another service that can't be read."""
    shared |= {"a": ("vision", 1001), "b": ("ml", 1002)}
    configure(prefix, "a", "b")
    install(prefix)
    (prefix.directory / "b").rmdir()
    install(prefix)
    assert read_members(text(prefix, "sysusers.d/ckptd.conf")) == ("ml", "vision")
    configure(prefix, "ecg", name="ecg")
    install_instance(prefix, "ecg")
    configure(prefix, "a")
    prefix.places.config.with_name("ecg.toml").write_text("rots = 1\n")
    install(prefix)
    assert read_members(text(prefix, "sysusers.d/ckptd.conf")) == ("ml", "vision")


def test_each_directory_that_the_service_can_not_use_is_named(prefix, monkeypatch):
    """Before a job of the night fails: archives that are not there, a state that others can read, somebody's directory."""
    monkeypatch.setattr(installing, "find_user", lambda: surroundings.ServiceUser(os.getuid() + 1))
    for name in ("state", "metrics"):
        (prefix.directory / name).mkdir(mode=0o750)
    further = f'archive.directory = "{prefix.directory}/archives"\nreport.directory = "{prefix.directory}/a/reports"\n'
    configure(prefix, "a", further=further + f'health.textfile = "{prefix.directory}/metrics/ckptd.prom"\n')
    (prefix.directory / "a").chmod(0o777)
    told = "\n".join(install(prefix)[1])
    assert f"{prefix.directory}/archives is not there: install -d -o ckptd" in told
    assert f"can't write in {prefix.directory}/metrics" in told
    assert "reports" not in told, "the service makes it, in a root of its own"
    assert str(prefix.places.state_dir) not in told, "the unit makes it"
    config = prefix.places.config
    config.write_text(config.read_text().replace(str(prefix.places.state_dir), f"{prefix.directory}/state"))
    told = "\n".join(install(prefix)[1])
    assert f"install -d -o ckptd -g ckptd -m 0700 {prefix.directory}/state" in told


def test_a_directory_that_came_since_the_start_is_a_new_start(prefix, monkeypatch):
    """For a service that runs it is read-only, though every file is as it should be."""
    configure(prefix, "a")
    install(prefix)
    prefix.runs("active", MainPID="42")
    prefix.asked()
    monkeypatch.setattr(installing, "find_unreached", lambda pid, paths: [path for path in paths if pid == 42])
    install(prefix)
    assert prefix.asked() == ["systemctl reset-failed ckptd.service", "systemctl restart ckptd.service"]


def test_another_checkout_of_the_same_version_is_started_again(prefix):
    """Its code is another, whatever the version says; the same code disturbs nothing."""
    install(prefix)
    prefix.runs("active")
    prefix.asked()
    assert install(prefix)[0] == 0
    prefix.around = dataclasses.replace(prefix.around, build="0123456789ab")
    install(prefix)
    assert "X-Ckptd-Version=0.1.0+0123456789ab\n" in text(prefix, "systemd/system/ckptd.service")
    assert "systemctl restart ckptd.service" in prefix.asked()
    assert install(prefix)[0] == 0


def test_every_instance_is_started_again_with_its_template(prefix):
    """Whichever install writes it: those that come later find it as it should be."""
    install(prefix)
    for name in ("ecg", "eeg"):
        install_instance(prefix, name)
    prefix.runs("active")
    prefix.asked()
    prefix.around = dataclasses.replace(prefix.around, build="0123456789ab")
    install_instance(prefix, "eeg")
    assert {line for line in prefix.asked() if " restart " in line} == {
        "systemctl restart ckptd@ecg.service",
        "systemctl restart ckptd@eeg.service",
    }


def test_an_install_starts_the_instances_that_were_stopped_for_it(prefix):
    """After an upgrade; one that is not started at boot stays as it is."""
    install(prefix)
    for name in ("ecg", "eeg"):
        install_instance(prefix, name)
    prefix.runs("inactive")
    prefix.runs("inactive", at_boot="disabled", unit="ckptd@eeg.service")
    prefix.asked()
    install(prefix)
    assert [line for line in prefix.asked() if "enable" in line] == [
        "systemctl enable --now ckptd.service",
        "systemctl enable --now ckptd@ecg.service",
    ]


def test_nothing_is_started_where_nobody_wants_it(prefix):
    """Before a state is brought back; and how to start it is said."""
    _, told = install(prefix, start=False)
    assert prefix.files() == WRITTEN
    assert prefix.asked() == [f"systemd-sysusers {prefix.places.sysusers}", "systemctl daemon-reload"]
    assert any("systemctl enable --now ckptd.service" in note for note in told)
    prefix.runs("active")
    prefix.around = dataclasses.replace(prefix.around, build="0123456789ab")
    _, told = install(prefix, start=False)
    assert prefix.asked() == ["systemctl daemon-reload"]
    assert any("systemctl restart ckptd.service" in note for note in told)


def test_settings_that_others_can_change_are_refused(prefix):
    """Whoever edits them chooses whose hooks run, and into which groups root puts the service."""
    configure(prefix, "a")
    prefix.places.config.parent.chmod(0o777)
    with pytest.raises(ServiceError, match=f"can change {prefix.places.config.parent}, and") as refused:
        install(prefix)
    assert "\n" not in str(refused.value)
    assert prefix.files() == {"ckptd/ckptd.toml"}
    prefix.places.config.parent.chmod(0o755)
    install(prefix)


def test_a_unit_that_a_person_changed_keeps_what_it_needs(prefix):
    """An uninstall leaves it, so that it can still write where it could."""
    install(prefix)
    unit = prefix.places.units / "ckptd.service"
    unit.write_text(unit.read_text().replace("WatchdogSec=60", "WatchdogSec=0"))
    notes = uninstall(prefix)
    assert prefix.files() == {"ckptd/ckptd.toml", "systemd/system/ckptd.service", DROP_IN}
    assert any(DROP_IN in note for note in notes)


def test_a_second_install_changes_nothing(prefix):
    """Neither a file nor the service."""
    install(prefix)
    prefix.runs("active")
    prefix.asked()
    before = {name: (prefix.directory / "etc" / name).stat().st_mtime_ns for name in WRITTEN}
    assert install(prefix)[0] == 0
    assert prefix.asked() == []
    assert {name: (prefix.directory / "etc" / name).stat().st_mtime_ns for name in WRITTEN} == before


def test_other_roots_in_the_settings_are_another_drop_in(prefix):
    """And the service is started again, as what it may write is fixed when it starts."""
    install(prefix)
    prefix.runs("active")
    prefix.asked()
    other = prefix.directory / "mnt" / "more models"
    other.mkdir(parents=True)
    prefix.places.config.write_text(f'roots = ["{prefix.root}", "{other}"]\n')
    install(prefix)
    assert f'ReadWritePaths="-{other}"\n' in text(prefix, DROP_IN)
    assert prefix.asked() == [
        "systemctl daemon-reload",
        "systemctl reset-failed ckptd.service",
        "systemctl restart ckptd.service",
    ]


def test_settings_that_are_there_are_never_written(prefix):
    """Not even with --root, which is told instead of obeyed."""
    prefix.places.config.parent.mkdir(parents=True)
    prefix.places.config.write_text(f'roots = ["{prefix.directory}"]\n')
    install(prefix)
    assert prefix.places.config.read_text() == f'roots = ["{prefix.directory}"]\n'
    with pytest.raises(ServiceError, match="leave --root out"):
        install(prefix, roots=(prefix.root,))


def test_settings_that_make_no_sense_stop_an_install(prefix):
    """Before anything is touched."""
    prefix.places.config.parent.mkdir(parents=True)
    prefix.places.config.write_text("rots = 1\n")
    with pytest.raises(SettingsError, match="rots"):
        install(prefix)
    assert prefix.files() == {"ckptd/ckptd.toml"}


def test_relative_paths_are_refused(prefix):
    """They would mean another directory for the service than for who installs it."""
    prefix.places.config.parent.mkdir(parents=True)
    prefix.places.config.write_text('roots = ["trained_models"]\n')
    with pytest.raises(ServiceError, match="whole path"):
        install(prefix)
    assert prefix.files() == {"ckptd/ckptd.toml"}


def test_the_environment_of_who_installs_is_no_setting_of_the_service(prefix, monkeypatch):
    """It is started without."""
    monkeypatch.setenv("CKPTD_ROOTS", "/elsewhere")
    install(prefix)
    assert "/elsewhere" not in text(prefix, DROP_IN)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _: "[Service]\nExecStart=/bin/true\n", "did not write"),
        (lambda ours: ours.replace("WatchdogSec=60", "WatchdogSec=0"), "changed by hand"),
    ],
)
def test_what_a_person_made_is_never_overwritten(prefix, change, words):
    """A unit of somebody's own, and one of ours that was edited."""
    install(prefix)
    unit = prefix.places.units / "ckptd.service"
    changed = change(unit.read_text())
    unit.write_text(changed)
    with pytest.raises(ServiceError, match=words):
        install(prefix)
    assert unit.read_text() == changed
    notes = uninstall(prefix)
    assert unit.read_text() == changed
    assert any(str(unit) in note for note in notes)


def test_what_somebody_writes_in_the_same_moment_is_not_lost(prefix):
    """Between the look and the write, and between the look and the removal."""
    install(prefix)
    unit = prefix.places.units / "ckptd.service"
    unit.write_text(stamp("[Service]\n"))
    replacing = prepare_install(Order(prefix.places), prefix.around, prefix.manager)
    removing = prepare_uninstall(prefix.places, prefix.around, prefix.manager)
    unit.write_text("[Service]\nNice=0\n")
    for plan in (replacing, removing):
        with pytest.raises(ServiceError):
            carry_out(prefix, plan)
    assert unit.read_text() == "[Service]\nNice=0\n"


def test_a_masked_unit_is_left_masked(prefix):
    """`systemctl mask` is a person's will: a link to /dev/null."""
    prefix.places.units.mkdir(parents=True)
    (prefix.places.units / "ckptd.service").symlink_to("/dev/null")
    with pytest.raises(ServiceError, match="did not write"):
        install(prefix)


def test_a_service_that_does_not_start_is_told_with_where_to_look(prefix):
    """The units stay, so that it can be looked at."""
    prefix.fail("enable --now")
    with pytest.raises(ServiceError, match="journalctl -u ckptd"):
        install(prefix)
    assert prefix.files() == WRITTEN


def test_an_uninstall_takes_what_install_wrote_and_keeps_the_rest(prefix):
    """Settings, roots and a person's own drop-in stay; then there is nothing left to do."""
    install(prefix)
    own = prefix.places.units / "ckptd.service.d" / "override.conf"
    own.write_text("[Service]\nNice=0\n")
    prefix.runs("active")
    prefix.asked()
    notes = uninstall(prefix)
    assert prefix.files() == {"ckptd/ckptd.toml", "systemd/system/ckptd.service.d/override.conf"}
    assert prefix.asked() == ["systemctl disable --now ckptd.service", "systemctl daemon-reload"]
    assert prefix.root.is_dir()
    assert any(str(prefix.places.config) in note for note in notes)
    assert uninstall(prefix)[-1].startswith("the user ckptd stays")
    assert prefix.asked() == []


def test_instances_go_with_the_service(prefix):
    """Without their template they are nothing."""
    install(prefix)
    install_instance(prefix, "ecg")
    assert "systemd/system/ckptd@ecg.service.d/roots.conf" in prefix.files()
    assert load_settings(prefix.places.config.with_name("ecg.toml"), {}, {}).roots == (prefix.directory / "ecg",)
    prefix.runs("active")
    prefix.asked()
    uninstall(prefix)
    assert prefix.files() == {"ckptd/ckptd.toml", "ckptd/ecg.toml"}
    assert prefix.asked()[:2] == ["systemctl disable --now ckptd@ecg.service", "systemctl disable --now ckptd.service"]


def test_an_instance_goes_with_its_template_whatever_a_person_wrote_beside_it(prefix):
    """Without that it could not run, and its link at boot would lead nowhere; what the person wrote stays."""
    install(prefix)
    for name in ("ecg", "eeg"):
        install_instance(prefix, name)
    drop_in = prefix.places.drop_in("ckptd@ecg.service")
    drop_in.write_text(drop_in.read_text().replace("[Service]", "[Service]\nNice=0"))
    eeg = prefix.places.drop_in("ckptd@eeg.service")
    eeg.unlink()
    wants = prefix.places.units / "multi-user.target.wants"
    wants.mkdir()
    (wants / "ckptd@eeg.service").symlink_to(prefix.places.units / "ckptd@.service")
    prefix.runs("active")
    prefix.asked()
    told = uninstall(prefix)
    assert prefix.asked()[:2] == ["systemctl disable --now ckptd@ecg.service", "systemctl disable --now ckptd@eeg.service"]
    assert not (prefix.places.units / "ckptd@.service").exists()
    assert drop_in.exists()
    assert any(f"{drop_in} stays: changed by hand" in note for note in told)


def test_instances_of_a_template_that_a_person_changed_go_on(prefix):
    """It stays, and they with it: running, started at boot, and with what they may write."""
    install(prefix)
    install_instance(prefix, "ecg")
    template = prefix.places.units / "ckptd@.service"
    template.write_text(template.read_text().replace("WatchdogSec=60", "WatchdogSec=0"))
    prefix.runs("active")
    prefix.asked()
    uninstall(prefix)
    assert prefix.asked() == ["systemctl disable --now ckptd.service", "systemctl daemon-reload"]
    assert template.exists()
    assert prefix.places.drop_in("ckptd@ecg.service").exists()
    ecg = dataclasses.replace(prefix.places, service="ckptd@ecg.service")
    carry_out(prefix, prepare_uninstall(ecg, prefix.around, prefix.manager))
    assert prefix.asked() == ["systemctl disable --now ckptd@ecg.service", "systemctl daemon-reload"], "who names it means it"
    assert not prefix.places.drop_in("ckptd@ecg.service").exists()


def test_a_pass_that_runs_is_ended_by_an_uninstall(prefix):
    """Its timer first, so that none follows."""
    install(prefix, scan=True)
    prefix.runs("active", unit="ckptd-scan.timer")
    prefix.runs("activating", at_boot="static", unit="ckptd-scan.service")
    prefix.asked()
    uninstall(prefix)
    assert prefix.asked()[:2] == ["systemctl disable --now ckptd-scan.timer", "systemctl stop ckptd-scan.service"]


def test_a_timer_instead_of_a_daemon(prefix):
    """--scan starts the timer; a daemon that is there is named."""
    prefix.runs("active")
    _, told = install(prefix, scan=True)
    assert "systemctl enable --now ckptd-scan.timer" in prefix.asked()
    assert any("ckptd.service goes on" in note for note in told)


def test_an_install_keeps_to_the_timer_of_the_one_before(prefix):
    """As after an upgrade, where nobody says --scan again: no daemon comes up on a machine that wants none."""
    install(prefix, scan=True)
    prefix.runs("active", unit="ckptd-scan.timer")
    prefix.asked()
    steps, told = install(prefix)
    assert steps == 0
    assert any("--daemon starts ckptd.service" in note for note in told)
    _, told = install(prefix, scan=False)
    assert "systemctl enable --now ckptd.service" in prefix.asked()
    assert any("ckptd-scan.timer goes on" in note for note in told)
    prefix.runs("active")
    prefix.runs("inactive", at_boot="disabled", unit="ckptd-scan.timer")
    steps, told = install(prefix)
    assert steps == 0
    assert not any("timer" in note for note in told)


def test_the_status_names_a_pass_that_failed(prefix):
    """The timer waits for the next one as if nothing were; one that runs is fine, and of one that ended there is no line."""
    install(prefix, scan=True)
    prefix.runs("active", unit="ckptd-scan.timer")
    for active, is_fine, is_shown in (("inactive", True, False), ("activating", True, True), ("failed", False, True)):
        prefix.runs(active, at_boot="static", unit="ckptd-scan.service")
        status = find_status(prefix.places, {}, prefix.manager)
        assert status.is_fine is is_fine
        assert ("ckptd-scan.service" in [one.unit for one in status.units]) is is_shown


@pytest.mark.parametrize(
    ("around", "words"),
    [
        ({"is_root": False}, "only root"),
        ({"has_manager": False}, "not started by systemd"),
        ({"runtime": (Path("/nowhere/.venv/bin/python"),)}, "make install-service"),
        ({"closed": Path("/opt/ckptd")}, "chmod o\\+rx /opt/ckptd"),
        ({"packaged": (Path("/usr/lib/systemd/system/ckptd.service"),)}, "a package brought"),
    ],
)
def test_what_can_not_work_is_refused_in_one_sentence(prefix, around, words):
    """Before anything is touched."""
    prefix.around = dataclasses.replace(prefix.around, **around)
    with pytest.raises(ServiceError, match=words) as refused:
        install(prefix)
    assert "\n" not in str(refused.value)
    assert prefix.files() == set()
    assert prefix.asked() == []


@pytest.mark.parametrize("root", ["/tmp/models", "/home", "/", "/root"])
def test_roots_that_a_confined_service_can_not_have(prefix, monkeypatch, root):
    """A temporary directory, which it has of its own, and all homes at once."""
    monkeypatch.setattr(surroundings, "TEMPORARY", (Path("/tmp"),))
    places = dataclasses.replace(prefix.places, config=Path("/etc/x.toml"))
    with pytest.raises(ServiceError):
        refusing.check_roots(places, (Path(root),), "install")
    refusing.check_roots(places, (Path("/home/ada/models"), Path("/srv/a")), "install")


def test_a_user_needs_a_manager_of_his_own(prefix):
    """And root has no business there."""
    places = dataclasses.replace(prefix.places, sysusers=None)
    for around, words in (
        (dataclasses.replace(prefix.around, is_root=True), "ordinary user"),
        (dataclasses.replace(prefix.around, is_root=False, has_manager=False), "linger"),
    ):
        with pytest.raises(ServiceError, match=words):
            refusing.check_authority(places, around, "install")


def test_the_status_says_what_stands_and_what_does_not(prefix):
    """By file, and by what systemd shows."""
    install(prefix)
    prefix.runs("failed", Result="watchdog", NRestarts="7", MainPID="0", StatusText="")
    (prefix.places.units / "ckptd-scan.service").write_text("[Service]\n")
    wanted = {str(path): wish for path, wish in render_wanted(prefix.places).items()}
    status = find_status(prefix.places, wanted, prefix.manager)
    service = next(one for one in status.units if one.unit == "ckptd.service")
    assert (service.active, service.result, service.restarts, service.pid) == ("failed", "watchdog", 7, None)
    assert not status.is_fine
    assert status.files[str(prefix.places.units / "ckptd.service")] == "in place"
    assert status.files[str(prefix.places.units / "ckptd-scan.service")] == "not written by ckptd"
    prefix.runs("active", MainPID="42", StatusText="idle")
    assert find_status(prefix.places, wanted, prefix.manager).is_fine


def test_a_dead_systemctl_is_one_sentence(prefix, monkeypatch):
    """No program, no traceback."""
    monkeypatch.setenv("PATH", str(prefix.directory))
    with pytest.raises(CkptdError, match="no such program"):
        install(prefix)
