"""Recipes: who is asked in which order, what trust each needs, and what the sentence says when there is none."""

from __future__ import annotations

import hashlib
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptd.export.recipes import (
    Facts,
    FoundFunction,
    NoRecipe,
    RecipeError,
    Sources,
    matches,
    read_entry_points,
    read_recipe_value,
    resolve,
)
from ckptd.export.trust import Trust
from ckptd.model import Container, Kind, Status
from ckptd.proof import InputSpec, Maker, Recipe
from ckptd.settings.model import RecipeSettings, TrustSettings

DIGEST = "d" * 64
FUNCTION = json.dumps(
    {"training_code": "def create_model(**h):\n    ...\n", "hyperparams": {"hidden": 1, "depth": 2}, "outputs": ["y"]}
)


@pytest.fixture
def code(tmp_path):
    """A directory of the operator's code."""
    directory = tmp_path / "code"
    directory.mkdir(mode=0o755)
    for name in ("models", "other", "packaged"):
        (directory / f"{name}.py").write_text(f"# {name}\n")
        (directory / f"{name}.py").chmod(0o644)
    return directory


def facts(**changes) -> Facts:
    given = {
        "path": "/srv/models/run/BiLSTM_a.pth",
        "relative": "run/BiLSTM_a.pth",
        "model_name": "BiLSTM",
        "kind": Kind.STATE_DICT,
        "container": Container.ZIP,
        "status": Status.OK,
        "sha256": DIGEST,
        "hyperparameters": {"hidden": 64, "lr": 0.1},
    }
    return Facts(**{**given, **changes})


def sources(code=None, *, recipes=(), environment=(), function=None, remembered=None, entry_points=(), **trust) -> Sources:
    directories = () if code is None else (code,)
    settings = TrustSettings(directories=directories, **trust)
    return Sources(
        Trust.of(settings, environment=environment).examine(),
        [RecipeSettings(**{"match": "*", **recipe}) for recipe in recipes],
        function,
        remembered,
        entry_points,
    )


def found_function(directory, text=FUNCTION) -> FoundFunction:
    path = directory / "BiLSTM.json"
    path.write_text(text)
    path.chmod(0o644)
    return FoundFunction(str(path), text, hashlib.sha256(text.encode()).hexdigest())


def sentence(found) -> str:
    assert isinstance(found, NoRecipe)
    text = str(found)
    assert text.isprintable()
    return text


def test_without_anything_the_sentence_says_how_to_begin():
    """The setting and the command that writes it."""
    text = sentence(resolve(facts(), sources()))
    assert "add a [[recipe]] with match and callable to the settings" in text
    assert "`ckptd recipe suggest NAME`" in text


def test_a_recipe_of_the_settings_in_a_trusted_directory(code):
    """Everything that the worker needs is in it."""
    wanted = {
        "match": "BiLSTM_*",
        "callable": "models:BiLSTM",
        "hyperparameters": {"hidden": 3},
        "inputs": [{"shape": ["batch", 12]}, {"name": "ids", "shape": ["batch"], "dtype": "int64", "high": 7}, {"shape": [1]}],
        "outputs": ["logits"],
    }
    found = resolve(facts(), sources(code, recipes=[wanted]))
    assert found == Recipe(
        Maker.CALLABLE,
        "settings: BiLSTM_*",
        "models:BiLSTM",
        {"hidden": 3, "lr": 0.1},
        (InputSpec("input", ("batch", 12)), InputSpec("ids", ("batch",), "int64", 7), InputSpec("input_2", (1,))),
        ("logits",),
        hashlib.sha256((code / "models.py").read_bytes()).hexdigest(),
        directories=(str(code),),
    )


def test_the_order_of_the_sources(code):
    """Sidecar, settings, training function, entry point, the file itself, the group: each gives way to those before it."""
    everything = {
        "recipes": [{"callable": "models:Settings"}],
        "function": found_function(code),
        "entry_points": [("BiLSTM", "packaged:Entry")],
        "remembered": Recipe(Maker.CALLABLE, "sidecar", "other:Remembered", {"hidden": 9, "depth": 9}),
        "classes": ["mine.Net"],
    }
    about = {"sidecar": "models:Sidecar", "kind": Kind.MODULE, "classes": ("mine.Net",)}
    seen = []
    for left_out in (None, "sidecar", "recipes", "function", "entry_points", "classes", "remembered"):
        if left_out == "sidecar":
            about["sidecar"] = None
        elif left_out == "classes":
            about["kind"] = Kind.STATE_DICT
        elif left_out == "remembered":
            everything["remembered"] = None
        elif left_out is not None:
            everything[left_out] = () if left_out != "function" else None
        found = resolve(facts(**about), sources(code, **everything))
        seen.append(found.origin if isinstance(found, Recipe) else None)
    expected = ["sidecar", "settings: *", "function: BiLSTM.json", "entry point: BiLSTM", "file", "group", None]
    assert seen == expected


