"""Exports over time, over a real directory and a real index; a runner of ours makes them at once, as it is told."""

from __future__ import annotations

import hashlib
import json
import os
import selectors
from collections import deque
from pathlib import Path

import pytest
import torch

from ckptd.errors import IndexUnavailableError, StorageError
from ckptd.export.proofs import Seen
from ckptd.export.units import Made
from ckptd.jobs import placing
from ckptd.jobs.asking import export_one, run_until_idle
from ckptd.jobs.exporting import MOST_FAILURES, Asked, Exporting
from ckptd.jobs.placing import Placing
from ckptd.jobs.planning import Planning
from ckptd.jobs.remembering import Remembering
from ckptd.jobs.resolving import Resolving
from ckptd.model import Identity, Status
from ckptd.proof import Verdict
from ckptd.settings import load_settings
from ckptd.storage.scratch import Scratch
from tests.jobs.stages import Stages

QUIET = 10.0


class Runner:
    """Makes every export at once, with the verdict that it is told, or later when it is asked to wait."""

    def __init__(self):
        self.results = deque()
        self.units = []
        self.verdict = Verdict.VERIFIED
        self.reason = ""
        self.held = None

    def __len__(self):
        return len(self.results) + len(self.held or ())

    def submit(self, unit):
        self.units.append(unit)
        if self.held is not None:
            self.held.append(unit)
        else:
            self.results.append(self.make(unit))

    def release(self):
        held, self.held = self.held, None
        self.results.extend(self.make(unit) for unit in held)

    def make(self, unit):
        content = os.pread(unit.fd, 1 << 20, 0)
        unit.close()
        if self.verdict not in (Verdict.VERIFIED, Verdict.FAILED):
            return Made(unit, self.verdict, self.reason, {})
        scratch = Scratch.make(unit.state_dir)
        files = {}
        for name in [unit.wanted.name, *([f"{unit.wanted.name}.data"] if self.reason == "large" else [])]:
            path = scratch.path / name
            path.write_bytes(hashlib.sha256(content).hexdigest().encode() + unit.wanted.target.encode() + name.encode())
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            files[name] = Seen(digest, path.stat().st_size, Identity.of(path.stat()))
        return Made(unit, self.verdict, self.reason, {"size_ratio": 0.5}, files, scratch)

    def tick(self, now):
        pass

    def next_deadline(self):
        return None

    def close(self):
        pass


class Exports(Stages):
    """The stages, with exports behind them."""

    def __init__(self, root: Path, state: Path, *, targets=("safetensors",), **settings):
        super().__init__(root, state, suffixes=(".pth", ".pt"))
        overrides = {"roots": [str(root)], "export": {"targets": list(targets), "min_free_bytes": 0}, **settings}
        self.settings = load_settings(None, overrides, {})
        self.runner = Runner()
        own, upkeep = self.own_exports, self.ingest.upkeep
        clocks = {"now": self.clock, "wall": lambda: 1e9}
        planning = Planning(self.store, Resolving(self.store, self.settings), self.settings.export, own, wall=clocks["wall"])
        remembering = Remembering(self.recording, own, now=self.clock)
        self.exporting = Exporting(
            [self.root],
            self.store,
            planning,
            remembering,
            Placing(own, remembering, wall=clocks["wall"]),
            upkeep,
            self.runner,
            self.settings.export,
            **clocks,
        )
        self.ingest._recorded = upkeep.described = self.exporting.arrived

    def save(self, name="m.pth", seed=0, hyperparameters=None):
        """Save a checkpoint and let it be indexed."""
        torch.manual_seed(seed)
        weights = {"weight": torch.randn(4, 3), "bias": torch.randn(4)}
        whole = {"model_state_dict": weights, "hyperparameters": hyperparameters}
        torch.save(weights if hyperparameters is None else whole, self.path / name)
        self.settle(name)

    def settle(self, name="m.pth"):
        self.ingest.hint((0, name), closed=True)
        for _ in range(4):
            self.ingest.step()
            self.recording.flush(self.clock())
            self.recording.flush_if_due(self.clock(), idle=True)

    def step(self, seconds=0.0):
        self.clock.now += seconds
        self.exporting.step(self.clock())
        self.exporting.step(self.clock())

    def known(self, name="m.pth"):
        return {export.target: export for export in self.store.load_exports(self.root.path, name)}

    def sidecar(self, name="m"):
        return json.loads((self.path / f"{name}_metadata.json").read_text())["ckptd"]


