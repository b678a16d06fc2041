"""A recipe and a checkpoint become a module with its weights, or a sentence that says what to add."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ckptd.export.arrays import silence
from ckptd.export.building import compare_parameters, load_weights, reference
from ckptd.export.refusal import TargetError
from ckptd.export.targets import find_target
from ckptd.export.weights import read_weights
from ckptd.proof import InputSpec, Maker, Recipe
from tests.export.making_models import (
    TRUSTED,
    build_from,
    build_model,
    importing,
    layers_of,
    module_of,
    opened,
    recipe_of,
    save,
)


@pytest.fixture(autouse=True)
def _own_path() -> Iterator[None]:
    before = sys.path[:]
    yield
    sys.path[:] = before


def outputs_of(module: Any, built: Any) -> list[Any]:
    with torch.no_grad():
        return [leaf.numpy() for leaf in torch.utils._pytree.tree_leaves(module(*map(torch.from_numpy, built.example())))]


def gives_what(module: Any, built: Any) -> bool:
    """Compare to the last bits but one: in which order a kernel adds up depends on where in memory its operands lie."""
    return np.allclose(built.run(built.example())[0], outputs_of(module, built)[0], rtol=1e-6, atol=1e-7)


def test_state_dict(tmp_path: Path) -> None:
    """A module built from a state dict gives what the trained one gives, without gradients and in eval mode."""
    built = build_model(tmp_path, "Attention", input_size=6, hidden_size=8)
    original = module_of("Attention", input_size=6, hidden_size=8)
    assert gives_what(original, built)
    assert not built.module.training
    assert not any(parameter.requires_grad for parameter in built.module.parameters())
    assert built.specs == (InputSpec("input", ("batch", "time", 6)),)
    assert built.outputs == ("output",)
    assert "lstm" in built.inputs_origin


@pytest.mark.parametrize("wrap", ["{}", "module.{}", "_orig_mod.{}", "module._orig_mod.{}"])
def test_checkpoint_dict(tmp_path: Path, wrap: str) -> None:
    """The weights are found in a checkpoint dict, under any wrapper's prefix, and the optimizer stays where it is."""
    module = module_of("Attention", input_size=6, hidden_size=8)
    optimizer = torch.optim.Adam(module.parameters())
    weights = {wrap.format(name): value for name, value in module.state_dict().items()}
    checkpoint = {"epoch": 3, "optimizer": optimizer.state_dict(), "net": weights, "history": [1.0, 2.0]}
    built = build_from(save(tmp_path / "a.pth", checkpoint), recipe_of("Attention", input_size=6, hidden_size=8))
    assert gives_what(module, built)
    assert built.notes["weights_key"] == "net"


def test_best_fit_wins(tmp_path: Path) -> None:
    """Of two state dicts in one file the one that fits the module is taken."""
    other, wanted = module_of("TwoInputs"), module_of("TwoOutputs")
    path = save(tmp_path / "a.pth", {"generator": other.state_dict(), "discriminator": wanted.state_dict()})
    built = build_from(path, recipe_of("TwoOutputs", inputs=[InputSpec("x", ("batch", 4))]))
    assert gives_what(wanted, built)
    assert built.notes["weights_key"] == "discriminator"


def test_extra_state(tmp_path: Path) -> None:
    """What a state dict holds beside tensors reaches the module."""
    module = module_of("Extra")
    module.steps = 41
    assert build_from(save(tmp_path / "a.pth", module.state_dict()), recipe_of("Extra")).module.steps == 41


def test_tied_weights_stay_tied(tmp_path: Path) -> None:
    """One tensor under two names is one tensor in the module that is built."""
    module = build_model(tmp_path, "Tied").module
    assert module.head.weight is module.embedding.weight


def test_versions_reach_the_module(tmp_path: Path) -> None:
    """The versions in a state dict's metadata are heeded: a BatchNorm of version 1 has no counter."""
    state = torch.nn.BatchNorm2d(3).state_dict()
    del state["num_batches_tracked"]
    state._metadata[""]["version"] = 1
    recipe = recipe_of("torch.nn:BatchNorm2d", num_features=3, inputs=[InputSpec("x", ("batch", 3, 4, 4))])
    with pytest.raises(TargetError, match="num_batches_tracked"):
        build_from(save(tmp_path / "a.pth", dict(state)), exact(recipe))


def exact(recipe: Recipe) -> Recipe:
    return Recipe(
        recipe.maker,
        recipe.origin,
        callable=recipe.callable,
        hyperparameters=recipe.hyperparameters,
        inputs=recipe.inputs,
        is_exact=True,
    )


