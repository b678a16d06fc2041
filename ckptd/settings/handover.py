"""Settings as plain JSON, for a process that is to work by the very settings of the one that starts it.

The file may have changed meanwhile, the environment may be another, and a relative path means something else elsewhere.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ckptd.settings.load import LoadedSettings
from ckptd.settings.model import Settings


def settings_to_json(settings: Settings) -> dict[str, Any]:
    """Give settings as plain JSON values; every path in them is absolute."""
    values: dict[str, Any] = _plain(settings.model_dump())
    return values


def settings_from_json(values: dict[str, Any]) -> Settings:
    """Read what `settings_to_json` gave, and nothing else: no file, no environment.

    Raises:
        ValidationError: it is something else.
    """
    return LoadedSettings(**values)


def _plain(value: Any) -> Any:
    match value:
        case Path():
            return os.path.abspath(value)
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return value