@pytest.fixture
def place(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "state").mkdir(mode=0o700)
    return tmp_path


def build(place, **settings):
    return Exports(place / "models", place / "state", **settings)


def write_nets(place, more=""):
    """Write a module of the operator's, and give its directory."""
    code = place / "code"
    code.mkdir(exist_ok=True)
    (code / "nets.py").write_text(f"import torch\n\ndef net():\n    return torch.nn.Linear(3, 4)\n{more}")
    return str(code)


def test_a_name_is_exported_when_it_is_quiet(place):
    """Saved every few seconds it waits; then the last content is exported, once."""
    exports = build(place)
    for seed in range(4):
        exports.save(seed=seed)
        exports.step(QUIET / 2)
    assert exports.runner.units == []
    exports.step(QUIET)
    assert len(exports.runner.units) == 1
    assert exports.known()["safetensors"].source_sha256 == hashlib.sha256((place / "models" / "m.pth").read_bytes()).hexdigest()
    assert (place / "models" / "m.safetensors").exists()
    assert exports.sidecar()["exports"]["safetensors"]["file"] == "m.safetensors"
    assert list((place / "models" / ".ckptd" / "scratch").iterdir()) == []


def test_what_a_dying_job_still_holds_is_swept_a_moment_later(place):
    """The daemon was killed and starts again at once; its job lives a moment longer."""
    exports = build(place)
    held = Scratch.make(place / "models" / ".ckptd")
    os.utime(held.path, (1, 1))
    exports.exporting.sweep(1e9)
    assert held.path.exists()
    os.close(held.fd)
    assert exports.exporting.next_due() > exports.clock()
    exports.step(QUIET)
    assert not held.path.exists()
    assert exports.exporting.next_due() is None


def test_nothing_is_made_where_nothing_is_wanted(place):
    """Without targets a checkpoint is indexed and that is all; so is a damaged one with targets."""
    quiet = build(place, targets=())
    quiet.save()
    quiet.step(QUIET * 2)
    assert quiet.runner.units == []
    exports = build(place)
    exports.exporting.arrived((0, "m.pth"), Status.DAMAGED)
    exports.step(QUIET * 2)
    assert exports.runner.units == []


def test_an_overtaken_export_is_dropped(place):
    """Saved again while its export was made: nothing of the old content is put in place."""
    exports = build(place)
    exports.save()
    exports.runner.held = []
    exports.step(QUIET)
    exports.save(seed=1)
    exports.runner.release()
    exports.step()
    assert exports.known() == {}
    assert not (place / "models" / "m.safetensors").exists()
    exports.step(QUIET)
    assert exports.known()["safetensors"].verdict is Verdict.VERIFIED


def test_what_changed_is_made_again(place):
    """Content, settings, and nothing else; ours is replaced in its place."""
    exports = build(place)
    exports.save()
    exports.step(QUIET)
    first = (place / "models" / "m.safetensors").read_bytes()
    exports.exporting.look_for_missing(0)
    exports.exporting.arrived((0, "m.pth"), Status.OK)
    exports.step(QUIET)
    assert len(exports.runner.units) == 1
    exports.save(seed=1)
    exports.step(QUIET)
    assert len(exports.runner.units) == 2
    assert (place / "models" / "m.safetensors").read_bytes() != first


