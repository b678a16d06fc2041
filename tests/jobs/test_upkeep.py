"""Sidecars over time: what a person did to them, what the disk refused, what a kill left."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from ckptd.index.following import read_events
from ckptd.jobs import recalling
from ckptd.jobs.describing import Described
from ckptd.metadata.sidecar import Action, SidecarResult
from ckptd.model import GONE_STATES, Finding, Severity
from ckptd.proof import Verdict
from tests.jobs.stages import names, staged
from tests.jobs.test_ingest import save
from tests.jobs.test_own_exports import place_export


@pytest.fixture
def models(tmp_path):
    return tmp_path / "models"


def index(stages, *paths):
    """Save checkpoints and let them be indexed."""
    for number, path in enumerate(paths):
        save(stages.path / path, seed=number)
        stages.hint(path)
    stages.settle()
    stages.settle(5.0)


def test_a_sidecar_that_somebody_removed_is_made_again(models):
    """Its event is enough; no file is read for it."""
    with staged(models) as stages:
        index(stages, "a.pth")
        before = (models / "a_metadata.json").read_bytes()
        (models / "a_metadata.json").unlink()
        stages.hint("a_metadata.json", closed=False)
        stages.settle(1.0)
        after = json.loads((models / "a_metadata.json").read_bytes())
        assert after["ckptd"]["sha256"] == json.loads(before)["ckptd"]["sha256"]
        assert stages.reader.read == ["a.pth"]


@pytest.mark.parametrize("directory", ["", "run1/"])
def test_a_sidecar_that_went_while_nobody_looked_is_made_again_at_the_next_start(models, directory):
    """A scheduled look leaves it alone: it compares the checkpoints and lists no directory again."""
    with staged(models) as stages:
        index(stages, f"{directory}a.pth", f"{directory}b.pth")
        (models / f"{directory}a_metadata.json").unlink()
        stages.reconcile("schedule")
        assert not (models / f"{directory}a_metadata.json").exists()
        stages.reconcile("start")
        assert (models / f"{directory}a_metadata.json").exists()
        assert len(stages.reader.read) == 2


def test_what_a_person_writes_is_in_the_index_a_moment_later_and_gone_when_taken_back(models):
    """Edited values and own files count at once; to forget them the file itself is asked again."""
    with staged(models) as stages:
        index(stages, "net_acc81.pth")
        sidecar = models / "net_acc81_metadata.json"
        generated = sidecar.read_text()
        document = json.loads(generated)
        document["metrics"]["accuracy"] = 0.5
        sidecar.write_text(json.dumps(document))
        stages.hint("net_acc81_metadata.json")
        stages.settle(1.0)
        assert stages.record("net_acc81.pth").inspection.metadata.metrics == {"accuracy": 0.5}
        sidecar.write_text(generated)
        stages.hint("net_acc81_metadata.json")
        stages.settle(1.0)
        stages.settle(5.0)
        assert stages.record("net_acc81.pth").inspection.metadata.metrics == {"accuracy": 0.81}


def news(stages):
    """Give (path, how) of each row of the audit about a file that was recorded."""
    rows, _ = stages.store.ask(read_events, 0, ("checkpoint.ready", "checkpoint.rejected"), 100)
    return [(row.path, row.why.get("how", "")) for row in rows]


def edit(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_what_is_written_beside_a_checkpoint_is_no_news(models):
    """Neither when it is described anew nor when the file is read again for it; a save is, whatever its bytes are."""
    with staged(models) as stages:
        index(stages, "a.pth")
        for number in range(3):
            edit(models / "a_metadata.json", registered_as=f"m{number}", architecture=f"net{number}")
            stages.hint("a_metadata.json")
            stages.settle(1.0)
            stages.settle(5.0)
        assert stages.record("a.pth").inspection.metadata.architecture == "net2"
        assert len(stages.reader.read) == 3  # the first edit needs no reading, the others may have taken something back
        assert news(stages) == [("a.pth", "")] + 3 * [("a.pth", "described")]
        save(models / "a.pth")
        stages.hint("a.pth")
        stages.settle(5.0)
        assert news(stages)[-1] == ("a.pth", "")


def test_a_damaged_file_is_told_once_whatever_is_written_beside_it(models):
    """Until its bytes are others."""
    with staged(models) as stages:
        data = bytearray(save(models / "a.pth", size=4096).read_bytes())
        data[len(data) // 2] ^= 1
        (models / "a.pth").write_bytes(data)
        stages.hint("a.pth")
        stages.settle(5.0)
        for number in range(2):
            edit(models / "a_metadata.json", architecture=f"net{number}")
            stages.hint("a_metadata.json")
            stages.settle(1.0)
            stages.settle(5.0)
        assert stages.record("a.pth").inspection.status == "damaged"
        assert news(stages) == [("a.pth", ""), ("a.pth", "described"), ("a.pth", "described")]


def test_a_file_that_is_read_again_where_it_lies_is_no_news_unless_something_else_is_found(models, monkeypatch):
    """A chmod, a further link and a newer inspector have it read; what that one finds and the last did not is told."""
    with staged(models) as stages:
        index(stages, "a.pth")
        (models / "a.pth").chmod(0o600)
        stages.reconcile("start")
        (models / "latest").hardlink_to(models / "a.pth")
        stages.reconcile("start")
        monkeypatch.setattr(recalling, "INSPECTOR_VERSION", recalling.INSPECTOR_VERSION + 1)
        stages.ingest.expect((0, "a.pth"))
        stages.settle(5.0)
        assert len(stages.reader.read) == 4
        assert news(stages) == [("a.pth", "")] + 3 * [("a.pth", "described")]
        finding = Finding("non-finite-weights", Severity.WARNING, "NaN")
        finished = stages.reader.finished
        stages.reader.finished = lambda: [
            replace(read, inspection=replace(read.inspection, findings=(finding,))) for read in finished()
        ]
        stages.ingest.expect((0, "a.pth"))
        stages.settle(5.0)
        assert news(stages)[-1] == ("a.pth", "")


def test_a_file_that_comes_back_is_news(models):
    """Though its bytes are known."""
    with staged(models) as stages:
        index(stages, "a.pth", "b.pth")
        (models / "a.pth").rename(models / "a.bak")
        stages.hint("a.pth", closed=False)
        stages.settle(5.0)
        assert stages.record("a.pth").state == "missing"
        (models / "a.bak").rename(models / "a.pth")
        stages.hint("a.pth")
        stages.settle(5.0)
        assert stages.record("a.pth").state == "ready"
        assert news(stages)[2:] == [("a.pth", "")]


class Refusing:
    """Describing as it is, on a disk that says no until it is told otherwise."""

    def __init__(self, inner):
        self.inner = inner
        self.enabled = True
        self.refuses = True
        self.asked = []

    def describe(self, root, path, inspection, *, now, exports=None):
        self.asked.append(path)
        if self.refuses:
            finding = Finding("sidecar-not-written", Severity.WARNING, "no space left on device")
            return Described(inspection, SidecarResult(Action.FAILED, findings=(finding,)))
        return self.inner.describe(root, path, inspection, now=now, exports=exports)


def test_a_refused_sidecar_is_tried_three_times_more_and_at_each_reconcile(models):
    """After 5, 60 and 600 seconds, then only when the root is looked at as a whole; the record is there meanwhile."""
    with staged(models) as stages:
        disk = Refusing(stages.describing)
        stages.ingest.upkeep._describing = disk
        index(stages, "a.pth")
        assert stages.record("a.pth").inspection.status == "ok"
        assert len(disk.asked) == 2  # at once, and after the five seconds that `index` lets pass
        for wait in (60.0, 600.0):
            stages.settle(wait - 1.0)
            before = len(disk.asked)
            stages.settle(1.0)
            assert len(disk.asked) == before + 1
        stages.settle(100_000.0)
        assert len(disk.asked) == 4
        disk.refuses = False
        stages.reconcile("schedule")
        assert (models / "a_metadata.json").exists()
        assert stages.ingest.upkeep.next_due() is None
        assert len(stages.reader.read) == 1


@pytest.mark.parametrize("state", GONE_STATES)
def test_what_is_gone_is_described_no_more(models, state):
    """Its sidecar was refused, and then it went: the try that is due would write it down as ready."""
    with staged(models) as stages:
        disk = Refusing(stages.describing)
        stages.ingest.upkeep._describing = disk
        index(stages, "a.pth")
        (models / "a.pth").unlink()
        with stages.store.batch() as batch:
            batch.record_state(stages.root.path, "a.pth", state, now=1.0)
        disk.refuses = False
        disk.asked.clear()
        for _ in range(12):
            stages.settle(60.0)
        stages.ingest.upkeep.expect((0, "a.pth"))
        stages.settle(1.0)
        assert disk.asked == []
        assert stages.record("a.pth").state == state
        assert stages.ingest.upkeep.next_due() is None
        save(models / "a.pth")
        stages.hint("a.pth")
        stages.settle(5.0)
        assert stages.record("a.pth").state == "ready"
        assert (models / "a_metadata.json").exists()


def test_one_refusal_speaks_for_a_directory(models):
    """A read-only share with many checkpoints is one warning, and one try at each reconcile; a second directory has its own."""
    with staged(models) as stages:
        disk = Refusing(stages.describing)
        stages.ingest.upkeep._describing = disk
        index(stages, *(f"run1/m{number}.pth" for number in range(5)), "run2/m.pth")
        failed = [entry for entry in stages.log if entry["event"] == "sidecar.failed"]
        assert [entry["path"] for entry in failed if entry["log_level"] == "warning"] == ["run1/m0.pth", "run2/m.pth"]
        disk.asked.clear()
        stages.reconcile("schedule")
        assert sorted(path.rpartition("/")[0] for path in disk.asked) == ["run1", "run2"]
        disk.refuses = False
        stages.reconcile("schedule")
        assert len(list(models.glob("run*/*_metadata.json"))) == 6


def test_what_a_kill_left_is_swept_and_what_is_young_stays(models):
    """Hidden files of ours go at the next look; one that another process may be writing just now does not."""
    with staged(models) as stages:
        index(stages, "run1/a.pth")
        left = [models / ".ckptd-0123456789abcdef.tmp", models / "run1" / ".ckptd-00000000000000aa.tmp"]
        theirs = models / "run1" / ".ckptd-notes.tmp"
        for path in (*left, theirs):
            path.write_text("half")
        young = models / "run1" / ".ckptd-00000000000000bb.tmp"
        time.sleep(0.02)
        started_at = time.time()
        time.sleep(0.02)
        young.write_text("half")
        stages.reconcile("schedule", started_at=started_at)
        assert [path.exists() for path in (*left, theirs, young)] == [False, False, True, True]


def test_without_sidecars_none_is_written_or_missed(models):
    """`sidecar.enabled = false`: files are indexed, people's JSON is read, nothing is written."""
    with staged(models, sidecars=False) as stages:
        index(stages, "net_acc81.pth")
        stages.reconcile("start")
        assert list(models.glob("*.json")) == []
        (models / "net_acc81_metadata.json").write_text('{"metrics": {"accuracy": 0.5}}')
        stages.hint("net_acc81_metadata.json")
        stages.settle(1.0)
        assert stages.record("net_acc81.pth").inspection.metadata.metrics == {"accuracy": 0.5}
        assert names(stages.log, "sidecar.written") == []


