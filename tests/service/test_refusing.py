"""The way to a path: whether a confined service can follow it, and by whom settings may be changed that it reads."""

import dataclasses
import os
from pathlib import Path

import pytest

from ckptd.service import refusing
from ckptd.service.faults import ServiceError
from ckptd.service.places import find_system_places, find_user_places
from ckptd.service.refusing import find_unseen_link


@pytest.fixture
def place(tmp_path):
    """Give a directory with settings in it, where nobody but its owner may write."""
    (tmp_path / "conf").mkdir(mode=0o755)
    (tmp_path / "conf" / "x.toml").write_text("")
    (tmp_path / "conf" / "x.toml").chmod(0o644)
    return tmp_path


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