def test_what_a_person_removed_stays_removed_until_asked_for(place):
    """It was made once; the daemon does not make it again by itself, `ckptd export` does."""
    exports = build(place)
    exports.save()
    exports.step(QUIET)
    (place / "models" / "m.safetensors").unlink()
    exports.exporting.look_for_missing(0)
    exports.exporting.arrived((0, "m.pth"), Status.OK)
    exports.step(QUIET)
    assert len(exports.runner.units) == 1
    exports.exporting.ask((0, "m.pth"), Asked(("safetensors",), by_person=True))
    exports.step()
    assert (place / "models" / "m.safetensors").exists()


def test_who_sees_the_sidecar_finds_all_that_came_before_it(place, capsys):
    """The scratch is gone, the index knows and the log has told by the time that a sidecar names an export."""
    exports = build(place)
    exports.save()
    state, seen = exports.ingest.upkeep.state_exports, []

    def state_exports(where):
        scratch = os.listdir(place / "models" / ".ckptd" / "scratch")
        seen.append((scratch, list(exports.known()), "export.verified" in capsys.readouterr().out))
        state(where)

    exports.ingest.upkeep.state_exports = state_exports
    exports.step(QUIET)
    assert seen == [([], ["safetensors"], True)]


def test_a_failed_one_lies_aside_and_is_not_listed(place):
    """Under NAME.failed, with its reason; the sidecar does not name it, and it is not made again."""
    exports = build(place)
    exports.runner.verdict, exports.runner.reason = Verdict.FAILED, "output is off by 3"
    exports.save()
    exports.step(QUIET)
    known = exports.known()["safetensors"]
    assert known.verdict is Verdict.FAILED
    assert "off by 3" in known.reason
    assert known.file is None
    assert (place / "models" / "m.safetensors.failed").exists()
    assert not (place / "models" / "m.safetensors").exists()
    assert exports.sidecar()["exports"] == {}
    exports.exporting.arrived((0, "m.pth"), Status.OK)
    exports.step(QUIET)
    assert len(exports.runner.units) == 1


def test_a_failed_one_that_cannot_be_put_aside_has_failed_all_the_same(place):
    """A person's file bears the name; theirs stays, and so does the verdict with its reason."""
    (place / "models" / "m.safetensors.failed").write_bytes(b"mine")
    exports = build(place)
    exports.runner.verdict, exports.runner.reason = Verdict.FAILED, "output is off by 3"
    exports.save()
    exports.step(QUIET)
    known = exports.known()["safetensors"]
    assert known.verdict is Verdict.FAILED
    assert "off by 3" in known.reason
    assert "it could not be put aside" in known.reason
    assert (place / "models" / "m.safetensors.failed").read_bytes() == b"mine"


def test_every_target_is_made_again_when_the_index_could_not_be_read(place):
    """Two outcomes that could not be written down are two to make again, and not the last one alone."""
    exports = build(place, targets=("safetensors", "int8"))
    exports.save()
    exports.runner.held = []
    exports.step(QUIET)
    exports.runner.release()
    find, left = exports.store.find_record, ["safetensors", "int8"]

    def find_record(root, path, **more):
        if left:
            raise IndexUnavailableError("read the index", why=f"no {left.pop()}")
        return find(root, path, **more)

    exports.store.find_record = find_record
    exports.step()
    assert exports.known() == {}
    exports.step(2.0)
    assert {target: one.verdict for target, one in exports.known().items()} == {
        "safetensors": Verdict.VERIFIED,
        "int8": Verdict.VERIFIED,
    }