def exports_of(place, sidecar="a_metadata.json"):
    return json.loads((place / sidecar).read_text())["ckptd"]["exports"]


def test_exports_are_stated_and_a_person_s_edits_stay(models):
    """Nothing is read for it, not even where a person's values are in the record."""
    with staged(models) as stages:
        index(stages, "a.pth")
        document = json.loads((models / "a_metadata.json").read_text())
        (models / "a_metadata.json").write_text(json.dumps(document | {"architecture": "mine", "notes": "mine"}))
        stages.hint("a_metadata.json")
        stages.settle(1.0)
        assert stages.record("a.pth").inspection.metadata.architecture == "mine"
        read = len(stages.reader.read)
        export = place_export(stages, file="a.onnx")
        stages.ingest.upkeep.state_exports((0, "a.pth"))
        stages.settle(1.0)
        stated = exports_of(models)
        assert (list(stated), stated["torchscript"]["sha256"]) == (["torchscript"], export.sha256)
        document = json.loads((models / "a_metadata.json").read_text())
        assert (document["architecture"], document["notes"]) == ("mine", "mine")
        assert len(stages.reader.read) == read
        stages.hint("a_metadata.json")
        stages.settle(1.0)
        assert exports_of(models) == stated


def test_exports_are_stated_in_a_sidecar_that_is_made_anew(models):
    """Somebody removed it; what is known of exports is known from the index."""
    with staged(models) as stages:
        index(stages, "a.pth")
        place_export(stages, file="a.onnx")
        (models / "a_metadata.json").unlink()
        stages.ingest.upkeep.state_exports((0, "a.pth"))
        stages.settle(1.0)
        assert list(exports_of(models)) == ["torchscript"]
        (models / "a_metadata.json").unlink()
        stages.reconcile("start")
        stages.settle(1.0)
        assert list(exports_of(models)) == ["torchscript"]