def test_packed_parameters(tmp_path: Path) -> None:
    """The packed weights of a quantized module, which are no tensors in its state dict, reach it."""
    with silence(), importing():
        import small

        torch.manual_seed(7)
        module = small.make_packed()
    built = build_from(
        save(tmp_path / "a.pth", module.state_dict()), recipe_of("make_packed", inputs=[InputSpec("x", ("batch", 4))])
    )
    assert gives_what(module, built)


def linear(tmp_path: Path) -> Path:
    return save(tmp_path / "linear.pth", torch.nn.Linear(4, 3).state_dict())


def test_hyperparameters_are_chosen(tmp_path: Path) -> None:
    """A class gets what its signature takes and the rest is noted; a function with ** gets everything."""
    path = save(tmp_path / "a.pth", module_of("Tied").state_dict())
    assert build_from(path, recipe_of("Tied", lr=0.1, epochs=3)).notes == {"hyperparameters": {}, "left_out": ["lr", "epochs"]}
    built = build_from(linear(tmp_path), recipe_of("make", width=3, lr=0.1))
    assert built.module.options == {"lr": 0.1}
    assert built.notes["hyperparameters"] == {"width": 3, "lr": 0.1}


REFUSED = {
    "Attention": "small:Attention needs input_size and hidden_size: give them in hyperparameters",
    "Missing": "the module small has no Missing",
    "nowhere.at.all:Model": "nowhere.at.all can't be imported: there is no module nowhere: add the directory that holds it",
    "small:a.b": "is no callable: write it as module:name",
    "small:number": "is a int and can't be called",
    "small:imported": "is not defined in a trusted directory",
    "os:system": "is not defined in a trusted directory",
    "torch.nn:Linear": "is not defined in a trusted directory",
    "make_nothing": "small:make_nothing gives a str, which is no torch.nn.Module",
    "fail": r"small:fail fails when it is called: ValueError: no such \x1b[31mwidth",
    "quit_early": "small:quit_early fails when it is called: SystemExit: 3",
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_callables(tmp_path: Path, name: str) -> None:
    """What can't be called, isn't trusted or gives no module is refused in one sentence, and nothing of it runs."""
    with pytest.raises(TargetError) as caught:
        build_from(linear(tmp_path), recipe_of(name))
    assert REFUSED[name] in str(caught.value)


def test_exact_callable_needs_no_directory(tmp_path: Path) -> None:
    """A callable that is trusted by its exact name may be defined anywhere."""
    recipe = exact(recipe_of("torch.nn:Linear", in_features=4, out_features=3))
    assert build_from(linear(tmp_path), recipe).run([np.zeros((1, 4), np.float32)])[0].shape == (1, 3)


def test_training_function(tmp_path: Path) -> None:
    """The create_model of a training function is called with the hyperparameters it takes."""
    code = "import torch\ndef create_model(**hyperparams):\n    return torch.nn.Linear(hyperparams['size'], 3)\n"
    recipe = Recipe(Maker.FUNCTION, "function: linear.json", hyperparameters={"size": 4}, training_code=code)
    assert build_from(linear(tmp_path), recipe).specs == (InputSpec("input", ("batch", 4)),)


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("def create_model(:", "the training function bad.json can't be run: SyntaxError"),
        ("x = 1", "the training function bad.json defines no create_model"),
        ("raise KeyError('x')", "the training function bad.json can't be run: KeyError"),
    ],
)
def test_bad_training_function(tmp_path: Path, code: str, sentence: str) -> None:
    """A training function that can't be run says so and names its file."""
    with pytest.raises(TargetError, match=sentence):
        build_from(linear(tmp_path), Recipe(Maker.FUNCTION, "function: bad.json", training_code=code))


