"""Alerts to a command: one run a message, JSON on its standard input, no shell, and its group ends with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ckptd.notify.interface import Options, UndeliveredError
from ckptd.notify.message import Message
from ckptd.notify.running import run_command


class CommandNotifier:
    """Run a command for each message.

    Args:
        command: program and arguments, as the settings have them; nothing of a message is added.
        timeout_seconds: then it is ended, with its group.
    """

    def __init__(self, command: Sequence[str], timeout_seconds: float) -> None:
        self._command = tuple(command)
        self._timeout = timeout_seconds

    def deliver(self, message: Message) -> str:
        """Run the command; exit status 0 means that it took the message."""
        ended = run_command(self._command, message.to_json().encode("ascii"), self._timeout)
        if ended.trouble:
            raise UndeliveredError("run a command", path=self._command[0], why=ended.trouble)
        return ""


def make_command(options: Options, environ: Mapping[str, str]) -> CommandNotifier:
    """Build the channel."""
    del environ
    words = options["command"]
    return CommandNotifier(
        [str(word) for word in words] if isinstance(words, list) else [], float(str(options["timeout_seconds"]))
    )
