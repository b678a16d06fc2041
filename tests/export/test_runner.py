"""Real exports through real zygotes: how many at once, what a changed checkpoint does, what lossy formats are told of."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from ckptd.export.runner import IDLE_SECONDS
from ckptd.export.units import Failed
from ckptd.policy.exports import estimate_need
from ckptd.proof import InputSpec, Maker, Recipe, Verdict
from tests.export.making_models import module_of
from tests.export.running import kitchen

TRUSTED = str(Path(__file__).parent / "trusted")


def recipe_for(name, **values):
    return Recipe(Maker.CALLABLE, "test", f"small:{name}", directories=(TRUSTED,), **values)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    with kitchen(tmp_path_factory.mktemp("runner"), workers=2) as one:
        yield one


def save(opened, name, value):
    path = opened.root / f"{name}.pth"
    torch.save(value, path)
    return path


def close(*made):
    for one in made:
        if one.scratch is not None:
            one.scratch.close()


def test_a_wrong_trace_fails(opened):
    """The module's branch depends on its input: script keeps both, trace one, and the verification tells them apart."""
    checkpoint = save(opened, "branches", module_of("Branches").state_dict())
    recipe = recipe_for("Branches", inputs=(InputSpec("x", ("batch", 4)),))
    traced, scripted = opened.make_all(
        [opened.unit(checkpoint, "torchscript-trace", recipe), opened.unit(checkpoint, "torchscript", recipe)]
    )
    assert traced.verdict is Verdict.FAILED
    assert "off by" in traced.reason
    assert scripted.verdict is Verdict.VERIFIED, scripted.reason
    assert any(finding["code"] == "target-deprecated" for finding in scripted.proof["findings"])
    close(traced, scripted)


def test_a_checkpoint_that_is_saved_again_meanwhile_is_not_exported(opened):
    """What was inspected is what is exported, or nothing is."""
    checkpoint = save(opened, "changed", module_of("Tied").state_dict())
    other = save(opened, "other", {name: value + 1 for name, value in module_of("Tied").state_dict().items()})
    units = [opened.unit(checkpoint, "safetensors"), opened.unit(checkpoint, "torchscript", recipe_for("Tied"))]
    checkpoint.write_bytes(other.read_bytes())  # in place, and whole: nothing but its times tells
    for made in opened.make_all(units):
        assert made.verdict is Verdict.ERROR
        assert "saved again meanwhile" in made.reason
        assert made.files == {}


def test_a_lossy_format_is_told_with_what_it_does_to_the_outputs(opened):
    """Bytes saved, difference of the weights, difference of the outputs: a measured line."""
    checkpoint = save(opened, "attention", module_of("Attention", input_size=6, hidden_size=8).state_dict())
    recipe = recipe_for("Attention", hyperparameters={"input_size": 6, "hidden_size": 8})
    made = opened.make(checkpoint, "int8", recipe)
    assert made.verdict is Verdict.VERIFIED, made.reason
    assert 0 < made.proof["weights"]["max_abs"] < 0.1
    assert 0 < made.proof["outputs"][0]["max_rel"] < 0.1
    assert made.proof["size_ratio"] < 1
    close(made)


def test_what_a_recipe_states_in_vain_is_said(opened):
    """A misspelt hyperparameter of the recipe is a mistake; what a checkpoint says beyond its module's is none."""
    sizes = {"input_size": 6, "hidden_size": 8}
    checkpoint = save(
        opened, "stated", {"model": module_of("Attention", **sizes).state_dict(), "hyperparameters": {**sizes, "lr": 0.1}}
    )
    recipe = recipe_for("Attention", hyperparameters={**sizes, "lr": 0.1, "hiden_size": 9})
    made = opened.make(checkpoint, "torchscript", recipe)
    assert made.verdict is Verdict.VERIFIED, made.reason
    said = [one["message"] for one in made.proof["findings"] if one["code"] == "export-note"]
    assert len([text for text in said if "hiden_size" in text]) == 1
    assert not any("lr" in text.split() for text in said)
    close(made)


def test_a_lossy_format_that_saves_nothing_says_so(opened):
    """Vectors stay as they are in 8 bits: who asked for a smaller file should know."""
    checkpoint = save(opened, "vectors", {f"norm{number}.weight": torch.randn(20_000) for number in range(3)})
    made = opened.make(checkpoint, "int8")
    assert made.verdict is Verdict.VERIFIED, made.reason
    assert any("hardly smaller" in one["message"] for one in made.proof["findings"])
    close(made)


def test_a_recipe_that_does_not_run_costs_a_weights_export_only_its_outputs(opened):
    """The file is right all the same; a finding says why nothing was run."""
    checkpoint = save(opened, "tied", module_of("Tied").state_dict())
    made = opened.make(checkpoint, "float16", recipe_for("Branches"))
    assert made.verdict is Verdict.VERIFIED, made.reason
    assert "outputs" not in made.proof
    (finding,) = made.proof["findings"]
    assert finding["code"] == "outputs-not-compared"
    assert "missing in the file" in finding["message"]
    close(made)


