"""What a channel is: it takes one message, or says why it did not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ckptd.errors import CkptdError
from ckptd.model import Json
from ckptd.notify.message import Message


class UndeliveredError(CkptdError):
    """A channel did not take a message; it is tried again."""

    permanent = False


class Notifier(Protocol):
    """One channel.

    It may wait, but never longer than its time limit for each answer: it is called in a process of its own.  It follows no
    advice of who answers, and keeps nothing.
    """

    def deliver(self, message: Message) -> str:
        """Hand a message over; give what there is to say though it was taken, such as who does not get it, mostly nothing.

        Raises:
            UndeliveredError: it was not taken, or nobody knows; the message is sent again, under the same id.
        """


#: What the settings say of a channel, as plain JSON; secrets are named there and never held.
Options = Mapping[str, Json]
