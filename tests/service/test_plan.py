"""What an install and an uninstall do, as values."""

import hashlib
from pathlib import Path

from ckptd.service.plan import Running, Wanted, plan_install, plan_uninstall
from ckptd.service.stamp import stamp
from ckptd.service.steps import Ask, AskManager, MakeDirectory, MakeUser, RemoveFile, WriteFile, describe, describe_done

USERS = Path("/etc/sysusers.d/ckptd.conf")
UNIT, TEMPLATE = Path("/units/ckptd.service"), Path("/units/ckptd@.service")
DROP_IN = Path("/units/ckptd.service.d/roots.conf")
CONFIG, ROOT = Path("/etc/ckptd/ckptd.toml"), Path("/srv/trained_models")
FILES = {
    USERS: stamp("u ckptd\n"),
    UNIT: stamp("[Service]\n"),
    TEMPLATE: stamp("[Service]\n"),
    DROP_IN: stamp("[Service]\nReadWritePaths=/srv\n"),
}
NOTHING = dict.fromkeys(FILES)
ALL = {path: text.encode() for path, text in FILES.items()}
RELOAD = AskManager(Ask.RELOAD)


def wanted(*, is_running=False, config=None, root=None, is_started=True, **further) -> Wanted:
    return Wanted(FILES, "ckptd.service", Running(is_running, **further), config, root, USERS, is_started=is_started)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_first_install_does_everything_in_its_order():
    """Settings, user, root, units, and only then the start: each needs what was before it."""
    steps = plan_install(wanted(config=(CONFIG, "roots\n"), root=ROOT), NOTHING)
    assert steps == (
        WriteFile(CONFIG, "roots\n"),
        *(WriteFile(path, text) for path, text in FILES.items()),
        MakeUser(USERS),
        MakeDirectory(ROOT, is_shared=True),
        RELOAD,
        AskManager(Ask.ENABLE, "ckptd.service"),
    )


def test_a_second_install_has_nothing_to_do():
    """What stands is left alone, and what runs is not disturbed."""
    assert plan_install(wanted(is_running=True), ALL) == ()


def test_an_install_starts_what_does_not_run():
    """Even where every file is as it should be."""
    assert plan_install(wanted(), ALL) == (AskManager(Ask.ENABLE, "ckptd.service"),)


def test_what_is_of_another_version_is_replaced_and_started_again():
    """By the digest of what lies there: what somebody writes meanwhile is not lost."""
    older = stamp("[Service]\nType=exec\n").encode()
    steps = plan_install(wanted(is_running=True), {**ALL, UNIT: older})
    assert steps == (WriteFile(UNIT, FILES[UNIT], digest(older)), RELOAD, AskManager(Ask.RESTART, "ckptd.service"))


def test_instances_go_along_with_their_template():
    """After an upgrade none of them runs on with what was."""
    older = {**ALL, TEMPLATE: stamp("[Service]\nType=exec\n").encode()}
    steps = plan_install(wanted(is_running=True, instances=("ckptd@ecg.service",)), older)
    assert steps[-2:] == (AskManager(Ask.RESTART, "ckptd.service"), AskManager(Ask.RESTART, "ckptd@ecg.service"))
    assert plan_install(wanted(is_running=True, instances=("ckptd@ecg.service",)), ALL) == ()


def test_what_does_not_see_a_directory_is_started_again():
    """Though every file is as it should be."""
    assert plan_install(wanted(is_running=True, is_behind=True), ALL) == (AskManager(Ask.RESTART, "ckptd.service"),)


def test_instances_that_were_stopped_are_started():
    """Those that are started at boot."""
    steps = plan_install(wanted(is_running=True, stopped=("ckptd@ecg.service",)), ALL)
    assert steps == (AskManager(Ask.ENABLE, "ckptd@ecg.service"),)


def test_a_plan_can_leave_out_every_start():
    """Files are written all the same, and systemd reads them."""
    steps = plan_install(wanted(stopped=("ckptd@ecg.service",), is_started=False), NOTHING)
    assert [step for step in steps if isinstance(step, AskManager)] == [RELOAD]
    assert plan_install(wanted(is_running=True, is_behind=True, is_started=False), ALL) == ()


def test_an_instance_keeps_its_drop_in_as_long_as_its_template_stays():
    """A drop-in belongs to the file that its unit comes from."""
    own = Path("/units/ckptd@ecg.service.d/roots.conf")
    found = {own: ALL[DROP_IN], TEMPLATE: FILES[TEMPLATE].replace("[Service]", "[Service]\nNice=0").encode()}
    plan = plan_uninstall(found, ())
    assert plan.steps == ()
    assert any(str(own) in note and "its unit" in note for note in plan.notes)
    assert RemoveFile(own, digest(ALL[DROP_IN])) in plan_uninstall({**found, TEMPLATE: ALL[TEMPLATE]}, ()).steps


def test_an_uninstall_takes_what_is_ours_and_leaves_what_a_person_made():
    """Stop first; a file that was changed, one that ckptd did not write, and what such a unit needs stay and are named."""
    changed = FILES[UNIT].replace("[Service]", "[Service]\nNice=0").encode()
    plan = plan_uninstall({**ALL, UNIT: changed, USERS: b"u ckptd\n"}, ("ckptd.service",))
    assert plan.steps == (
        AskManager(Ask.DISABLE, "ckptd.service"),
        RemoveFile(TEMPLATE, digest(ALL[TEMPLATE])),
        RELOAD,
    )
    assert len(plan.notes) == 3
    assert any(str(DROP_IN) in note and "its unit" in note for note in plan.notes)
    assert any(str(UNIT) in note and "changed by hand" in note for note in plan.notes)
    assert any(str(USERS) in note and "not written by ckptd" in note for note in plan.notes)


def test_an_uninstall_of_nothing_does_nothing():
    """Not even systemd is asked."""
    assert plan_uninstall(NOTHING, ()).steps == ()


def test_every_step_has_words_before_and_after():
    """A dry run says what would be done, an install what was done."""
    told = {
        WriteFile(UNIT, ""): ("write /units/ckptd.service", "wrote /units/ckptd.service"),
        WriteFile(UNIT, "", "0" * 64): ("replace /units/ckptd.service", "replaced /units/ckptd.service"),
        RemoveFile(UNIT, ""): ("remove /units/ckptd.service", "removed /units/ckptd.service"),
        MakeDirectory(ROOT): ("make /srv/trained_models", "made /srv/trained_models"),
        AskManager(Ask.DISABLE, "x"): ("stop x, now and at each boot", "stopped x, now and at each boot"),
        AskManager(Ask.STOP, "x"): ("stop x", "stopped x"),
    }
    assert {step: (describe(step), describe_done(step)) for step in told} == told
    assert "a member of ml, vision" in describe(MakeUser(USERS, ("ml", "vision")))
    for step in (MakeDirectory(ROOT, is_shared=True), MakeUser(USERS), *(AskManager(ask, "x") for ask in Ask)):
        assert describe_done(step) != describe(step)