def test_a_new_content_has_none_until_they_are_made(models):
    """What was exported of the old weights is no export of these."""
    with staged(models) as stages:
        index(stages, "a.pth")
        place_export(stages, file="a.onnx")
        stages.ingest.upkeep.state_exports((0, "a.pth"))
        stages.settle(1.0)
        assert list(exports_of(models)) == ["torchscript"]
        save(models / "a.pth", seed=5)
        stages.hint("a.pth")
        stages.settle(5.0)
        assert exports_of(models) == {}
        stages.ingest.upkeep.state_exports((0, "a.pth"))
        stages.settle(1.0)
        assert exports_of(models) == {}
        place_export(stages, file="a.onnx")
        stages.ingest.upkeep.state_exports((0, "a.pth"))
        assert list(exports_of(models)) == ["torchscript"]


def test_an_export_that_came_to_nothing_is_said_no_more(models):
    """Whatever was said of it before."""
    with staged(models) as stages:
        index(stages, "a.pth")
        export = place_export(stages, file="a.onnx")
        remembering = stages.ingest.remembering
        remembering.exports(stages.root, "a.pth", [export], now=2.0)
        stages.ingest.upkeep.state_exports((0, "a.pth"))
        assert list(exports_of(models)) == ["torchscript"]
        remembering.exports(stages.root, "a.pth", [replace(export, verdict=Verdict.FAILED)], now=4.0)
        stages.ingest.upkeep.state_exports((0, "a.pth"))
        assert exports_of(models) == {}


def test_a_refused_statement_is_tried_again(models):
    """The disk said no; a moment later the sidecar is described as a whole."""
    with staged(models) as stages:
        index(stages, "a.pth")
        place_export(stages, file="a.onnx")
        state = stages.describing.state_exports
        stages.describing.state_exports = lambda *_, **__: SidecarResult(Action.FAILED)
        stages.ingest.upkeep.state_exports((0, "a.pth"))
        assert exports_of(models) == {}
        stages.describing.state_exports = state
        stages.settle(1.0)
        assert list(exports_of(models)) == ["torchscript"]
