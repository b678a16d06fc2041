"""What decides whether a service can work here: groups, modes, homes."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from ckptd.service import surroundings
from ckptd.service.places import find_system_places
from ckptd.service.surroundings import (
    Directory,
    ServiceUser,
    describe_access,
    describe_further,
    describe_state,
    find_build,
    find_closed,
    find_groups,
    find_hidden,
    find_runtime,
    find_user,
    look_at,
)
from ckptd.storage.access_list import GROUP, GROUP_OWNER, MASK, OTHERS, OWNER, Entry
from ckptd.storage.access_list import USER as ACL_USER


def directory(mode, group="ml", gid=1001) -> Directory:
    return Directory(Path("/srv/models"), mode, 1000, group, gid)


@pytest.mark.parametrize(
    ("mode", "group", "gid", "joined"),
    [
        (0o2775, "ml", 1001, True),
        (0o2770, "ml", 1001, True),
        (0o2750, "ml", 1001, True),  # it can at least be read
        (0o755, "ml", 1001, False),
        (0o2775, "ckptd", 997, False),
        (0o2775, "ckptd", 1002, False),
        (0o2775, "docker", 998, False),  # whoever made the directory does not decide about a group of the system
        (0o2775, "root", 0, False),
        (None, "", 0, False),
    ],
)
def test_the_service_joins_the_group_that_shares_a_root(mode, group, gid, joined):
    """Only an ordinary group, and only where it opens the directory."""
    assert find_groups([directory(mode, group, gid)]) == ((group,) if joined else ())


@pytest.mark.parametrize("group", ["domain users", "MYDOM\\ml", "100%", "ml.users", "1005"])
def test_a_group_whose_name_is_none_goes_by_its_number(group):
    """In a unit a space would end it, and a backslash or a percent sign begin something else."""
    assert find_groups([directory(0o2775, group, 1005)]) == ("1005",)
    assert describe_access(directory(0o2770, group, 1005), ("1005",)) is None


def test_a_group_is_joined_once():
    """However many roots it shares."""
    assert find_groups([directory(0o2775), directory(0o2770), directory(0o2775, "vision", 1002)]) == ("ml", "vision")


@pytest.mark.parametrize(
    ("mode", "group", "groups", "words"),
    [
        (0o2775, "ml", ("ml",), None),
        (0o2775, "ckptd", (), None),
        (0o777, "ml", (), None),
        (0o2775, "docker", (), "can't write"),
        (0o2755, "ml", ("ml",), "chmod g+rwxs /srv/models"),
        (0o700, "ada", (), "chgrp GROUP /srv/models"),
        (None, "", (), "is not there"),
    ],
)
def test_a_root_that_the_service_can_not_use_is_named_with_its_cure(mode, group, groups, words):
    """Before it runs, and not by a finding at each file."""
    told = describe_access(directory(mode, group), groups)
    assert told is None if words is None else words in told


@pytest.mark.parametrize(
    ("mode", "group", "words"),
    [
        (0o2755, "ckptd", None),
        (0o700, "root", None),
        (0o2575, "ckptd", "chmod u+rwx"),  # whose group it is does not help its owner
    ],
)
def test_a_root_of_the_service_itself(mode, group, words):
    """Its owner needs no group."""
    told = describe_access(Directory(Path("/srv/models"), mode, 997, group, 997), (), ServiceUser(997))
    assert told is None if words is None else words in told


def test_a_group_that_a_person_let_the_service_into_counts():
    """`usermod -aG docker ckptd`: no install joins that group, and none says that it is missing."""
    one = directory(0o2775, "docker", 998)
    assert "can't write" in str(describe_access(one, (), ServiceUser(997, frozenset({997}))))
    assert describe_access(one, (), ServiceUser(997, frozenset({997, 998}))) is None


def test_the_groups_of_the_user_are_all_that_the_system_knows(monkeypatch):
    """Those of /etc/group, and of a directory service."""
    monkeypatch.setattr(surroundings, "USER", "root")
    found = find_user()
    assert found is not None
    assert found == (0, frozenset(os.getgrouplist("root", 0)))
    monkeypatch.setattr(surroundings, "USER", "nobody-of-this-name")
    assert find_user() is None


def test_a_list_of_access_rights_counts_as_the_kernel_reads_it():
    """The mode shows its mask only: the user may be let in by his number, by a group of his, or not at all."""
    others = (Entry(OWNER, 7), Entry(GROUP_OWNER, 5), Entry(MASK, 7), Entry(OTHERS, 0))
    one = Directory(Path("/srv/metrics"), 0o770, 1000, "metrics", 998, others)
    ckptd = ServiceUser(997, frozenset({997}))
    assert "can't write" in str(describe_further(one, (), ckptd))
    by_number = replace(one, entries=(*others, Entry(ACL_USER, 7, 997)))
    assert describe_further(by_number, (), ckptd) is None
    by_group = replace(one, entries=(*others, Entry(GROUP, 7, 60_000)))
    assert "can't write" in str(describe_further(by_group, (), ckptd))
    assert describe_further(by_group, (), ServiceUser(997, frozenset({997, 60_000}))) is None


@pytest.mark.parametrize(
    ("mode", "owner", "words"),
    [
        (0o750, 997, None),
        (0o755, 0, "chown ckptd /mnt/archives"),
        (None, 0, "install -d -o ckptd -g ckptd -m 0750 /mnt/archives, and install again"),
    ],
)
def test_a_directory_beside_the_roots_is_named_with_a_cure_of_its_own(mode, owner, words):
    """Nobody saves there, so it needs no group of people."""
    told = describe_further(Directory(Path("/mnt/archives"), mode, owner, "root", 0), (), ServiceUser(997))
    assert told is None if words is None else words in str(told)


@pytest.mark.parametrize(
    ("mode", "owner", "is_fine"), [(0o700, 997, True), (0o750, 997, False), (0o700, 0, False), (None, 0, False)]
)
def test_a_state_directory_is_for_the_service_alone(mode, owner, is_fine):
    """It would not start with another."""
    told = describe_state(Directory(Path("/data/state"), mode, owner, "root", 0), ServiceUser(997))
    assert told is None if is_fine else "install -d -o ckptd -g ckptd -m 0700 /data/state" in str(told)


def test_another_code_is_another_build(tmp_path):
    """A changed file, and one that was moved; what Python compiled is none of it."""
    (tmp_path / "a.py").write_text("a")
    builds = [find_build(tmp_path)]
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_text("compiled")
    assert find_build(tmp_path) == builds[0]
    (tmp_path / "a.py").write_text("b")
    builds.append(find_build(tmp_path))
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    builds.append(find_build(tmp_path))
    assert len(set(builds)) == 3


def test_the_build_is_that_of_the_code_that_runs(monkeypatch):
    """All of this package, wherever it lies."""
    monkeypatch.setattr(surroundings, "find_build", lambda package: f"digest of {package}")
    around = surroundings.look_around(find_system_places(), {})
    assert around.build == f"digest of {Path(surroundings.__file__).parents[1]}"


def test_a_group_that_may_less_than_others_is_kept_out():
    """The kernel asks no further."""
    assert "can't write" in str(describe_access(directory(0o757), ("ml",)))


def test_a_directory_is_looked_at_where_it_really_is(tmp_path):
    """A link is followed: systemd binds what lies behind it."""
    (tmp_path / "real").mkdir(mode=0o750)
    (tmp_path / "link").symlink_to("real")
    seen = look_at(tmp_path / "link")
    assert (seen.path, seen.mode, seen.owner) == (tmp_path / "real", 0o750, os.getuid())
    assert look_at(tmp_path / "none").mode is None


def test_what_others_may_not_enter_is_found(tmp_path):
    """The outermost directory that is closed, since that is what has to be opened."""
    inner = tmp_path / "closed" / "bin"
    inner.mkdir(parents=True)
    (tmp_path / "closed").chmod(0o750)
    closed = find_closed([inner])
    assert closed is not None
    assert (tmp_path / "closed").is_relative_to(closed)
    assert find_closed([Path("/usr/bin")]) is None


@pytest.mark.parametrize(
    ("path", "is_hidden"),
    [("/opt/ckptd", False), ("/home/ada/.venv/bin/python", True), ("/root/x", True), ("/tmp/x", True), ("/var/tmp/x", True)],
)
def test_what_the_service_would_not_see(path, is_hidden):
    """ProtectHome= and PrivateTmp=."""
    assert (find_hidden([Path(path)]) is not None) is is_hidden


def test_what_home_is_a_link_to_is_hidden_as_well(tmp_path, monkeypatch):
    """What /home leads to is what systemd hides."""
    (tmp_path / "data").mkdir()
    (tmp_path / "home").symlink_to("data")
    monkeypatch.setattr(surroundings, "HOMES", (tmp_path / "home",))
    monkeypatch.setattr(surroundings, "TEMPORARY", ())
    for path in (tmp_path / "home" / "ada", tmp_path / "data" / "ada"):
        assert find_hidden([path]) == path
    assert find_hidden([tmp_path / "other"]) is None


def test_the_runtime_is_all_that_this_interpreter_needs():
    """The package too: an editable install lies elsewhere."""
    found = find_runtime()
    assert any(path.name == "ckptd" for path in found)
    assert all(path.is_absolute() for path in found)
