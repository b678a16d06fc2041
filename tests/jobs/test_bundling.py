"""The diagnostic bundle: what planted secrets, names and bytes never get into, and what a helper finds in it."""

from __future__ import annotations

import io
import json
import os
import re
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch

from ckptd.bundle.masking import Masking, Names, keep_names, mask_text
from ckptd.bundle.parts import MOST_BYTES, Part
from ckptd.errors import StorageError
from ckptd.jobs.bundling import mask_log_line
from tests.jobs.keeping import NOW, Clock, index_roots, open_app, save_checkpoint

#: Each stands somewhere where a secret, a name or a weight stands in real life.
PLANTED = {
    "a password in a settings file": "PLANTED-geheim-1",
    "a token in the address of a webhook": "PLANTED-token-2",
    "the argument of an operator's program": "PLANTED-argument-3",
    "the home of a person": "planted-alice-4",
    "an address for mail": "planted-bob-5",
    "a key in the journal": "PLANTED-key-6",
    "a password in the log": "PLANTED-log-7",
    "a bearer token in the log": "PLANTED-bearer-8",
    "a password in the environment of a unit": "PLANTED-unit-9",
    "a value in a metadata file": "PLANTED-sidecar-10",
    "the bytes of a tensor": "PLANTED-tensor-11",
    "the content of a secret file": "PLANTED-file-12",
    "a hyperparameter": "PLANTED-hyper-13",
    "a key in the place of its file": "whsec_UExBTlRFRA",
}
#: Names of people's things: in the bundle only when it is asked for.
NAMES = {
    "a checkpoint": "PlantedNet",
    "a directory": "planted-project",
    "a tag": "planted-tag",
    "a name with blanks": "planted with blanks",
    "a group in the journal": "planted-group",
    "a file that nobody knows": "planted-unknown",
    "a member of an archive": "PlantedNet_ECG",
    "a group of the settings": "Planted group · Planted data",
}


@pytest.fixture
def app(tmp_path, monkeypatch):
    """A root in somebody's home with all of that planted in and around it, and a systemd that logs."""
    root = tmp_path / "home" / PLANTED["the home of a person"] / "models"
    tensor = PLANTED["the bytes of a tensor"].encode().ljust(64, b"\0")
    content = {"weight": torch.frombuffer(bytearray(tensor), dtype=torch.float32)}
    secret = {"hyperparameters": {"api_key": PLANTED["a hyperparameter"]}}
    save_checkpoint(root / "planted-project" / "PlantedNet_ECG_acc90_20250101.pth", 1, days=3, extra=content, **secret)
    save_checkpoint(root / "planted with blanks.pth", 2, days=2)
    value = PLANTED["a value in a metadata file"]
    (root / "planted with blanks_metadata.json").write_text(f'{{"model_name": "{value}"')
    secret_file = tmp_path / "secret"
    secret_file.write_text(PLANTED["the content of a secret file"])
    secret_file.chmod(0o600)
    app = open_app(
        root,
        clock=Clock(),
        notify={
            "freshness": {NAMES["a group of the settings"]: "24h"},
            "webhook": {
                "url": f"https://hooks.example.org/services/{PLANTED['a token in the address of a webhook']}",
                "secret_file": str(secret_file),
            },
            "email": {
                "host": "mail.example.org",
                "sender": "ckptd@example.org",
                "recipients": [f"{PLANTED['an address for mail']}@example.org"],
            },
        },
        hook=[{"on": "checkpoint.ready", "command": ["/bin/true", PLANTED["the argument of an operator's program"]]}],
        recipe=[
            {
                "match": "PlantedNet_*",
                "callable": "nets:Net",
                "hyperparameters": {"password": PLANTED["a password in a settings file"]},
            }
        ],
    )
    index_roots(app)
    app.tag(app.show("planted-project/PlantedNet_ECG_acc90_20250101.pth"), [NAMES["a tag"]])
    app.archive("epoch>=1")
    app.run_job("drill", lambda: False)
    with (root / ".ckptd" / "journal.jsonl").open("a") as journal:
        line = {"event": "seen", "root": str(root), "path": "x/planted-unknown.pth", "at": NOW, "note": "planted-group secret"}
        journal.write(json.dumps({**line, "group": "planted-group", "api_key": PLANTED["a key in the journal"]}) + "\n")
    _put_systemd(tmp_path / "bin", root, monkeypatch)
    return app


