"""The way to a path: who could change where it leads, and whether a confined service can follow it."""

import dataclasses
import os
from pathlib import Path

import pytest

from ckptd.service import refusing
from ckptd.service.faults import ServiceError
from ckptd.service.places import find_system_places, find_user_places
from ckptd.service.ways import find_open, find_unseen_link, walk


@pytest.fixture
def place(tmp_path):
    """Give a directory with settings in it, where nobody but its owner may write."""
    (tmp_path / "conf").mkdir(mode=0o755)
    (tmp_path / "conf" / "x.toml").write_text("")
    (tmp_path / "conf" / "x.toml").chmod(0o644)
    return tmp_path


def test_a_way_goes_where_its_links_lead(place):
    """Each link where it stands, then what lies behind it; a circle ends."""
    (place / "one").symlink_to("two")
    (place / "two").symlink_to(place / "conf" / ".." / "conf")
    names = [entry.name for entry, _ in walk(place / "one" / "x.toml") if entry.is_relative_to(place) and entry != place]
    assert names == ["one", "two", "conf", "conf", "x.toml"]
    (place / "circle").symlink_to("circle")
    assert [*walk(place / "circle")]
    assert [entry for entry, _ in walk(place / "none" / "x")][-1] == place


@pytest.mark.parametrize(
    ("entry", "mode", "is_open"),
    [
        ("conf", 0o755, False),
        ("conf", 0o777, True),
        ("conf", 0o1777, False),  # nobody can rename there what is not theirs
        ("conf/x.toml", 0o646, True),
    ],
)
def test_whoever_can_write_on_the_way_can_change_the_settings(place, entry, mode, is_open):
    """The file, and each directory above it."""
    (place / entry).chmod(mode)
    assert find_open(place / "conf" / "x.toml", {os.getuid()}) == (place / entry if is_open else None)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize(("entry", "owner", "group", "mode"), [("conf", 4321, 0, 0o755), ("conf/x.toml", 0, 4321, 0o664)])
def test_another_owner_or_a_group_that_may_write_is_a_stranger(place, entry, owner, group, mode):
    """But for root's own group, and for whom the caller names."""
    os.chown(place / entry, owner, group)
    (place / entry).chmod(mode)
    assert find_open(place / "conf" / "x.toml", {0}) == place / entry
    if owner:
        assert find_open(place / "conf" / "x.toml", {0, owner}) is None
    else:
        os.chown(place / entry, 0, 0)
        assert find_open(place / "conf" / "x.toml", {0}) is None


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link away")
def test_a_link_of_a_stranger_is_one_more_way(place):
    """In a sticky directory he can put another in its place; what a link leads to is looked at as well."""
    (place / "open").mkdir()
    (place / "open").chmod(0o1777)
    (place / "open" / "x.toml").symlink_to(place / "conf" / "x.toml")
    assert find_open(place / "open" / "x.toml", {0}) is None
    os.lchown(place / "open" / "x.toml", 4321, 4321)
    assert find_open(place / "open" / "x.toml", {0}) == place / "open" / "x.toml"


@pytest.fixture
def homes(place, monkeypatch):
    """Give a directory that stands for /home, and that a service does not see."""
    (place / "home" / "ada").mkdir(parents=True)
    (place / "data").mkdir()
    monkeypatch.setattr(refusing, "HOMES", (place / "home",))
    monkeypatch.setattr(refusing, "TEMPORARY", (place / "tmp",))
    return place / "home"


@pytest.mark.parametrize(
    ("link", "target", "path"),
    [
        ("home/ada/models", "../../data", "home/ada/models"),
        ("home/ada/models", "disk", "home/ada/models/runs"),
        ("home/bob", "../data", "home/bob/models"),
        ("data/models", "../home/ada/link", "data/models"),
    ],
)
def test_a_path_by_a_link_in_a_home_is_refused(place, homes, link, target, path):
    """The service sees of a home only what is named, by its real path; as it was written it would find nothing."""
    (homes / "ada" / "link").symlink_to(place / "data")
    (place / link).symlink_to(target)
    places = find_system_places()
    with pytest.raises(ServiceError, match=f"the real path into the settings: {os.path.realpath(place / path)}") as refused:
        refusing.check_links(places, [place / path], "install")
    assert "\n" not in str(refused.value)
    refusing.check_links(find_user_places({"HOME": "/home/ada"}), [place / path], "install")


def test_links_elsewhere_are_followed(place, homes):
    """One in a directory that the service sees, into a home too; and where /home is a link, systemd follows it."""
    (place / "data" / "models").symlink_to(homes / "ada")
    homes.rename(place / "data" / "home")
    (place / "home").symlink_to("data/home")
    refusing.check_links(find_system_places(), [place / "data" / "models", homes / "ada", place / "none"], "install")
    assert find_unseen_link(homes / "ada", [homes, place / "data" / "home"]) is None


def test_only_the_settings_of_the_system_have_to_be_out_of_reach(place):
    """A person's own are that person's."""
    (place / "conf").chmod(0o777)
    places = dataclasses.replace(find_system_places(), config=place / "conf" / "x.toml")
    with pytest.raises(ServiceError, match="others than root and the user ckptd can change"):
        refusing.check_config(places, {os.getuid()}, "install")
    refusing.check_config(dataclasses.replace(places, sysusers=None), set(), "install")
    refusing.check_config(dataclasses.replace(places, config=Path("/etc/none/x.toml")), set(), "install")
