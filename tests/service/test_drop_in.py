"""What a confined service may reach: what its settings name, and nothing else."""

from pathlib import Path

import pytest

from ckptd.service import drop_in
from ckptd.service.drop_in import Reach, find_readable, find_writable, hidden, is_runtime, render_drop_in
from ckptd.settings.load import LoadedSettings


def test_what_is_written_to_is_what_the_settings_name():
    """Roots, state, archives, reports; each once."""
    settings = LoadedSettings(
        roots=(Path("/srv/a"), Path("/srv/b")),
        state_dir=Path("/var/lib/ckptd"),
        archive={"directory": Path("/mnt/archives")},
        report={"directory": Path("/srv/a")},
    )
    assert find_writable(settings) == (Path("/srv/a"), Path("/srv/b"), Path("/var/lib/ckptd"), Path("/mnt/archives"))


def test_the_places_of_metrics_and_sockets_are_written_to():
    """But for the runtime directory, which is the service's anyway."""
    settings = LoadedSettings(
        roots=(Path("/srv/a"),),
        health={"textfile": Path("/var/lib/node-exporter/ckptd.prom"), "listen": "unix:/run/monitoring/ckptd.sock"},
        control={"socket": Path("/run/ckptd/other")},
    )
    assert find_writable(settings) == (Path("/srv/a"), Path("/var/lib/node-exporter"), Path("/run/monitoring"))


def test_what_is_only_read_is_not_written_to():
    """Training functions, trusted code, and programs that are run."""
    settings = LoadedSettings(
        roots=(Path("/srv/a"),),
        functions=(Path("/srv/f"),),
        trust={"directories": (Path("/srv/code"),)},
        notify={"command": {"command": ("/usr/local/bin/page", "--now")}},
        hook=({"on": "checkpoint.ready", "command": ("/home/ada/deploy",)},),
    )
    assert find_readable(settings) == (
        *(Path("/srv/f"), Path("/srv/code")),
        *(Path("/usr/local/bin/page"), Path("/home/ada/deploy")),
    )
    assert find_writable(settings) == (Path("/srv/a"),)


def test_a_missing_root_does_not_keep_the_service_from_starting():
    """The minus sign: systemd passes over it, and the daemon says in words what is missing."""
    text = render_drop_in(Reach((Path("/srv/my models"), Path("/mnt/archives"))))
    assert 'ReadWritePaths="-/srv/my models"\nReadWritePaths=-/mnt/archives\n' in text
    assert "ProtectHome" not in text
    assert "SupplementaryGroups" not in text


def test_of_the_homes_only_the_root_is_shown():
    """A root in a home directory comes back, code is shown read-only, and what is no part of a home needs neither."""
    reach = Reach((Path("/home/ada/models"), Path("/srv/a")), (Path("/home/ada/code"), Path("/srv/code")))
    text = render_drop_in(reach)
    assert "ProtectHome=tmpfs\nBindPaths=-/home/ada/models\nBindReadOnlyPaths=-/home/ada/code\n" in text
    assert "/srv/code" not in text


def test_groups_are_joined():
    """Those that share the roots."""
    assert "SupplementaryGroups=ml vision\n" in render_drop_in(Reach((Path("/srv/a"),), (), ("ml", "vision")))


def test_a_root_behind_a_home_that_is_a_link_is_shown(tmp_path, monkeypatch):
    """By its real path, as systemd hides the real home."""
    (tmp_path / "data" / "ada").mkdir(parents=True)
    (tmp_path / "home").symlink_to("data")
    monkeypatch.setattr(drop_in, "HOMES", (tmp_path / "home",))
    text = render_drop_in(Reach((tmp_path / "data" / "ada",)))
    assert f"ProtectHome=tmpfs\nBindPaths=-{tmp_path}/data/ada\n" in text


@pytest.mark.parametrize(
    ("path", "is_hidden"), [("/home", True), ("/root/x", True), ("/homes", False), ("/run/user/1/x", True)]
)
def test_homes_are_known_by_whole_names(path, is_hidden):
    """What begins with the same letters is another directory."""
    assert bool(hidden([Path(path)], drop_in.HOMES)) is is_hidden


@pytest.mark.parametrize(
    ("path", "is_made"),
    [
        ("/run/ckptd/ctl", True),
        ("/run/ckptd-ecg/health.sock", True),
        ("/run/ckptdx/ctl", False),
        ("/run/user/1000/ckptd/ctl", False),
        ("/srv/ckptd/ctl", False),
    ],
)
def test_what_systemd_makes_with_a_service_is_not_asked_for_again(path, is_made):
    """Of the service and of each instance; a socket elsewhere needs its directory."""
    assert is_runtime(Path(path)) is is_made
    wanted = find_writable(LoadedSettings(roots=(Path("/srv/models"),), control={"socket": Path(path)}))
    assert (Path(path).parent in wanted) is not is_made
