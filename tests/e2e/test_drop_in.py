"""What the project is for: a training script saves with plain torch.save, and everything about the file is known."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.running import ckptd, run_ckptd, running, wait_for

ROOT = Path(__file__).parents[2]


@pytest.fixture
def models(tmp_path):
    return tmp_path / "trained_models"


def save(path: Path, seed: int = 0, size: int = 16) -> None:
    import torch

    torch.manual_seed(seed)
    torch.save({"conv1.weight": torch.randn(size, 3, 3, 3), "conv1.bias": torch.randn(size)}, path)


def test_first_indexed_file_is_one_the_example_saved_while_the_daemon_ran(models):
    """The digits example trains beside a running daemon; every file it saves is indexed, understood and has a sidecar."""
    with running(models) as daemon:
        example = [sys.executable, str(ROOT / "examples" / "train_digits.py"), "--out", str(models)]
        subprocess.run(example, check=True, timeout=300, capture_output=True)
        saved = sorted(path.name for path in models.glob("*.pth"))
        assert len(saved) >= 6
        wait_for(
            lambda: {r["path"] for r in daemon.records().values() if r["status"]} >= set(saved), "all files of the example"
        )
        records = daemon.records()
        first = next(e for e in daemon.events() if e["event"] in {"checkpoint.indexed", "checkpoint.rejected"})
        assert first["path"] in saved
    kinds = {record["kind"] for record in records.values()}
    assert {"state_dict", "module", "checkpoint"} <= kinds
    assert {record["status"] for record in records.values()} == {"ok", "needs_code"}
    assert all(record["status"] == "needs_code" for record in records.values() if record["kind"] == "module")
    best = [record for name, record in records.items() if "_acc" in name]
    assert best
    assert all(0 < record["metadata"]["metrics"]["accuracy"] <= 1 for record in best)
    for name in saved:
        sidecar = json.loads((models / f"{Path(name).stem}_metadata.json").read_text())
        assert sidecar["ckptd"]["sha256"] == records[name]["sha256"]
    full = next(record for record in records.values() if record["kind"] == "checkpoint")
    assert full["metadata"]["epoch"] is not None
    assert full["metadata"]["hyperparameters"]
    assert full["tensors"]["optimizer_bytes"] > 0


def test_a_rename_keeps_what_is_known_and_reads_nothing_again(models):
    """`mv a.pth b.pth` is a move in the log and one record at the new place with the old digest."""
    with running(models) as daemon:
        save(models / "a.pth")
        digest = daemon.wait_record("a.pth", status="ok")["sha256"]
        (models / "a.pth").rename(models / "b.pth")
        moved = daemon.wait_record("b.pth", status="ok")
        assert moved["sha256"] == digest
        wait_for(lambda: daemon.records().get("a.pth", {}).get("state") in {None, "missing"}, "the old place to be given up")
        assert sum(1 for e in daemon.events() if e["event"] == "checkpoint.indexed") == 1
        assert daemon.has("checkpoint.moved")


def test_a_copy_is_one_content_in_two_places(models):
    """`cp` makes a second place with the same digest; both name each other."""
    with running(models) as daemon:
        save(models / "a.pth")
        daemon.wait_record("a.pth", status="ok")
        shutil.copy(models / "a.pth", models / "copy.pth")
        copy = daemon.wait_record("copy.pth", status="ok")
        assert copy["sha256"] == daemon.records()["a.pth"]["sha256"]
        assert copy["copies"] == ["a.pth"]


def test_a_file_that_is_saved_again_is_known_by_its_new_content(models):
    """Overwriting in place gives a new digest, in the index and in the sidecar."""
    with running(models) as daemon:
        save(models / "a.pth", seed=1)
        old = daemon.wait_record("a.pth", status="ok")["sha256"]
        save(models / "a.pth", seed=2)
        wait_for(lambda: daemon.records()["a.pth"]["sha256"] not in {None, old}, "the new digest")
        new = daemon.wait_record("a.pth", status="ok")["sha256"]
        wait_for(
            lambda: json.loads((models / "a_metadata.json").read_text())["ckptd"]["sha256"] == new,
            "the sidecar of the new content",
        )


def test_a_vanished_file_keeps_its_record_and_its_sidecar(models):
    """Deleting a checkpoint marks it missing; what was known about it stays."""
    with running(models) as daemon:
        save(models / "a.pth")
        save(models / "b.pth", seed=3)
        digest = daemon.wait_record("a.pth", status="ok")["sha256"]
        wait_for((models / "a_metadata.json").exists, "the sidecar")
        (models / "a.pth").unlink()
        gone = daemon.wait_record("a.pth", state="missing")
        assert gone["sha256"] == digest
        assert (models / "a_metadata.json").exists()


def test_what_happened_while_the_daemon_was_down_is_seen_at_the_next_start(models):
    """New, renamed, changed and deleted files are told apart after a stop, and unchanged ones are not read again."""
    with running(models) as daemon:
        for name in ("same", "moved", "changed", "gone"):
            save(models / f"{name}.pth", seed=len(name))
        for name in ("same", "moved", "changed", "gone"):
            daemon.wait_record(f"{name}.pth", status="ok")
        assert daemon.stop() == 0
        before = len(daemon.events())
        (models / "moved.pth").rename(models / "there.pth")
        save(models / "changed.pth", seed=99)
        (models / "gone.pth").unlink()
        save(models / "new.pth", seed=100)
        daemon.start()
        daemon.wait_record("new.pth", status="ok")
        daemon.wait_record("there.pth", status="ok")
        daemon.wait_record("gone.pth", state="missing")
        daemon.wait_event("checkpoint.indexed", since=before, path="changed.pth")
        read_again = {e["path"] for e in daemon.events()[before:] if e["event"] == "checkpoint.indexed"}
        assert read_again == {"changed.pth", "new.pth"}


def test_a_writer_that_pauses_in_the_middle_is_waited_for(models, tmp_path):
    """A file that grows in bursts is read once, whole, and never as a damaged half."""
    with running(models, env={"CKPTD_WATCH__SETTLE_SECONDS": "0.2"}) as daemon:
        save(tmp_path / "whole.pth", size=4000)
        content = (tmp_path / "whole.pth").read_bytes()
        for number in range(4):  # opened and closed again for each part, as scp resuming or rsync --append does
            with (models / "slow.pth").open("ab") as file:
                file.write(content[number * len(content) // 4 : (number + 1) * len(content) // 4])
            time.sleep(0.6)
        daemon.wait_record("slow.pth", status="ok")
        assert not daemon.has("checkpoint.rejected")


@pytest.mark.parametrize("name", ["evil\n\x1b[2J.pth", "name with spaces.pth", "日本語_acc91.pth", "…\u202egnp.pth"])
def test_hostile_names_are_indexed_and_shown_escaped(models, name):
    """A name with control characters ends up in the index and harms neither the table nor the log."""
    with running(models) as daemon:
        save(models / name)
        daemon.wait_record(name, status="ok")
        table = run_ckptd("--root", models, "ls").stdout
        assert "\x1b[2J" not in table
        assert "\u202e" not in table
        assert "\x1b" not in daemon.log.read_text()


def test_one_daemon_a_root(models):
    """The second daemon says who holds the root and ends with status 4."""
    with running(models) as daemon:
        second = run_ckptd("run", "--root", models)
        assert second.returncode == 4
        assert str(daemon.pid) in second.stderr


def test_bad_files_are_rows_and_the_daemon_goes_on(models):
    """A FIFO, a directory, a link to elsewhere, an unsafe pickle and rubbish are reported; the good file is indexed."""
    models.mkdir()
    os.mkfifo(models / "pipe.pth")
    (models / "directory.pth").mkdir()
    (models / "link.pth").symlink_to("/etc/passwd")
    (models / "rubbish.pth").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    (models / "evil.pth").write_bytes(b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.")
    with running(models, env={"CKPTD_WATCH__SETTLE_SECONDS": "0.1"}) as daemon:
        save(models / "good.pth")
        daemon.wait_record("good.pth", status="ok")
        daemon.wait_record("evil.pth", status="unsafe")
        daemon.wait_record("rubbish.pth", status="not_a_checkpoint")
        assert not (models / "evil_metadata.json").exists() or json.loads((models / "evil_metadata.json").read_text())


def test_what_a_person_wrote_in_a_sidecar_survives_a_new_save(models):
    """Edited values and own keys stay when the checkpoint is saved again."""
    with running(models) as daemon:
        save(models / "a.pth", seed=1)
        daemon.wait_record("a.pth", status="ok")
        path = models / "a_metadata.json"
        wait_for(path.exists, "the sidecar")
        sidecar = json.loads(path.read_text())
        sidecar["metrics"] = {"accuracy": 0.5}
        sidecar["notes"] = "trained on a rainy day"
        path.write_text(json.dumps(sidecar))
        save(models / "a.pth", seed=2)
        digest = sidecar["ckptd"]["sha256"]
        wait_for(lambda: daemon.records()["a.pth"]["sha256"] not in {None, digest}, "the new content")
        wait_for(lambda: json.loads(path.read_text())["ckptd"]["sha256"] != digest, "our part of the sidecar")
        after = json.loads(path.read_text())
        assert after["notes"] == "trained on a rainy day"
        assert after["metrics"] == {"accuracy": 0.5}


def test_a_root_that_vanishes_is_an_incident_and_not_a_deletion(models, tmp_path):
    """While the root is away nothing is marked missing; when it is back, new files are indexed again."""
    with running(models, env={"CKPTD_WATCH__GUARD_SECONDS": "0.2", "CKPTD_STATE_DIR": str(tmp_path / "state")}) as daemon:
        save(models / "a.pth")
        daemon.wait_record("a.pth", status="ok")
        models.rename(tmp_path / "elsewhere")
        daemon.wait_event("root.lost")
        assert daemon.records()["a.pth"]["state"] == "ready"
        (tmp_path / "elsewhere").rename(models)
        daemon.wait_event("root.returned")
        save(models / "b.pth", seed=5)
        daemon.wait_record("b.pth", status="ok")
        assert daemon.records()["a.pth"]["state"] == "ready"


def test_scan_without_a_daemon_does_the_same_in_one_pass(models):
    """`ckptd scan` indexes what is there, writes sidecars and ends; a second pass reads nothing."""
    models.mkdir()
    save(models / "BiLSTM_Attention_ECG_acc87_20250102.pth")
    first = ckptd("--root", models, "scan")
    assert first["new"] == 1
    assert (models / "BiLSTM_Attention_ECG_acc87_20250102_metadata.json").exists()
    second = ckptd("--root", models, "scan")
    assert (second["new"], second["unchanged"]) == (0, 1)
    (record,) = ckptd("--root", models, "ls")
    assert record["metadata"]["metrics"] == {"accuracy": 0.87}
    assert record["metadata"]["model_name"] == "BiLSTM_Attention"


def test_the_index_can_be_thrown_away(models):
    """After `rm index.sqlite*` a reindex gives the same records, first-seen times included, and rewrites no sidecar."""
    models.mkdir()
    for number in range(3):
        save(models / f"m{number}.pth", seed=number)
    ckptd("--root", models, "scan")
    before = {r["path"]: (r["sha256"], r["first_seen_at"], r["status"]) for r in ckptd("--root", models, "ls")}
    sidecars = {p: p.read_bytes() for p in models.glob("*_metadata.json")}
    for file in (models / ".ckptd").glob("index.sqlite*"):
        file.unlink()
    ckptd("--root", models, "reindex")
    after = {r["path"]: (r["sha256"], r["first_seen_at"], r["status"]) for r in ckptd("--root", models, "ls")}
    assert after == before
    assert {p: p.read_bytes() for p in models.glob("*_metadata.json")} == sidecars
