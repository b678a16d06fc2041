"""What a reindex takes out of the journal: first-seen times through renames, and what we wrote ourselves."""

from dataclasses import replace

from ckptd.app import App
from ckptd.jobs.reindexing import Output, find_exports, find_first_seen, find_outputs, find_recipes
from ckptd.proof import Export, Maker, Recipe, Verdict
from ckptd.settings import Settings
from ckptd.wire_exports import export_to_json, recipe_to_json
from tests.jobs.stages import staged
from tests.jobs.test_ingest import save
from tests.jobs.test_own_exports import place_export

LINES = [
    {"event": "seen", "root": "/r", "path": "a.pth", "sha256": "aa", "at": 20.0},
    {"event": "seen", "root": "/r", "path": "a.pth", "sha256": "bb", "at": 10},
    {"event": "moved", "root": "/r", "path": "b.pth", "source": "a.pth", "at": 30.0},
    {"event": "seen", "root": "/r", "path": "b.pth", "sha256": "bb", "at": 30.0},
    {"event": "moved", "root": "/r", "path": "d.pth", "source": "nobody.pth", "at": 40.0},
    {"event": "output", "root": "/r", "path": "a_metadata.json", "sha256": "11", "at": 20.0},
    {"event": "output", "root": "/r", "path": "a_metadata.json", "sha256": "22", "at": 30.0},
    {"event": "seen", "root": "/r", "path": "c.pth", "at": "yesterday"},
    {"event": "output", "root": "/r", "path": 3, "sha256": "33", "at": 1.0},
    {"event": "of a newer ckptd"},
    {},
]


def test_the_earliest_time_counts_and_goes_with_a_renamed_file():
    """Lines that make no sense are passed over."""
    assert find_first_seen(LINES) == {("/r", "a.pth"): 10, ("/r", "b.pth"): 10}


def test_the_last_digest_of_what_we_wrote_counts():
    """An older one is no file of ours any more."""
    assert find_outputs(LINES) == {("/r", "a_metadata.json"): Output("22", 30.0)}


EXPORT = Export("onnx", Verdict.VERIFIED, "a" * 64, "b" * 64, None, "a.onnx", "d" * 64, 9, (1, 2, 9, 4, 5), at=7.0)
RECIPE = Recipe(Maker.CALLABLE, "settings", "models:Net")


def export_line(path, export, *, at=1.0, **more):
    return {"event": "export", "root": "/r", "path": path, "target": "onnx", "export": export_to_json(export), "at": at, **more}


def test_the_last_word_about_each_export_counts():
    """One that makes no sense is passed over, and those of a renamed checkpoint stay behind."""
    failed = replace(EXPORT, verdict=Verdict.FAILED)
    lines = [
        *LINES,
        export_line("a.pth", failed, at=1.0),
        export_line("a.pth", EXPORT, at=2.0),
        export_line("a.pth", EXPORT) | {"export": {"target": "onnx"}},
        export_line("a.pth", failed, target="pt2"),
        export_line("c.pth", EXPORT),
        {"event": "moved", "root": "/r", "path": "d.pth", "source": "c.pth", "at": 3.0},
        export_line("e.pth", EXPORT, at="yesterday"),
    ]
    assert find_exports(lines) == {("/r", "a.pth", "onnx"): (EXPORT, 2.0)}


def test_the_last_recipe_of_a_group_counts():
    """One that makes no sense is passed over."""
    lines = [
        {"event": "recipe", "group": "Net", "recipe": recipe_to_json(replace(RECIPE, callable="old:Net")), "at": 1.0},
        {"event": "recipe", "group": "Net", "recipe": recipe_to_json(RECIPE), "sha256": "a" * 64, "at": 2.0},
        {"event": "recipe", "group": "Net", "recipe": {"maker": "eval"}, "at": 3.0},
        {"event": "recipe", "group": 7, "recipe": recipe_to_json(RECIPE), "at": 4.0},
        *LINES,
    ]
    assert find_recipes(lines) == {"Net": (RECIPE, "a" * 64, 2.0)}


def test_an_output_that_is_an_export_is_known_by_its_identity():
    """An identity that makes no sense is none; then the digest tells."""
    line = {"event": "output", "what": "export", "root": "/r", "path": "a.onnx", "sha256": "11", "at": 1.0}
    lines = [line | {"identity": [1, 2, 3, 4, 5]}, line | {"path": "b.onnx", "identity": [1, "2"]}, line | {"path": "c.onnx"}]
    assert find_outputs(lines) == {
        ("/r", "a.onnx"): Output("11", 1.0, "export", (1, 2, 3, 4, 5)),
        ("/r", "b.onnx"): Output("11", 1.0, "export"),
        ("/r", "c.onnx"): Output("11", 1.0, "export"),
    }


def test_exports_and_recipes_survive_that_the_index_is_thrown_away(tmp_path):
    """All of it is in the journal: what was made, what is ours on the disk, what fits a group."""
    models = tmp_path / "models"
    with staged(models, suffixes=(".pth", ".pt")) as stages:
        save(models / "a.pth")
        stages.hint("a.pth")
        stages.settle()
        export = place_export(stages)
        stages.ingest.remembering.recipe("Net", replace(RECIPE, training_code="x = 1"), "a" * 64, now=5.0)
        stages.ingest.upkeep.state_exports((0, "a.pth"))
        stages.settle(1.0)
        digests = stages.store.own_outputs(stages.root.path)
    sidecar = (models / "a_metadata.json").read_bytes()
    for left in (tmp_path / "state").glob("index.sqlite*"):
        left.unlink()
    app = App(Settings(roots=[models], state_dir=tmp_path / "state", suffixes=[".pth", ".pt"]))
    summary = app.reindex()
    assert (summary.seen, summary.new) == (1, 1)
    assert [record.path for record in app.records()] == ["a.pth"]
    assert app.store.load_exports(str(models), "a.pth") == [export]
    assert app.store.find_unexported(str(models), {"torchscript": "b" * 64}) == []
    assert app.store.find_recipe("Net") == RECIPE
    assert app.store.load_own_exports(str(models)) == {"a_scripted.pt": (export.identity, export.sha256)}
    assert app.store.own_outputs(str(models)) == digests
    assert (models / "a_metadata.json").read_bytes() == sidecar
    app.close()
