"""Every kind of alert, out of a real daemon: by a real cause wherever there is one, received by a real web and mail server."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from contextlib import closing

import pytest
import torch

from ckptd.index.following import Cursor, find_end, put_cursor
from ckptd.index.store import Store
from ckptd.model import Identity, Inspection, Status
from ckptd.notify.kinds import KINDS
from ckptd.proof import Export, Verdict
from tests.e2e.running import Daemon, ckptd, run_ckptd, wait_for
from tests.notify.receivers import KEY, http_receiver, mail_receiver, make_certificate

#: Kinds that a test of this module has seen arrive.
SEEN: set[str] = set()
#: Out of `tests/jobs/test_alerting.py`: nobody waits an hour for a job that is overdue.
ELSEWHERE = {"job-overdue"}


class World:
    """A daemon on two roots with a web server and a mail server that hear of everything."""

    def __init__(self, directory, hook, box, certificate):
        self.directory, self.hook, self.box = directory, hook, box
        self.models, self.share = directory / "models", directory / "share"
        self.state = directory / "state"
        self.config = directory / "ckptd.toml"
        secret = directory / "secret"
        secret.write_text(KEY + "\n")
        secret.chmod(0o600)
        self.lines = [
            f"roots = {json.dumps([str(self.models), str(self.share)])}",
            f'state_dir = "{self.state}"',
            "[watch]",
            "guard_seconds = 0.2",
            "incomplete_seconds = 1",
            "[notify]",
            "gather_seconds = 0",
            "fold_seconds = 1",
            "look_seconds = 0.2",
            "free_bytes = 1",
            'freshness = { "BiLSTM_Attention · ECG" = "1h" }',
            "[notify.webhook]",
            f'url = "{hook.url}"',
            f'secret_file = "{secret}"',
            f'ca_file = "{certificate.file}"',
            "[notify.email]",
            'host = "localhost"',
            f"port = {box.port}",
            f'ca_file = "{certificate.file}"',
            'sender = "ckptd@example.org"',
            'recipients = ["ops@example.org"]',
            'min_severity = "info"',
        ]
        self.write()
        self.env = {"CKPTD_CONFIG": str(self.config)}
        self.daemon = Daemon(self.models, self.share, env=self.env)
        for root in (self.models, self.share):
            root.mkdir()

    def write(self, **changes):
        lines = [
            next((f"{key} = {value}" for key, value in changes.items() if line.startswith(f"{key} = ")), line)
            for line in self.lines
        ]
        self.config.write_text("\n".join(lines) + "\n")

    def reload(self, **changes):
        self.write(**changes)
        os.kill(self.daemon.pid, signal.SIGHUP)

    def ckptd(self, *words, check=True):
        return ckptd(*words, env=self.env, check=check)

    def store(self):
        return Store.open(self.state / "index.sqlite")

    def save(self, path, root=None, value=1.0):
        torch.save({"w": torch.full((200,), float(value))}, (root or self.models) / path)

    def hears(self, kind, what="raised"):
        """Wait until both servers heard of it, and give what the web server got."""
        message = self.hook.wait(kind, what)
        if what == "raised":
            mail = self.box.wait(kind)
            assert KINDS[kind].title in mail["Subject"]
            SEEN.add(kind)
        return message


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    directory = tmp_path_factory.mktemp("alerts")
    certificate = make_certificate(directory)
    with http_receiver(context=certificate.context) as hook, mail_receiver(certificate.context) as box:
        made = World(directory, hook, box, certificate)
        (made.share / "runs").mkdir()
        for root in (made.models, made.share / "runs"):
            for number in range(14):
                made.save(f"old{number}.pth", root, number)
        assert run_ckptd("scan", env=made.env).returncode == 0
        with closing(made.store()) as store, store.batch() as batch:
            batch.tell(_begin_two_hours_ago)
        made.daemon.start()
        yield made
        made.daemon.stop()


def _begin_two_hours_ago(connection, host):
    put_cursor(connection, host, "alerts", Cursor(find_end(connection, host), time.time() - 7200))


def test_a_group_that_waits_too_long_is_told(world):
    """Two hours without a checkpoint, where one an hour is expected; it ends when one comes."""
    message = world.hears("no-new-checkpoint")
    assert message["subject"] == "BiLSTM_Attention · ECG"
    world.save("BiLSTM_Attention_ECG_acc87_20250102.pth")
    world.daemon.wait_event("checkpoint.indexed", path="BiLSTM_Attention_ECG_acc87_20250102.pth")
    assert world.hears("no-new-checkpoint", "resolved")["subject"] == "BiLSTM_Attention · ECG"


def test_a_damaged_file_is_told_with_its_reason_and_its_name_escaped(world):
    """A name that would move a cursor and break a mail's header arrives as plain text."""
    world.save("whole.pth")
    data = (world.models / "whole.pth").read_bytes()
    evil = "evil\x1b[2J\nBcc: all@example.org\n.pth"
    (world.directory / "aside").write_bytes(data[: len(data) - 40] + b"\0" * 40)
    (world.directory / "aside").rename(world.models / evil)
    message = world.hears("checkpoint-damaged")
    assert message["subject"] == str(world.models)
    assert r"evil\x1b[2J\x0aBcc: all@example.org\x0a.pth" in message["text"]
    mail = world.box.wait("checkpoint-damaged")
    assert mail["Bcc"] is None
    assert "\x1b" not in mail.as_string()


