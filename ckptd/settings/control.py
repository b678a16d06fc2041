"""Settings of the socket by which people talk to the daemon."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ckptd.settings.kinds import NamedPath, Section


class ControlSettings(Section):
    """The socket by which people talk to the daemon, and who may."""

    enabled: Annotated[bool, Field(description="listen for `ckptd status`, `pause`, `reload` and everybody who may ask")] = True
    socket: Annotated[
        NamedPath | None,
        Field(
            description="path of the socket",
            json_schema_extra={
                "shown_default": "ctl in systemd's runtime directory, else in the state directory",
                "example": "/run/ckptd/ctl",
            },
        ),
    ] = None
    group: Annotated[
        str,
        Field(
            description="its members may read, mark, and bring back what is theirs",
            json_schema_extra={"shown_default": "the group that may write to every root", "example": "ml"},
        ),
    ] = ""
    admin_group: Annotated[
        str,
        Field(
            description="its members may do what the daemon's user may: apply, purge, archive, run jobs, pause, reload",
            json_schema_extra={"shown_default": "nobody beside root and the daemon's user", "example": "ml-admin"},
        ),
    ] = ""