def test_nothing_gets_its_name_while_the_index_cannot_be_written(place):
    """A file that nobody knows as ours would be taken for a newcomer; it is made when the index is there again."""
    exports = build(place)
    exports.save()
    batch = exports.store.batch

    def refuse():
        raise IndexUnavailableError("write the index", why="the disk is full")

    exports.store.batch = refuse
    exports.step(QUIET)
    for _ in range(MOST_FAILURES // 2):
        exports.step(2.0)
    assert [path.name for path in (place / "models").glob("m.s*")] == []
    assert exports.exporting.failure is None
    for _ in range(MOST_FAILURES):
        exports.step(2.0)
    assert isinstance(exports.exporting.failure, IndexUnavailableError)
    with selectors.DefaultSelector() as selector, pytest.raises(IndexUnavailableError, match="can't be written"):
        run_until_idle(exports.exporting, exports.ingest.upkeep, selector)
    exports.store.batch = batch
    exports.step(2.0)
    assert exports.known()["safetensors"].verdict is Verdict.VERIFIED
    assert exports.exporting.failure is None
    assert (place / "models" / "m.safetensors").exists()


def test_one_that_succeeds_takes_the_failed_one_away(place):
    """And a person's file of that name is left."""
    exports = build(place, targets=("safetensors", "int8"))
    exports.runner.verdict = Verdict.FAILED
    exports.save()
    exports.step(QUIET)
    aside = place / "models" / "m.safetensors.failed"
    assert aside.exists()
    exports.runner.verdict = Verdict.VERIFIED
    (place / "models" / "m.int8.safetensors.failed").write_bytes(b"mine")
    exports.save(seed=1)
    exports.step(QUIET)
    assert exports.known()["safetensors"].verdict is Verdict.VERIFIED
    assert not aside.exists()
    assert (place / "models" / "m.int8.safetensors.failed").read_bytes() == b"mine"


@pytest.mark.parametrize("verdict", [Verdict.ERROR, Verdict.UNAVAILABLE])
def test_what_could_not_be_made_is_tried_at_the_next_look(place, verdict):
    """Not again and again; but when the whole is looked at."""
    exports = build(place)
    exports.runner.verdict, exports.runner.reason = verdict, "it was late"
    exports.save()
    exports.step(QUIET)
    assert exports.known()["safetensors"].reason == "it was late"
    exports.step(QUIET * 100)
    assert len(exports.runner.units) == 1
    exports.runner.verdict = Verdict.VERIFIED
    exports.exporting.look_for_missing(0)
    exports.step()
    assert exports.known()["safetensors"].verdict is Verdict.VERIFIED


def test_a_persons_file_is_left_alone(place):
    """The name is taken: unavailable, with the sentence, and their bytes are as they were."""
    (place / "models" / "m.safetensors").write_bytes(b"mine")
    exports = build(place)
    exports.save()
    exports.step(QUIET)
    assert exports.runner.units == []
    assert "move or rename it" in exports.known()["safetensors"].reason
    assert (place / "models" / "m.safetensors").read_bytes() == b"mine"


def test_a_file_that_appears_while_it_is_made_is_left_alone(place):
    """Nobody was in the way when it began."""
    exports = build(place)
    exports.save()
    exports.runner.held = []
    exports.step(QUIET)
    (place / "models" / "m.safetensors").write_bytes(b"mine")
    exports.runner.release()
    exports.step()
    assert exports.known()["safetensors"].verdict is Verdict.UNAVAILABLE
    assert (place / "models" / "m.safetensors").read_bytes() == b"mine"


def test_checkpoints_that_share_a_stem_get_names_of_their_own(place):
    """`a.pth` and `a.pt`: the second one's export bears the whole name, and the first one's stays."""
    exports = build(place)
    exports.save("a.pth")
    exports.step(QUIET)
    (place / "models" / "a.pt").write_bytes(b"somebody's")
    exports.save("a.pth", seed=1)
    exports.step(QUIET)
    assert exports.known("a.pth")["safetensors"].file == "a.safetensors"
    exports.save("b.pth")
    (place / "models" / "b.pt").write_bytes(b"somebody's")
    exports.step(QUIET)
    assert exports.known("b.pth")["safetensors"].file == "b.pth.safetensors"


def test_no_export_takes_the_place_of_another_checkpoints(place):
    """`a.pth` beside `a.pt` is exported to what `a.pth.pth` would be: the second one gets another name."""
    exports = build(place)
    for seed, name in enumerate(("a.pth", "a.pt")):
        exports.save(name, seed=seed)
    exports.step(QUIET)
    first = exports.known("a.pth")["safetensors"].file
    before = (place / "models" / first).read_bytes()
    exports.save("a.pth.pth", seed=2)
    exports.step(QUIET)
    assert first == "a.pth.safetensors"
    assert (place / "models" / first).read_bytes() == before
    assert exports.known("a.pth.pth")["safetensors"].file == "a.pth.pth.safetensors"


def test_two_that_are_made_at_once_do_not_share_a_file(place):
    """Neither lay there when they were planned: the second one is told, and gets its name at the next look."""
    exports = build(place)
    exports.runner.held = []
    for seed, name in enumerate(("a.pth.pth", "a.pt", "a.pth")):
        exports.save(name, seed=seed)
    exports.step(QUIET)
    exports.runner.release()
    exports.step()
    known = {name: exports.known(name)["safetensors"] for name in ("a.pth", "a.pth.pth")}
    (done,) = [name for name, one in known.items() if one.verdict is Verdict.VERIFIED]
    (other,) = known.keys() - {done}
    assert f"an export of {done}" in known[other].reason


def test_a_file_beside_an_export_goes_with_it(place):
    """What ONNX keeps in NAME.onnx.data is put in place first, and is ours."""
    exports = build(place)
    exports.runner.reason = "large"
    exports.save()
    exports.step(QUIET)
    assert (place / "models" / "m.safetensors.data").exists()
    assert set(exports.store.own_outputs(exports.root.path)) >= {"m.safetensors", "m.safetensors.data"}


def test_an_old_model_never_lies_beside_new_weights(place, monkeypatch):
    """The second of two renames fails: there is no model then, rather than one that loads and is wrong."""
    exports = build(place)
    exports.runner.reason = "large"
    exports.save()
    exports.step(QUIET)
    exports.save(seed=1)
    put = placing.place_file

    def refuse_the_model(scratch, source, *args, **more):
        if not source.endswith(".data"):
            raise StorageError("place an export", why="a kill came")
        return put(scratch, source, *args, **more)

    monkeypatch.setattr(placing, "place_file", refuse_the_model)
    exports.step(QUIET)
    assert exports.known()["safetensors"].verdict is Verdict.ERROR
    assert [path.name for path in (place / "models").glob("m.s*")] == ["m.safetensors.data"]


def test_without_a_recipe_the_sentence_says_what_to_add_once(place):
    """And the row is not written again at each look."""
    exports = build(place, targets=("onnx",))
    exports.save()
    exports.step(QUIET)
    known = exports.known()["onnx"]
    assert known.verdict is Verdict.UNAVAILABLE
    assert "[[recipe]]" in known.reason
    lines = len(list(exports.journal.replay()))
    exports.exporting.look_for_missing(0)
    exports.step()
    assert len(list(exports.journal.replay())) == lines


def test_more_than_fits_is_refused_in_a_sentence(place):
    """Memory and disk, with the settings that say so."""
    exports = build(place, targets=("safetensors",), export={"targets": ["safetensors"], "min_free_bytes": 1 << 60})
    exports.save()
    exports.step(QUIET)
    assert "export.min_free_bytes" in exports.known()["safetensors"].reason


def test_a_recipe_that_fitted_is_remembered_for_the_group(place):
    """The next checkpoint of the model needs none of its own, while its callable is named as trusted."""
    exports = build(place, targets=("onnx",), trust={"callables": ["nets:net"], "directories": [write_nets(place)]})
    exports.save("BiLSTM_ECG_acc80.pth")
    sidecar = place / "models" / "BiLSTM_ECG_acc80_metadata.json"
    document = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps({**document, "recipe": "nets:net"}, indent=2))
    exports.step(QUIET)
    assert exports.known("BiLSTM_ECG_acc80.pth")["onnx"].verdict is Verdict.VERIFIED
    exports.save("BiLSTM_ECG_acc81.pth", seed=1)
    exports.recording.flush(exports.clock())
    exports.step(QUIET)
    assert exports.known("BiLSTM_ECG_acc81.pth")["onnx"].verdict is Verdict.VERIFIED
    assert exports.runner.units[-1].wanted.recipe.origin == "group"


