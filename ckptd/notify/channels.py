"""The channels there are: one line and one file each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

from ckptd.errors import UsageError
from ckptd.notify.interface import Notifier, Options

#: Name in the settings → module and function that builds it; imported when something is sent that way.
CHANNELS: tuple[tuple[str, str], ...] = (
    ("webhook", "ckptd.notify.webhook:make_webhook"),
    ("email", "ckptd.notify.email:make_email"),
    ("command", "ckptd.notify.command:make_command"),
)


def make_notifier(channel: str, options: Options, environ: Mapping[str, str]) -> Notifier:
    """Build a channel.

    Args:
        channel: its name.
        options: what the settings say of it.
        environ: says where the credentials are.

    Raises:
        UsageError: there is no such channel.
        SettingsError: a secret that it needs can't be had.
    """
    for name, place in CHANNELS:
        if name == channel:
            module, _, function = place.partition(":")
            make: Callable[[Options, Mapping[str, str]], Notifier] = getattr(import_module(module), function)
            return make(options, environ)
    raise UsageError(
        "send an alert", path=channel, why="there is no such channel", cure="there are " + ", ".join(dict(CHANNELS))
    )
