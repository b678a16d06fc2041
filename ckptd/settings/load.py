"""Merge command line, environment, file and defaults, and report every problem at once as `source: key: message`."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from ckptd.errors import SettingsError
from ckptd.settings.kinds import Section
from ckptd.settings.model import HookSettings, InputSettings, RecipeSettings, Settings
from ckptd.settings.places import PREFIX, find_config, setting_variables

Tree = dict[str, Any]


class LoadedSettings(Settings):
    """Settings out of sources that were merged already; nothing else is looked at."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what was passed and nothing else."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


@dataclass(frozen=True, slots=True)
class _Source:
    """Where values come from: its name in messages, the values, and how it spells a key."""

    name: str
    values: Tree

    def spell(self, key: Sequence[str]) -> str:
        return PREFIX + "__".join(key).upper() if self.name == "environment" else ".".join(key)


def load_settings(
    config: Path | None = None, overrides: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Read the settings; the command line beats the environment, which beats the file, which beats the defaults.

    Args:
        config: the file of --config; without it `find_config` says which one is read.
        overrides: what the command line says, nested like the file.
        environ: the environment; os.environ when None.

    Raises:
        SettingsError: anything is wrong; all problems are in it, not only the first.
    """
    environ = os.environ if environ is None else environ
    problems: list[str] = []
    path = find_config(config, environ)
    sources = (
        _Source("command line", dict(overrides or {})),
        _Source("environment", _read_environment(environ, problems)),
        _Source("defaults" if path is None else str(path), {} if path is None else _read_file(path, problems)),
    )
    merged: Tree = {}
    for source in reversed(sources):
        merged = _merge(merged, source.values)
    try:
        settings = LoadedSettings(**merged)
    except ValidationError as error:
        problems.extend(_describe(detail, sources) for detail in error.errors(include_url=False))
        settings = None
    if problems or settings is None:
        raise SettingsError(tuple(problems))
    return settings


def known_keys() -> dict[tuple[str, ...], type[BaseModel]]:
    """Give every setting as the path to it, with the model that holds it, in the order of the file."""
    return _find_keys(Settings, ())


def _find_keys(model: type[BaseModel], above: tuple[str, ...]) -> dict[tuple[str, ...], type[BaseModel]]:
    """Give the settings of a table, those of the tables in it behind its own."""
    keys: dict[tuple[str, ...], type[BaseModel]] = {}
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            keys |= _find_keys(kind, (*above, name))
        else:
            keys[*above, name] = model
    return keys


def _read_file(path: Path, problems: list[str]) -> Tree:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except tomllib.TOMLDecodeError as error:
        reason, found, place = str(error).partition(" (at ")
        problems.append(f"{path}: {place.rstrip(')')}: {reason}" if found else f"{path}: {error}")
    except UnicodeDecodeError as error:
        problems.append(f"{path}: byte {error.start}: is not UTF-8")
    except FileNotFoundError:
        problems.append(f"{path}: no such file; give the path of a settings file, or leave it out to use the defaults")
    except OSError as error:
        problems.append(f"{path}: {error.strerror or error}")
    return {}


def _read_environment(environ: Mapping[str, str], problems: list[str]) -> Tree:
    """Turn CKPTD_WATCH__BACKEND into {"watch": {"backend": …}}; a name that is no setting is a problem."""
    names = {PREFIX + "__".join(key).upper(): key for key in known_keys()}
    values: Tree = {}
    for name, value in sorted(setting_variables(environ).items()):
        if name not in names:
            problems.append(f"environment: {name}: is not a setting{_suggest(name, list(names))}")
            continue
        *tables, last = names[name]
        table = values
        for part in tables:
            table = table.setdefault(part, {})
        table[last] = value
    return values


def _merge(below: Tree, above: Mapping[str, Any]) -> Tree:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _describe(detail: ErrorDetails, sources: Sequence[_Source]) -> str:
    key = [str(part) for part in detail["loc"]]
    source, shown = _blame(key, sources)
    if detail["type"] == "extra_forbidden":
        message = f"is not a setting{_suggest_key(key)}"
    else:
        message = detail["msg"].removeprefix("Value error, ")
    if source.name == "environment" and key[0] in ("recipe", "hook") and key[1:]:  # the variable holds all of them
        message = f"{'.'.join(key[1:])}: {message}"
    return f"{source.name}: {source.spell(shown)}: {message}" if shown else f"{source.name}: {message}"


def _blame(key: Sequence[str], sources: Sequence[_Source]) -> tuple[_Source, list[str]]:
    """Find the strongest source that has the key, or the longest beginning of it (a list is given whole)."""
    for length in range(len(key), 0, -1):
        for source in sources:
            value: Any = source.values
            for part in key[:length]:
                value = _look_up(value, part)
            if value is not _MISSING:
                return source, list(key if source.name != "environment" else key[:length])
    return sources[-1], list(key)


_MISSING = object()


def _look_up(value: Any, part: str) -> Any:
    """Give what a table or a list has under a part of a key, `_MISSING` when it has nothing there."""
    if isinstance(value, dict):
        return value.get(part, _MISSING)
    if isinstance(value, list | tuple) and part.isdigit() and int(part) < len(value):
        return value[int(part)]
    return _MISSING


def _suggest_key(key: Sequence[str]) -> str:
    """Propose the known key that is nearest, be it in this table or in another."""
    if key[0] == "recipe" and len(key) > 1:
        model = InputSettings if "inputs" in key[:-1] else RecipeSettings
        return _suggest_quoted(key[-1], list(model.model_fields))
    if key[0] == "hook" and len(key) > 1:
        return _suggest_quoted(key[-1], list(HookSettings.model_fields))
    known = {".".join(path): path for path in known_keys()}
    written = ".".join(key)
    near = difflib.get_close_matches(written, known, n=1, cutoff=0.75)
    if not near:
        last = difflib.get_close_matches(key[-1], [path[-1] for path in known.values()], n=1, cutoff=0.75)
        near = [name for name, path in known.items() if last and path[-1] == last[0]]
    tables = sorted({path[0] for path in known.values() if len(path) > 1})
    near = near or difflib.get_close_matches(key[0], tables, n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""


def _suggest_quoted(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else f"; there are {' '.join(known)}"


def _suggest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    return f"; did you mean {near[0]}?" if near else '; "ckptd config schema" lists all of them'
