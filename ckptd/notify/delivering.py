"""The process that sends what waits for one channel: it reads that on its standard input, and answers a line a message.

The daemon starts it and never waits for it: a server that is slow, or a resolver that hangs, costs this process its time and
nobody else.  Secrets are read here, so that the daemon holds none.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import ckptd
from ckptd.errors import CkptdError, FormatError
from ckptd.notify.channels import make_notifier
from ckptd.notify.interface import Options
from ckptd.notify.message import Message
from ckptd.notify.running import Running, clean_environment
from ckptd.notify.secret import CREDENTIALS
from ckptd.sandbox.confine import die_with
from ckptd.text import escape

#: Messages of one errand.
MOST_AT_ONCE = 10
#: Bytes of all answers.
_MOST_ANSWERS = 64 << 10
_MOST_TROUBLE = 500
#: How long a delivery that is to end has to end the group of a command, seconds; Python hears of it within milliseconds.
_GRACE_SECONDS = 0.5
#: A channel has three steps that each may take its time limit: connection, handshake, answer; and Python has to start.
_STEPS, _START_SECONDS = 4, 20.0

_BOOTSTRAP = (
    "import os, sys; n = int(sys.argv[1]); sys.path += [p for p in sys.argv[2:2 + n] if p not in sys.path]; "
    "from ckptd.notify.delivering import main; main(); sys.stdout.flush(); os._exit(0)"
)


class Answer(NamedTuple):
    """What became of one message.

    Attributes:
        trouble: why it was not taken; empty when it was.
        remark: what there is to say though it was taken; mostly empty.
    """

    message: str
    trouble: str
    remark: str = ""


def start_delivery(channel: str, options: Options, bodies: Sequence[str]) -> Running:
    """Start a process that sends messages.

    Args:
        channel: its name.
        options: what the settings say of it.
        bodies: messages as JSON, at most `MOST_AT_ONCE`.

    Raises:
        WorkerError: it can't be started.
    """
    errand = {"parent": os.getpid(), "channel": channel, "options": dict(options), "messages": list(bodies)}
    paths = dict.fromkeys((*(path for path in sys.path if path), str(Path(ckptd.__file__).parents[1])))
    command = [sys.executable, "-I", "-c", _BOOTSTRAP, str(len(paths)), *paths]
    environment = clean_environment(CREDENTIALS, "SSL_CERT_FILE", "SSL_CERT_DIR")
    return Running(command, json.dumps(errand).encode(), environment, _MOST_ANSWERS, _GRACE_SECONDS)


def find_limit(options: Options, messages: int) -> float:
    """Say how long a delivery may take, seconds."""
    return _START_SECONDS + messages * _STEPS * float(str(options["timeout_seconds"]))


def read_answers(output: str) -> list[Answer]:
    """Read what a delivery answered; what is no answer is passed over."""
    found = []
    for line in output.splitlines():
        with suppress(ValueError, TypeError, KeyError, RecursionError):
            value = json.loads(line)
            trouble, remark = (escape(str(value[name]), _MOST_TROUBLE) for name in ("trouble", "remark"))
            found.append(Answer(str(value["message"]), trouble, remark))
    return found


def deliver_all(channel: str, options: Options, messages: Sequence[Message]) -> list[Answer]:
    """Send messages, one after the other, and say what became of each."""
    try:
        notifier = make_notifier(channel, options, os.environ)
    except CkptdError as error:
        return [Answer(message.id, str(error)) for message in messages]
    answers = []
    for message in messages:
        try:
            answers.append(Answer(message.id, "", notifier.deliver(message)))
        except CkptdError as error:
            answers.append(Answer(message.id, str(error)))
        except Exception as error:  # noqa: BLE001 — a fault of ours with one message must not keep the others from being sent
            answers.append(Answer(message.id, f"{type(error).__name__} while it was sent; please report it"))
    return answers


def main() -> None:
    """Do the errand on the standard input; at SIGTERM the group of a command that runs ends first."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    errand = json.loads(sys.stdin.buffer.read())
    with suppress(OSError):
        die_with(errand["parent"])
    for body in errand["messages"]:
        with suppress(FormatError):  # somebody wrote into the outbox by hand; it is given up in the end
            for answer in deliver_all(errand["channel"], errand["options"], [Message.from_json(body)]):
                print(json.dumps(answer._asdict()), flush=True)
