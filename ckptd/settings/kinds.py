"""The kinds of values that settings are made of: durations, sizes, lists of paths and words, and the table itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema
from pydantic_settings import NoDecode

from ckptd.settings.units import DURATION_PATTERN, SIZE_PATTERN, parse_duration, parse_size

Seconds = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": DURATION_PATTERN}]}),
]
Bytes = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": SIZE_PATTERN}]}),
]


def read_list(value: object) -> object:
    """Take a text for a JSON list, else for a list of one: the environment knows nothing but text."""
    if not isinstance(value, str):
        return value
    if not value.lstrip().startswith("["):
        return (value,) if value else ()
    return _parse(value)


def read_tables(value: object) -> object:
    """Take a text for a JSON list of objects, or for one object: the environment knows nothing but text."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        return ()
    read = _parse(value)
    return (read,) if isinstance(read, dict) else read


def read_table(value: object) -> object:
    """Take a text for a JSON object: the environment knows nothing but text."""
    if not isinstance(value, str):
        return value
    return _parse(value, "object") if value.strip() else {}


def _parse(text: str, what: str = "list") -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is no JSON {what}: {error}") from error


def _refuse_empty(value: object) -> object:
    """Refuse what a shell makes of "$UNSET": to Path it is the present directory."""
    if value == "":
        raise ValueError('is empty; for the present directory write "."')
    return value


NamedPath = Annotated[Path, BeforeValidator(_refuse_empty)]
Paths = Annotated[tuple[NamedPath, ...], NoDecode, BeforeValidator(read_list)]
Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(read_list)]


class Section(BaseModel):
    """A table of the settings file; a key it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