def test_an_untrusted_sidecar_does_not_block_the_settings(code):
    """Whoever may drop a model may write a sidecar."""
    found = resolve(facts(sidecar="evil:run"), sources(code, recipes=[{"callable": "models:BiLSTM"}]))
    assert isinstance(found, Recipe)
    assert found.callable == "models:BiLSTM"


@pytest.mark.parametrize("sidecar", ["evil", 3, [], {"callable": "evil:run", "x": 1}, {"callable": ["a"]}, "\x1b[2J:x", {}])
def test_a_broken_sidecar_does_not_block_the_settings(code, sidecar):
    """Nor one that makes no sense; alone, it is named with the way to write it."""
    found = resolve(facts(sidecar=sidecar), sources(code, recipes=[{"callable": "models:BiLSTM"}]))
    assert isinstance(found, Recipe)
    text = sentence(resolve(facts(sidecar=sidecar), sources(code)))
    assert "the recipe in the sidecar" in text
    assert '"module:callable"' in text


def test_the_operators_own_recipe_is_what_is_explained(code):
    """A sidecar of somebody else can't hide that the settings' recipe lacks a chmod."""
    code.chmod(0o777)
    text = sentence(resolve(facts(sidecar="evil:run"), sources(code, recipes=[{"callable": "models:BiLSTM"}])))
    assert text.startswith("the recipe of the settings: *: models:BiLSTM is not trusted, because")
    assert f"chmod go-w {code}" in text
    assert "evil" not in text


def test_an_untrusted_sidecar_alone_says_what_to_add(code):
    """In one sentence, with the callable."""
    text = sentence(resolve(facts(sidecar="models:BiLSTM"), sources(environment=(str(code),))))
    assert text.startswith('the recipe in the sidecar: "models:BiLSTM" is not trusted')
    assert 'add "models:BiLSTM" to trust.callables, if you wrote it' in text


def test_a_sidecar_is_as_trusted_as_its_callable(code):
    """Named exactly, it runs, with its own hyperparameters over the record's."""
    told = {"callable": "models:BiLSTM", "hyperparameters": {"hidden": 5, "x": None}, "outputs": ["y"]}
    found = resolve(facts(sidecar=told), sources(environment=(str(code),), callables=["models:BiLSTM"]))
    assert isinstance(found, Recipe)
    assert (found.origin, found.is_exact, found.directories) == ("sidecar", True, ())
    assert found.hyperparameters == {"hidden": 5, "lr": 0.1, "x": None}
    assert found.outputs == ("y",)


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("BiLSTM_*", True),
        ("BiLSTM_a.pth", True),
        ("BiLSTM_a", True),
        ("run/*", True),
        ("run/BiLSTM_?.pth", True),
        ("BiLSTM", True),
        ("*", True),
        ("bilstm", False),
        ("other/*", False),
        ("/srv/*", False),
        ("BiLSTM_a.pt", False),
    ],
)
def test_what_a_pattern_is_held_against(pattern, fits):
    """The file's name, its stem, its path in the root, the model's name; case counts."""
    assert matches(pattern, facts()) is fits


def test_a_stem_of_two_endings():
    """`x.pth.tar` is called x."""
    assert matches("x", facts(relative="x.pth.tar"))
    assert matches("x", facts(relative="a/x.ckpt", model_name=None))


def test_the_first_recipe_that_matches_wins(code):
    """In the order of the file, whatever comes later."""
    recipes = [
        {"match": "Other*", "callable": "models:A"},
        {"match": "Bi*", "callable": "models:B"},
        {"match": "*", "callable": "models:C"},
    ]
    assert resolve(facts(), sources(code, recipes=recipes)).callable == "models:B"


def test_a_training_function_by_directory_or_digest(code, tmp_path):
    """Its text travels in the recipe: what was checked is what runs."""
    inside = found_function(code)
    found = resolve(facts(), sources(code, function=inside))
    assert isinstance(found, Recipe)
    assert found.maker is Maker.FUNCTION
    assert found.training_code == json.loads(FUNCTION)["training_code"]
    assert found.code_sha256 == inside.sha256
    assert found.outputs == ("y",)
    # One file serves all models of its name: what the checkpoint says of itself is closer to it.
    assert found.hyperparameters == {"hidden": 64, "depth": 2, "lr": 0.1}
    outside = found_function(tmp_path)
    text = sentence(resolve(facts(), sources(code, function=outside)))
    assert f'add "{tmp_path}" to trust.directories, or "{outside.sha256}" to trust.digests' in text
    assert isinstance(resolve(facts(), sources(function=outside, digests=[outside.sha256])), Recipe)


