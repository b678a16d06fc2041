"""Find the recipe of a checkpoint: who says how to build its module, and whether what they name may run.

Sources are asked in order: the sidecar · the settings · a training function · an entry point · the file itself · the recipe
that fitted another checkpoint of the group.  The first one that is trusted wins.  One that is there and not trusted stands in
nobody's way: a sidecar is writable by whoever may drop a model, and must neither run what it likes nor keep the operator's own
recipe from being used.  When no source is trusted, the answer says why the settings' recipe is not, if there is one, since the
operator wrote it; else why the first source that said anything is not.
"""

from __future__ import annotations

import fnmatch
import importlib.metadata
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ckptd.checkpoint.functions import read_function
from ckptd.export.guarded import Refusal
from ckptd.export.trust import MAIN, Ground
from ckptd.model import Container, Json, Kind, Status
from ckptd.proof import InputSpec, Maker, Recipe
from ckptd.text import escape

if TYPE_CHECKING:
    from ckptd.settings.model import InputSettings, RecipeBody, RecipeSettings

#: Packages that know models say so here; the name is a glob on the model's name, the value "module:callable".
ENTRY_POINTS = "ckptd.recipes"
#: Entry points that are looked at, and names of classes in one sentence.
_MOST_ENTRY_POINTS = 1_000
_MOST_NAMES = 3


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a checkpoint.

    Attributes:
        path: absolute.
        relative: to its root, "/" between parts.
        hyperparameters: of the record: what the content says, and a person's sidecar over it.
        sidecar: the value of the top-level key `recipe` in its metadata JSON, as it stands there; None where it says nothing.
        classes: dotted names that a pickled module is made of (`checkpoint.module_classes.named_classes`).
    """

    path: str
    relative: str
    model_name: str | None
    kind: Kind | None
    container: Container
    status: Status
    sha256: str | None
    hyperparameters: Mapping[str, Json] = field(default_factory=dict)
    sidecar: Json = None
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundFunction:
    """A training-function JSON: where it lies, what was read of it, and the SHA-256 of that text."""

    path: str
    text: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Sources:
    """Who may say how a module is built, beside the checkpoint and its sidecar.

    Attributes:
        ground: the operator's trust, as it stands now.
        function: the training function that belongs to the model by its name.
        remembered: the recipe that fitted another checkpoint of the group.
        entry_points: name → "module:callable", as `read_entry_points` gives it.
    """

    ground: Ground
    recipes: Sequence[RecipeSettings] = ()
    function: FoundFunction | None = None
    remembered: Recipe | None = None
    entry_points: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class NoRecipe:
    """Why there is none, and what to add; `str` gives both as one sentence."""

    reason: str
    cure: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.cure}"


class RecipeError(ValueError):
    """A recipe that makes no sense; the text is a part of a sentence, already escaped."""


def resolve(facts: Facts, sources: Sources) -> Recipe | NoRecipe:
    """Give the recipe of a checkpoint, or the one sentence that says what to add.

    Nothing is imported and nothing runs; directories and files of code are looked at.
    """
    if facts.status not in {Status.OK, Status.NEEDS_CODE}:
        status = facts.status.value.replace("_", " ")
        return NoRecipe(f"it is {status}", "nothing is built from such a file; see `ckptd inspect`")
    if facts.kind in {Kind.OPTIMIZER, Kind.TENSOR}:
        what = "an optimizer's state" if facts.kind is Kind.OPTIMIZER else "a single tensor"
        return NoRecipe(f"it holds {what} and no module's weights", "save the module's state_dict")
    refusals: list[Refusal] = []
    for ask in _SOURCES:
        found = ask(facts, sources, sources.ground)
        if isinstance(found, Recipe):
            return found
        if found is not None:  # the operator's own recipe is what has to be put right first
            refusals.insert(0 if ask is _from_settings else len(refusals), found)
    if refusals:
        return NoRecipe(refusals[0].reason, refusals[0].cure)
    name = os.path.basename(facts.relative)
    return NoRecipe(
        f'nothing says how to build the module of "{escape(name, 120)}"',
        "add a [[recipe]] with match and callable to the settings; `ckptd recipe suggest NAME` prints one to fill in",
    )


def read_recipe_value(value: Json) -> RecipeBody:
    """Read a recipe that a file says: "module:callable", or an object with callable, hyperparameters, inputs, outputs.

    Raises:
        RecipeError: it is none; the text names the place.
    """
    from pydantic import ValidationError

    from ckptd.settings.model import RecipeBody

    if isinstance(value, str):
        value = {"callable": value}
    if not isinstance(value, dict):
        raise RecipeError('is neither "module:callable" nor an object with "callable"')
    try:
        return RecipeBody.model_validate(value)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        place = escape(".".join(map(str, detail["loc"])), 80)
        known = " ".join(RecipeBody.model_fields)
        message = f"is not known; there are {known}" if detail["type"] == "extra_forbidden" else detail["msg"]
        text = escape(message.removeprefix("Value error, "))
        raise RecipeError(f"{place}: {text}" if place else text) from error
    except RecursionError as error:
        raise RecipeError("nests too deeply") from error


def read_entry_points() -> tuple[tuple[str, str], ...]:
    """Give the recipes that installed packages offer, without importing any of them; (name, "module:callable"), sorted."""
    found = importlib.metadata.entry_points(group=ENTRY_POINTS)
    return tuple(sorted((point.name, point.value) for point in found))[:_MOST_ENTRY_POINTS]


def _from_sidecar(facts: Facts, sources: Sources, ground: Ground) -> Recipe | Refusal | None:
    del sources
    if facts.sidecar is None:
        return None
    try:
        body = read_recipe_value(facts.sidecar)
    except RecipeError as error:
        return Refusal(f"the recipe in the sidecar: {error}", 'write "recipe": "module:callable" there')
    return _callable_recipe("sidecar", body, facts, ground)


def _from_settings(facts: Facts, sources: Sources, ground: Ground) -> Recipe | Refusal | None:
    for body in sources.recipes:
        if matches(body.match, facts):
            return _callable_recipe(f"settings: {escape(body.match, 80)}", body, facts, ground)
    return None


def matches(pattern: str, facts: Facts) -> bool:
    """Tell whether a glob fits a checkpoint: its file's name with or without the ending, its path in the root, or its model."""
    name = facts.relative.rpartition("/")[2]
    stem = name.removesuffix(".tar").rpartition(".")[0] or name
    return any(fnmatch.fnmatchcase(text, pattern) for text in (name, stem, facts.relative, facts.model_name) if text)