def test_an_unsafe_file_is_told(world):
    """Before anybody loads it."""
    import pickle

    class Bad:
        def __reduce__(self):
            return os.system, ("true",)

    torch.save({"w": Bad()}, world.models / "unsafe.pth", pickle_module=pickle)
    assert "unsafe.pth" in world.hears("checkpoint-unsafe")["text"]


def test_weights_that_are_not_finite_are_told(world):
    """A training that diverged is noticed at its first checkpoint."""
    world.save("nan.pth", value=float("nan"))
    assert "200 NaN" in world.hears("weights-not-finite")["text"]


def test_a_file_that_can_not_be_inspected_is_told(world):
    """As the daemon writes it down; as root nothing is unreadable."""
    identity = Identity(world.models.stat().st_dev, 1 << 40, 3, 4, 5)
    with closing(world.store()) as store, store.batch() as batch:
        one = Inspection("locked.pth", Status.UNREADABLE, identity=identity)
        batch.record_ready(str(world.models), "locked.pth", identity, one, now=time.time())
    assert "locked.pth" in world.hears("checkpoint-unread")["text"]


def test_a_failed_export_is_told(world):
    """As it is written down by whoever made it."""
    export = Export("onnx", Verdict.FAILED, "a" * 64, "b" * 64, reason="outputs differ by 0.7", at=time.time())
    with closing(world.store()) as store, store.batch() as batch:
        batch.record_export(str(world.models), "old1.pth", export, now=time.time())
    assert "old1.pth as onnx: outputs differ by 0.7" in world.hears("export-failed")["text"]


def test_bit_rot_and_the_job_that_found_it_are_told_and_end_when_it_is_mended(world):
    """A real scrub in a process of its own, by hand, beside the daemon."""
    world.daemon.stop()
    path = world.models / "old3.pth"
    before, whole = path.stat(), path.read_bytes()
    damage(path, whole[:600] + bytes([whole[600] ^ 1]) + whole[601:], before)
    with closing(sqlite3.connect(world.state / "index.sqlite")) as index, index:  # no rot leaves a change of the inode
        index.execute("UPDATE places SET ctime_ns = ? WHERE path = ?", (path.stat().st_ctime_ns, b"old3.pth"))
    world.daemon.start()
    assert world.ckptd("jobs", "run", "scrub", check=False)["outcome"] == "failed"
    assert world.hears("bit-rot")["examples"] == ["old3.pth: rotten"]
    assert world.hears("job-failed")["subject"] == "scrub"
    since = len(world.daemon.events())
    damage(path, whole, before)
    world.daemon.wait_event("checkpoint.indexed", path="old3.pth", since=since)
    assert world.ckptd("jobs", "run", "scrub")["outcome"] == "ok"
    world.hears("bit-rot", "resolved")
    world.hears("job-failed", "resolved")