def test_what_a_sidecar_chose_in_a_trusted_directory_stays_with_its_checkpoint(place):
    """Whoever may drop a model may give it any name: their choice must not become that of a whole group."""
    exports = build(place, targets=("onnx",), trust={"directories": [write_nets(place)]})
    exports.save("BiLSTM_ECG_acc80.pth")
    sidecar = place / "models" / "BiLSTM_ECG_acc80_metadata.json"
    sidecar.write_text(json.dumps({**json.loads(sidecar.read_text()), "recipe": "nets:net"}, indent=2))
    exports.step(QUIET)
    assert exports.known("BiLSTM_ECG_acc80.pth")["onnx"].verdict is Verdict.VERIFIED
    exports.recording.flush(exports.clock())
    assert exports.store.find_recipe("BiLSTM") is None


def test_others_of_a_group_keep_their_own_hyperparameters(place):
    """Only what the recipe adds to those of its checkpoint is remembered."""
    recipe = {"match": "BiLSTM_ECG_acc80*", "callable": "nets:net", "hyperparameters": {"depth": 2}}
    exports = build(place, targets=("onnx",), trust={"directories": [write_nets(place)]}, recipe=[recipe])
    exports.save("BiLSTM_ECG_acc80.pth", hyperparameters={"hidden": 5})
    exports.step(QUIET)
    assert exports.runner.units[-1].wanted.recipe.hyperparameters["hidden"] == 5
    exports.recording.flush(exports.clock())
    assert exports.store.find_recipe("BiLSTM").hyperparameters == {"depth": 2}