def _put_systemd(place, root, monkeypatch):
    place.mkdir()
    log = [
        json.dumps(
            {"event": "checkpoint.indexed", "level": "info", "root": str(root), "path": "planted-project/planted-unknown.pth"}
        ),
        "<4>" + json.dumps({"event": "library.warned", "message": f"login password={PLANTED['a password in the log']} failed"}),
        f"plain: Authorization: Bearer {PLANTED['a bearer token in the log']}, {root}/planted-project/PlantedNet.txt",
        f"ckptd: secret {PLANTED['a key in the place of its file']}: no credentials were given to this process",
    ]
    (place / "log").write_text("\n".join(log) + "\n")
    (place / "journalctl").write_text(f"#!/bin/sh\nexec cat {place}/log\n")
    password = PLANTED["a password in the environment of a unit"]
    unit = f"Id=ckptd.service\\nLoadState=loaded\\nActiveState=active\\nEnvironment=DB_PASSWORD={password}\\n"
    (place / "systemctl").write_text(f"#!/bin/sh\nprintf '{unit}'\n")
    for name in ("journalctl", "systemctl"):
        (place / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(place), prepend=os.pathsep)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place))


def read(file):
    """Give the files of a bundle: name → bytes."""
    with tarfile.open(file) as tar:
        members = tar.getmembers()
        assert {member.mode for member in members} == {0o600}
        assert len({member.name.partition("/")[0] for member in members}) == 1
        return {member.name.partition("/")[2]: tar.extractfile(member).read() for member in members}


def hunt(parts, words):
    """Give the planted words that are found anywhere in a bundle, however they are spelt."""
    text = b"\n".join(parts.values()).decode("utf-8", "replace").lower()
    unescaped = re.sub(r"\\u([0-9a-f]{4})", lambda match: chr(int(match[1], 16)), text)
    return {what: word for what, word in words.items() if word.lower() in text or word.lower() in unescaped}


def test_no_secret_no_name_and_no_weight_is_in_a_bundle(app, tmp_path):
    """Everything that was planted is hunted for, in every file of it."""
    file = tmp_path / "bundle.tar.gz"
    told = app.bundle(file, app.doctor(), None)
    parts = read(file)
    assert hunt(parts, PLANTED) == {}
    assert hunt(parts, NAMES) == {}
    assert [part.name for part in told] == list(parts)
    assert not any(b"not to be had" in data for data in parts.values()), parts


def test_with_names_there_are_names_and_still_no_secrets(app, tmp_path):
    file = tmp_path / "bundle.tar.gz"
    app.bundle(file, app.doctor(), None, with_names=True)
    parts = read(file)
    assert hunt(parts, PLANTED) == {}
    assert {"a checkpoint", "a directory", "a file that nobody knows", "a name with blanks"} <= set(hunt(parts, NAMES))


def test_a_helper_finds_what_is_needed(app, tmp_path):
    """Versions, settings, findings, jobs, runs, tables and rows, the last lines, the unit, the machine."""
    file = tmp_path / "bundle.tar.gz"
    app.bundle(file, app.doctor(), None)
    parts = read(file)
    values = {name: json.loads(data) for name, data in parts.items() if name.endswith(".json")}
    assert values["versions.json"]["installed"]["ckptd"]
    assert values["settings.json"]["settings"]["policy"]["mode"] == "plan"
    assert values["settings.json"]["settings"]["notify"]["webhook"]["url"] == "https://hooks.example.org/***"
    assert values["settings.json"]["settings"]["hook"][0]["command"] == ["/bin/true", "***"]
    assert {"name", "ok", "severity", "message", "cure"} == set(values["doctor.json"][0])
    assert [job["name"] for job in values["jobs.json"]][:2] == ["scrub", "retention"]
    assert values["runs.json"][0]["job"] == "drill"
    assert values["index.json"]["rows"]["places"] == 2
    assert any("CREATE TABLE places" in sql for sql in values["index.json"]["schema"])
    assert values["units.json"][0]["ActiveState"] == "active"
    assert values["system.json"]["places"][0]["file_system"]
    assert b'"event": "checkpoint.indexed"' in parts["log.txt"]
    assert json.loads(parts["journal.jsonl"].split(b"\n")[-2])["event"] == "seen"


def test_the_same_name_has_the_same_pseudonym_in_each_bundle_from_here(app, tmp_path):
    """So that two bundles can be compared; another installation has others."""
    for name in ("a", "b"):
        app.bundle(tmp_path / name, app.doctor(), None)
    first, second = (set(re.findall(rb"name-[0-9a-f]{10}", b"".join(read(tmp_path / name).values()))) for name in ("a", "b"))
    assert first == second != set()
    one, other = Names(b"one", ["x"]), Names(b"other", ["x"])
    assert one.pseudonym("x.pth") != other.pseudonym("x.pth")