class TestDifferences:
    """What does not fit is named, each with both sides."""

    def test_each_kind(self, tmp_path: Path) -> None:
        """Missing, unexpected, other shapes and other kinds of numbers are four words."""
        state = {
            "weight": torch.zeros(2, 4),
            "bias": torch.zeros(3, dtype=torch.int8),
            "more": torch.zeros(5),
        }
        with opened(save(tmp_path / "a.pth", state)) as fd:
            found = compare_parameters(recipe_of("TwoOutputs"), fd)
        assert {(item["name"], item["kind"], item["module"], item["file"]) for item in found["differences"]} == {
            ("fc.weight", "missing", "(3, 4)", ""),
            ("fc.bias", "missing", "(3)", ""),
            ("weight", "unexpected", "", "(2, 4)"),
            ("bias", "unexpected", "", "(3)"),
            ("more", "unexpected", "", "(5)"),
        }
        with opened(save(tmp_path / "b.pth", {f"fc.{name}": value for name, value in state.items()})) as fd:
            found = compare_parameters(recipe_of("TwoOutputs"), fd)
        assert {(item["name"], item["kind"], item["module"], item["file"]) for item in found["differences"]} == {
            ("fc.weight", "shape", "(3, 4)", "(2, 4)"),
            ("fc.bias", "dtype", "float32", "int8"),
            ("fc.more", "unexpected", "", "(5)"),
        }
        assert "fc.weight is (3, 4) in the module and (2, 4) in the file" in found["sentence"]

    def test_sentence_is_bounded(self, tmp_path: Path) -> None:
        """Ten differences are written out, the rest is counted."""
        state = {f"layer{number}.weight": torch.zeros(2) for number in range(45)}
        with pytest.raises(TargetError, match=r"and 37 more$"):
            build_from(save(tmp_path / "a.pth", state), recipe_of("TwoOutputs"))

    def test_none(self, tmp_path: Path) -> None:
        """A recipe that fits has no difference, and says which inputs the module takes."""
        path = save(tmp_path / "a.pth", module_of("Tied").state_dict())
        with opened(path) as fd:
            found = compare_parameters(recipe_of("Tied"), fd, {}, layers_of(path))
        assert found["differences"] == []
        assert found["inputs"] == [{"name": "input", "shape": ["batch", "time"], "dtype": "int64", "high": 20}]

    def test_hostile_names(self, tmp_path: Path) -> None:
        """A name out of a file can't move a cursor."""
        with pytest.raises(TargetError) as caught:
            build_from(save(tmp_path / "a.pth", {"\x1b[2Jfc.weight": torch.zeros(2)}), recipe_of("TwoOutputs"))
        assert str(caught.value).isprintable()


class TestPickledModules:
    """A pickled module of trusted classes is its own recipe."""

    @pytest.mark.parametrize("name", ["Attention", "Classifier", "Tied", "QuantizedCNN"])
    def test_trusted(self, tmp_path: Path, name: str) -> None:
        """It gives what the saved one gives."""
        options = {"input_size": 6, "hidden_size": 8} if name == "Attention" else {}
        module = module_of(name, **options)
        with importing():
            path = save(tmp_path / "a.pth", module)
        built = build_from(path, Recipe(Maker.MODULE, "file", classes=(f"small.{name}",), directories=(TRUSTED,)))
        assert np.allclose(built.run(built.example())[0], outputs_of(module, built)[0], atol=1e-6)
        assert type(built.module) is type(module)

    def test_torch_classes_need_no_trust(self, tmp_path: Path) -> None:
        """torch.nn's own classes are known."""
        module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.GELU(), torch.nn.Linear(8, 2))
        built = build_from(save(tmp_path / "a.pth", {"model": module}), Recipe(Maker.MODULE, "file"))
        assert gives_what(module, built)

    def test_main_is_the_script(self, tmp_path: Path) -> None:
        """A class that was pickled as __main__'s is the trusted one of that name."""
        module = module_of("Tied")
        kind = type(module)
        kind.__module__, main = "__main__", sys.modules["__main__"]
        main.Tied = kind
        try:
            path = save(tmp_path / "a.pth", module)
        finally:
            kind.__module__ = "small"
            del main.Tied
        built = build_from(path, Recipe(Maker.MODULE, "file", classes=("small.Tied",), directories=(TRUSTED,)))
        assert type(built.module) is kind

    def test_untrusted(self, tmp_path: Path) -> None:
        """Every class that is not trusted is named, and none is imported for being asked for."""
        with importing():
            path = save(tmp_path / "a.pth", module_of("Tied"))
        with pytest.raises(TargetError, match=r"built of small\.Tied, not trusted"):
            build_from(path, Recipe(Maker.MODULE, "file", classes=("small.Tie", "small")))

    def test_setstate_is_not_called(self, tmp_path: Path) -> None:
        """The attributes are set as they stand in the file, and no method of the class is asked."""
        module = module_of("Stateful")
        with importing():
            path = save(tmp_path / "a.pth", module)
        built = build_from(path, Recipe(Maker.MODULE, "file", classes=("small.Stateful",), directories=(TRUSTED,)))
        assert gives_what(module, built)

    @pytest.mark.parametrize("registry", [None, {"0": torch.zeros(2)}, {"0": "text"}, []])
    def test_broken_trees(self, tmp_path: Path, registry: Any) -> None:
        """A tree that holds something beside modules is refused in a sentence."""
        module = torch.nn.Sequential(torch.nn.Linear(2, 2))
        vars(module)["_modules"] = registry
        with pytest.raises(TargetError, match=r"the pickled module|no pickled module"):
            build_from(save(tmp_path / "a.pth", module), Recipe(Maker.MODULE, "file"))

    def test_nothing_is_called(self, tmp_path: Path) -> None:
        """A callable in the file is not called, though its class were trusted."""
        module = torch.nn.Linear(2, 2)
        module.extra = Calls()
        with pytest.raises(TargetError):
            build_from(save(tmp_path / "a.pth", module), Recipe(Maker.MODULE, "file", classes=(f"{__name__}.note",)))
        assert not CALLED