def damage(path, data, before):
    """Write bytes into a file in place, and let it look untouched."""
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_damaged_archive_is_told(world):
    """Found by `ckptd archive verify`, in another process."""
    world.ckptd("archive", "write", "path=old5.pth")
    (archive,) = (world.models / "archives").glob("*.tar.gz")
    data = archive.read_bytes()
    archive.write_bytes(data[: len(data) // 2])
    world.ckptd("archive", "verify", check=False)
    message = world.hears("archive-damaged")
    assert message["subject"] == str(world.models / "archives")
    assert message["examples"] == [f"{archive.name}: damaged"]


def test_what_is_held_for_a_person_is_told(world):
    """After a reindex nothing is removed until somebody confirms; the daemon is away meanwhile."""
    world.daemon.stop()
    world.ckptd("reindex", check=False)
    world.daemon.start()
    assert "frozen" in world.hears("plan-held")["subject"]


def test_settings_that_are_refused_are_told(world):
    """The old ones hold; good ones end it."""
    world.reload(guard_seconds='"soon"')
    assert "guard_seconds" in world.hears("settings-refused")["text"]
    world.reload()
    world.hears("settings-refused", "resolved")


def test_a_full_disk_is_told(world):
    """No disk has an exbibyte free; less is asked for, and it ends."""
    world.reload(free_bytes=str(1 << 60))
    assert "are free, less than" in world.hears("disk-low")["text"]
    world.reload()
    world.hears("disk-low", "resolved")


def test_a_root_that_vanished_is_told_and_its_return_too(world):
    """Nothing is marked missing meanwhile."""
    world.share.rename(world.directory / "away")
    message = world.hears("root-lost")
    assert (message["subject"], message["severity"]) == (str(world.share), "error")
    (world.directory / "away").rename(world.share)
    world.hears("root-lost", "resolved")


def test_many_files_gone_at_once_are_told(world):
    """A directory with all of them: nobody believes that before a person says so."""
    (world.share / "runs").rename(world.directory / "runs")
    assert world.hears("root-frozen")["subject"] == str(world.share)


def test_an_index_that_can_not_be_written_is_told_all_the_same(world):
    """Another process holds it; what is to be told does not wait for it."""
    holder = sqlite3.connect(world.state / "index.sqlite", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        world.save("meanwhile.pth")
        world.hears("index-unavailable")
    finally:
        holder.execute("ROLLBACK")
        holder.close()
    world.hears("index-unavailable", "resolved")
    world.daemon.wait_record("meanwhile.pth", status="ok")


def test_every_message_was_signed_and_every_mail_secured(world):
    """The receiver checks, as the specification says."""
    assert world.hook.verified
    assert all(world.hook.verified)
    assert all(world.box.secured)


def test_every_kind_was_received(world):
    """None is left out; what no test of this module can wait for is received elsewhere."""
    assert set(KINDS) == SEEN | ELSEWHERE


def test_the_verb_shows_what_is_open(world):
    """With the channels, and nothing that waits."""
    wait_for(
        lambda: not any(one["waiting"] for one in ckptd("notify", env=world.env, check=False)["channels"]), "all to be sent"
    )
    shown = ckptd("notify", env=world.env, check=False)
    kinds = {one["kind"] for one in shown["alerts"]}
    assert {"root-frozen", "plan-held"} <= kinds
    assert [one["name"] for one in shown["channels"]] == ["webhook", "email"]
