"""The settings of what monitoring reads: where it is served, and the file for node_exporter."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from ckptd.settings.kinds import NamedPath, Seconds, Section

#: Bytes of a socket's path.  Source: unix(7), `sun_path` is 108 bytes with the zero at its end.
MAX_SOCKET_PATH = 107
_UNIX = "unix:"
_MODE = re.compile(r"0?[0-7]{3}")


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A port of this machine that no other machine reaches; `host` is a number such as "127.0.0.1" or "::1"."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class SocketAddress:
    """A unix socket; `path` is absolute."""

    path: str

    def __str__(self) -> str:
        return _UNIX + self.path


Address = TcpAddress | SocketAddress


def parse_address(text: str) -> Address:
    """Read "127.0.0.1:9476", "[::1]:9476", "localhost:9476" or "unix:/run/ckptd/health.sock".

    Raises:
        ValueError: it is none of these, or other machines could reach it.
    """
    if text.startswith(_UNIX):
        return _parse_socket(text.removeprefix(_UNIX))
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ValueError(f'{text!r} is no address; write "127.0.0.1:9476" or "unix:/run/ckptd/health.sock"')
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:  # a name is never looked up: what it means may change, and this must not
        number = ipaddress.ip_address("127.0.0.1" if bare == "localhost" else bare)
    except ValueError:
        raise ValueError(f"{host!r} is no number of a host; write 127.0.0.1 or [::1]") from None
    if not number.is_loopback:
        raise ValueError(
            f"{text!r} is reached from other machines, and nobody is asked who they are; "
            "write 127.0.0.1, and let a proxy that asks stand before it"
        )
    return TcpAddress(str(number), int(port))


def _parse_socket(path: str) -> SocketAddress:
    if not path.startswith("/") or path.endswith("/") or "\0" in path:
        raise ValueError(f'{path!r} is no absolute path of a socket; write "unix:/run/ckptd/health.sock"')
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise ValueError(f"the path of a socket has at most {MAX_SOCKET_PATH} bytes, and {path!r} has more")
    return SocketAddress(path)


class HealthSettings(Section):
    """What monitoring reads: /healthz, /readyz and /metrics, for this machine only, and a file for node_exporter."""

    listen: Annotated[
        str,
        Field(
            description='where they are served, "127.0.0.1:PORT" or "unix:/PATH"; empty for nowhere',
            json_schema_extra={"shown_default": "nowhere", "example": "127.0.0.1:9476"},
        ),
    ] = ""
    socket_mode: Annotated[str, Field(description="permission bits of a unix socket, octal")] = "0660"
    socket_group: Annotated[
        str,
        Field(
            description="group of a unix socket, one of the daemon's own",
            json_schema_extra={"shown_default": "the daemon's", "example": "prometheus"},
        ),
    ] = ""
    textfile: Annotated[
        NamedPath | None,
        Field(
            description="write the same metrics to this file, NAME.prom in the directory that node_exporter reads",
            json_schema_extra={"shown_default": "none", "example": "/var/lib/prometheus/node-exporter/ckptd.prom"},
        ),
    ] = None
    refresh_seconds: Annotated[
        Seconds, Field(ge=0.1, le=3600, description="the figures are at most about so old, seconds; more with a large index")
    ] = 15.0

    @field_validator("listen")
    @classmethod
    def _check_listen(cls, listen: str) -> str:
        if listen:
            parse_address(listen)
        return listen

    @field_validator("socket_mode")
    @classmethod
    def _check_mode(cls, mode: str) -> str:
        if _MODE.fullmatch(mode) is None:
            raise ValueError(f'{mode!r} are no permission bits; write three octal digits, such as "0660"')
        return mode

    @field_validator("textfile")
    @classmethod
    def _check_textfile(cls, path: Path | None) -> Path | None:
        if path is None:
            return None
        path = path.expanduser()
        if not path.is_absolute() or path.suffix != ".prom" or path.name.startswith("."):
            raise ValueError(f"{str(path)!r} is not read by node_exporter; write an absolute path that ends with .prom")
        return path

    @property
    def is_wanted(self) -> bool:
        """Say whether anything is to be measured at all."""
        return bool(self.listen) or self.textfile is not None

    @property
    def address(self) -> Address | None:
        """Where to serve; None for nowhere."""
        return parse_address(self.listen) if self.listen else None