def test_it_is_for_its_owner_alone_and_over_nothing(app, tmp_path, monkeypatch):
    """Whatever the umask; a file, a link or a directory of that name stays as it is, and nothing half is left."""
    before = os.umask(0)
    try:
        app.bundle(tmp_path / "bundle.tar.gz", [], None)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "bundle.tar.gz").stat().st_mode) == 0o600
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "link").symlink_to(victim)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    names = sorted(os.listdir(tmp_path))
    for name in ("bundle.tar.gz", "victim", "link", "dangling"):
        with pytest.raises(StorageError, match="exists"):
            app.bundle(tmp_path / name, [], None)
    assert victim.read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == names
    with pytest.raises(StorageError, match="No such file"):
        app.bundle(tmp_path / "nowhere" / "b.tar.gz", [], None)


def test_what_cannot_be_had_is_said_in_its_place(app, tmp_path, monkeypatch):
    """A broken index and a systemd that is not there are what people make bundles for."""
    app.close()
    (app.settings.roots[0] / ".ckptd" / "index.sqlite").write_bytes(b"no database")
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    app.bundle(tmp_path / "bundle.tar.gz", app.doctor(), None)
    parts = read(tmp_path / "bundle.tar.gz")
    assert parts["units.json"].startswith(b"not to be had: OSError: there is no systemctl here")
    assert parts["log.txt"].startswith(b"not to be had")
    assert json.loads(parts["index.json"])["bytes"]
    assert hunt(parts, PLANTED) == {}


def test_a_pipe_or_a_link_in_the_place_of_the_journal_is_not_read(app, tmp_path):
    """Nobody waits for its writer, and what a link leads to is not in the bundle."""
    journal = app.settings.roots[0] / ".ckptd" / "journal.jsonl"
    journal.unlink()
    os.mkfifo(journal)
    app.bundle(tmp_path / "pipe.tar.gz", [], None)
    assert read(tmp_path / "pipe.tar.gz")["journal.jsonl"].startswith(b"not to be had: OSError: journal.jsonl is no file")
    journal.unlink()
    (tmp_path / "elsewhere").write_text('{"event": "seen"}\n')
    journal.symlink_to(tmp_path / "elsewhere")
    app.bundle(tmp_path / "link.tar.gz", [], None)
    assert read(tmp_path / "link.tar.gz")["journal.jsonl"].startswith(b"not to be had")


@pytest.mark.root
def test_nothing_out_of_the_state_of_a_stranger_is_in_a_bundle_of_root(app, tmp_path):
    """What he put there for root to read stays there."""
    app.close()
    os.chown(app.settings.roots[0] / ".ckptd", 4711, -1)
    app.bundle(tmp_path / "bundle.tar.gz", [], None)
    parts = read(tmp_path / "bundle.tar.gz")
    for name in ("journal.jsonl", "index.json"):
        assert parts[name].startswith(b"not to be had: PermissionError"), name
    assert parts["runs.json"] == b"there is no index\n"
    app.bundle(tmp_path / "again.tar.gz", [], None)
    first, second = (
        set(re.findall(rb"name-[0-9a-f]{10}", b"".join(one.values()))) for one in (parts, read(tmp_path / "again.tar.gz"))
    )
    assert first.isdisjoint(second)  # whose key he knows, he can try names out with
    assert first


def test_what_somebody_asked_the_daemon_for_holds_names():
    """A command line in the log: the name of a checkpoint, and an alias that nobody knows yet."""
    masking = Names(b"key")
    line = json.dumps({"event": "control.asked", "what": "alias add secret-alias secret-run", "user": 1000})
    masked = mask_log_line(
        line, lambda value, names: Masking(masking.replace, masking.pseudonym, names).mask(value), keep_names
    )
    assert "secret" not in masked
    assert '"user": 1000' in masked


