"""Make the module that a recipe describes: this is where a person's code runs, in a confined worker and nowhere else.

torch is imported inside the functions: the daemon may import this module.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from ckptd.export.guarded import lies_in_place
from ckptd.export.importing import search_first
from ckptd.export.refusal import TargetError
from ckptd.model import Json
from ckptd.proof import Maker, Recipe
from ckptd.text import escape

#: Names in one message.
_MOST_NAMES = 10


def make_module(recipe: Recipe) -> tuple[Any, dict[str, Json]]:
    """Call what the recipe names; give the module and notes on the hyperparameters.

    Raises:
        TargetError: it can't be found, isn't trusted, can't be called so, fails, or gives no module.
    """
    import torch

    torch.manual_seed(0)
    search_first(recipe.directories)
    maker, name = _maker_of(recipe)
    return call_maker(maker, name, recipe.hyperparameters)


def call_maker(maker: Callable[..., Any], name: str, hyperparameters: Mapping[str, Json]) -> tuple[Any, dict[str, Json]]:
    """Call what builds a module with those of the hyperparameters that it takes.

    Args:
        maker: a class or a function.
        name: for sentences, escaped.
        hyperparameters: what is known; what it does not take is left out.

    Raises:
        TargetError: it lacks one, fails, or gives no module.
    """
    import torch

    arguments, notes = _arguments(maker, name, hyperparameters)
    try:
        made = maker(**arguments)
    except (Exception, SystemExit) as error:
        raise TargetError(f"{name} fails when it is called: {reason(error)}") from error
    if not isinstance(made, torch.nn.Module):
        raise TargetError(f"{name} gives a {escape(type(made).__name__, 80)}, which is no torch.nn.Module")
    return made, notes


def reason(error: BaseException) -> str:
    """Give an error of foreign code as a part of a sentence."""
    text = str(error).strip().partition("\n")[0]
    return escape(f"{type(error).__name__}: {text}" if text else type(error).__name__, 300)


def find_class(module: str, name: str, directories: Sequence[str]) -> Any:
    """Give a class by the exact name of its module and itself ("Outer.Inner" is looked up part by part).

    Raises:
        TargetError: there is none.
    """
    search_first(directories)
    found: Any = _import(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type):
        raise TargetError(f"there is no class {escape(f'{module}.{name}')}")
    return found


def _maker_of(recipe: Recipe) -> tuple[Callable[..., Any], str]:
    if recipe.maker is Maker.FUNCTION:
        return _training_function(recipe), "create_model"
    if recipe.callable is None:
        raise TargetError("the recipe names no callable")
    return _named_callable(recipe), escape(recipe.callable)


def _named_callable(recipe: Recipe) -> Callable[..., Any]:
    dotted = recipe.callable or ""
    module, _, name = dotted.partition(":")
    if not name.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise TargetError(f"{escape(dotted)} is no callable: write it as module:name")
    found = getattr(_import(module), name, None)
    if found is None:
        raise TargetError(f"the module {module} has no {name}")
    if not callable(found):
        raise TargetError(f"{escape(dotted)} is a {type(found).__name__} and can't be called")
    if not recipe.is_exact and not _is_defined_below(found, recipe.directories):
        raise TargetError(
            f"{escape(dotted)} is not defined in a trusted directory, only imported there: name the callable itself as trusted"
        )
    return found  # type: ignore[no-any-return]  # it was found to be callable


def _import(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = escape(str(error.name))
        cure = f"add the directory that holds it to trust.directories, or install the package of {missing}"
        raise TargetError(f"{escape(module)} can't be imported: there is no module {missing}: {cure}") from error
    except (Exception, SystemExit) as error:
        cure = 'what only training does belongs under if __name__ == "__main__", or into another file'
        raise TargetError(f"{escape(module)} can't be imported ({reason(error)}): {cure}") from error


def _is_defined_below(found: Any, directories: Sequence[str]) -> bool:
    """Say whether a function or class says of itself that it is of a module whose file lies in a trusted directory.

    A guard against a recipe that names what a trusted module merely imports (`from os import system`), not against the trusted
    module itself.
    """
    found = inspect.unwrap(found)
    if not (inspect.isfunction(found) or inspect.isclass(found)):
        return False
    file = getattr(sys.modules.get(found.__module__), "__file__", None)
    if inspect.isfunction(found):
        file = found.__code__.co_filename
    # Where that module lies in the directory, not anywhere below it: a project has its virtual environment inside.
    return file is not None and any(lies_in_place(file, found.__module__, path) for path in directories)


def _training_function(recipe: Recipe) -> Callable[..., Any]:
    name = escape(recipe.origin.partition(":")[2].strip() or "create_model", 80)
    module = ModuleType("ckptd_training_function")
    # torch.jit.script, pickle and dataclasses look a class's module up by its name.
    sys.modules[module.__name__] = module
    try:
        code = compile(recipe.training_code or "", f"<training function {name}>", "exec")
        exec(code, module.__dict__)  # noqa: S102 — the operator trusts it, and this is a confined worker
    except (Exception, SystemExit) as error:
        raise TargetError(f"the training function {name} can't be run: {reason(error)}") from error
    found = module.__dict__.get("create_model")
    if not callable(found):
        raise TargetError(f"the training function {name} defines no create_model")
    _remember_source(code.co_filename, recipe.training_code or "")
    return found  # type: ignore[no-any-return]  # it was found to be callable


def _remember_source(filename: str, text: str) -> None:
    """Let `inspect.getsource` find code that has no file: torch.jit.script compiles from the source."""
    import linecache

    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)


def _arguments(maker: Callable[..., Any], name: str, given: Mapping[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    """Choose the hyperparameters that the callable takes; note which ones."""
    try:
        parameters = list(inspect.signature(maker).parameters.values())
    except (TypeError, ValueError):  # no signature: a class of C
        parameters = []
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
    named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    passed = {key: value for key, value in given.items() if takes_all or key in named}
    missing = [p.name for p in parameters if p.default is p.empty and p.name in named and p.name not in passed]
    if missing:
        raise TargetError(f"{name} needs {listed(missing)}: give {'it' if len(missing) == 1 else 'them'} in hyperparameters")
    notes: dict[str, Json] = {"hyperparameters": dict(passed)}
    left = [key for key in given if key not in passed]
    return passed, {**notes, "left_out": [escape(key, 80) for key in left[:50]]} if left else notes


def listed(names: Sequence[str]) -> str:
    """Write names as a person would: "a, b and c"; more than a few are counted."""
    shown = [escape(name, 80) for name in names[:_MOST_NAMES]]
    if len(names) > _MOST_NAMES:
        return f"{', '.join(shown)} and {len(names) - _MOST_NAMES} more"
    return f"{', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else "".join(shown)
