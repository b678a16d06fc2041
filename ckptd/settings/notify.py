"""The settings of who is told what: alerts with their channels, and the commands of hooks."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Mapping
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator
from pydantic_settings import NoDecode

from ckptd.settings.kinds import Bytes, Seconds, Section, Words, read_table, read_tables
from ckptd.settings.units import parse_duration
from ckptd.settings.urls import LOOPBACK, check_url

#: Kinds of alerts; docs/alerts.md says what each means, and a test holds this against `ckptd.notify.kinds`.
ALERT_KINDS = (
    "checkpoint-unsafe", "checkpoint-damaged", "checkpoint-unread", "weights-not-finite", "bit-rot", "job-failed",
    "job-overdue", "root-lost", "root-frozen", "disk-low", "plan-held", "export-failed", "no-new-checkpoint",
    "archive-damaged", "settings-refused", "index-unavailable",
)  # fmt: skip
#: What a hook can be run on.
HookEvent = Literal["checkpoint.ready", "checkpoint.rejected", "export.verified", "archive.verified"]
HOOK_EVENTS: tuple[str, ...] = get_args(HookEvent)

Weight = Literal["info", "warning", "error"]
_MAX_WORDS = 64
_MAX_TEXT = 2_048
_ADDRESS = re.compile(r"[^\s@<>,;:\"\\()\[\]]{1,64}@[A-Za-z0-9.-]{1,255}")


def check_secret_name(name: str) -> str:
    """Take the name of a credential or an absolute path; nothing for none.

    Raises:
        ValueError: it is a path that means something else elsewhere.
    """
    name = os.path.expanduser(name)
    if not name.isprintable():
        raise ValueError("holds a character that nobody can see")
    if "/" in name and not name.startswith("/"):
        raise ValueError(f"{name!r} is a relative path; name a credential of the unit, or write an absolute path")
    return name


def _check_authorities(path: str) -> str:
    path = os.path.expanduser(path)
    if path and not path.startswith("/"):
        raise ValueError(f"{path!r} is a relative path, which means something else elsewhere; write an absolute one")
    return path


def _check_command(words: tuple[str, ...]) -> tuple[str, ...]:
    if not words:
        return words
    if not words[0].startswith("/"):
        raise ValueError(f"{words[0]!r} is no absolute path; no shell and no $PATH is asked")
    if len(words) > _MAX_WORDS or any(len(word) > _MAX_TEXT or "\0" in word for word in words):
        raise ValueError(f"has more than {_MAX_WORDS} words, or one that no command takes")
    return words


def _check_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("holds a character that nobody can see")
    return text


def _read_hours(value: object) -> object:
    value = read_table(value)
    return {name: parse_duration(one) for name, one in value.items()} if isinstance(value, dict) else value


Command = Annotated[Words, AfterValidator(_check_command)]
Line = Annotated[str, Field(max_length=_MAX_TEXT), AfterValidator(_check_line)]
SecretFile = Annotated[str, Field(max_length=_MAX_TEXT), AfterValidator(check_secret_name)]
AuthoritiesFile = Annotated[Line, AfterValidator(_check_authorities)]
Weights = Annotated[dict[str, Weight], NoDecode, BeforeValidator(read_table)]
Hours = Annotated[dict[str, float], NoDecode, BeforeValidator(_read_hours)]

_SECRET = "a credential of the unit (LoadCredential=), or an absolute path that others can't read"  # noqa: S105 — no secret
_LEAST = "less severe alerts are not sent here"


class WebhookSettings(Section):
    """Alerts as JSON to an HTTP server, signed: docs/alerts.md. On when a URL is named."""

    url: Annotated[
        Line,
        Field(
            description="where alerts are posted; https, or http to this very machine",
            json_schema_extra={"example": "https://alerts.example.org/ckptd"},
        ),
    ] = ""
    url_file: Annotated[
        SecretFile,
        Field(
            description=f"file that holds the URL, where that is a secret itself; {_SECRET}",
            json_schema_extra={"example": ""},
        ),
    ] = ""
    secret_file: Annotated[
        SecretFile,
        Field(description=f"file that holds the key of the signature; {_SECRET}", json_schema_extra={"example": "webhook"}),
    ] = ""
    ca_file: Annotated[
        AuthoritiesFile,
        Field(
            description="absolute path of the authorities that are believed, as PEM; without it the machine's",
            json_schema_extra={"example": "/etc/ssl/certs/our-own.pem"},
        ),
    ] = ""
    timeout_seconds: Annotated[Seconds, Field(gt=0, le=120, description="wait so long for the server, seconds")] = 10.0
    min_severity: Annotated[Weight, Field(description=_LEAST)] = "info"

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        if url:
            check_url(url)
        return url

    @model_validator(mode="after")
    def _check_both(self) -> WebhookSettings:
        if self.url and self.url_file:
            raise ValueError('"url" and "url_file" are both set; one of them is enough')
        return self

    @property
    def is_wanted(self) -> bool:
        """Say whether anything is sent this way."""
        return bool(self.url or self.url_file)


class EmailSettings(Section):
    """Alerts as e-mail. On when a server is named."""

    host: Annotated[Line, Field(description="name of the mail server", json_schema_extra={"example": "mail.example.org"})] = ""
    port: Annotated[int, Field(ge=1, le=65535, description="its port; 587 for starttls, 465 for tls")] = 587
    security: Annotated[
        Literal["starttls", "tls", "none"],
        Field(description="how the connection is protected; none is for a server on this very machine"),
    ] = "starttls"
    ca_file: Annotated[
        AuthoritiesFile,
        Field(
            description="absolute path of the authorities that are believed, as PEM; without it the machine's",
            json_schema_extra={"example": "/etc/ssl/certs/our-own.pem"},
        ),
    ] = ""
    username: Annotated[
        Line, Field(description="who logs in; nobody does without it", json_schema_extra={"example": "ckptd"})
    ] = ""
    password_file: Annotated[
        SecretFile,
        Field(description=f"file that holds the password; {_SECRET}", json_schema_extra={"example": "mail-password"}),
    ] = ""
    sender: Annotated[Line, Field(description="address of the sender", json_schema_extra={"example": "ckptd@example.org"})] = ""
    recipients: Annotated[
        Words, Field(description="addresses of who gets it", json_schema_extra={"example": ["ml-ops@example.org"]})
    ] = ()
    timeout_seconds: Annotated[Seconds, Field(gt=0, le=120, description="wait so long for the server, seconds")] = 10.0
    min_severity: Annotated[Weight, Field(description=_LEAST)] = "warning"

    @model_validator(mode="after")
    def _check_all(self) -> EmailSettings:
        for address in (*self.recipients, *([self.sender] if self.sender else [])):
            if _ADDRESS.fullmatch(address) is None:
                raise ValueError(f"{address!r} is no mail address; write name@host")
        if self.host and not (self.sender and self.recipients):
            raise ValueError('"host" is set; "sender" and "recipients" are needed with it')
        if self.username and not self.password_file:
            raise ValueError('"username" is set; "password_file" is needed with it')
        if self.host and self.security == "none" and (self.host not in LOOPBACK or self.username):
            raise ValueError('"none" sends everything in the clear, which is for a server on this machine and without a login')
        return self

    @property
    def is_wanted(self) -> bool:
        """Say whether anything is sent this way."""
        return bool(self.host)


class CommandSettings(Section):
    """Alerts as JSON on the standard input of a command. On when one is named."""

    command: Annotated[
        Command,
        Field(
            description="program and its arguments, run as ckptd's user; an absolute path, no shell",
            json_schema_extra={"example": ["/usr/local/bin/tell-us"]},
        ),
    ] = ()
    timeout_seconds: Annotated[
        Seconds, Field(gt=0, le=120, description="it is ended with its process group after this, seconds")
    ] = 30.0
    min_severity: Annotated[Weight, Field(description=_LEAST)] = "info"

    @property
    def is_wanted(self) -> bool:
        """Say whether anything is sent this way."""
        return bool(self.command)


class NotifySettings(Section):
    """Who is told when something is not as it should be: docs/alerts.md. Off until a channel is set."""

    off: Annotated[
        Words,
        Field(description="kinds of alerts that nobody wants", json_schema_extra={"example": ["export-failed"]}),
    ] = ()
    severities: Annotated[
        Weights,
        Field(
            description="other severities than those of docs/alerts.md; kind and severity",
            json_schema_extra={"example": {"plan-held": "error"}},
        ),
    ] = Field(default_factory=dict)
    gather_seconds: Annotated[
        Seconds, Field(ge=0, le=3600, description="the first message of an alert waits so long for company, seconds")
    ] = 10.0
    fold_seconds: Annotated[
        Seconds,
        Field(gt=0, description="one message of the same alert in so long; more is counted in the next, seconds"),
    ] = 3600.0
    look_seconds: Annotated[
        Seconds, Field(gt=0, le=3600, description="look at disks, jobs, groups and archives so often, seconds")
    ] = 60.0
    free_bytes: Annotated[
        Bytes,
        Field(
            ge=0,
            description="less free room than this, or than policy.free_bytes, on a disk in use is an alert, bytes",
            json_schema_extra={"example": "1GiB"},
        ),
    ] = 1 << 30
    freshness: Annotated[
        Hours,
        Field(
            description="groups that get a checkpoint at least so often: the group as `ckptd plan` names it, and a duration",
            json_schema_extra={"example": {"BiLSTM · ECG": "24h"}},
        ),
    ] = Field(default_factory=dict)
    webhook: WebhookSettings = WebhookSettings()
    email: EmailSettings = EmailSettings()
    command: CommandSettings = CommandSettings()

    @field_validator("off")
    @classmethod
    def _check_off(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        for kind in kinds:
            _check_kind(kind)
        return kinds

    @field_validator("severities")
    @classmethod
    def _check_severities(cls, severities: dict[str, Weight]) -> dict[str, Weight]:
        for kind in severities:
            _check_kind(kind)
        return severities

    @field_validator("freshness")
    @classmethod
    def _check_freshness(cls, hours: dict[str, float]) -> dict[str, float]:
        for group, seconds in hours.items():
            if not math.isfinite(seconds) or seconds < 60:
                raise ValueError(f'the duration of {group!r} must be a minute or more: "24h"')
        return hours

    @property
    def channels(self) -> Mapping[str, WebhookSettings | EmailSettings | CommandSettings]:
        """The channels that are set, by name."""
        known: dict[str, WebhookSettings | EmailSettings | CommandSettings]
        known = {"webhook": self.webhook, "email": self.email, "command": self.command}
        return {name: channel for name, channel in known.items() if channel.is_wanted}

    @property
    def is_wanted(self) -> bool:
        """Say whether anybody is told anything."""
        return bool(self.channels)


class HookSettings(Section):
    """One hook: a command that is run when something happened, with JSON about it on its standard input: docs/hooks.md."""

    on: Annotated[HookEvent, Field(description="what it is run on: " + ", ".join(HOOK_EVENTS))]
    command: Annotated[
        Command, Field(min_length=1, description="program and its arguments; an absolute path, no shell, no placeholders")
    ]
    timeout_seconds: Annotated[
        Seconds, Field(gt=0, le=86400, description="it is ended with its process group after this, seconds")
    ] = 60.0
    match: Annotated[
        str,
        Field(
            max_length=_MAX_TEXT,
            description="only for checkpoints of which this glob fits the path in the root, the file's name or the group",
        ),
    ] = "*"


Hooks = Annotated[tuple[HookSettings, ...], Field(max_length=_MAX_WORDS), NoDecode, BeforeValidator(read_tables)]


def _check_kind(kind: str) -> None:
    if kind not in ALERT_KINDS:
        near = difflib.get_close_matches(kind, ALERT_KINDS, n=1, cutoff=0.5)
        meant = f'did you mean "{near[0]}"?' if near else f"there are {' '.join(ALERT_KINDS)}"
        raise ValueError(f"{kind!r} is no kind of alert; {meant}")