def test_each_output_has_its_own_numbers(opened):
    """The eleventh comes behind the tenth, and not behind the second."""
    checkpoint = save(opened, "many", module_of("ManyOutputs").state_dict())
    inputs, names = (InputSpec("x", ("batch", 4)),), tuple(f"power_{number}" for number in range(12))
    made = opened.make(checkpoint, "torchscript-trace", recipe_for("ManyOutputs", inputs=inputs, outputs=names))
    assert made.verdict is Verdict.VERIFIED, made.reason
    assert [output["name"] for output in made.proof["outputs"]] == [*names]
    scales = [output["scale"] for output in made.proof["outputs"]]
    assert scales == sorted(scales)
    close(made)


def test_an_export_that_needs_a_file_that_does_not_go_with_it_is_not_verified(opened):
    """It is run with nothing beside it but what is put in place."""
    weights = torch.nn.Linear(4, 2).state_dict()
    checkpoint = save(opened, "scattered", {f"fc.{name}": value for name, value in weights.items()})
    made = opened.make(checkpoint, "onnx", recipe_for("Scattered", inputs=(InputSpec("x", ("batch", 4)),)))
    assert made.verdict is Verdict.ERROR, made.reason
    assert "elsewhere.bin" in made.reason
    assert made.scratch is None


def test_a_request_that_is_no_json_ends_one_export(opened):
    """The others go on, and so does the loop."""
    checkpoint = save(opened, "plain", module_of("Tied").state_dict())
    wrong = opened.unit(checkpoint, "safetensors")
    wrong.wanted.options["scale"] = float("inf")
    failed, made = opened.make_all([wrong, opened.unit(checkpoint, "float16")])
    assert failed.verdict is Verdict.ERROR
    assert "not JSON" in failed.reason
    assert made.verdict is Verdict.VERIFIED, made.reason
    close(made)


def test_what_nobody_took_is_removed_at_the_end(tmp_path):
    """A result that waits when the runner is closed leaves no directory behind."""
    with kitchen(tmp_path) as opened:
        path = save(opened, "m", {"weight": torch.randn(3, 4)})
        made = opened.make(path, "safetensors")
        opened.runner.results.append(made)
        assert made.scratch.path.exists()
    assert not made.scratch.path.exists()


def test_memory_decides_how_many_run_at_once(tmp_path):
    """With room for two, two run; with room for one, the second waits until the first is done."""
    steps = []
    with kitchen(tmp_path, workers=4) as opened:
        opened.runner._told = lambda unit, words: steps.append((unit.wanted.name, words))
        paths = [save(opened, f"m{number}", {"weight": torch.randn(64, 64)}) for number in range(2)]
        need = estimate_need(64 * 64 * 4, with_module=False).memory_bytes
        opened.change(memory_bytes=need)
        close(*opened.make_all([opened.unit(path, "safetensors") for path in paths]))
        alone = [name for name, _ in steps]
        assert alone == sorted(alone)
        steps.clear()
        opened.change(memory_bytes=2 * need)
        close(*opened.make_all([opened.unit(path, "safetensors") for path in paths]))
        assert [words for _, words in steps[:2]] == ["writing", "writing"]


def test_a_batch_shares_its_zygotes_and_they_end_with_it(tmp_path):
    """One process imports once for all; nothing is alive when nothing has been exported for a while."""
    with kitchen(tmp_path) as opened:
        path = save(opened, "m", {"weight": torch.randn(3, 4)})
        close(*opened.make_all([opened.unit(path, target) for target in ("safetensors", "float16")]))
        (zygote,) = opened.runner.pids
        close(opened.make(path, "int8"))
        assert opened.runner.pids == [zygote]
        now = time.monotonic()
        opened.runner.tick(now)
        opened.runner.tick(now + IDLE_SECONDS + 1)
        assert opened.runner.pids == []
        assert opened.runner.next_deadline() is None


def test_a_look_at_what_runs_is_not_overdue_before_anything_ran(tmp_path):
    """It is due a moment after the first export began; else the daemon would call its exporters dead since it was booted."""
    with kitchen(tmp_path) as opened:
        path = save(opened, "m", {"weight": torch.randn(3, 4)})
        before = time.monotonic()
        opened.runner.submit(opened.unit(path, "safetensors"))
        assert opened.runner.next_deadline() >= before
        close(*opened.make_all([]))


def test_every_verdict_is_one_that_the_index_knows():
    """An error of ours that refuses is `unavailable`, any other is an `error`."""
    from ckptd.errors import StorageError
    from ckptd.sandbox.confine import RefusedError

    assert Failed.of(RefusedError("no walls")).verdict is Verdict.UNAVAILABLE
    assert Failed.of(StorageError("no disk")).verdict is Verdict.ERROR