def _from_function(facts: Facts, sources: Sources, ground: Ground) -> Recipe | Refusal | None:
    function = sources.function
    if function is None:
        return None
    refusal = ground.vouch_for_text(function.path, function.text, function.sha256)
    if refusal is not None:
        return Refusal(f"the training function {refusal.reason}", refusal.cure)
    told = read_function(function.text)
    name = escape(os.path.basename(function.path), 80)
    if not told.defines_create_model:
        return Refusal(f"the training function {name} defines no create_model", "define create_model(**hyperparams) in it")
    document = json.loads(function.text)
    ends = {key: document[key] for key in ("inputs", "outputs") if key in document}
    try:
        body = read_recipe_value({"callable": "function:create_model", **ends})
    except RecipeError as error:
        return Refusal(f"the training function {name}: {error}", "correct it there")
    return Recipe(
        Maker.FUNCTION,
        f"function: {name}",
        # One file serves all models of its name: what a checkpoint says of itself is closer to it.
        hyperparameters={**told.hyperparams, **facts.hyperparameters},
        inputs=_specs(body.inputs),
        outputs=body.outputs,
        code_sha256=function.sha256,
        training_code=document["training_code"],
        directories=ground.directories,
    )


def _from_entry_points(facts: Facts, sources: Sources, ground: Ground) -> Recipe | Refusal | None:
    from ckptd.settings.model import RecipeBody

    for name, value in sources.entry_points:
        if not facts.model_name or not fnmatch.fnmatchcase(facts.model_name, name):
            continue
        found = ground.find_callable(value.replace(" ", ""))
        if isinstance(found, Refusal):
            return Refusal(f"an installed package offers a recipe, and {found.reason}", found.cure)
        body = RecipeBody(callable=found.callable)
        return _callable_recipe(f"entry point: {escape(name, 80)}", body, facts, ground)
    return None