CALLED: list[str] = []


def note(word: str) -> str:
    CALLED.append(word)
    return word


class Calls:
    def __reduce__(self) -> Any:
        return (note, ("called",))


def test_torchscript(tmp_path: Path) -> None:
    """An archive is its own recipe too."""
    module = module_of("Branches")
    with silence():
        torch.jit.save(torch.jit.script(module), tmp_path / "a.pt")
    built = build_from(tmp_path / "a.pt", Recipe(Maker.TORCHSCRIPT, "file"))
    assert gives_what(module, built)


def test_another_torchscript_archive_than_the_one_that_is_trusted(tmp_path: Path) -> None:
    """Trust in a digest is trust in these bytes: what was put into the same file since is not run."""
    with silence():
        torch.jit.save(torch.jit.script(module_of("Branches")), tmp_path / "a.pt")
    with pytest.raises(TargetError, match="not the one that was inspected"):
        build_from(tmp_path / "a.pt", Recipe(Maker.TORCHSCRIPT, "file", code_sha256="0" * 64))


class TestInputs:
    """Inputs are the recipe's, or found by trying, or asked for."""

    def test_time_first(self, tmp_path: Path) -> None:
        """Whether time comes before the batch is asked of the module."""
        built = build_model(tmp_path, "TimeFirst")
        assert built.specs == (InputSpec("input", ("time", "batch", 5)),)

    def test_fixed_length(self, tmp_path: Path) -> None:
        """A length that the module has one of is a number, and the batch stays open."""
        built = build_model(tmp_path, "FixedLength")
        assert built.specs == (InputSpec("input", ("batch", 16, 3)),)
        assert built.notes["fixed"] == ["time"]
        assert reference(built).dropped == ("time",)

    def test_unknown(self, tmp_path: Path) -> None:
        """Inputs that can't be guessed are asked for, with a line to copy."""
        with pytest.raises(TargetError) as caught:
            build_model(tmp_path, "TwoInputs")
        assert "TwoInputs takes query, context" in str(caught.value)
        assert 'inputs = [{ name = "query", shape = ["batch", 16] }, { name = "context"' in str(caught.value)

    def test_recipe_that_does_not_fit(self, tmp_path: Path) -> None:
        """Inputs of a recipe that the module refuses are refused with the module's own words."""
        with pytest.raises(TargetError, match="does not take the inputs of the recipe: RuntimeError"):
            build_model(tmp_path, "TwoOutputs", inputs=[InputSpec("x", ("batch", 5))])

    def test_strange_outputs(self, tmp_path: Path) -> None:
        """What is no tensor can't be exported."""
        with pytest.raises(TargetError, match="returns a str beside or instead of tensors"):
            build_model(tmp_path, "Words", inputs=[InputSpec("x", (1, 4))])


def test_noise_is_noticed(tmp_path: Path) -> None:
    """A module whose outputs differ from call to call is not deterministic, and others are."""
    assert not reference(build_model(tmp_path, "Noisy")).is_deterministic
    noted = reference(build_model(tmp_path, "TwoOutputs"))
    assert noted.is_deterministic
    assert {name.rpartition(".")[2] for name in noted.arrays} == {"output0", "output1"}


def test_damaged_weights(tmp_path: Path) -> None:
    """A flipped bit in the weights is found on the way."""
    path = linear(tmp_path)
    data = bytearray(path.read_bytes())
    place = data.index(torch.load(path)["weight"].numpy().tobytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(TargetError, match="do not match their CRC-32"):
        build_from(path, recipe_of("make"))


@pytest.mark.parametrize("target", ["safetensors", "float16", "int8"])
def test_weights_of_an_export(tmp_path: Path, target: str) -> None:
    """A weights export can be put into the module in place of the checkpoint's weights, whatever it did to them."""
    path = save(tmp_path / "a.pth", module_of("Extra").state_dict())
    built = build_from(path, recipe_of("Extra"))
    before = built.run(built.example())[0]
    with torch.no_grad():
        built.module.fc.weight.zero_()
    with opened(path) as fd:
        out = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)
        find_target(target).write(read_weights(fd), out, {})
    load_weights(built, out)
    os.close(out)
    assert np.allclose(built.run(built.example())[0], before, atol={"safetensors": 0, "float16": 1e-2, "int8": 5e-2}[target])