def test_changed_code_is_noticed_at_a_start(place):
    """An export that was made by other code than there is now is made anew."""
    recipe = {"match": "*", "callable": "nets:net"}
    exports = build(place, targets=("onnx", "safetensors"), trust={"directories": [write_nets(place)]}, recipe=[recipe])
    exports.save()
    exports.step(QUIET)
    assert len(exports.runner.units) == 2
    exports.exporting.look_for_missing(0)
    exports.step(QUIET)
    assert len(exports.runner.units) == 2
    write_nets(place, "# better\n")
    exports.exporting.look_for_missing(0)
    exports.step(QUIET)
    assert [unit.wanted.target for unit in exports.runner.units[2:]] == ["onnx"]


def test_asking_gives_each_target_in_the_order_asked_for(place):
    """What is there already is told as it is."""
    exports = build(place)
    exports.save()
    exports.step(QUIET)
    record = exports.store.find_record(exports.root.path, "m.pth")
    drive = exports.step
    found = export_one(exports.exporting, [exports.root], record, ("int8", "safetensors"), drive, force=False)
    assert [(one.target, one.verdict) for one in found] == [("int8", Verdict.VERIFIED), ("safetensors", Verdict.VERIFIED)]
    assert len(exports.runner.units) == 2
    export_one(exports.exporting, [exports.root], record, ("safetensors",), drive, force=True)
    assert len(exports.runner.units) == 3


def test_a_recipe_that_a_person_adds_is_taken_up(place):
    """Written into the sidecar of a known checkpoint: its exports come without another save."""
    exports = build(place, targets=("onnx",), trust={"directories": [write_nets(place)]})
    exports.save()
    exports.step(QUIET)
    assert exports.known()["onnx"].verdict is Verdict.UNAVAILABLE
    sidecar = place / "models" / "m_metadata.json"
    sidecar.write_text(json.dumps({**json.loads(sidecar.read_text()), "recipe": "nets:net"}, indent=2))
    exports.ingest.hint((0, "m_metadata.json"), closed=True)
    exports.clock.now += 1.0
    exports.ingest.step()
    exports.step(QUIET)
    assert exports.known()["onnx"].verdict is Verdict.VERIFIED