def _from_file(facts: Facts, sources: Sources, ground: Ground) -> Recipe | Refusal | None:
    del sources
    if facts.container is Container.TORCHSCRIPT:
        refusal = ground.vouch_for_file(facts.path, facts.sha256)
        if refusal is not None:
            return Refusal(f"it is TorchScript, a program, and {refusal.reason}", refusal.cure)
        return Recipe(Maker.TORCHSCRIPT, "file", code_sha256=facts.sha256)
    if facts.kind is not Kind.MODULE:
        return None
    return _from_classes(facts, ground)


def _from_classes(facts: Facts, ground: Ground) -> Recipe | Refusal:
    classes = [ground.class_of_script(name) or name for name in facts.classes]
    of_script = next((name for name in classes if name.startswith(f"{MAIN}.")), None)
    if of_script is not None:
        name = escape(of_script.removeprefix(f"{MAIN}."), 80)
        return Refusal(
            f'it is a pickled module of "{escape(of_script, 80)}", a class of the script that saved it',
            f'put the class into a module and add a [[recipe]] with callable = "module:{name}", or "module.{name}" to '
            "trust.classes, with the module's real name",
        )
    missing = ground.untrusted_classes(classes)
    if missing and facts.sha256 not in ground.trust.digests:
        listed = ", ".join(f'"{escape(name, 80)}"' for name in missing[:_MOST_NAMES])
        more = f" and {len(missing) - _MOST_NAMES} more" if len(missing) > _MOST_NAMES else ""
        nowhere = ground.missing_package(missing)
        home = f', and the directory that holds "{nowhere}" to trust.directories' if nowhere else ""
        return Refusal(
            "it is a pickled module of classes that are not trusted",
            f"add {listed}{more} to trust.classes{home}, if you wrote {'them' if len(missing) > 1 else 'it'}",
        )
    return Recipe(Maker.MODULE, "file", directories=ground.directories, classes=tuple(dict.fromkeys(classes)))


def _from_group(facts: Facts, sources: Sources, ground: Ground) -> Recipe | Refusal | None:
    """Take what fitted another checkpoint of the group, after the same questions as if it were new."""
    remembered = sources.remembered
    if remembered is None or remembered.maker is not Maker.CALLABLE or remembered.callable is None:
        return None
    found = ground.find_callable(remembered.callable)
    if isinstance(found, Refusal):
        return found
    return Recipe(
        Maker.CALLABLE,
        "group",
        found.callable,
        {**remembered.hyperparameters, **facts.hyperparameters},  # partly another checkpoint's own
        remembered.inputs,
        remembered.outputs,
        found.sha256,
        directories=ground.directories,
        is_exact=found.is_exact,
    )


_SOURCES: tuple[Callable[[Facts, Sources, Ground], Recipe | Refusal | None], ...] = (
    _from_sidecar,
    _from_settings,
    _from_function,
    _from_entry_points,
    _from_file,
    _from_group,
)


def _callable_recipe(origin: str, body: RecipeBody, facts: Facts, ground: Ground) -> Recipe | Refusal:
    found = ground.find_callable(body.callable)
    if isinstance(found, Refusal):
        where = "in the sidecar" if origin == "sidecar" else f"of the {origin}"
        return Refusal(f"the recipe {where}: {found.reason}", found.cure)
    return Recipe(
        Maker.CALLABLE,
        origin,
        found.callable,
        {**facts.hyperparameters, **body.hyperparameters},
        _specs(body.inputs),
        body.outputs,
        found.sha256,
        directories=ground.directories,
        is_exact=found.is_exact,
    )


def _specs(inputs: Iterable[InputSettings]) -> tuple[InputSpec, ...]:
    """Turn inputs as they are written into specs; those without a name get one by their place."""
    specs = []
    for number, item in enumerate(inputs):
        name = item.name or (f"input_{number}" if number else "input")
        specs.append(InputSpec(name, item.shape, item.dtype, item.high))
    return tuple(specs)
