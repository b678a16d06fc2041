"""Each verb asks the App one thing, shows it for people or as JSON, and ends with the status its help states."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ckptd.errors import AlreadyRunningError, IndexUnavailableError
from ckptd.model import PlaceState, Severity, Status
from tests.cli.fake import DIGEST, HOSTILE, Check, inspection, record


def test_ls_lists_every_record(run, app):
    """A table off a terminal is plain aligned columns."""
    done = run("ls")
    assert done.status == 0
    head, first, second = done.out.splitlines()
    assert head.split() == "ID PATH STATUS KIND MODEL DATASET METRICS EPOCH SIZE MODIFIED".split()
    assert "a.pth" in first
    assert "1.5 KiB" in first
    assert "accuracy 0.87, loss 0.31" in first
    assert second.index("b.pth") == head.index("PATH")
    assert app.asked == (None, "path", False, None)
    assert app.closed == 1


def test_ls_json_has_the_keys_of_the_contract(run):
    """id, path, status, kind, sha256, size_bytes, metadata and more."""
    (first, _) = run("ls", "--json").json
    assert (first["id"], first["path"], first["status"], first["kind"]) == (1, "a.pth", "ok", "state_dict")
    assert (first["sha256"], first["size_bytes"]) == (DIGEST, 1536)
    assert first["metadata"]["metrics"] == {"accuracy": 0.87, "loss": 0.31}
    assert first["tensors"]["optimizer_bytes"] == 100
    assert "records" not in first["tensors"]
    assert first["state"] == "ready"


def test_a_file_that_was_not_inspected_yet_is_a_row_too(run, app):
    """Nothing is known about it but its place."""
    waiting = record(3, "c.pth", state=PlaceState.SETTLING, sha256=None)
    object.__setattr__(waiting, "inspection", None)
    app.known = [waiting]
    assert run("ls", "--json").json[0]["status"] is None
    assert "settling" in run("ls").out
    assert "settling" in run("show", "c.pth").out


def test_ls_of_nothing_says_what_to_do(run, app):
    """An empty index is no error."""
    app.known = []
    done = run("ls")
    assert (done.status, done.out) == (0, "")
    assert "ckptd scan" in done.err
    assert run("ls", "--json").json == []


def test_order_and_limit_reach_the_app(run, app):
    """`ls --sort size --reverse --limit 1` is one question."""
    run("ls", "--sort", "size", "--reverse", "--limit", "1")
    assert app.asked == (None, "size", True, 1)
    run("find", "accuracy>0.8", "--sort", "size")
    assert app.asked == ("accuracy>0.8", "size", False, None)


def test_several_roots_are_told_apart(run, app):
    """With one root the path is enough."""
    app.known = [record(1, root="/srv/a"), record(2, root="/srv/b/")]
    out = run("ls").out
    assert "/srv/a/a.pth" in out
    assert "/srv/b/a.pth" in out


@pytest.mark.parametrize("verb", [("ls",), ("find", "x"), ("best", "--metric", "accuracy"), ("show", "1")])
def test_no_byte_of_a_hostile_name_reaches_the_terminal(run, app, verb):
    """Escape sequences, reordering and line ends in names are shown as codes, in tables, cards and JSON."""
    app.known = [record(1, HOSTILE, copies=(HOSTILE,), inspected=inspection(HOSTILE))]
    for done in (run(*verb), run(*verb, "--json")):
        assert done.status == 0
        assert "\x1b" not in done.out
        assert "\u202e" not in done.out
        assert "evil" in done.out
    assert "evil\\x1b[2J\\u202e[red]\\x0a.pth" in run(*verb).out
    values = run(*verb, "--json").json
    assert (values if isinstance(values, dict) else values[0])["path"] == HOSTILE


def test_show_is_a_card_of_everything(run):
    """Place, content, metrics with their sources, layers, findings."""
    out = run("show", "1").out
    for part in (
        "a.pth",
        "ok",
        "state_dict in a zip",
        DIGEST,
        "1,234,567 parameters",
        "BiLSTM",
        "(from name)",
        "lstm",
        "hidden_size 32",
        "crc-not-computed",
        "lr = 0.001",
        "number 1",
    ):
        assert part in out
    assert run("show", "1", "--json").json["layers"][0]["name"] == "lstm"


def test_an_unknown_name_is_one_sentence_and_status_2(run):
    """The App names the candidates."""
    done = run("show", "zzz")
    assert done.status == 2
    assert done.out == ""
    assert done.err == "ckptd: find the checkpoint: zzz: nothing is called so (a.pth, b.pth)\n"


def test_best_asks_for_metric_group_and_direction(run, app):
    """The metric has a column of its own, under its canonical name."""
    done = run("best", "--metric", "acc", "--group", "BiLSTM", "--max")
    assert app.asked == ("acc", "BiLSTM", "max")
    assert "ACCURACY" in done.out
    run("best", "--metric", "loss", "--min")
    assert app.asked == ("loss", None, "min")
    app.known = []
    assert run("best", "--metric", "loss").status == 1
    assert run("best").status == 2


def test_scan_tells_what_it_did(run, app):
    """Status 1 when a file was rejected."""
    done = run("scan", "x", "y")
    assert app.asked == ("x", "y")
    assert done.out == "3 files seen in 0.25 s: 2 new, 0 changed, 1 unchanged, 0 rejected, 0 missing\n"
    app.summary.rejected = 1
    done = run("scan", "--json")
    assert (done.status, done.json["rejected"]) == (1, 1)
    assert run("reindex", "--json").json["seen"] == 3


def test_losses_that_are_not_believed_are_said_and_can_be_believed(run, app):
    """An incident is a finding; the cure is in the line."""
    app.summary.frozen = 25
    done = run("scan")
    assert done.status == 1
    assert "25 files gone" in done.out
    assert "--believe-losses" in done.out
    run("scan", "--believe-losses")
    assert app.asked == ("believe",)


def test_doctor_shows_cures_and_counts_trouble(run, app):
    """A note is no trouble, a warning is."""
    app.checks = [
        Check("index", ok=True, severity=Severity.INFO, message="fine"),
        Check("root", ok=False, severity=Severity.INFO, message="small"),
    ]
    assert run("doctor").status == 0
    app.checks.append(Check("state", ok=False, severity=Severity.WARNING, message="on nfs", cure="set state_dir"))
    done = run("doctor")
    assert done.status == 1
    assert "what to do: set state_dir" in done.out
    assert run("doctor", "--json").json[2] == {
        "name": "state",
        "ok": False,
        "severity": "warning",
        "message": "on nfs",
        "cure": "set state_dir",
    }


def test_doctor_tells_every_problem_of_the_settings_and_goes_on(run, tmp_path):
    """Settings that make no sense are findings, and what does not need them is looked at all the same."""
    (tmp_path / "ckptd.toml").write_text("rots = ['x']\nsuffixes = []\n")
    done = run("--config", "ckptd.toml", "doctor", "--json")
    assert done.status == 1
    problems = [check["message"] for check in done.json if check["name"] == "settings" and not check["ok"]]
    assert any('did you mean "roots"?' in problem for problem in problems)
    assert any("name at least one ending" in problem for problem in problems)
    assert {"versions", "sandbox"} <= {check["name"] for check in done.json}
    done = run("--config", "ckptd.toml", "doctor", "--bundle", "b.tar.gz")
    assert done.status == 1
    assert "no bundle was written" in done.err
    assert not (tmp_path / "b.tar.gz").exists()


def test_doctor_names_the_settings_file_and_reads_archives_when_told(run, app, tmp_path):
    """What it was asked with reaches the checks."""
    (tmp_path / "ckptd.toml").write_text("")
    run("--config", "ckptd.toml", "doctor", "--deep")
    assert app.asked == (Path("ckptd.toml"), True)
    run("doctor")
    assert app.asked == (None, False)
    assert run("doctor", "--with-names").status == 2


def test_sidecar_shows_a_diff_first_and_writes_only_when_told(run, app):
    """Off a terminal nothing is written without --yes."""
    assert run("sidecar", "1").out == '{"a": 1}\n'
    done = run("sidecar", "1", "--regenerate")
    assert (done.status, done.out, app.regenerated) == (1, "-1\n+2\n", 0)
    assert "--yes" in done.err
    done = run("sidecar", "1", "--regenerate", "--yes")
    assert (done.status, app.regenerated) == (0, 1)
    assert done.out.index("+2") < done.out.index("written")
    assert run("sidecar", "1", "--regenerate", "--yes", "--json").json["written"] is True
    app.view.diff = ""
    assert run("sidecar", "1", "--regenerate").status == 0
    assert app.regenerated == 2
    assert run("sidecar", "1", "--yes").status == 2


def test_a_missing_sidecar_shows_what_it_would_say(run, app):
    """The proposal on stdout, the remark on stderr."""
    app.view.current = None
    done = run("sidecar", "1")
    assert done.out == '{"a": 2}\n'
    assert "there is no" in done.err
    assert run("sidecar", "1", "--json").json["current"] is None


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (IndexUnavailableError("open the index", why="locked"), 1),
        (AlreadyRunningError("start", why="process 7 holds it"), 4),
        (PermissionError(13, "Permission denied", "/x\x1b"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_expected_trouble_is_one_line_and_a_status(run, app, error, status):
    """No traceback; Ctrl-C says nothing at all."""

    def fail(*_):
        raise error

    app.records = fail
    done = run("ls")
    assert done.status == status
    assert len(done.err.strip().splitlines()) == (0 if status == 130 else 1)
    assert "\x1b" not in done.err
    assert app.closed == 1


def test_a_fault_of_ours_is_a_traceback(run, app):
    """Hiding it would help nobody."""

    def fail(*_):
        raise ZeroDivisionError

    app.records = fail
    with pytest.raises(ZeroDivisionError):
        run("ls")


@pytest.mark.parametrize(
    "args",
    [
        ("--root", "/r1", "--root", "/r2", "ls"),
        ("ls", "--root", "/r1", "--root", "/r2"),
        ("--root", "/zzz", "ls", "--root", "/r1", "--root", "/r2"),
    ],
)
def test_root_and_config_mean_the_same_before_and_after_the_verb(run, app, tmp_path, args):
    """What stands after the verb counts."""
    config = tmp_path / "c.toml"
    config.write_text('suffixes = [".pt"]\nroots = ["/other"]\n')
    run(*args, "--config", config)
    assert app.settings.roots == (Path("/r1"), Path("/r2"))
    assert app.settings.suffixes == (".pt",)
    run("--config", config, "ls")
    assert app.settings.roots == (Path("/other"),)


def test_config_show_and_check(run, tmp_path, monkeypatch):
    """Every problem has a line; JSON has them in a list."""
    assert 'roots = ["/r"]' in run("config", "show", "--root", "/r").out
    assert run("config", "show", "--json").json["watch"]["backend"] == "auto"
    assert run("config", "check").status == 0
    config = tmp_path / "c.toml"
    config.write_text("x = 1\n[watch]\ny = 1\n")
    done = run("config", "--config", config, "check")
    assert (done.status, len(done.err.splitlines())) == (2, 2)
    assert done.err.startswith(f"ckptd: {config}: ")
    done = run("config", "check", "--json", "--config", config)
    assert (done.status, len(done.json["problems"]), done.json["file"]) == (2, 2, str(config))
    assert json.loads(run("config", "schema").out)["properties"]["roots"]
    monkeypatch.setenv("CKPTD_TYPO", "1")
    assert run("ls").status == 2


@pytest.mark.parametrize(("typed", "meant"), [("lss", '"ls"'), ("inspct", '"inspect"'), ("doktor", '"doctor"')])
def test_a_slip_in_a_verb_is_answered_with_the_verb_meant(run, typed, meant):
    """And with status 2."""
    done = run(typed)
    assert done.status == 2
    assert meant in done.err


def test_a_slip_in_an_option_is_answered_with_the_option_meant(run):
    """Click does this one."""
    assert "--sort" in run("ls", "--srot", "size").err


def test_version(run):
    """What a bug report begins with."""
    import ckptd

    assert run("--version").out == f"ckptd {ckptd.__version__}\n"


def test_statuses_have_words():
    """A status of the model that the card does not know would be a KeyError in front of a user."""
    from ckptd.cli.card import render_card

    for status in Status:
        assert status.value in render_card(inspection(status=status))