def test_a_part_that_is_too_long_is_cut_and_says_so():
    part = Part.of("x", "x", "x" * (2 * MOST_BYTES))
    assert len(part.data) == MOST_BYTES
    assert b"cut here" in part.data


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://ckptd:geheim@db.example.org:5432/ckptd?sslmode=x", "postgresql://db.example.org:5432/***"),
        ("see https://hooks.example.org/T0/B0/xyz, twice", "see https://hooks.example.org/*** twice"),
        ("token=abc other=def", "token=*** other=def"),
        ('{"client_secret": "abc def", "n": 1}', '{"client_secret": ***, "n": 1}'),
        ("Authorization: Bearer abcdefgh", "Authorization: ***"),
        ("sent Bearer abcdefgh.ijk", "sent Bearer ***"),
        ("alice.b+c@example.org wrote", "***@example.org wrote"),
        ("/home/alice/models/x and /root/y", "/home/***/models/x and ~/y"),
        ("/mnt/cluster/home/alice/x", "/mnt/cluster/home/***/x"),
        ("/srv/home and /srv/rooted stay", "/srv/home and /srv/rooted stay"),
        ("password: ", "password: "),
        ("secret whsec_AbC+/d=: no credentials", "secret whsec_***: no credentials"),
        ("passphrase: geheim; pwd=geheim", "passphrase: ***; pwd=***"),
        ("aws_access_key=geheim private-key: geheim", "aws_access_key=*** private-key: ***"),
        ("basic_auth=geheim pass=geheim", "basic_auth=*** pass=***"),
        ("author=alice compass=north passes: 3", "author=alice compass=north passes: 3"),
        ("nothing to see: 12:30, 3 files", "nothing to see: 12:30, 3 files"),
    ],
)
def test_texts(text, masked):
    assert mask_text(text) == masked


@pytest.mark.parametrize(
    ("value", "masked"),
    [
        ({"password": "x", "n": 1}, {"password": "***", "n": 1}),
        ({"webhook": {"secret": ["a", {"b": "c"}]}}, {"webhook": {"secret": "***"}}),
        ({"password": ""}, {"password": ""}),
        ({"auth": "x", "passphrase": ["y"], "accessKey": "z"}, {"auth": "***", "passphrase": "***", "accessKey": "***"}),
        ({"author": "x", "passes": "y"}, {"author": "x", "passes": "y"}),
        ({"has_secret": True}, {"has_secret": True}),
        ([1.5, None, False], [1.5, None, False]),
    ],
)
def test_values(value, masked):
    assert Masking().mask(value) == masked


def test_a_path_keeps_its_form_and_loses_its_names():
    """Absolute or not; a home is masked even where names are left."""
    hidden = Masking(rename=lambda name: name.upper(), names={"path"})
    assert hidden.mask({"path": "/srv/a/b.pth", "n": 1}) == {"path": "/SRV/A/B.PTH", "n": 1}
    assert Masking(names={"path"}).mask({"path": ["/home/alice/x.pth"]}) == {"path": ["/home/***/x.pth"]}


def test_a_table_with_names_for_keys_loses_them():
    """Values stay; where names are left, they are left here, too."""
    value = {"freshness": {"BiLSTM · ECG": 60.0}}
    assert Masking(rename=lambda name: name.upper(), tables={"freshness"}).mask(value) == {"freshness": {"BILSTM · ECG": 60.0}}
    assert Masking(tables={"freshness"}).mask(value) == value


def test_names_in_texts():
    """Known ones wherever they stand as words, unknown ones by their ending or their root; ours stay."""
    names = Names(b"key", ["secret-run", "with blank"], ["/srv/models"])
    text = names.replace("secret-run, with blank, /srv/models/a/b.txt, other.ckpt and plain; /srv/models/.ckptd stays")
    assert not re.search(r"secret-run|with blank|/a/|b\.txt|other", text)
    assert text.count("name-") == 5
    assert text.endswith("and plain; /srv/models/.ckptd stays")
    assert names.replace(names.pseudonym("x.pth")) == names.pseudonym("x.pth")


def test_a_value_nested_without_end_is_cut():
    value = []
    for _ in range(1_000):
        value = [value]
    assert "***" in json.dumps(Masking().mask(value))


def test_a_hostile_log_line_is_a_text():
    """Neither JSON nor a line of ours; nothing is lost but what is masked."""
    assert mask_log_line("{broken json password=x", lambda value, _names: value, keep_names) == "{broken json password=***"


def test_the_verb_writes_it_and_says_what_went_in(app, tmp_path):
    """Through the real command line; stdout stays the doctor's."""
    file, root = tmp_path / "bundle.tar.gz", app.settings.roots[0]
    command = [sys.executable, "-m", "ckptd", "--root", str(root), "doctor", "--json", "--bundle", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert {check["name"] for check in json.loads(done.stdout)} >= {"versions", "settings"}
    assert "journal.jsonl" in done.stderr
    assert hunt(read(file), PLANTED) == {}
    again = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert again.returncode == 1
    assert "exists" in again.stderr
    assert io.BytesIO(file.read_bytes()).read(2) == b"\x1f\x8b"
    assert Path(file).stat().st_uid == os.geteuid()