def test_a_training_function_that_others_can_write_is_refused(code):
    """Even in a trusted directory."""
    function = found_function(code)
    os.chmod(function.path, 0o664)
    text = sentence(resolve(facts(), sources(code, function=function)))
    assert f"chmod go-w {function.path}" in text


def test_a_training_function_that_makes_no_sense_is_explained(code):
    """What is wrong, and where it is to be corrected."""
    for text, word in (
        (json.dumps({"training_code": "x = 1"}), "define create_model"),
        (json.dumps({"training_code": "def create_model(): ...", "inputs": [{}]}), "inputs.0.shape"),
        ("nonsense", "define create_model"),
    ):
        assert word in sentence(resolve(facts(), sources(code, function=found_function(code, text))))


def test_an_entry_point_needs_trust_too(code):
    """Installed is not trusted: a package may offer a recipe, the operator says whether it runs."""
    offered = [("Other", "models:Other"), ("BiL*", "models:BiLSTM")]
    text = sentence(resolve(facts(), sources(environment=(str(code),), entry_points=offered)))
    assert 'add "models:BiLSTM" to trust.callables' in text
    found = resolve(facts(), sources(environment=(str(code),), entry_points=offered, callables=["models:BiLSTM"]))
    assert isinstance(found, Recipe)
    assert found.origin == "entry point: BiL*"
    assert isinstance(resolve(facts(model_name=None), sources(entry_points=offered)), NoRecipe)


def test_entry_points_are_listed_and_not_imported(tmp_path, monkeypatch):
    """Their metadata says enough; the module is nowhere."""
    info = tmp_path / "zoo-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: zoo\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[ckptd.recipes]\nBiLSTM = no_such_module_of_zoo:make\n[other]\nx = y:z\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert ("BiLSTM", "no_such_module_of_zoo:make") in read_entry_points()


def test_torchscript_runs_by_digest_or_directory(code):
    """It is a program; the sentence names both ways."""
    path = code / "m.pt"
    path.write_bytes(b"")
    path.chmod(0o644)
    script = {"container": Container.TORCHSCRIPT, "kind": Kind.TORCHSCRIPT, "status": Status.NEEDS_CODE}
    text = sentence(resolve(facts(**script), sources()))
    assert text.startswith("it is TorchScript, a program")
    assert f'"{DIGEST}" to trust.digests' in text
    for trusted in (sources(digests=[DIGEST]), sources(code)):
        found = resolve(facts(**script, path=str(path)), trusted)
        assert isinstance(found, Recipe)
        assert (found.maker, found.origin, found.code_sha256) == (Maker.TORCHSCRIPT, "file", DIGEST)


def test_a_pickled_module_needs_its_classes(code):
    """Each by its exact name, those of torch.nn excepted."""
    names = ("torch.nn.modules.linear.Linear", "mine.Net", "mine.Block")
    module = facts(kind=Kind.MODULE, status=Status.NEEDS_CODE, classes=names)
    text = sentence(resolve(module, sources(code, classes=["mine.Net"])))
    assert 'add "mine.Block" to trust.classes, and the directory that holds "mine" to trust.directories, if you wrote' in text
    found = resolve(module, sources(code, classes=["mine.Net", "mine.Block"]))
    assert isinstance(found, Recipe)
    assert (found.maker, found.classes, found.directories) == (Maker.MODULE, names, (str(code),))
    assert resolve(module, sources(digests=[DIGEST])).classes == names
    only_torch = facts(kind=Kind.MODULE, classes=names[:1])
    assert resolve(only_torch, sources()).maker is Maker.MODULE


def test_many_classes_make_one_sentence():
    """Three are named, the rest is counted, and none moves a cursor."""
    names = tuple(f"mine.C\x1b{n}" for n in range(50))
    text = sentence(resolve(facts(kind=Kind.MODULE, classes=names), sources()))
    assert "and 47 more to trust.classes" in text


def test_a_class_of_a_script_gets_another_sentence():
    """`__main__.Net` is found nowhere: the class needs a module of its own, and a digest does not help."""
    module = facts(kind=Kind.MODULE, classes=("__main__.Net",))
    for trusted in (sources(), sources(digests=[DIGEST]), sources(classes=["a.Net", "b.Net"]), sources(classes=["a.MyNet"])):
        text = sentence(resolve(module, trusted))
        assert 'add a [[recipe]] with callable = "module:Net", or "module.Net" to trust.classes' in text


