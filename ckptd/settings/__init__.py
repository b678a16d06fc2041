"""Settings: one model gives validation, the environment, the sample file, the schema and a page of the documentation.

Start reading at `model.Settings`; `load` merges file, environment and command line and reports every problem at once;
`places` says which file is read; `sample` writes what is generated.  Everything here comes on first use: asking whether
there are any settings must not cost the import of pydantic.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = [
    "ArchiveSettings",
    "ControlSettings",
    "ExportSettings",
    "HealthSettings",
    "HookSettings",
    "InspectSettings",
    "LogSettings",
    "NotifySettings",
    "PolicySettings",
    "RecipeSettings",
    "ReportSettings",
    "ScheduleSettings",
    "ScrubSettings",
    "Settings",
    "SidecarSettings",
    "TrashSettings",
    "TrustSettings",
    "WatchSettings",
    "find_config",
    "load_settings",
]

if TYPE_CHECKING:
    from ckptd.settings.load import load_settings
    from ckptd.settings.model import (
        ArchiveSettings,
        ControlSettings,
        ExportSettings,
        HealthSettings,
        HookSettings,
        InspectSettings,
        LogSettings,
        NotifySettings,
        PolicySettings,
        RecipeSettings,
        ReportSettings,
        ScheduleSettings,
        ScrubSettings,
        Settings,
        SidecarSettings,
        TrashSettings,
        TrustSettings,
        WatchSettings,
    )
    from ckptd.settings.places import find_config

_PLACES = {
    "ArchiveSettings": "model",
    "ControlSettings": "model",
    "ExportSettings": "model",
    "HealthSettings": "model",
    "HookSettings": "model",
    "InspectSettings": "model",
    "LogSettings": "model",
    "NotifySettings": "model",
    "PolicySettings": "model",
    "RecipeSettings": "model",
    "ReportSettings": "model",
    "ScheduleSettings": "model",
    "ScrubSettings": "model",
    "Settings": "model",
    "SidecarSettings": "model",
    "TrashSettings": "model",
    "TrustSettings": "model",
    "WatchSettings": "model",
    "find_config": "places",
    "load_settings": "load",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'ckptd.settings' has no attribute {name!r}")
    value = getattr(import_module(f"ckptd.settings.{_PLACES[name]}"), name)
    globals()[name] = value
    return value