def test_a_class_of_a_script_is_the_trusted_one_of_its_name():
    """Where one class only can be meant."""
    found = resolve(facts(kind=Kind.MODULE, classes=("__main__.Net",)), sources(classes=["mine.Net", "mine.Other"]))
    assert isinstance(found, Recipe)
    assert found.classes == ("mine.Net",)


def test_what_the_group_remembers_is_trusted_anew(code):
    """A callable that is not trusted any more is not used, whatever fitted once; the checkpoint's own words come first."""
    remembered = Recipe(Maker.CALLABLE, "sidecar", "models:BiLSTM", {"hidden": 9, "depth": 9}, (InputSpec("x", (1,)),), ("y",))
    found = resolve(facts(), sources(code, remembered=remembered))
    assert isinstance(found, Recipe)
    assert found.origin == "group"
    assert found.hyperparameters == {"hidden": 64, "lr": 0.1, "depth": 9}
    assert (found.inputs, found.outputs) == (remembered.inputs, remembered.outputs)
    text = sentence(resolve(facts(), sources(remembered=remembered)))
    assert 'add the directory that holds "models" to trust.directories' in text


@pytest.mark.parametrize("status", [s for s in Status if s not in {Status.OK, Status.NEEDS_CODE}])
def test_nothing_is_built_from_a_bad_file(code, status):
    """Whatever the recipe says."""
    text = sentence(resolve(facts(status=status), sources(code, recipes=[{"callable": "models:BiLSTM"}])))
    assert "nothing is built from such a file" in text


@pytest.mark.parametrize(("kind", "what"), [(Kind.OPTIMIZER, "an optimizer's state"), (Kind.TENSOR, "a single tensor")])
def test_what_holds_no_weights_needs_no_recipe(code, kind, what):
    """A recipe that matches everything doesn't try to build it."""
    text = sentence(resolve(facts(kind=kind), sources(code, recipes=[{"callable": "models:BiLSTM"}])))
    assert f"it holds {what} and no module's weights" in text


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (3, "is neither"),
        (None, "is neither"),
        ({}, "callable: Field required"),
        ({"callable": "m:x", "calable": 1}, "calable: is not known; there are callable hyperparameters"),
        ({"callable": "m:x", "match": "*"}, "match: is not known"),
        ({"callable": "os:system.x"}, "name the callable itself"),
        ({"callable": "m:x", "inputs": [{"shape": [1]}] * 17}, "at most 16"),
        ({"callable": "m:x", "inputs": [{"shape": [1] * 9}]}, "more than 8"),
        ({"callable": "m:x", "inputs": [{"shape": [2**31 + 1]}]}, "a size is 1 to"),
        ({"callable": "m:x", "inputs": [{"shape": [-1]}]}, "a size is 1 to"),
        ({"callable": "m:x", "inputs": [{"shape": ["\x1b"]}]}, "is no name"),
        ({"callable": "m:x", "inputs": [{"name": "a" * 65, "shape": []}]}, "is no name"),
        ({"callable": "m:x", "inputs": [{"shape": [1], "dtype": "object"}]}, "no element type"),
        ({"callable": "m:x", "\x1b[2J" * 100: 1}, "is not known"),
    ],
)
def test_a_recipe_that_a_file_says_is_held_to_bounds(value, word):
    """One part of a sentence, escaped and short."""
    with pytest.raises(RecipeError) as caught:
        read_recipe_value(value)
    assert word in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)
KEYS = st.sampled_from(["callable", "hyperparameters", "inputs", "outputs", "name", "shape", "dtype", "high", "x"])


@given(JSON | st.dictionaries(KEYS, JSON | st.just("m:x") | st.lists(st.dictionaries(KEYS, JSON, max_size=3), max_size=2)))
def test_no_value_of_a_sidecar_is_a_surprise(value):
    """It is a recipe with a callable of two identifiers, or a RecipeError."""
    try:
        body = read_recipe_value(value)
    except RecipeError:
        return
    assert body.callable.replace(":", "").replace(".", "").isidentifier()


@given(JSON)
def test_no_sidecar_is_trusted_by_what_it_says(value):
    """Whatever stands in it, without the operator's trust there is no recipe."""
    found = resolve(facts(sidecar=value), Sources(Trust().examine()))
    assert isinstance(found, NoRecipe)
    assert str(found).isprintable()
